"""Similarity -> ranks -> R@K and mR: pure functions.

Legend: Q queries, G gallery, P right items per query (padded), D embedding width.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.recalls import KS

ELEMENTS = 2**24
"""Similarities held at a time: 64 MiB."""


class NotFinite(ArithmeticError):
    """A similarity is NaN or infinite: the model has diverged."""


@dataclass(frozen=True)
class Ranks:
    """How high each query's best right item is ranked; all are `(Q,)` integers.

    above: wrong items with a higher score; tied_wrong, tied_right: wrong and right items with the
    same score as the best right item. Ties are kept apart so that no order of files decides them.
    """

    above: Tensor
    tied_wrong: Tensor
    tied_right: Tensor

    def expected(self) -> Tensor:
        """Expected rank of the first right item under random tie-breaking, from 1. `(Q,)` float."""
        return 1 + self.above + self.tied_wrong / (self.tied_right + 1)

    def hit(self, k: int) -> Tensor:
        """Chance that a right item is in the top k under random tie-breaking. `(Q,)` float64."""
        # Items that tie are drawn one after another for the places of the top k that are left to
        # them. A miss means that only wrong ones were drawn: of w wrong among n, the chance is
        # w/n * (w-1)/(n-1) * ..., a factor for each place.
        places = (k - self.above).clamp(min=0)
        miss = torch.ones(len(places), dtype=torch.float64)
        wrong, total = self.tied_wrong.double(), (self.tied_wrong + self.tied_right).double()
        for drawn in range(int(places.max()) if len(places) else 0):
            draw = ((wrong - drawn).clamp(min=0) / (total - drawn).clamp(min=1)).cpu()
            miss = torch.where(places.cpu() > drawn, miss * draw, miss)
        return 1 - miss


def rank(
    queries: Tensor, gallery: Tensor, rights: Sequence[Tensor], elements: int = ELEMENTS
) -> list[Ranks]:
    """Rank the gallery for each query by cosine, once for each of several sets of right items.

    queries `(Q, D)` and gallery `(G, D)` have unit length; rights: `(Q, P)` gallery rows that are
    right, padded with -1, at least one for each query. At most about `elements` similarities are
    held at a time. Raises NotFinite if a similarity is NaN or infinite.
    """
    block, gallery = max(1, elements // max(1, len(gallery))), gallery.float()
    parts = [
        rank_rows(
            queries[start : start + block].float() @ gallery.t(),
            [right[start : start + block] for right in rights],
        )
        for start in range(0, len(queries), block)
    ]
    return [
        Ranks(
            torch.cat([part.above for part in same]),
            torch.cat([part.tied_wrong for part in same]),
            torch.cat([part.tied_right for part in same]),
        )
        for same in zip(*parts, strict=True)
    ]


def rank_both(
    image: Tensor, text: Tensor, right: Mapping[str, Tensor], elements: int = ELEMENTS
) -> dict[str, Ranks]:
    """Ranks for each of `right`, whose names end in i2t or t2i (see `right_items`).

    image `(S, D)`, text `(T, D)`. If all similarities fit into `elements`, they are computed once
    for both directions, else in blocks for each direction.
    """
    names = {way: [name for name in right if name.endswith(way)] for way in ("i2t", "t2i")}
    rights = {way: [right[name] for name in names[way]] for way in names}
    if len(image) * len(text) <= elements:
        similarity = image.float() @ text.float().t()
        i2t, t2i = rank_rows(similarity, rights["i2t"]), rank_rows(similarity.t(), rights["t2i"])
    else:
        i2t = rank(image, text, rights["i2t"], elements)
        t2i = rank(text, image, rights["t2i"], elements)
    ranks = dict(zip(names["i2t"] + names["t2i"], i2t + t2i, strict=True))
    return {name: ranks[name] for name in right}


def rank_rows(similarity: Tensor, rights: Sequence[Tensor]) -> list[Ranks]:
    """`rank` on a given similarity `(Q, G)`; rights `(Q, P)`, padded with -1."""
    # If the sum is finite, all are. Summing takes a sixth of the time of checking each.
    if not torch.isfinite(similarity.sum()) and not torch.isfinite(similarity).all():
        raise NotFinite("a similarity is NaN or infinite")
    ranks: list[Ranks] = []
    previous_best = above = at_least = torch.empty(0)
    for padded in rights:
        right = padded.to(similarity.device)
        scores = similarity.gather(1, right.clamp(min=0)).masked_fill(right < 0, float("-inf"))
        best = scores.max(dim=1, keepdim=True).values
        if not ranks:
            above, at_least = _count(similarity, best)
        else:  # strict and duplicate-aware best items rarely differ: count again only where they do
            changed = (best != previous_best).squeeze(1)
            above, at_least, rows = above.clone(), at_least.clone(), changed.cpu()
            above[rows], at_least[rows] = _count(similarity[changed], best[changed])
        previous_best, tied_right = best, (scores == best).sum(dim=1).cpu()
        ranks.append(Ranks(above, at_least - above - tied_right, tied_right))
    return ranks


def _count(similarity: Tensor, best: Tensor) -> tuple[Tensor, Tensor]:
    """How many items of each row score above `best`, and how many at least as high. `(Q,)` each."""
    if similarity.device.type == "cpu":  # numpy counts ten times as fast as torch sums booleans
        s, b = similarity.detach().numpy(), best.detach().numpy()
        above, at_least = np.count_nonzero(s > b, axis=1), np.count_nonzero(s >= b, axis=1)
        return torch.from_numpy(above), torch.from_numpy(at_least)
    return (similarity > best).sum(dim=1).cpu(), (similarity >= best).sum(dim=1).cpu()


def recalls(i2t: Ranks, t2i: Ranks) -> dict[str, float]:
    """R@1, R@5, R@10 both ways and their mean mR, in percent."""
    result = {
        f"{way}_R@{k}": float(100 * ranks.hit(k).mean())
        for way, ranks in (("i2t", i2t), ("t2i", t2i))
        for k in KS
    }
    return {**result, "mR": sum(result.values()) / len(result)}


def pad(rows: Sequence[Sequence[int]]) -> Tensor:
    """Lists of row numbers -> `(Q, P)` padded with -1."""
    width = max((len(row) for row in rows), default=1)
    return torch.tensor([[*row, *[-1] * (width - len(row))] for row in rows], dtype=torch.long)


def right_items(image_of: Sequence[int], sentences: Sequence[str]) -> dict[str, Tensor]:
    """Which gallery rows are right for each query, strictly and duplicate-aware (`dup_`).

    Strictly, only an image's own captions are right, and only a caption's own image. Duplicate-
    aware, so is everything that carries the same sentence. image_of: the test image of each
    caption; sentences: each caption in a form in which spelling variants are equal. Returns `i2t`,
    `t2i`, `dup_i2t`, `dup_t2i`, each `(Q, P)`.
    """
    captions_of: list[list[int]] = [[] for _ in range(max(image_of) + 1)]
    images_with: dict[str, set[int]] = {}
    captions_with: dict[str, list[int]] = {}
    for caption, (image, sentence) in enumerate(zip(image_of, sentences, strict=True)):
        captions_of[image].append(caption)
        images_with.setdefault(sentence, set()).add(image)
        captions_with.setdefault(sentence, []).append(caption)
    same_sentences = [
        sorted({same for caption in own for same in captions_with[sentences[caption]]})
        for own in captions_of
    ]
    return {
        "i2t": pad(captions_of),
        "t2i": pad([[image] for image in image_of]),
        "dup_i2t": pad(same_sentences),
        "dup_t2i": pad([sorted(images_with[sentence]) for sentence in sentences]),
    }


def t2i_ceiling(image_of: Sequence[int], sentences: Sequence[str]) -> dict[str, float]:
    """The best strict t2i recall that any model can reach, given sentences shared by images.

    A model sees only the sentence, so for each sentence it can put K images on top: the best choice
    is the K images that carry it most often. Percent, for K = 1, 5, 10.
    """
    carried: dict[str, Counter[int]] = {}  # how often each image carries a sentence
    for image, sentence in zip(image_of, sentences, strict=True):
        carried.setdefault(sentence, Counter())[image] += 1
    ceiling = {}
    for k in KS:
        hits = sum(count for images in carried.values() for _, count in images.most_common(k))
        ceiling[f"ceiling_t2i_R@{k}"] = 100 * hits / len(image_of)
    return ceiling
