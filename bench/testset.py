"""Which test queries a record was made with, and whether two records have the same.

Models are compared query by query, so images, captions, scenes and their order must be the same.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.recalls import KS

if TYPE_CHECKING:
    from bench.data import Dataset
    from methods.base import Sample

UNKNOWN = (
    "recorded by a version that did not keep the hash of test captions and scenes, so only the "
    "names of the test images were compared, and how often captions are shared"
)
"""What to say of a record where `is_known` is False."""


def digest(samples: "Sequence[Sample]") -> str:
    """Hash of the test queries: names, captions and scenes of the test images, in their order.

    The extension of a file name and the number of spaces between words do not count.
    """
    from bench.data import short_hash

    said = [
        [Path(s.filename).stem, s.scene or "", [" ".join(c.split()) for c in s.captions]]
        for s in samples
        if s.split == "test"
    ]
    return short_hash(json.dumps(said, ensure_ascii=False))


def described(dataset: "Dataset") -> Mapping[str, Any]:
    """What a record made with this data set would say of its test queries."""
    from bench.data import content_hash, spoken_form
    from bench.retrieval import t2i_ceiling

    test = [sample for sample in dataset.samples if sample.split == "test"]
    captions = [(n, caption) for n, sample in enumerate(test) for caption in sample.captions]
    sentences = [spoken_form(caption) for _, caption in captions]
    hashes = {**dataset.hashes, "annotation": content_hash(dataset.samples)}
    return {
        "data": {"hashes": hashes, "queries": digest(dataset.samples)},
        "metrics": {"test": t2i_ceiling([n for n, _ in captions], sentences)},
    }


def is_known(record: Mapping[str, Any]) -> bool:
    """Whether a record says which test captions and scenes it was made with."""
    return record.get("data", {}).get("queries") is not None


def difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    """What differs between the test queries of two records, in words; None: nothing, as far as
    both say (see `is_known`)."""
    a, b = one.get("data", {}), other.get("data", {})
    hashes = a.get("hashes", {}), b.get("hashes", {})
    if _differ("test", *hashes):
        return "test images"
    if is_known(one) and is_known(other):
        return "test captions, scenes or order of images" if _differ("queries", a, b) else None
    if _differ("annotation", *hashes):
        return "captions or scenes"
    ceilings = [document.get("metrics", {}).get("test", {}) for document in (one, other)]
    if any(_differ(f"ceiling_t2i_R@{k}", *ceilings) for k in KS):  # it follows from the captions
        return "test captions (the highest recall that they allow differs)"
    return None


def _differ(name: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether both have a value of that name and the values differ."""
    a, b = one.get(name), other.get(name)
    if isinstance(a, float) and isinstance(b, float):
        return abs(a - b) > 1e-6
    return a is not None and b is not None and a != b
