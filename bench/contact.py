"""A contact sheet: samples of a data set with all their captions, to be looked at."""

import hashlib
from pathlib import Path
from textwrap import wrap

from bench import UserError, cache, data
from bench.data import Card, Dataset

SIDE, GAP, WIDTH, LINE = 200, 24, 620, 20
INK, QUIET, PAPER = "#161616", "#5f5f5f", "#ffffff"


def save(card: Card, root: Path, out: Path, number: int = 12) -> None:
    """Write a PNG of `number` samples, the same ones each time; raises UserError."""
    from PIL import Image, ImageDraw, ImageFont

    if out.suffix.lower() != ".png":
        raise UserError(f"the sheet is a PNG, not {out}; give a name that ends in .png")
    samples, _ = data.read(card, root)
    paths = data.find_images(card, root, samples).paths
    dataset = Dataset(card, data.folder_of(card, root), samples, paths, {})
    there = [
        row for row in range(len(samples)) if paths[row] is not None or card.kind == "synthetic"
    ]
    there.sort(key=lambda row: hashlib.sha256(samples[row].filename.encode()).digest())
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
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(out)
    except OSError as error:
        raise UserError(
            f"the sheet {out} cannot be written ({error.strerror}); give another name"
        ) from None
