"""Check that each numbered picture is the one its captions describe, by hashes beside the card.

A copy with class folders is numbered by a rule (`agricultural00.tif` is picture 1). One that was
renamed by another rule would pass all other checks, with every caption on the wrong picture.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench import UserError, brief
from bench.data import Card, twins
from bench.data.resize import Pixels
from methods.base import Sample

SIDE = 32
"""Pictures are compared at this size, in pixels."""
BITS = 56
FAR = 14
"""A picture may differ from its hash in this many of 56 bits. JPEG copies of UCM's pictures at
quality 50 differ in at most 11; half of all pairs of different pictures differ in 27 or more."""
SHARE = 0.01
"""If more than this share of the pictures are wrong, the numbering is."""


def hashes(pixels: Pixels) -> npt.NDArray[np.uint8]:
    """`(S, side, side, 3)` -> `(S, 56)` of 0 and 1: where the rows of an 8 x 8 grey image rise."""
    return (twins.difference_hash(pixels)[:, :BITS] > 0).astype(np.uint8)


def pinned(card: Card) -> dict[str, npt.NDArray[np.uint8]]:
    """The hash of each picture by its stem, from the file that the card names; else empty.

    Line n of the file is the hash of picture n: 14 hex digits, the bits of `hashes`.
    """
    name = card.raw.get("pictures")
    if name is None or card.path is None:
        return {}
    path = card.path.parent / str(name)
    try:
        packed = np.frombuffer(bytes.fromhex(path.read_text(encoding="ascii")), dtype=np.uint8)
        bits = np.unpackbits(packed).reshape(-1, BITS)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}, which the card {card.name!r} names as `pictures`, cannot be read "
            f"({brief(error)}); mend the file, or leave out the key"
        ) from None
    return {str(number): row for number, row in enumerate(bits, 1)}


def misnumbered(
    card: Card, samples: Sequence[Sample], pixels: Pixels, seen: npt.NDArray[np.bool_]
) -> list[str]:
    """File names of the `seen` pictures `(S, side, side, 3)` that do not have the card's hash."""
    hash_of = pinned(card)
    if not hash_of:
        return []
    return [
        sample.filename
        for sample, actual, is_seen in zip(samples, hashes(pixels), seen, strict=True)
        if is_seen
        and (expected := hash_of.get(Path(sample.filename).stem)) is not None
        and int((actual != expected).sum()) > FAR
    ]
