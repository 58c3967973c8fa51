"""Image files: every kind and depth gives what a TIFF of the same pixels gives; what is refused."""

import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from bench import UserError
from bench.data import cache, imagefile

tifffile = pytest.importorskip("tifffile")
imagecodecs = pytest.importorskip("imagecodecs")

Values = npt.NDArray[Any]
SCALES = (None, (0.0, 3000.0), (500.0, 2500.5))


def values(bits: int, channels: int) -> Values:
    """Pixels `(12, 16)` or `(12, 16, channels)` of so many bits, from the least to the most."""
    top = 2**bits - 1
    made = np.random.default_rng(bits + channels).integers(0, top, (12, 16, channels))
    made[0, 0], made[0, 1], made[1, :4] = 0, top, min(2000, top // 2)
    return (made if channels > 1 else made[..., 0]).astype(np.uint8 if bits <= 8 else np.uint16)


def png(path: Path, pixels: Values, bits: int) -> None:
    path.write_bytes(imagecodecs.png_encode(pixels))


def jp2(path: Path, pixels: Values, bits: int) -> None:
    path.write_bytes(imagecodecs.jpeg2k_encode(pixels, level=0, bitspersample=bits))


def pillow(path: Path, pixels: Values, bits: int) -> None:
    words: dict[str, Any] = {"lossless": True} if path.suffix == ".webp" else {}
    Image.fromarray(pixels).save(path, **words)


def tif(path: Path, pixels: Values, bits: int, **words: Any) -> None:
    rgb = pixels.ndim == 3 and pixels.shape[2] > 2
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        words["extrasamples"] = ["unassalpha"]
    kind = "rgb" if rgb else "minisblack"
    tifffile.imwrite(path, pixels, photometric=kind, planarconfig="contig", **words)


def tif_of_12_bits(path: Path, pixels: Values) -> None:
    """Two pixels in three bytes, which older versions of imagecodecs read but do not write.

    So the bytes are written as an image that is wider by half, and the tags are set right after.
    """
    first, second = pixels.reshape(-1, 2).T
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=1)
    height, width, *channels = pixels.shape
    tif(path, packed.astype(np.uint8).reshape(height, width * 3 // 2, *channels), 8)
    with tifffile.TiffFile(path, mode="r+") as file:
        tags = file.pages[0].tags
        tags["ImageWidth"].overwrite(width)
        tags["BitsPerSample"].overwrite([12] * (channels[0] if channels else 1))


Writer = Callable[[Path, Values, int], None]


def combinations() -> Iterator[tuple[str, Writer, int, int]]:
    """Every file kind with the depths and channels that it can have."""
    for bits in (8, 16):
        yield from (("png", png, bits, channels) for channels in (1, 2, 3, 4))
    for bits in (8, 12, 15, 16):
        yield from (("jp2", jp2, bits, channels) for channels in (1, 2, 3, 4))
    for suffix in ("bmp", "gif", "webp", "ppm"):
        yield suffix, pillow, 8, 1
    yield from ((suffix, pillow, 8, 3) for suffix in ("bmp", "webp", "ppm"))


def expected(pixels: Values, bits: int, scale: imagefile.Scale | None) -> Values:
    """The rule itself: 8 bits as they are, else the scale, else the upper 8 bits."""
    bands = pixels if pixels.ndim == 3 else pixels[..., None]
    three = bands[..., :3] if bands.shape[2] >= 3 else bands[..., [0, 0, 0]]
    if bits == 8:
        return three
    if scale is None:
        return three >> (bits - 8)
    low, high = scale
    return ((three.astype(float) - low) / (high - low)).clip(0, 1) * 255


@pytest.mark.parametrize("scale", SCALES, ids=str)
@pytest.mark.parametrize(
    ("suffix", "write", "bits", "channels"),
    list(combinations()),
    ids=lambda value: getattr(value, "__name__", value),
)
def test_every_kind_gives_what_a_tiff_of_the_same_pixels_gives(
    tmp_path: Path,
    suffix: str,
    write: Writer,
    bits: int,
    channels: int,
    scale: imagefile.Scale | None,
) -> None:
    pixels = values(bits, channels)
    file, reference = tmp_path / f"a.{suffix}", tmp_path / "a.tif"
    write(file, pixels, bits)
    found = np.asarray(imagefile.read(file, scale))
    assert np.abs(found - expected(pixels, bits, scale)).max() <= (0.5 if scale else 0)
    if bits == 8 and scale is not None:
        assert np.array_equal(found, np.asarray(imagefile.read(file)))
    if bits in (8, 16) or scale is not None:  # what a TIFF of uint8 or uint16 can say
        tif(reference, pixels, bits)
        assert np.array_equal(found, np.asarray(imagefile.read(reference, scale)))
    wide = imagefile.wide(file)
    assert (wide is None) == (bits == 8)
    if wide is not None:
        read = pixels if channels == 1 else pixels[..., :3] if channels > 2 else pixels[..., 0]
        assert np.array_equal(wide.values, read)


@pytest.mark.parametrize("scale", SCALES[:2], ids=str)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_tiff_that_declares_12_bits(
    tmp_path: Path, channels: int, scale: imagefile.Scale | None
) -> None:
    pixels = values(12, channels)
    tif_of_12_bits(tmp_path / "a.tif", pixels)
    found = np.asarray(imagefile.read(tmp_path / "a.tif", scale))
    assert np.abs(found - expected(pixels, 12, scale)).max() <= (0.5 if scale else 0)


@pytest.mark.parametrize("kind", ["P2", "P3", "P5", "P6"])
@pytest.mark.parametrize("top", [1023, 65535])
def test_pgm_and_ppm_of_more_than_8_bits_are_refused(tmp_path: Path, kind: str, top: int) -> None:
    (tmp_path / "a.ppm").write_bytes(b"%b\n# made\n2 2\n%d\n" % (kind.encode(), top) + b"1 " * 24)
    with pytest.raises(UserError, match="of more than 8 bits; convert it to PNG"):
        imagefile.read(tmp_path / "a.ppm")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bands", [1, 3, 4, 7])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("bits", [8, 16])
def test_tiff_of_any_number_and_order_of_bands(
    tmp_path: Path, order: Any, bands: int, planar: Any, bits: int
) -> None:
    pixels = values(bits, bands)
    stored = pixels if bands == 1 or planar == "contig" else pixels.transpose(2, 0, 1)
    words = {"photometric": "minisblack" if bands == 7 else "rgb", "planarconfig": planar}
    tifffile.imwrite(tmp_path / "a.tif", stored, byteorder=order, **(words if bands > 1 else {}))
    for scale in (None, (0, 10_240)):  # of 8 bits none counts
        found = np.asarray(imagefile.read(tmp_path / "a.tif", scale))
        assert np.abs(found - expected(pixels, bits, scale)).max() <= (0.5 if scale else 0)


@pytest.mark.parametrize(
    "kind", ["int8", "int16", "int32", "uint32", "float16", "float32", "float64"]
)
@pytest.mark.parametrize("bands", [1, 3])
def test_other_numbers_need_the_scale_and_are_not_wrapped(
    tmp_path: Path, kind: str, bands: int
) -> None:
    signed = not kind.startswith("u")
    pixels = values(8, bands).astype(np.int64) // 3 - (40 if signed else 0)
    pixels[5, 5] = 2**31 + 9 if kind == "uint32" else 45
    words = {"photometric": "rgb"} if bands == 3 else {}
    tifffile.imwrite(tmp_path / "a.tif", pixels.astype(kind), **words)
    with pytest.raises(UserError, match=r"state `scale = \[low, high\]` on the card"):
        imagefile.read(tmp_path / "a.tif")
    found = np.asarray(imagefile.read(tmp_path / "a.tif", (-40, 45)))
    three = pixels if bands == 3 else pixels[..., None]
    assert np.abs(found - ((three + 40.0) / 85).clip(0, 1) * 255).max() <= 0.5


# PNG with much beside its pixels.


def chunk(name: bytes, body: bytes) -> bytes:
    """A part of a PNG."""
    word = name + body
    return struct.pack(">I", len(body)) + word + struct.pack(">I", zlib.crc32(word))


LARGE = {
    "zTXt": b"Comment\0\0" + zlib.compress(b"x" * 2**22),
    "iTXt": b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b"x" * 2**22),
    "iCCP": b"icc\0\0" + zlib.compress(b"x" * 2**22),
}


@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize("place", ["before the pixels", "after the pixels"])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_png_with_a_large_text_or_profile_is_sound(
    tmp_path: Path, name: str, place: str, bits: int
) -> None:
    pixels = values(bits, 3)
    whole = imagecodecs.png_encode(pixels)
    at = 8 + 25 if place == "before the pixels" else len(whole) - 12
    extra = chunk(name.encode(), LARGE[name])
    (tmp_path / "a.png").write_bytes(whole[:at] + extra + whole[at:])
    found = np.asarray(imagefile.read(tmp_path / "a.png"))
    assert np.array_equal(found, expected(pixels, bits, None))


def test_many_texts_in_a_png(tmp_path: Path) -> None:
    whole = imagecodecs.png_encode(values(8, 3))
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * 2**20))
    (tmp_path / "a.png").write_bytes(whole[:33] + 70 * text + whole[33:])
    assert np.array_equal(np.asarray(imagefile.read(tmp_path / "a.png")), values(8, 3))


RAMP = np.tile(np.arange(16, dtype=np.uint16) * 4096, (16, 1))


@pytest.mark.parametrize("bands", [1, 4])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("float32", {"compression": "deflate"}),
        ("float32", {"compression": "zstd", "predictor": 3}),
        ("uint16", {"compression": "lzw", "tile": (16, 16)}),
    ],
)
def test_compressed_geotiff(tmp_path: Path, kind: str, options: dict[str, Any], bands: int) -> None:
    pixels = np.stack([RAMP // (band + 1) for band in range(bands)]).astype(kind)
    words = {"photometric": "minisblack", "planarconfig": "separate"} if bands > 1 else {}
    tifffile.imwrite(tmp_path / "a.tif", pixels if bands > 1 else pixels[0], **words, **options)
    found = cache.decode(tmp_path / "a.tif", 16, (0, 65_280))
    for band in range(3):
        share = RAMP // (band + 1 if bands > 1 else 1) / 65_280
        assert np.abs(found[..., band] - share * 255).max() <= 1


def test_pixels_without_data_are_black(tmp_path: Path) -> None:
    pixels = RAMP.astype(np.float32)
    pixels[0, 0], pixels[1, 1] = 99_999, np.nan
    tag = (42113, "s", 0, "99999", True)
    tifffile.imwrite(tmp_path / "a.tif", pixels, extratags=[tag])
    found = cache.decode(tmp_path / "a.tif", 16, (0, 65_280))
    assert found[0, 0].tolist() == found[1, 1].tolist() == [0, 0, 0]
    assert (found[:, 15] == round(61_440 / 256)).all()
    assert cache.decode(tmp_path / "a.tif", 16, (-9, 9))[1, 1].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: Image.new("P", (8, 8), 3), None),
        (lambda: Image.new("1", (8, 8), 1), (255, 255, 255)),
        (lambda: Image.new("L", (8, 8), 9), (9, 9, 9)),
        (lambda: Image.new("LA", (8, 8), (9, 0)), (9, 9, 9)),
        (lambda: Image.new("RGBA", (8, 8), (1, 2, 3, 0)), (1, 2, 3)),
        (lambda: Image.new("CMYK", (8, 8), (0, 0, 0, 0)), (255, 255, 255)),
    ],
    ids=["palette", "bilevel", "grey", "grey with alpha", "RGBA", "CMYK"],
)
def test_every_kind_of_pixel_becomes_rgb(
    tmp_path: Path, make: Callable[[], Image.Image], expected: tuple[int, ...] | None
) -> None:
    make().save(tmp_path / "a.tif")
    pixels = cache.decode(tmp_path / "a.tif", 8)
    assert pixels.shape == (8, 8, 3)
    assert expected is None or (pixels == expected).all()


# What is refused.


def refused(path: Path) -> str:
    """The one sentence with which a file is refused."""
    before = sorted(path.parent.iterdir())
    with pytest.raises(UserError) as caught:
        imagefile.read(path)
    assert sorted(path.parent.iterdir()) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["png", "jp2", "tif"])
def test_a_gigantic_image_is_refused_by_its_header(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    if kind == "png":  # a header alone, and a text that takes much memory
        head = chunk(b"IHDR", struct.pack(">IIBBBBB", 40_000, 40_000, 16, 2, 0, 0, 0))
        text = chunk(b"zTXt", LARGE["zTXt"])
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + text + chunk(b"IDAT", b""))
    elif kind == "jp2":
        content = imagecodecs.jpeg2k_encode(values(16, 3), level=0)
        at = content.index(b"ihdr") + 4  # a header that lies about the size
        path.write_bytes(content[:at] + struct.pack(">II", 40_000, 40_000) + content[at + 8 :])
    else:
        tifffile.memmap(path, shape=(40_000, 40_000), dtype="uint8").flush()  # with a hole
    said = refused(path)
    assert "pixels" in said or "cannot be read" in said


def test_a_strip_is_refused(tmp_path: Path) -> None:
    Image.new("L", (5_000, 2)).save(tmp_path / "a.png")
    assert "20 times as long as wide" in refused(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp", "gif", "webp"])
def test_half_an_image_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "cannot be read" in refused(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "run `git lfs pull`"),
        (b"\n<!DOCTYPE html><html>", "is a web page and no image"),
        (b"", "cannot be read"),
        (b"P6 2 2 255\n123", "cannot be read"),
        (b"P3 2 2 255\n1 2 x", "cannot be read"),
        (b"\xff\xd8\xff\xc0\x00\x0b\x0c\x00\x02\x00\x02\x01", "cannot be read"),
    ],
    ids=["lfs", "html", "empty", "short ppm", "odd ppm", "short jpeg"],
)
@pytest.mark.parametrize("suffix", ["jpg", "tif", "png", "ppm"])
def test_what_is_no_image_is_named(tmp_path: Path, content: bytes, said: str, suffix: str) -> None:
    (tmp_path / f"a.{suffix}").write_bytes(content)
    assert said in refused(tmp_path / f"a.{suffix}")


@pytest.mark.parametrize("suffix", ["png", "jp2"])
def test_what_needs_imagecodecs_says_so(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = png if suffix == "png" else jp2
    write(tmp_path / f"a.{suffix}", values(16, 3), 16)
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    said = refused(tmp_path / f"a.{suffix}")
    assert "needs `pip install 'cmer-bench[geo]'`" in said


def test_without_tifffile_a_file_is_named_for_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tifffile", None)
    (tmp_path / "a.tif").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    assert "run `git lfs pull`" in refused(tmp_path / "a.tif")
    (tmp_path / "a.tif").write_bytes(b"no image")
    assert "is an unusual TIFF, or no TIFF at all; try `pip" in refused(tmp_path / "a.tif")


def test_a_compression_that_needs_another_package_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacking(path: Path) -> None:  # the words of tifffile 2026
        raise ValueError("<COMPRESSION.ZSTD: 50000> requires the 'imagecodecs' package")

    tifffile.imwrite(tmp_path / "a.tif", np.zeros((9, 8, 13), "uint16"), planarconfig="contig")
    monkeypatch.setattr(tifffile, "TiffFile", lacking)
    assert "needs `pip install 'cmer-bench[geo]'`" in refused(tmp_path / "a.tif")
