"""Images of more than 8 bits: read their stored values and convert them to 8 bits.

Pillow narrows many of them to 8 bits while it reads. So TIFF of several bands goes through
tifffile, JPEG 2000 and PNG through imagecodecs, and all give the values that a TIFF of the same
pixels gives.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bench import UserError

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

Scale = tuple[float, float]
Values = npt.NDArray[Any]

BITS, SAMPLES, PLANES, FORMAT, NODATA = 258, 277, 284, 339, 42113
"""Tags of a TIFF: bits of each band; bands of a pixel; 2 where each band is stored on its own;
1 unsigned, 2 signed, 3 floating; GDAL's value of pixels without data, as text."""

LIMIT_VALUES = 16 * 89_478_485
"""Values that an image may have: 16 bands of the most pixels."""

Check = Callable[[int, int], None]
"""Raises UserError for a width and height that are not read."""


@dataclass(frozen=True)
class Wide:
    """Values `(H, W)` or `(H, W, 3)` in native byte order.

    bits: those that the file declares, as 12 of 16; nodata: the value of pixels without data.
    """

    values: Values
    bits: int
    nodata: float | None = None

    def bytes(self, path: Path, scale: Scale | None) -> npt.NDArray[np.uint8]:
        """The same shape in 8 bits; NaN and pixels without data become black.

        `scale` (low, high): the values that become 0 and 255, linear and clipped. Without it the
        upper 8 of the declared bits are taken. Raises UserError for values that need a scale.
        """
        if self.values.dtype == np.uint8:
            return self.values  # the scale is only for more than 8 bits
        if scale is not None:
            low, high = scale
            spread = (np.nan_to_num(self.values.astype(np.float32)) - low) / (high - low)
            byte = (spread.clip(0, 1) * 255 + 0.5).astype(np.uint8)
        elif self.values.dtype == np.uint16:
            byte = (self.values >> (self.bits - 8)).clip(0, 255).astype(np.uint8)
        else:
            raise UserError(
                f"the image {path} holds {self.values.dtype} values; state `scale = [low, high]` "
                "on the card: the values that become black and white"
            )
        if self.nodata is not None:
            byte = np.where(self.values == self.nodata, np.uint8(0), byte)
        return byte


def of(path: Path, opened: "ImageFile") -> Wide | None:
    """The values of an image that Pillow has opened; None for 8 bits, which it reads as they are.

    Raises UserError where a library is needed that is not installed, and whatever the libraries
    raise on broken files.
    """
    if opened.format == "TIFF":
        return _tiff_of(path, opened)
    if opened.format == "PNG":
        return _png(path, opened)
    if opened.format == "JPEG2000":
        bits = jpeg2000_bits(path)
        return (
            None
            if bits <= 8
            else Wide(_three(_codecs(path).jpeg2k_decode(path.read_bytes())), bits)
        )
    if opened.format == "PPM" and _netpbm_top(opened) > 255:
        raise UserError(
            f"the image {path} is a PGM or PPM of more than 8 bits, which is not read exactly; "
            "convert it to TIFF or PNG"
        )
    if opened.mode.startswith(("I", "F")):
        return Wide(_native(np.asarray(opened)), 16)
    return None


# TIFF.


def _tiff_of(path: Path, opened: "ImageFile") -> Wide | None:
    tags: Any = getattr(opened, "tag_v2", {})
    bands, bits = len(opened.getbands()), max(tags.get(BITS, (1,)))
    kind = max(tags.get(FORMAT, (1,)))
    several = tags.get(SAMPLES, 1) > bands and opened.mode != "P"  # Pillow would read one
    narrowed = bands > 1 and bits > 8  # Pillow would give high bytes, or mix the bands
    wrapped = (bits == 32 and kind == 1) or (bits <= 8 and kind == 2)  # Pillow's are signed, or not
    if several or narrowed or wrapped:
        return tiff(path)
    if opened.mode.startswith(("I", "F")):
        return Wide(_native(np.asarray(opened)), bits, _number(tags.get(NODATA)))
    return None


def tiff(path: Path, check: Check = lambda width, height: None) -> Wide:
    """Any TIFF through tifffile: many bands, each of its own, floating, compressed by zstd."""
    try:
        import tifffile
    except ImportError:
        raise UserError(
            f"the image {path} is a TIFF of an unusual kind, or none; reading those needs "
            "`pip install 'cmer-bench[geo]'`"
        ) from None
    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        axes = dict(zip(series.axes, series.shape, strict=True))
        height, width = axes["Y"], axes["X"]
        check(width, height)
        if series.size > LIMIT_VALUES:
            raise ValueError(f"it claims {series.size:,} values")
        page = file.pages.first
        tag, bits = page.tags.get(NODATA), page.bitspersample
        nodata = None if tag is None else _number(tag.value)
        values = np.asarray(series.asarray())
    order = [series.axes.index("Y"), series.axes.index("X")]
    others = [i for i in range(values.ndim) if i not in order]
    bands = values.transpose(*order, *others).reshape(height, width, -1)
    if bands.dtype == np.bool_:
        bands = bands.astype(np.uint8) * 255
    return Wide(_three(bands), bits if isinstance(bits, int) else max(bits), nodata)


# Other kinds.


def _png(path: Path, opened: "ImageFile") -> Wide | None:
    with path.open("rb") as file:
        head = file.read(26)
    if head[24:25] != b"\x10":  # the bits of each channel
        return None
    if opened.mode.startswith("I"):  # grey, which Pillow reads whole
        return Wide(_native(np.asarray(opened)), 16)
    return Wide(_three(_codecs(path).png_decode(png_pixels_alone(path.read_bytes()))), 16)


def png_pixels_alone(content: bytes) -> bytes:
    """A PNG without texts, colour profile and EXIF, which do not change the pixels.

    Pillow refuses images in which these are large when unpacked.
    """
    kept, at = [content[:8]], 8
    while at + 12 <= len(content):
        end = at + 12 + int.from_bytes(content[at : at + 4], "big")
        if content[at + 4 : at + 8] not in (b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf"):
            kept.append(content[at:end])
        at = end
    return b"".join(kept)


def jpeg2000_bits(path: Path) -> int:
    """The bits of each component that a JPEG 2000 declares; the most, where they differ."""
    content = path.read_bytes()
    at = content.find(b"\xff\x4f\xff\x51")  # start of the codestream, and its marker SIZ
    if at < 0:
        raise ValueError("no codestream")
    count = int.from_bytes(content[at + 40 : at + 42], "big")
    sizes = content[at + 42 : at + 42 + 3 * count : 3]
    return max((size & 0x7F) + 1 for size in sizes)


def _netpbm_top(opened: "ImageFile") -> int:
    """The value of white in a PGM or PPM, by the arguments of Pillow's decoder."""
    arguments = opened.tile[0][3]
    return int(arguments[1]) if isinstance(arguments, tuple) else 2**16 * (arguments == "I;16B")


# Parts.


def _native(values: Values) -> Values:
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _three(bands: Values) -> Values:
    """The first three of several bands; of two the first, for the other is transparency."""
    if bands.ndim == 3:
        bands = bands[..., :3] if bands.shape[2] >= 3 else bands[..., 0]
    return _native(bands)


def _number(text: Any) -> float | None:
    try:
        return float(str(text).strip("\x00 "))
    except ValueError:
        return None


def _codecs(path: Path) -> Any:
    try:
        import imagecodecs
    except ImportError:
        raise UserError(
            f"the image {path} has more than 8 bits in each colour; reading this kind needs "
            "imagecodecs: `pip install 'cmer-bench[geo]'`"
        ) from None
    return imagecodecs
