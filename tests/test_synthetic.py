"""The generated scenes: same bytes everywhere, and captions that say what was drawn."""

import hashlib
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench import data, synthetic
from bench.synthetic.plan import NUMBERS, Thing
from bench.synthetic.scenes import SCENES
from bench.synthetic.shapes import COLOURS, SHAPES

ROOT = Path(__file__).resolve().parent.parent
TOTAL = sum(synthetic.COUNTS.values())
SAMPLE = range(0, TOTAL, 7)  # 7 shares no factor with 16: every scene

COUNTED = {"a": 1, "an": 1} | {word: k for k, word in enumerate(NUMBERS) if k}
NOUNS = {shape: (shape,) for shape in SHAPES if shape not in ("ground", "nothing", "river")} | {
    "roofed house": ("roofed house", "house with a lawn"),
    "large storage tank": ("walled tank",),
    "small storage tank": ("storage tank",),
    "piece of farmland": ("strip of farmland",),
    "circle farmland": ("round farmland",),
    "row of white waves": ("wave",),
    "row of parking spaces": ("parking row",),
    "parallel street": ("straight road",),
    "long train": ("train",),
    "large ship": ("ship",),
    "lake": ("irregular pond",),
    "large baseball field": ("baseball field",),
    "gray road": ("curved road",),
}
"""What captions count, and the shapes that it may have."""
COLOUR = "(white|gray|black|red|blue|yellow|green|brown|orange|dark)"


def claims(caption: str) -> list[tuple[int, str, str]]:
    """(count, colour or '', noun) for everything that a caption counts."""
    found = []
    for number, words in re.findall(rf"(?=\b({'|'.join(COUNTED)}) ((?:[a-z]+ ){{1,6}}))", caption):
        words = re.sub(r"\b(piece|strip|row)s\b", r"\1", words)
        for noun in sorted(NOUNS, key=len, reverse=True):
            # The colour stands before the noun or within: "round blue ponds".
            parts = [f"(?:{COLOUR} )?{word}" for word in noun.split()]
            match = re.match(rf"{' '.join(parts)}s? ", words)
            if match:
                colour = next((group for group in match.groups() if group), "")
                found.append((COUNTED[number], colour, noun))
                break
    return found


def drawn(index: int, noun: str, colour: str) -> list[Thing]:
    """The things of a picture that a claim is about."""
    return [
        thing
        for thing in synthetic.things(index)
        if thing.shape in NOUNS[noun] and thing.colour.startswith(colour)
    ]


def test_claims_are_read_as_a_person_reads_them() -> None:
    assert claims("three white planes and a runway are near many red cars .") == [
        (3, "white", "plane"),
        (1, "", "runway"),
    ]
    assert claims("two yellow strips of farmland and one large white storage tank .") == [
        (2, "yellow", "strip of farmland"),
        (1, "white", "large storage tank"),
    ]
    assert claims("a row of red roofed houses is near many round ponds .") == []


def test_same_bytes_in_another_process_and_order() -> None:
    code = (
        "import hashlib; from bench import synthetic as s\n"
        "for i in [2047, 3, 40, 1536]:\n"
        "    data = s.render(i, 48).tobytes() + repr(s.describe(i)).encode()\n"
        "    print(i, hashlib.sha256(data).hexdigest())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": "77"},
        capture_output=True,
        text=True,
        check=True,
    )
    there = dict(line.split() for line in done.stdout.splitlines())
    for index in (3, 40, 1536, 2047):
        data = synthetic.render(index, 48).tobytes() + repr(synthetic.describe(index)).encode()
        assert there[str(index)] == hashlib.sha256(data).hexdigest()


def test_captions_and_names_are_those_of_records() -> None:
    """Each caption is a draw of a stream that is the same on every machine, so it is pinned."""
    samples, _ = data.read(data.card("synthetic"), Path())
    assert data.content_hash(samples) == "96b795f9dd3862dc"
    assert data.names_hash(samples) == "96b5ae890904a27f"


def test_pictures_are_those_of_records() -> None:
    """One picture of each scene, in 4 x 4 cells: versions of Pillow may differ by a level."""
    for line in (ROOT / "tests" / "synthetic.txt").read_text().splitlines():
        index, cells = line.split()
        picture = Image.fromarray(synthetic.render(int(index), 64))
        small = np.asarray(picture.resize((4, 4), Image.Resampling.BOX), dtype=int).ravel()
        expected = np.frombuffer(bytes.fromhex(cells), dtype=np.uint8)
        assert abs(small - expected).max() <= 3, index


def test_seed_and_index_change_the_picture() -> None:
    first = synthetic.render(5, 32)
    assert not np.array_equal(first, synthetic.render(5, 32, seed=1))
    assert not np.array_equal(first, synthetic.render(5 + len(synthetic.SCENES), 32))
    assert synthetic.describe(5) != synthetic.describe(5, seed=1)


@pytest.mark.parametrize("size", [32, 50, 97, 300])
def test_any_size_from_32(size: int) -> None:
    picture = synthetic.render(9, size)
    assert picture.shape == (size, size, 3)
    assert picture.dtype == np.uint8
    assert picture.std() > 5


def test_errors_say_what_is_allowed() -> None:
    with pytest.raises(ValueError, match="32"):
        synthetic.render(0, 31)
    for index in (-1, TOTAL):
        with pytest.raises(IndexError, match=str(TOTAL - 1)):
            synthetic.describe(index)


@pytest.mark.parametrize("index", range(len(synthetic.SCENES)))
def test_another_size_is_the_same_picture(index: int) -> None:
    def small(index: int, size: int) -> np.ndarray:
        image = Image.fromarray(synthetic.render(index, size))
        return np.asarray(image.resize((16, 16), Image.Resampling.BOX), dtype=float)

    same = abs(small(index, 64) - small(index, 160)).mean()
    other = abs(small(index, 64) - small(index + len(synthetic.SCENES), 160)).mean()
    assert same < 4
    assert same < other / 2


def test_scenes_are_balanced_in_each_split() -> None:
    scenes = Counter((synthetic.split(i), synthetic.describe(i)[0]) for i in range(TOTAL))
    for split, count in synthetic.COUNTS.items():
        expected = count / len(synthetic.SCENES)
        assert {scenes[split, scene] for scene in synthetic.SCENES} == {expected}
    assert sum(scenes.values()) == TOTAL


def test_five_captions_in_one_form() -> None:
    counted = Counter[bool]()
    for index in range(TOTAL):
        _, captions = synthetic.describe(index)
        assert len(captions) == len(set(captions)) == 5
        for caption in captions:
            assert re.fullmatch(r"[a-z]+([ -][a-z]+| ,)* \.", caption), caption
            assert 6 <= len(caption.split()) - 1 <= 26, caption
            counted[bool(claims(caption))] += 1
    assert counted[True] > 0.7 * counted.total()  # most count something


def test_no_picture_twice_and_hardly_ever_the_same_captions() -> None:
    captions = {frozenset(synthetic.describe(index)[1]) for index in range(TOTAL)}
    assert len(captions) > 0.98 * TOTAL
    pictures = {synthetic.render(index, 32).tobytes() for index in SAMPLE}
    assert len(pictures) == len(SAMPLE)


@pytest.mark.parametrize("scene", range(len(synthetic.SCENES)))
def test_counts_and_colours_in_captions_were_drawn(scene: int) -> None:
    checked = 0
    for index in range(scene, TOTAL, 5 * len(synthetic.SCENES)):
        for caption in synthetic.describe(index)[1]:
            for count, colour, noun in claims(caption):
                assert len(drawn(index, noun, colour)) == count, (index, caption)
                checked += 1
    assert checked > 100


@pytest.mark.parametrize("scene", ["bare land", "forest"])
def test_places_in_captions_are_where_it_was_drawn(scene: str) -> None:
    corner = re.compile(r"in the (upper|lower) (left|right) corner")
    checked = 0
    for index in range(synthetic.SCENES.index(scene), TOTAL, 2 * len(synthetic.SCENES)):
        things = [thing for thing in synthetic.things(index) if thing.part == "things"]
        for row, column in corner.findall(" ".join(synthetic.describe(index)[1])):
            for x, y in ((thing.middle.real, thing.middle.imag) for thing in things):
                assert (x < 0.4) if column == "left" else (x > 0.6)
                assert (y < 0.4) if row == "upper" else (y > 0.6)
                checked += 1
    assert checked > 100


def test_counted_things_can_be_seen_apart() -> None:
    solid = {"plane", "boat", "car", "roofed house", "storage tank", "walled tank", "train", "ship"}
    checked = 0
    for index in range(0, TOTAL, 37):
        parts = SCENES[synthetic.describe(index)[0]].parts
        counted = {name for name in parts if all(part.count for part in parts[name])}
        things = [
            thing
            for thing in synthetic.things(index)
            if thing.part in counted and thing.shape in solid
        ]
        picture = synthetic.render(index, 224).astype(int)
        for k, thing in enumerate(things):
            x, y = thing.middle.real, thing.middle.imag
            assert 0.02 < min(x, y) < max(x, y) < 0.98, (index, thing)
            column, row = int(x * 224), int(y * 224)
            patch = picture[row - 1 : row + 2, column - 1 : column + 2].reshape(-1, 3)
            paint = COLOURS[thing.colour][:3]
            assert abs(np.median(patch, axis=0) - paint).max() < 60, (index, thing)
            assert all(abs(thing.middle - other.middle) > 0.03 for other in things[k + 1 :])
            checked += 1
    assert checked > 100


def test_the_card_agrees_with_the_generator() -> None:
    card = data.card("synthetic")
    assert card.counts == synthetic.COUNTS
    test = [i for i in range(TOTAL) if synthetic.split(i) == "test"]
    names = "\n".join(sorted(Path(synthetic.filename(i)).stem for i in test))
    assert card.raw["test"]["filenames_sha256"] == hashlib.sha256(names.encode()).hexdigest()[:16]


def test_file_name_carries_scene_and_index() -> None:
    index = synthetic.SCENES.index("storage tanks")
    assert synthetic.filename(index) == f"storagetanks_{index:05d}.png"
