"""Find captions longer than the backbone's context, which the tokenizer cuts off.

Two captions that are equal up to the cut are the same sentence to the model. So duplicate-aware
recall, the ceiling of recall and the masks of training count them as one.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.data import Dataset, spoken_form
from bench.data.values import SPLITS

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
    left: Mapping[str, object] = field(default_factory=dict)
    """The tokens that the model sees of each long caption, cut or just fitting."""

    def sentences(self, captions: Sequence[str]) -> list[str]:
        """A key for each caption: its spoken form, or one key for all that are equal when cut."""
        forms = [spoken_form(caption) for caption in captions]
        seen = {self.left[caption] for caption in captions if caption in self.captions}
        if not seen:
            return forms
        first: dict[object, str] = {}
        joined: dict[str, str] = {}

        def root(form: str) -> str:
            while joined.get(form, form) != form:
                form = joined[form]
            return form

        for caption, form in zip(captions, forms, strict=True):
            if caption in self.left and self.left[caption] in seen:
                joined[root(form)] = root(first.setdefault(self.left[caption], form))
        return [root(form) for form in forms]

    def count(self, captions: Iterable[str]) -> int:
        """How many of them are cut."""
        return sum(caption in self.captions for caption in captions)

    def by_split(self, dataset: Dataset) -> dict[str, int]:
        """How many captions of each split are cut."""
        return {
            name: self.count(
                c for row in dataset.split(name) for c in dataset.samples[row].captions
            )
            for name in SPLITS
        }

    def note(self, dataset: Dataset) -> str | None:
        """A sentence for the user; None where nothing is cut."""
        counts = {name: number for name, number in self.by_split(dataset).items() if number}
        if not counts:
            return None
        listed = ", ".join(f"{number:,} in {name}" for name, number in counts.items())
        return (
            f"captions longer than the backbone's {self.length} tokens: {listed}; it does not see "
            "their end, and those that are equal without it count as one sentence"
        )


def find(tokenizer: Tokenizer, captions: Iterable[str]) -> Cut:
    """Find out which of these captions a tokenizer cuts.

    A caption is cut if a longer context gives it more tokens. With a tokenizer of fixed length this
    cannot be found out, and no caption counts as cut.
    """
    blank = tokenizer([""])
    length = int(blank.shape[1])
    padding = blank[0].mode().values
    long = [c for c in dict.fromkeys(captions) if len(c.encode(errors="replace")) > length - SPARE]
    if not long:
        return Cut(length)
    tokens = tokenizer(long)
    full = ((tokens != padding).sum(dim=1) >= length - SPARE).nonzero()[:, 0].tolist()
    long, tokens = [long[row] for row in full], tokens[full]
    try:
        roomy = tokenizer(long, context_length=4 * length) if long else tokens
    except TypeError:
        return Cut(length)
    more = (roomy != padding).sum(dim=1) > (tokens != padding).sum(dim=1)
    cut = frozenset(caption for caption, is_cut in zip(long, more.tolist(), strict=True) if is_cut)
    left = {caption: row.numpy().tobytes() for caption, row in zip(long, tokens, strict=True)}
    return Cut(length, cut, left)
