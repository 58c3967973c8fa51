"""One image file as 8-bit RGB, whatever it holds: its size checked first, one rule for each kind.

Palettes are resolved, grey is repeated, transparency is dropped, CMYK is converted; of several
frames the first is read, of several bands the first three (two: the first). A rotation noted in
EXIF is not applied, as it is not in CLIP's own transform.
"""

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bench import UserError

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from PIL.ImageFile import ImageFile

Scale = tuple[float, float]

BITS, SAMPLES, PLANES, NODATA = 258, 277, 284, 42113
"""Tags of a TIFF: bits of each band; bands of a pixel; 2 where each band is stored on its own;
GDAL's value of pixels without data, as text."""

LIMIT_PIXELS = 89_478_485
"""From here on Pillow itself warns of a decompression bomb: a quarter of a GiB as RGB."""
LIMIT_BANDS = 16
"""Bands that an image of the most pixels may have."""
LIMIT_RATIO = 20
"""How many times as long as wide an image may be; its centre is cropped to a square."""

# What is wrong with an image is said once, as an error.
warnings.filterwarnings("ignore", message="Image size .* exceeds limit")
logging.getLogger("PIL.TiffImagePlugin").setLevel(logging.CRITICAL)
logging.getLogger("tifffile").setLevel(logging.CRITICAL)


def read(path: Path, scale: Scale | None = None) -> "Picture":
    """The image as RGB. `scale` (low, high): values that become 0 and 255, linear and clipped.

    Without `scale` the high byte of 16-bit values is taken; 32-bit and floating values need it.
    Raises UserError for what is no image, is damaged, or is too large to be one scene.
    """
    from PIL import UnidentifiedImageError

    try:
        with _open(path) as opened:
            _refuse(path, *opened.size)
            tags = getattr(opened, "tag_v2", {})
            if tags.get(SAMPLES, 1) > len(opened.getbands()) and opened.mode != "P":
                raise UnidentifiedImageError("of its bands Pillow would read one")
            colour = len(opened.getbands()) > 1
            if colour and max(tags.get(BITS, (8,))) > 8 and (scale or tags.get(PLANES) == 2):
                raise UnidentifiedImageError("Pillow would read high bytes alone, or mix the bands")
            if colour and scale and not tags and ";16" in str(opened.tile):
                raise UserError(
                    f"of the colours of {path}, 16 bits each, Pillow reads the high bytes alone, "
                    "and the card states a `scale`; save it as TIFF"
                )
            if opened.mode.startswith(("I", "F")):
                return _wide(path, np.asarray(opened), scale, _number(tags.get(NODATA)))
            return opened.convert("RGB")
    except UserError:
        raise
    except UnidentifiedImageError as error:
        if path.suffix.lower() in (".tif", ".tiff"):
            return _tiff(path, scale)
        raise _damaged(path, error) from None
    except Exception as error:  # on broken bytes Pillow's readers raise errors of any kind
        raise _damaged(path, error) from None


def _open(path: Path) -> "ImageFile":
    """Pillow's `open`, with one sentence for what it calls a bomb."""
    from PIL import Image

    try:
        return Image.open(path)
    except Image.DecompressionBombError:
        raise UserError(
            f"the image {path} has more than {2 * LIMIT_PIXELS:,} pixels; cut it into tiles"
        ) from None


def size(path: Path) -> tuple[int, int]:
    """Width and height in pixels, from the header; raises UserError."""
    try:
        with _open(path) as opened:
            return opened.size
    except UserError:
        raise
    except Exception as error:
        if path.suffix.lower() in (".tif", ".tiff"):
            picture = _tiff(path, (0, 1))
            return picture.size
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> UserError:
    said = " ".join(str(error).split())[:200] or type(error).__name__
    return UserError(f"the image {path} cannot be read ({said}); fetch it again")


def _refuse(path: Path, width: int, height: int) -> None:
    if width * height > LIMIT_PIXELS:
        raise UserError(
            f"the image {path} has {width} x {height} pixels, more than {LIMIT_PIXELS:,}; "
            "cut it into tiles"
        )
    if max(width, height) > LIMIT_RATIO * max(min(width, height), 1):
        raise UserError(
            f"the image {path} has {width} x {height} pixels, more than {LIMIT_RATIO} times as "
            "long as wide; cut it into tiles"
        )


def _number(text: Any) -> float | None:
    try:
        return float(str(text).strip("\x00 "))
    except ValueError:
        return None


def _wide(
    path: Path, values: npt.NDArray[Any], scale: Scale | None, nodata: float | None = None
) -> "Picture":
    """Values `(H, W)` or `(H, W, 3)` of any type -> RGB; NaN and `nodata` become black."""
    from PIL import Image

    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    if scale is not None:
        low, high = scale
        spread = (np.nan_to_num(values.astype(np.float32)) - low) / (high - low)
        byte = (spread.clip(0, 1) * 255 + 0.5).astype(np.uint8)
    elif values.dtype == np.uint8:
        byte = values
    elif values.dtype == np.uint16:
        byte = (values >> 8).astype(np.uint8)
    else:
        raise UserError(
            f"the image {path} holds {values.dtype} values; state `scale = [low, high]` on the card"
        )
    if nodata is not None:
        byte = np.where(values == nodata, np.uint8(0), byte)
    return Image.fromarray(byte).convert("RGB")


def _tiff(path: Path, scale: Scale | None) -> "Picture":
    """A TIFF that Pillow does not know, or knows one band of: many bands, 16 bits each."""
    try:
        import tifffile
    except ImportError:
        raise UserError(
            f"the image {path} is a TIFF of an unusual kind, or none; reading those needs "
            "`pip install 'cmer-bench[geo]'`"
        ) from None
    try:
        with tifffile.TiffFile(path) as file:
            series = file.series[0]
            axes = dict(zip(series.axes, series.shape, strict=True))
            height, width = axes["Y"], axes["X"]
            _refuse(path, width, height)
            if series.size > LIMIT_BANDS * LIMIT_PIXELS:
                raise ValueError(f"it claims {series.size:,} values")
            tag = file.pages.first.tags.get(NODATA)
            nodata = None if tag is None else _number(tag.value)
            values = np.asarray(series.asarray())
        order = [series.axes.index("Y"), series.axes.index("X")]
        others = [i for i in range(values.ndim) if i not in order]
        bands = values.transpose(*order, *others).reshape(height, width, -1)
        three = bands[..., :3] if bands.shape[2] >= 3 else bands[..., 0]
    except UserError:
        raise
    except Exception as error:  # as above
        if "imagecodecs" in str(error):
            raise UserError(
                f"the image {path} is a TIFF of a compression that needs imagecodecs; "
                "`pip install 'cmer-bench[geo]'`"
            ) from None
        raise _damaged(path, error) from None
    return _wide(path, three, scale, nodata)
