"""Read any image file as 8-bit RGB, after checking its size.

Palettes are resolved, grey is repeated, transparency is dropped, CMYK is converted; of several
frames the first is read, of several bands the first three (two: the first). A rotation noted in
EXIF is not applied, as it is not in CLIP's own transform.
"""

import io
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from bench import UserError
from bench.data import wide
from bench.data.wide import Scale, Wide

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from PIL.ImageFile import ImageFile

__all__ = ["Scale", "read", "size", "values"]

LIMIT_PIXELS = 89_478_485
"""From here on Pillow itself warns of a decompression bomb: a quarter of a GiB as RGB."""
LIMIT_RATIO = 20
"""How many times as long as wide an image may be; its centre is cropped to a square."""

# What is wrong with an image is said once, as an error.
warnings.filterwarnings("ignore", message="Image size .* exceeds limit")
warnings.filterwarnings("ignore", category=UserWarning, module="PIL.TiffImagePlugin")
logging.getLogger("PIL.TiffImagePlugin").setLevel(logging.CRITICAL)
logging.getLogger("tifffile").setLevel(logging.CRITICAL)


def read(path: Path, scale: Scale | None = None) -> "Picture":
    """The image as RGB. `scale` (low, high): values that become 0 and 255, linear and clipped.

    It counts for images of more than 8 bits. Without it the upper 8 bits of integers are taken;
    32-bit and floating values need it. Raises UserError for what is no image, is damaged, or is too
    large to be one scene.
    """
    from PIL import Image

    image = _look(path)
    if isinstance(image, Wide):
        return Image.fromarray(image.bytes(path, scale)).convert("RGB")
    return image


def values(path: Path) -> Wide | None:
    """The values of an image of more than 8 bits; None for others. Raises UserError as `read`."""
    image = _look(path)
    return image if isinstance(image, Wide) and image.values.dtype != "uint8" else None


def _look(path: Path, content: bytes | None = None) -> "Picture | Wide":
    """RGB, or the values of an image of more than 8 bits. `content` replaces the file's bytes.

    Raises UserError.
    """
    from PIL import UnidentifiedImageError

    try:
        with _open(path, content) as opened:
            _refuse(path, *opened.size)
            return wide.of(path, opened) or opened.convert("RGB")
    except UserError:
        raise
    except Exception as error:  # on broken bytes Pillow's readers raise errors of any kind
        tiff = path.suffix.lower() in (".tif", ".tiff")
        if tiff and isinstance(error, UnidentifiedImageError):
            return _unusual_tiff(path)
        if content is None and _text_is_large(error):
            return _look(path, wide.png_pixels_alone(path.read_bytes()))
        raise _damaged(path, error) from None


def _unusual_tiff(path: Path) -> Wide:
    """A TIFF that Pillow does not know, through tifffile; raises UserError."""
    try:
        return wide.tiff(path, lambda width, height: _refuse(path, width, height))
    except UserError:
        raise
    except Exception as error:  # as above
        raise _damaged(path, error) from None


def _text_is_large(error: Exception) -> bool:
    """Whether Pillow gave up at a large text or colour profile of a PNG."""
    return isinstance(error, ValueError) and "MAX_TEXT" in str(error)


def _open(path: Path, content: bytes | None = None) -> "ImageFile":
    """Pillow's `open`, with one sentence for what it calls a bomb."""
    from PIL import Image

    try:
        return Image.open(path if content is None else io.BytesIO(content))
    except Image.DecompressionBombError:
        raise UserError(
            f"the image {path} has more than {2 * LIMIT_PIXELS:,} pixels; cut it into tiles"
        ) from None


def size(path: Path) -> tuple[int, int]:
    """Width and height in pixels, from the header where that can be; raises UserError."""
    try:
        with _open(path) as opened:
            return opened.size
    except UserError:
        raise
    except Exception:  # other readers may know it, or say what is wrong
        image = _look(path)
        if isinstance(image, Wide):
            return image.values.shape[1], image.values.shape[0]
        return image.size


def _damaged(path: Path, error: Exception) -> UserError:
    """What to say of a file that cannot be read: what it is, where its first bytes tell."""
    try:
        with path.open("rb") as file:
            head = file.read(64).lstrip().lower()
    except OSError:
        head = b""
    if head.startswith(b"version https://git-lfs"):
        return UserError(f"{path} is a pointer of Git LFS and no image; run `git lfs pull` there")
    if head.startswith((b"<!doctype html", b"<html")):
        return UserError(f"{path} is a web page and no image; fetch it again")
    if "requires the 'imagecodecs' package" in str(error):
        return UserError(
            f"the image {path} is of a compression that needs imagecodecs; "
            "`pip install 'cmer-bench[geo]'`"
        )
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
