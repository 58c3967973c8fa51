"""Contact sheets to be looked at: samples with all their captions, and what corruptions do."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING

from bench import UserError, data
from bench.data import Card, Dataset, cache

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

SIDE, GAP, WIDTH, LINE = 200, 24, 620, 20
SHOWN = 224
"""Side of an image whose corruptions are shown: what most backbones see."""
INK, QUIET, PAPER = "#161616", "#5f5f5f", "#ffffff"


def save(card: Card, root: Path, out: Path, number: int = 12) -> None:
    """Write a PNG of `number` samples, the same ones each time; raises UserError."""
    from PIL import Image, ImageDraw, ImageFont

    dataset, there = _drawn_by_lot(card, root)
    samples = dataset.samples
    plain, bold = (ImageFont.load_default(size) for size in (14, 16))
    cells = []
    for row in there[:number]:
        sample = samples[row]
        try:
            picture = cache.picture(dataset, row, SIDE)
        except UserError as error:  # an image that cannot be decoded is shown as what it is
            picture, text = None, wrap(str(error), 52)
        else:
            text = [line for caption in sample.captions for line in wrap(f"- {caption}", 52)]
        head = f"{sample.filename}   {sample.split}   {sample.scene or 'no scene'}"
        cells.append((picture, head[:70], text))
    tall = max([SIDE, *(26 + LINE * len(text) for _, _, text in cells)]) + GAP
    columns = 2
    sheet = Image.new(
        "RGB", (GAP + columns * WIDTH, GAP + tall * -(-max(len(cells), 1) // columns)), PAPER
    )
    draw = ImageDraw.Draw(sheet)
    for place, (picture, head, text) in enumerate(cells):
        x, y = GAP + place % columns * WIDTH, GAP + place // columns * tall
        if picture is not None:
            sheet.paste(Image.fromarray(picture), (x, y))
        draw.text((x + SIDE + 14, y), head, fill=INK, font=bold)
        for line, words in enumerate(text):
            draw.text((x + SIDE + 14, y + 26 + line * LINE), words, fill=QUIET, font=plain)
    write(sheet, out)


def corruptions(card: Card, root: Path, out: Path, severities: Sequence[int] = (1, 3, 5)) -> None:
    """Write a PNG of one image, clean and in each corruption and severity; raises UserError."""
    from PIL import Image, ImageDraw, ImageFont

    from bench.corrupt import CORRUPTIONS, corrupt

    dataset, there = _drawn_by_lot(card, root)
    if not there:
        raise UserError(f"{card.name} has no image to show; `bench data check` says what is there")
    clean = cache.picture(dataset, there[0], SHOWN)[None]
    font, step = ImageFont.load_default(size=16), SHOWN + 4
    columns = 1 + len(severities)
    sheet = Image.new("RGB", (90 + columns * step, 30 + len(CORRUPTIONS) * step), PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, head in enumerate(["clean", *(f"severity {s}" for s in severities)]):
        draw.text((90 + column * step, 6), head, fill=INK, font=font)
    for line, name in enumerate(CORRUPTIONS):
        draw.text((10, 30 + line * step), name, fill=INK, font=font)
        pictures = [clean, *(corrupt(clean, name, severity) for severity in severities)]
        for column, picture in enumerate(pictures):
            sheet.paste(Image.fromarray(picture[0]), (90 + column * step, 30 + line * step))
    write(sheet, out)


def _drawn_by_lot(card: Card, root: Path) -> tuple[Dataset, list[int]]:
    """A data set as it is, and the rows whose images are there, in an order that a hash decides."""
    samples, _ = data.read(card, root)
    paths = data.find_images(card, root, samples).paths
    dataset = Dataset(card, data.folder_of(card, root), samples, paths, {})
    there = [
        row for row in range(len(samples)) if paths[row] is not None or card.kind == "synthetic"
    ]
    there.sort(key=lambda row: hashlib.sha256(samples[row].filename.encode()).digest())
    return dataset, there


def demand_png(out: Path | None) -> None:
    """Raise UserError for a sheet, if one is wanted, whose name says that it is no PNG."""
    if out is not None and out.suffix.lower() != ".png":
        raise UserError(f"the sheet is a PNG, not {out}; give a name that ends in .png")


def write(sheet: "Picture", out: Path) -> None:
    """Write a sheet as PNG; raises UserError."""
    demand_png(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(out)
    except OSError as error:
        raise UserError(
            f"the sheet {out} cannot be written ({error.strerror}); give another name"
        ) from None
