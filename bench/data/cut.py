"""Find captions longer than the backbone's context, which the tokenizer cuts off.

Two captions that are equal up to the cut are the same sentence to the model. So duplicate-aware
recall, the ceiling of recall and the masks of training count them as one.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scipy.cluster.hierarchy import DisjointSet

from bench.data import spoken_form
from bench.data.values import SPLITS
from methods.sample import Sample

if TYPE_CHECKING:
    from torch import Tensor

Tokenizer = Callable[..., "Tensor"]

SPARE = 8
"""Tokens that a tokenizer may add to those of the text, such as start and end."""


@dataclass(frozen=True)
class Cut:
    """Which captions a context of `length` tokens cuts, and what is left of the long ones."""

    length: int = 0
    captions: frozenset[str] = frozenset()
    left: Mapping[str, bytes] = field(default_factory=dict)
    """The tokens that the model sees of each long caption, cut or just fitting."""

    def sentences(self, captions: Sequence[str]) -> list[str]:
        """A key for each caption, equal for captions that are the same sentence to the model.

        The key is the spoken form. Captions that have the same tokens left get one key, and so does
        every caption with the spoken form of one of them.
        """
        forms = [spoken_form(caption) for caption in captions]
        after_cut = {self.left[caption] for caption in captions if caption in self.captions}
        same = DisjointSet(forms)  # sets of spoken forms that are one sentence to the model
        first: dict[bytes, str] = {}
        for caption, form in zip(captions, forms, strict=True):
            tokens = self.left.get(caption)
            if tokens is not None and tokens in after_cut:
                same.merge(first.setdefault(tokens, form), form)
        return [same[form] for form in forms]

    def count(self, captions: Iterable[str]) -> int:
        """How many of them are cut."""
        return sum(caption in self.captions for caption in captions)

    def by_split(self, samples: Sequence[Sample]) -> dict[str, int]:
        """How many captions of each split are cut."""
        counts = [(s.split, self.count(s.captions)) for s in samples]
        return {split: sum(n for own, n in counts if own == split) for split in SPLITS}

    def note(self, samples: Sequence[Sample]) -> str | None:
        """A sentence for the user; None where nothing is cut."""
        counts = self.by_split(samples)
        listed = ", ".join(f"{number:,} in {split}" for split, number in counts.items() if number)
        if not listed:
            return None
        return (
            f"captions longer than the backbone's {self.length} tokens: {listed}; it does not see "
            "their end, and those that are equal without it count as one sentence"
        )


def find(tokenizer: Tokenizer, captions: Iterable[str]) -> Cut:
    """Find out which of these captions a tokenizer cuts.

    A caption is cut if a longer context gives it more tokens. With a tokenizer of fixed length this
    cannot be found out, and no caption counts as cut.
    """
    blank = tokenizer([""])  # nearly all padding
    length, padding = int(blank.shape[1]), blank[0].mode().values
    # No text has more tokens than bytes, so short texts need not be tokenized at all.
    long = [c for c in dict.fromkeys(captions) if len(c.encode(errors="replace")) > length - SPARE]
    if not long:
        return Cut(length)
    tokens = tokenizer(long)
    full = ((tokens != padding).sum(dim=1) >= length - SPARE).nonzero()[:, 0].tolist()
    if not full:
        return Cut(length)
    long, tokens = [long[row] for row in full], tokens[full]
    try:
        roomy = tokenizer(long, context_length=4 * length)
    except TypeError:  # it has no such argument
        return Cut(length)
    more = (roomy != padding).sum(dim=1) > (tokens != padding).sum(dim=1)
    cut = frozenset(caption for caption, is_cut in zip(long, more.tolist(), strict=True) if is_cut)
    left = {caption: row.numpy().tobytes() for caption, row in zip(long, tokens, strict=True)}
    return Cut(length, cut, left)
