"""Contact sheets: PNGs of samples with captions, pairs of images, and what corruptions do."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap

from PIL import Image, ImageDraw, ImageFont

from bench import UserError, data
from bench.data import Card, Dataset, cache
from bench.data.corrupt import CORRUPTIONS, corrupt
from bench.data.resize import Pixels
from bench.disk import demand_png, writing

SIDE, GAP, TEXT, LINE = 200, 24, 400, 20
SHOWN = 224
"""Side of an image whose corruptions are shown: what most backbones see."""
INK, QUIET, PAPER = "#161616", "#5f5f5f", "#ffffff"


@dataclass(frozen=True)
class Cell:
    """A part of a sheet: a heading, pictures side by side, and lines of text beside them."""

    head: str
    pictures: Sequence[Pixels]
    lines: Sequence[str] = ()


def save(card: Card, root: Path, out: Path, number: int = 12) -> None:
    """Write a PNG of `number` samples with their captions, the same ones each time."""
    dataset, rows = _shuffled(card, root)
    cells = []
    for row in rows[:number]:
        sample = dataset.samples[row]
        head = f"{sample.filename}   {sample.split}   {sample.scene or 'no scene'}"
        try:
            pictures = [cache.picture(dataset, row, SIDE)]
            lines = [line for caption in sample.captions for line in wrap(f"- {caption}", 52)]
        except UserError as error:  # show why the image cannot be decoded in its place
            pictures, lines = [], wrap(str(error), 52)
        cells.append(Cell(head, pictures, lines))
    write(cells, out)


def corruptions(card: Card, root: Path, out: Path, severities: Sequence[int] = (1, 3, 5)) -> None:
    """Write a PNG of one image, clean and in each corruption and severity; raises UserError."""
    dataset, rows = _shuffled(card, root)
    if not rows:
        raise UserError(f"{card.name} has no image to show; `bench data check` says what is there")
    clean = cache.picture(dataset, rows[0], SHOWN)[None]
    steps = ", ".join(map(str, severities))
    cells = []
    for name in CORRUPTIONS:
        corrupted = [corrupt(clean, name, severity)[0] for severity in severities]
        cells.append(Cell(f"{name}: clean, severity {steps}", [clean[0], *corrupted]))
    write(cells, out, columns=1)


def _shuffled(card: Card, root: Path) -> tuple[Dataset, list[int]]:
    """A data set as it is, and the rows whose images are there, in an order that a hash decides."""
    samples, _ = data.read(card, root)
    paths = data.find_images(card, root, samples).paths
    rows = [row for row, path in enumerate(paths) if path is not None or card.kind == "synthetic"]
    rows.sort(key=lambda row: hashlib.sha256(samples[row].filename.encode()).digest())
    return Dataset(card, data.folder_of(card, root), samples, paths, {}), rows


def write(cells: Sequence[Cell], out: Path, columns: int = 2) -> None:
    """Write a sheet as PNG; raises UserError."""
    demand_png(out)
    font = ImageFont.load_default(size=14)
    wide, tall = TEXT, LINE  # of the largest cell: all get the same size
    for cell in cells:
        pictures = sum(picture.shape[1] + 4 for picture in cell.pictures)
        wide = max(wide, pictures + (TEXT if cell.lines else 0))
        heights = [picture.shape[0] for picture in cell.pictures]
        tall = max(tall, *heights, LINE * len(cell.lines))
    wide, tall = wide + GAP, tall + LINE + GAP
    size = (GAP + columns * wide, GAP + tall * -(-max(len(cells), 1) // columns))
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    for place, cell in enumerate(cells):
        x, y = GAP + place % columns * wide, GAP + place // columns * tall
        draw.text((x, y), cell.head[:90], fill=INK, font=font)
        for picture in cell.pictures:
            sheet.paste(Image.fromarray(picture), (x, y + LINE))
            x += picture.shape[1] + 4
        for number, line in enumerate(cell.lines, 1):
            draw.text((x + 10, y + number * LINE), line, fill=QUIET, font=font)
    with writing(out):
        sheet.save(out)
