"""Read any image file as 8-bit RGB, after checking its size.

Palettes are resolved, grey is repeated, transparency is dropped, CMYK is converted. Of several
frames the first is read, of several bands the first three (of two bands the first). A rotation
noted in EXIF is not applied, because CLIP's own transform does not apply it either.

Pillow cuts most images of more than 8 bits down to 8 while it reads them, before a card's `scale`
could be used. Such images are read by tifffile (TIFF) and imagecodecs (PNG, JPEG 2000) instead.
"""

import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bench import UserError, brief

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from PIL.ImageFile import ImageFile

Scale = tuple[float, float]
Values = npt.NDArray[Any]

GEO = "`pip install 'cmer-bench[geo]'`"
LIMIT_PIXELS = 89_478_485
"""From here on Pillow itself warns of a decompression bomb: a quarter of a GiB as RGB."""
LIMIT_BANDS = 16
"""An image may hold this many times `LIMIT_PIXELS` values, over all its bands and frames."""
LIMIT_RATIO = 20
"""How many times as long as wide an image may be; its centre is cropped to a square."""

BITS, SAMPLES, NUMBER_FORMAT, NODATA = 258, 277, 339, 42113
"""TIFF tags: bits of each band; bands of a pixel; 1 for unsigned, 2 signed, 3 floating numbers;
GDAL's value of pixels without data, as text."""

# These libraries also warn of what is wrong with an image, but here that becomes one error.
warnings.filterwarnings("ignore", message="Image size .* exceeds limit")
warnings.filterwarnings("ignore", category=UserWarning, module="PIL.TiffImagePlugin")
logging.getLogger("PIL.TiffImagePlugin").setLevel(logging.CRITICAL)
logging.getLogger("tifffile").setLevel(logging.CRITICAL)


@dataclass(frozen=True)
class Wide:
    """The stored values of an image that Pillow would change, `(H, W)` or `(H, W, 3)`.

    bits: what the file declares, such as 12 of 16; nodata: the value of pixels without data.
    """

    values: Values
    bits: int
    nodata: float | None = None

    def to_bytes(self, path: Path, scale: Scale | None) -> npt.NDArray[np.uint8]:
        """The same shape in 8 bits; NaN and pixels without data become black.

        `scale` (low, high): the values that become 0 and 255, linear and clipped. Without it the
        upper 8 of the declared bits are taken. Raises UserError for values that need a scale.
        """
        if self.values.dtype == np.uint8:
            return self.values  # a scale is only for images of more than 8 bits
        if scale is not None:
            low, high = scale
            share = (np.nan_to_num(self.values.astype(np.float32), nan=low) - low) / (high - low)
            result = (share.clip(0, 1) * 255 + 0.5).astype(np.uint8)
        elif self.values.dtype == np.uint16:
            result = (self.values >> (self.bits - 8)).clip(0, 255).astype(np.uint8)
        else:
            raise UserError(
                f"the image {path} holds {self.values.dtype} values; state `scale = [low, high]` "
                "on the card: the values that become black and white"
            )
        if self.nodata is not None:
            result = np.where(self.values == self.nodata, np.uint8(0), result)
        return result


def read(path: Path, scale: Scale | None = None) -> "Picture":
    """The image as RGB. `scale` (low, high): values that become 0 and 255, linear and clipped.

    The scale is for images of more than 8 bits. Without it the upper 8 bits of integers are taken;
    32-bit and floating values need it. Raises UserError for a file that is no image, is damaged, or
    is too large to be one scene.
    """
    from PIL import Image

    image = _decode(path)
    if isinstance(image, Wide):
        return Image.fromarray(image.to_bytes(path, scale)).convert("RGB")
    return image


def wide(path: Path) -> Wide | None:
    """The values of an image of more than 8 bits; None for others. Raises UserError as `read`."""
    image = _decode(path)
    return image if isinstance(image, Wide) and image.values.dtype != np.uint8 else None


def _decode(path: Path) -> "Picture | Wide":
    from PIL import Image, PngImagePlugin, UnidentifiedImageError

    # Pillow refuses a PNG whose texts or colour profile take more than 1 MiB. Some editors write
    # larger ones, and they do not change the pixels.
    PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = 2**26, 2**28
    try:
        try:
            opened = Image.open(path)
        except UnidentifiedImageError:
            if path.suffix.lower() in (".tif", ".tiff"):
                return _tiff(path)
            raise
        with opened:
            _check_size(path, *opened.size)
            return _wide(path, opened) or opened.convert("RGB")
    except UserError:
        raise
    except Image.DecompressionBombError:
        raise UserError(
            f"the image {path} has more than {2 * LIMIT_PIXELS:,} pixels; cut it into tiles"
        ) from None
    except Exception as error:  # broken bytes raise errors of any kind in these libraries
        raise _damaged(path, error) from None


def _wide(path: Path, opened: "ImageFile") -> Wide | None:
    """The stored values of an image that Pillow has opened; None if Pillow reads them as they are.

    Raises UserError if a library is needed that is not installed.
    """
    tags: Any = getattr(opened, "tag_v2", {})
    if opened.format == "TIFF":
        bands, bits = len(opened.getbands()), max(tags.get(BITS, (1,)))
        numbers = max(tags.get(NUMBER_FORMAT, (1,)))
        leaves_out_bands = tags.get(SAMPLES, 1) > bands and opened.mode != "P"
        narrows = bands > 1 and bits > 8
        mistakes_sign = (bits == 32 and numbers == 1) or (bits <= 8 and numbers == 2)
        if leaves_out_bands or narrows or mistakes_sign:
            return _tiff(path)
    is_one_wide_band = opened.mode.startswith(("I", "F"))  # which Pillow keeps as it is stored
    # What Pillow's decoder is told: for a PNG its raw mode, for a PGM or PPM the value of white.
    arguments: Any = opened.tile[0][3] if opened.tile else None
    if opened.format == "PNG" and not is_one_wide_band and str(arguments).endswith("16B"):
        return Wide(_first_three(_codecs(path).png_decode(path.read_bytes())), 16)
    if opened.format == "JPEG2000" and (bits := _jpeg2000_bits(path)) > 8:
        return Wide(_first_three(_codecs(path).jpeg2k_decode(path.read_bytes())), bits)
    if opened.format == "PPM" and (
        arguments == "I;16B" or (isinstance(arguments, tuple) and arguments[1] > 255)
    ):
        raise UserError(f"the image {path} is a PGM or PPM of more than 8 bits; convert it to PNG")
    if not is_one_wide_band:
        return None
    bits = max(tags.get(BITS, (16,)))
    return Wide(_first_three(np.asarray(opened)), bits, _number(tags.get(NODATA)))


def _tiff(path: Path) -> Wide:
    """Any TIFF through tifffile: many bands, bands one after another, floats, zstd."""
    import tifffile  # `_damaged` explains the error if it is not installed

    with tifffile.TiffFile(path) as file:
        series, page = file.series[0], file.pages.first
        sizes = dict(zip(series.axes, series.shape, strict=True))
        _check_size(path, sizes["X"], sizes["Y"])
        if series.size > LIMIT_BANDS * LIMIT_PIXELS:
            raise ValueError(f"it claims {series.size:,} values")
        nodata, bits = page.tags.get(NODATA), np.max(page.bitspersample)
        values = np.asarray(series.asarray())
    # Bands and frames may stand before or after rows and columns; here they come last.
    values = np.moveaxis(values, [series.axes.index("Y"), series.axes.index("X")], [0, 1])
    bands = values.reshape(sizes["Y"], sizes["X"], -1)
    if bands.dtype == np.bool_:
        bands = bands.astype(np.uint8) * 255
    return Wide(_first_three(bands), int(bits), None if nodata is None else _number(nodata.value))


def _jpeg2000_bits(path: Path) -> int:
    """The bits of each component that a JPEG 2000 declares; the most, where they differ."""
    content = path.read_bytes()
    start = content.find(b"\xff\x4f\xff\x51")  # start of the codestream, and its marker SIZ
    if start < 0:
        raise ValueError("no codestream")
    count = int.from_bytes(content[start + 40 : start + 42], "big")
    sizes = content[start + 42 : start + 42 + 3 * count : 3]
    return max((size & 0x7F) + 1 for size in sizes)


def _first_three(bands: Values) -> Values:
    """The first three of several bands; of two the first, for the other is transparency.

    They are in this machine's byte order.
    """
    if bands.ndim == 3:
        bands = bands[..., :3] if bands.shape[2] >= 3 else bands[..., 0]
    return bands.astype(bands.dtype.newbyteorder("="), copy=False)


def _number(text: Any) -> float | None:
    """A number from the text of a tag; None if it holds none."""
    try:
        return float(str(text).strip("\x00 "))
    except ValueError:
        return None


def _codecs(path: Path) -> Any:
    try:
        import imagecodecs
    except ImportError:
        raise UserError(f"{path} has more than 8 bits in each colour, which needs {GEO}") from None
    return imagecodecs


def _check_size(path: Path, width: int, height: int) -> None:
    shape = f"the image {path} has {width} x {height} pixels, more than"
    if width * height > LIMIT_PIXELS:
        raise UserError(f"{shape} {LIMIT_PIXELS:,}; cut it into tiles")
    if max(width, height) > LIMIT_RATIO * max(min(width, height), 1):
        raise UserError(f"{shape} {LIMIT_RATIO} times as long as wide; cut it into tiles")


def _damaged(path: Path, error: Exception) -> UserError:
    """The error for a file that cannot be read; its first bytes may tell what it really is."""
    try:
        with path.open("rb") as file:
            head = file.read(64).lstrip().lower()
    except OSError:
        head = b""
    if head.startswith(b"version https://git-lfs"):
        return UserError(f"{path} is a pointer of Git LFS and no image; run `git lfs pull` there")
    if head.startswith((b"<!doctype html", b"<html")):
        return UserError(f"{path} is a web page and no image; delete it and fetch it again")
    if isinstance(error, ImportError):  # tifffile is not installed
        return UserError(f"the image {path} is an unusual TIFF, or no TIFF at all; try {GEO}")
    if "requires the 'imagecodecs' package" in str(error):
        return UserError(f"the compression of {path} needs {GEO}")
    denied = isinstance(error, PermissionError)
    remedy = "check its permissions" if denied else "delete it and fetch it again"
    return UserError(f"the image {path} cannot be read ({brief(error)}); {remedy}")
