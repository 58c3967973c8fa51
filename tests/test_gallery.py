"""The gallery and the sheet of queries won and lost show the answers of the methods restored."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from bench import (
    UserError,
    compare,
    data,
    gallery,
    groups,
    page,
    record,
    retrieve,
    sheet,
    wonlost,
)
from bench.contents import contents
from bench.restore import restore
from bench.significance import Significance

trained = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("trained.py")))).trained


@pytest.fixture
def two(tiny: Path) -> list[Path]:
    """Records of two methods, one of which offers focus maps, with weights and made ranks."""
    paths = [trained(tiny, name)[0] for name in ("cmer", "linear")]
    for path, first in zip(paths, (1.0, 9.0), strict=True):
        ranks = np.ones(20, dtype=np.float32)
        ranks[7:12], ranks[3] = first, 10 - first
        np.savez(path.with_suffix(".npz"), t2i=ranks, dup_t2i=ranks, i2t=np.ones(4, np.float32))
    return paths


def group_of(tiny: Path) -> groups.Group:
    frame = record.load(tiny / "results")
    for document in frame["record"]:
        document |= {"environment": {}, "efficiency": {}, "curve": []}
    [one] = groups.group(frame)
    return one


def test_the_same_captions_are_asked_of_each_method(tiny: Path, two: list[Path]) -> None:
    one = group_of(tiny)
    made = gallery.make(one, tiny / "results", tiny)
    assert isinstance(made, gallery.Gallery)
    assert made.absent == {}
    # Both have the first caption in the top 5; of two scenes there can be two captions.
    assert made.captions[0] == "picture 12 of a pond , version 0 ."
    assert made.captions[1] == "picture 13 of a port , version 2 ."  # one of two has it: row 7
    for caption, lines in zip(made.captions, made.lines, strict=True):
        assert sorted(line.label for line in lines) == ["cmer", "linear"]
        by_label = {line.label: line for line in lines}
        for path, label in zip(two, ("cmer", "linear"), strict=True):
            expected = retrieve.images_for(restore(path, tiny), caption, gallery.TOP)
            assert by_label[label].hits == expected.hits
        assert by_label["linear"].focus is None
        focus = by_label["cmer"].focus
        assert focus is not None
        assert len(focus) == len(by_label["cmer"].hits)
    block = gallery.html(made, one.name)
    assert block.count("data:image/jpeg") == 4 + 2 * 4  # four images once, and the focus maps
    assert block.count('class="picture right ') == 4  # one right image, two captions, two methods
    frame = record.load(tiny / "results")
    for document in frame["record"]:
        document |= {"environment": {}, "efficiency": {}}
    said = contents(frame, [one], Significance(None), "lora", {})
    whole = page.html(frame, said, {one.name: block})
    assert block in whole


def test_what_is_not_there_is_a_sentence(tiny: Path, two: list[Path]) -> None:
    one = group_of(tiny)
    two[1].with_suffix(".safetensors").unlink()
    text = gallery.block(one, tiny / "results", tiny, lambda label: None)
    assert "Not here: linear: the trained weights" in text
    assert "<code>cmer</code>" in text
    two[0].with_suffix(".safetensors").unlink()
    text = gallery.block(one, tiny / "results", tiny, lambda label: None)
    assert text.startswith('<p class="soft">No gallery: ')
    assert "--rerun" in text
    one.scene_at_test = "oracle"
    assert "told a scene" in str(gallery.make(one, tiny / "results", tiny))


def test_captions_are_chosen_by_what_methods_make_of_them(tiny: Path) -> None:
    dataset = data.load(data.card(str(tiny / "tiny.toml")), tiny)
    assert gallery.choose(dataset, []) == [
        "picture 12 of a pond , version 0 .",
        "picture 13 of a port , version 0 .",
    ]
    hard, easy = np.full(20, 9.0), np.full(20, 9.0)
    easy[[0, 8]] = hard[[0, 8]] = 1  # both have version 0 of the pond and version 3 of the port
    easy[6] = 2  # one of two has version 1 of the port
    assert gallery.choose(dataset, [hard, easy, np.ones(3)]) == [
        "picture 12 of a pond , version 0 .",
        "picture 13 of a port , version 1 .",
    ]


def test_queries_won_and_lost_are_drawn(tiny: Path, two: list[Path]) -> None:
    found = compare.compare(*two, resamples=20)
    assert (found.won["t2i"], found.lost["t2i"]) == ([3], [7, 8, 9, 10, 11])
    image = wonlost.draw(found, *two, tiny)
    model = restore(two[1], tiny)
    assert model.dataset is not None
    hits = retrieve.images_for(model, "picture 12 of a pond , version 3 .", 5).hits
    notes = ["B  linear seed 0: rank 1 of the caption's own image"]
    tiles = [wonlost._tile(model.dataset, hit) for hit in hits]
    part = np.asarray(sheet.draw_images("", notes, tiles))
    shown = np.asarray(image)
    assert any(np.array_equal(shown[y : y + len(part)], part) for y in range(300, 500))
    assert image.height > 8 * sheet.SIDE  # one won, three lost, two models each
    alike = compare.compare(two[0], two[0], resamples=20)
    with pytest.raises(UserError, match="no query won or lost"):
        wonlost.draw(alike, two[0], two[0], tiny)
