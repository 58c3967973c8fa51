"""The generated scenes: same bytes everywhere, and captions that say what was drawn."""

import hashlib
import math
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
from bench.synthetic import colours, plan

ROOT = Path(__file__).resolve().parent.parent
TOTAL = sum(synthetic.COUNTS.values())
SAMPLE = range(0, TOTAL, 7)  # 7 shares no factor with 16: every scene

NUMBERS = {"a": 1, "an": 1} | {word: k for k, word in enumerate(plan.NUMBERS) if k}
KINDS = (
    "plane|runway|boat|ship|pier|car|roofed house|tree|umbrella|bridge|baseball field|farmland|"
    "swimming pool|tennis court|storage tank|pond|railway track|train|parallel street"
)
ADJECTIVES = "small|large|big|long|round|circle|irregular|rectangular|pieces of|strips of|dark"
COLOURS = "|".join(colours.PAINT)
CLAIM = re.compile(
    rf"\b({'|'.join(NUMBERS)}) (?:(?:{ADJECTIVES}) )*(?:({COLOURS}) )?"
    rf"(?:and (?:{COLOURS}) )?(?:(?:{ADJECTIVES}) )*({KINDS})s?\b"
)
ROWS = re.compile(rf"\b({'|'.join(NUMBERS)}) rows? of (?:white waves|parking spaces)")
ROADS = re.compile(rf"\b({'|'.join(NUMBERS)}) roads\b")


def claims(caption: str) -> list[tuple[int, str, str]]:
    """(count, colour or '', kind) for everything a caption counts."""
    found = []
    for number, colour, kind in CLAIM.findall(caption):
        mixed = kind == "farmland" and " and " in caption.split(kind)[0][-24:]
        noun = kind.replace("roofed ", "").replace("parallel ", "")
        found.append((NUMBERS[number], "" if mixed else colour, noun))
    found += [(NUMBERS[number], "", "row") for number in ROWS.findall(caption)]
    found += [(NUMBERS[number], "", "road") for number in ROADS.findall(caption)]
    return found


def test_claims_are_read_as_a_person_reads_them() -> None:
    assert claims("three white planes and a runway are near many red cars .") == [
        (3, "white", "plane"),
        (1, "", "runway"),
    ]
    assert claims("five strips of green and yellow farmlands .") == [(5, "", "farmland")]
    assert claims("two small red boats are in one round dark pond .") == [
        (2, "red", "boat"),
        (1, "", "pond"),
    ]


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


def test_captions_and_names_are_those_of_all_records() -> None:
    """Each caption is a draw of a stream that is the same on every machine, so it is pinned."""
    samples, _ = data.read(data.card("synthetic"), Path())
    assert data.content_hash(samples) == "52ba007e2166b3bd"
    assert data.names_hash(samples) == "96b5ae890904a27f"


def test_pictures_are_those_of_all_records() -> None:
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


def test_splits_share_no_picture_and_no_caption_set() -> None:
    captions = Counter(frozenset(synthetic.describe(index)[1]) for index in range(TOTAL))
    assert captions.most_common(1)[0][1] == 1
    pictures = {synthetic.render(index, 32).tobytes() for index in SAMPLE}
    assert len(pictures) == len(SAMPLE)


@pytest.mark.parametrize("scene", range(len(synthetic.SCENES)))
def test_counts_and_colours_in_captions_were_drawn(scene: int) -> None:
    checked = 0
    for index in range(scene, TOTAL, 5 * len(synthetic.SCENES)):
        drawn = synthetic.draw(index, 32).drawn
        for caption in synthetic.describe(index)[1]:
            for count, colour, kind in claims(caption):
                if synthetic.SCENES[scene] == "beach" and kind == "house":
                    continue  # "a row of houses": one row, not one house
                seen = [
                    item
                    for item in drawn
                    if item.kind == kind and (not colour or item.colour == colour)
                ]
                assert len(seen) == count, (index, caption, drawn)
                checked += 1
    assert checked > 0


@pytest.mark.parametrize("scene", ["bare land", "forest"])
def test_places_in_captions_are_where_it_was_drawn(scene: str) -> None:
    checked = 0
    for index in range(synthetic.SCENES.index(scene), TOTAL, 2 * len(synthetic.SCENES)):
        places = {
            (x, y)
            for caption in synthetic.describe(index)[1]
            for name, (x, y) in plan.PLACES.items()
            if name in caption
        }
        things = [item for item in synthetic.draw(index, 32).drawn if item.kind != "road"]
        for (x, y), item in ((place, item) for place in places for item in things):
            if item.kind == "car" and scene == "forest":
                continue  # these are along the road
            assert max(abs(item.x - x), abs(item.y - y)) < 0.2, (index, item)
            checked += 1
    assert checked > 20


def test_counted_things_can_be_seen_apart() -> None:
    solid = {"plane", "boat", "car", "house", "storage tank", "umbrella", "train", "tree"}
    for index in range(0, TOTAL, 37):
        picture = synthetic.render(index, 224).astype(int)
        drawn = [item for item in synthetic.draw(index, 32).drawn if item.kind in solid]
        for k, item in enumerate(drawn):
            if not (0.02 < item.x < 0.98 and 0.02 < item.y < 0.98):
                # only the uncounted many may leave the picture
                assert synthetic.describe(index)[0] in ("dense residential", "parking", "beach")
                continue
            column, row = int(item.x * 224), int(item.y * 224)
            patch = picture[row - 1 : row + 2, column - 1 : column + 2].reshape(-1, 3)
            paint = (60, 90, 50) if item.kind == "tree" else colours.PAINT[item.colour]
            assert abs(np.median(patch, axis=0) - paint).max() < 60, (index, item)
            for other in drawn[k + 1 :]:
                gap = math.dist((item.x, item.y), (other.x, other.y))
                assert gap > 0.03, (index, item, other)


def test_the_card_agrees_with_the_generator() -> None:
    card = data.card("synthetic")
    assert card.counts == synthetic.COUNTS
    test = [i for i in range(TOTAL) if synthetic.split(i) == "test"]
    names = "\n".join(sorted(Path(synthetic.filename(i)).stem for i in test))
    assert card.raw["test"]["filenames_sha256"] == hashlib.sha256(names.encode()).hexdigest()[:16]


def test_file_name_carries_scene_and_index() -> None:
    index = synthetic.SCENES.index("storage tanks")
    assert synthetic.filename(index) == f"storagetanks_{index:05d}.png"
