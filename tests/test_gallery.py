"""The gallery and the sheet of queries won and lost show the answers of the methods restored."""

import json
from pathlib import Path

import numpy as np
import pytest

from bench import UserError, data, perquery, record
from bench.recalls import METRICS
from bench.report import gallery, page
from bench.report.contents import contents
from bench.report.group import Group
from bench.report.grouping import group_records
from bench.trained import compare, wonlost
from bench.trained.restore import restore
from bench.trained.retrieve import Searcher
from tests.helpers.trained import trained


@pytest.fixture
def two(tiny: Path) -> list[Path]:
    """Records of two methods, one of which offers focus maps, with weights and made ranks."""
    paths = [trained(tiny, name)[0] for name in ("cmer", "linear")]
    for path, first in zip(paths, (1.0, 9.0), strict=True):
        ranks = np.ones(20, dtype=np.float32)
        ranks[7:12], ranks[3] = first, 10 - first
        images = np.array([1, first, 10 - first, 1], dtype=np.float32)
        arrays = {"captions": np.full(4, 5)}
        for prefix in ("", "dup_"):
            for way, found in (("t2i", ranks), ("i2t", images)):
                hits = (found[:, None] <= np.array((1, 5, 10))).astype(np.float32)
                arrays |= {f"{prefix}{way}": found, f"{prefix}{way}_hits": hits}
        np.savez(path.with_suffix(".npz"), **arrays)
        document = record.read(path)  # the recalls that follow from these ranks
        recalls = perquery.load(path).per_image().mean(axis=0)
        document["metrics"]["test"] |= dict(zip(METRICS, recalls.tolist(), strict=True))
        path.write_text(json.dumps(document))
    return paths


def group_of(tiny: Path) -> Group:
    frame = record.load(tiny / "results")
    for document in frame["record"]:
        document |= {"environment": {}, "efficiency": {}, "curve": []}
    [one] = group_records(frame)
    return one


def test_the_same_captions_are_asked_of_each_method(tiny: Path, two: list[Path]) -> None:
    one = group_of(tiny)
    made = gallery.make(one, tiny / "results", tiny, print)
    assert isinstance(made, gallery.Gallery)
    assert made.absent == {}
    # Both have the first caption in the top 5; of two scenes there can be two captions.
    assert list(made.captions) == [
        "picture 12 of a pond , version 0 .",
        "picture 13 of a port , version 2 .",  # one of two has it: row 7
    ]
    assert list(made.images) == [12, 13]  # both have the first, one of two the second
    for path, label in zip(two, ("cmer", "linear"), strict=True):
        own = Searcher(restore(path), tiny)
        for row, all_answers in made.images.items():
            [answers] = [each for each in all_answers if each.label == label]
            name = Path(made.dataset.samples[row].filename)
            assert answers.hits == own.captions_for(name, gallery.TOP).hits
            assert len(answers.focus or []) == (label == "cmer")
        for caption, all_answers in made.captions.items():
            [answers] = [each for each in all_answers if each.label == label]
            assert answers.hits == own.images_for(caption, gallery.TOP).hits
            assert len(answers.focus or []) == len(answers.hits) * (label == "cmer")
    block = gallery.html(made)
    focus = 2 * 4 + 2  # of four images for each caption, and of each image asked
    shown = 2 * 2 * 4 + 2  # four images for each of two captions and methods, and two asked
    assert block.count("data:image/jpeg") == shown + focus
    assert block.count('class="picture right"') == 4  # one right image, two captions, two methods
    hits = [hit for many in made.images.values() for each in many for hit in each.hits]
    assert block.count('<li class="right">') == sum(bool(hit.right) for hit in hits)
    assert block.count(" ✓ <small>") == sum(bool(hit.right) for hit in hits)
    frame = record.load(tiny / "results")
    for document in frame["record"]:
        document |= {"environment": {}, "efficiency": {}}
    said = contents(frame, [one], tiny / "results", "lora", {})
    whole = page.html(frame, said, [one], "", {one.name: block})
    assert block in whole


def test_what_is_not_there_is_a_sentence(tiny: Path, two: list[Path]) -> None:
    one = group_of(tiny)
    two[1].with_suffix(".safetensors").unlink()
    text = gallery.block(one, tiny / "results", tiny, lambda label: None)
    assert "Not here: linear: " in text
    assert "the trained weights " in text
    assert "<code>cmer</code>" in text
    two[0].with_suffix(".safetensors").unlink()
    text = gallery.block(one, tiny / "results", tiny, lambda label: None)
    assert text.startswith('<p class="soft">No gallery. Not here: cmer, linear: ')
    assert "the trained weights " in text
    assert "--rerun" in text
    one.scene_at_test = "oracle"
    assert "with a scene" in gallery.block(one, tiny / "results", tiny, print)


def test_captions_are_chosen_by_what_methods_make_of_them(tiny: Path) -> None:
    dataset = data.load(data.card(str(tiny / "tiny.toml")), tiny)
    names = ["picture 12 of a pond , version 0 .", "picture 13 of a port , version 0 ."]
    assert gallery.choose(dataset, []) == (names, [12, 13])
    hard, easy = np.full(20, 9.0), np.full(20, 9.0)
    easy[[0, 8]] = hard[[0, 8]] = 1  # both have version 0 of the pond and version 3 of the port
    easy[6] = 2  # one of two has version 1 of the port
    ranks = [{"t2i": t2i, "i2t": np.ones(4)} for t2i in (hard, easy, np.ones(3))]
    names[1] = "picture 13 of a port , version 1 ."
    assert gallery.choose(dataset, ranks) == (names, [12, 13])


def test_queries_won_and_lost_are_drawn(tiny: Path, two: list[Path]) -> None:
    found = compare.compare([two[0]], [two[1]], resamples=20)
    assert (found.won["t2i"], found.lost["t2i"]) == ([3], [7, 8, 9, 10, 11])
    assert (found.won["i2t"], found.lost["i2t"]) == ([2], [1])
    image = wonlost.draw(found, *two, tiny)
    model = Searcher(restore(two[1]), tiny)
    expected = [
        (
            model.images_for("picture 12 of a pond , version 3 .", 5),
            "B  linear seed 0: rank 1 of its own image",
        ),
        (
            model.captions_for(Path(model.name(14)), 5),
            "B  linear seed 0: rank 1 of its best own caption",
        ),
    ]
    shown = np.asarray(image)
    for answer, note in expected:
        part = np.asarray(model.draw(answer, "", [note], None))
        row = 180  # through the pictures
        places = np.flatnonzero((shown == part[row]).all(axis=(1, 2))) - row
        assert any(np.array_equal(shown[y : y + len(part)], part) for y in places)
    assert image.height > 10 * 240  # a caption won, two lost, an image each; two models
    alike = compare.compare([two[0]], [two[0]], resamples=20)
    with pytest.raises(UserError, match="none won or lost"):
        wonlost.draw(alike, two[0], two[0], tiny)
    told, _ = trained(tiny, "cmer", scene_at_test="oracle")
    with pytest.raises(UserError, match="with a scene beside each caption"):
        wonlost.draw(alike, told, two[0], tiny)
