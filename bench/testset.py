"""Whether two records were made with the same test queries.

Models are compared query by query, so images, captions, scenes and their order must be the same.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.data import Dataset
    from bench.schema import Data
    from methods.base import Sample

UNKNOWN = (
    "recorded by an older version, which did not keep the hash of test captions and scenes, so "
    "only the names of the test images were compared"
)
"""What to say of a record where `is_known` is False."""


def digest(samples: "Sequence[Sample]") -> str:
    """Hash of the test queries: names, captions and scenes of the test images, in their order.

    The extension of a file name and the number of spaces between words do not count.
    """
    from bench.data import short_hash

    queries = [
        [Path(s.filename).stem, s.scene or "", [" ".join(c.split()) for c in s.captions]]
        for s in samples
        if s.split == "test"
    ]
    return short_hash(json.dumps(queries, ensure_ascii=False))


def described(dataset: "Dataset") -> "Data":
    """What a record made with this data set would say of its test queries."""
    from bench.data import content_hash

    hashes = {**dataset.hashes, "annotation": content_hash(dataset.samples)}
    return {"hashes": hashes, "queries": digest(dataset.samples)}


def is_known(record: Mapping[str, Any]) -> bool:
    """Whether a record says which test captions and scenes it was made with."""
    return record.get("data", {}).get("queries") is not None


def difference(a: Mapping[str, Any], b: Mapping[str, Any]) -> str | None:
    """What differs between the test queries of two data sets, each as a record describes it.

    None: nothing differs, as far as both say (older records say less, see `is_known`).
    """
    hashes_a, hashes_b = a.get("hashes", {}), b.get("hashes", {})
    pairs = {
        "test images": (hashes_a.get("test"), hashes_b.get("test")),
        "test captions, scenes or order of images": (a.get("queries"), b.get("queries")),
        "captions or scenes": (hashes_a.get("annotation"), hashes_b.get("annotation")),
    }
    # The older hash covers all splits. Where both have the newer one of the test split, captions of
    # training images may differ.
    if all(pairs["test captions, scenes or order of images"]):
        del pairs["captions or scenes"]
    for what, (value_a, value_b) in pairs.items():
        if value_a is not None and value_b is not None and value_a != value_b:
            return what
    return None
