"""Recall by seconds of training: hand-made curves with known answers, as table and as plot."""

import csv
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from bench.report import conditions, curves, reached, tables
from bench.report.group import Group
from tests.helpers import fake_records as fakes
from tests.helpers.drawing import laid_out
from tests.helpers.fake_records import group_of

Curve = Sequence[tuple[float, float | None]]


def trained(
    method: str, curve: Curve, seed: int = 0, *, timed: bool = True, **given: Any
) -> dict[str, Any]:
    """A record with a curve of (seconds, validation mR); not timed: (step, validation mR)."""
    document = fakes.record(method, seed, **given)
    document["curve"] = []
    for n, (when, recall) in enumerate(curve, 1):
        point = {"step": 10 * n if timed else int(when), "epoch": float(n), "loss": 1.0}
        point |= {"train_seconds": when} if timed else {}
        document["curve"].append({**point, "val_mR": recall})
    return document


def reach(group: Group, reference: str = "lora") -> tables.Part:
    """The table of costs, which must be there."""
    return reached.reach_table(group, reference) or pytest.fail("there is no table")


def table_of(group: Group, reference: str = "lora") -> dict[str, dict[str, str]]:
    """The cells of the table of costs, by method and heading."""
    table = reach(group, reference).table
    return {
        row[0].text: {h: c.text + c.sign for h, c in zip(table.heads, row, strict=True)}
        for row in table.rows
    }


def times(cells: dict[str, str]) -> list[str]:
    """The seconds to each share."""
    return [cells[f"seconds to {share}%"] for share in reached.SHARES]


LORA = [(10.0, 20.0), (20.0, 36.0), (30.0, 39.0), (40.0, 40.0)]


def test_seconds_to_each_share_of_lora(tmp_path: Path) -> None:
    documents = [
        trained("lora", LORA),  # 36, 38 and 40 are the goals
        trained("cmer", [(1.5, 30.0), (3.0, 37.0), (4.5, 38.0), (6.0, 38.0)]),
        trained("vpt", [(5.0, 20.0), (10.0, 41.0), (15.0, 35.9), (20.0, 35.0)]),
        trained("linear", [(1.0, 10.0), (2.0, 35.0), (3.0, 35.99), (4.0, 30.0)]),
        trained("zeroshot", []),
    ]
    found = table_of(group_of(tmp_path, documents))
    assert times(found["lora"]) == ["20.0", "30.0", "40.0"]
    assert times(found["cmer"]) == ["3.0", "4.5", "–"]
    assert times(found["vpt"]) == ["10.0", "10.0", "10.0"]  # what was reached stays reached
    assert times(found["linear"]) == ["–", "–", "–"]
    shares = {method: cells["val mR / lora"] for method, cells in found.items()}
    assert shares == {"lora": "100.0%", "cmer": "95.0%", "vpt": "102.5%", "linear": "90.0%"}
    assert found["cmer"]["memory, MiB"] == "1,150"
    assert found["vpt"]["best val mR"] == "41.0"
    assert "zeroshot" not in found  # it trains nothing


def test_means_over_seeds_at_equal_evaluations(tmp_path: Path) -> None:
    slow = [(10.0, 20.0), (30.0, 30.0), (50.0, 40.0)]
    fast = [(20.0, 30.0), (40.0, 10.0), (60.0, 42.0)]  # best so far: 30, 30, 42
    documents = [trained("lora", curve, seed) for seed, curve in enumerate([slow, fast])]
    documents += [trained("cmer", slow, seed) for seed in range(2)]
    group = group_of(tmp_path, documents)
    course = reached.courses(group.rows)["lora"]
    assert [(p.seconds, p.best) for p in course.mean] == [(15, 25), (35, 30), (55, 41)]
    assert course.seconds_to(25.0) == 15
    assert course.seconds_to(25.1) == 35
    assert course.seconds_to(41.1) is None
    found = table_of(group)
    assert found["lora"]["best val mR"] == "41.0"
    assert times(found["lora"]) == ["55.0"] * 3
    assert times(found["cmer"]) == ["50.0", "50.0", "–"]


def test_seeds_that_did_not_end_well_are_left_out(tmp_path: Path) -> None:
    documents = [trained("lora", LORA, seed) for seed in range(3)]
    documents += [trained("cmer", [(1.0, 1.0), (2.0, 2.0), (3.0, 40.0)], seed) for seed in (0, 1)]
    documents += [fakes.record("cmer", 2, status="diverged")]
    documents += [fakes.record("vpt", seed, status="out_of_memory") for seed in range(3)]
    documents += [trained("coop", [(1.0, 1.0), (2.0, None), (3.0, 50.0)])]  # a recall is missing
    found = table_of(group_of(tmp_path, documents))
    assert found["cmer"]["n"] == "2 of 3"
    assert times(found["cmer"]) == ["3.0"] * 3
    assert found["vpt"]["n"] == "0 of 3"
    assert found["vpt"]["best val mR"] == "out of memory"
    assert times(found["vpt"]) == ["–"] * 3
    assert "coop" not in found


def test_seconds_of_older_records_come_from_the_rate(tmp_path: Path) -> None:
    curve = [(10, 20.0), (20, 36.0), (30, 40.0)]
    old = trained("lora", curve, timed=False, recipe={"batch_size": 64, "accumulation": 2})
    old["efficiency"] |= {"train_images_per_second": 256.0, "train_seconds": 1000.0}
    none = trained("vpt", curve, timed=False, recipe={"batch_size": 64, "accumulation": 2})
    none["efficiency"]["train_images_per_second"] = None
    new = trained("cmer", LORA, recipe={"batch_size": 64, "accumulation": 2})
    group = group_of(tmp_path, [old, none, new])
    found = reached.courses(group.rows)
    assert [point.seconds for point in found["lora"].mean] == [5.0, 10.0, 15.0]
    assert (found["lora"].computed, found["cmer"].computed) == (True, False)
    assert "vpt" not in found  # without a rate nothing is known
    assert "computed from the measured rate" in reach(group).words
    assert "computed" in title_of(by_seconds(group))


def test_recorded_seconds_are_not_called_computed(tmp_path: Path) -> None:
    group = group_of(tmp_path, [trained(name, LORA) for name in ("lora", "cmer")])
    assert "computed" not in reach(group).words
    assert "computed" not in title_of(by_seconds(group))


def test_building_cached_features_counts(tmp_path: Path) -> None:
    measured = trained("lora", [(21.0, 30.0), (22.0, 35.0), (23.0, 40.0)])
    computed = trained("cmer", [(10, 30.0), (20, 35.0), (30, 41.0)], timed=False)
    computed["efficiency"] |= {"train_images_per_second": 1280.0, "feature_seconds": 20.0}
    for document in (measured, computed):
        document["trial"]["cached_features"] = 4
    found = table_of(group_of(tmp_path, [measured, computed]))
    assert times(found["lora"]) == ["23.0", "23.0", "23.0"]
    assert times(found["cmer"]) == ["23.0", "23.0", "23.0"]  # 20 and three seconds of steps


def test_without_lora_the_best_is_the_reference_and_named(tmp_path: Path) -> None:
    documents = [trained("cmer", LORA), trained("vpt", [(1.0, 1.0), (2.0, 2.0), (3.0, 38.0)])]
    documents.append(trained("lora", [(10.0, 20.0), (20.0, 50.0)]))  # two evaluations are too few
    group = group_of(tmp_path, documents)
    part = reach(group)
    assert "that of cmer" in part.title
    assert "val mR / cmer" in part.table.heads
    assert "lora" not in table_of(group)
    assert "cmer, 40.0" in part.words
    assert times(table_of(group)["vpt"]) == ["3.0", "3.0", "–"]
    assert table_of(group, "vpt")["vpt"]["val mR / vpt"] == "100.0%"


@pytest.mark.parametrize("evaluations", [1, 2])
def test_few_evaluations_make_no_table(tmp_path: Path, evaluations: int) -> None:
    documents = [trained(name, LORA[:evaluations]) for name in ("lora", "cmer")]
    group = group_of(tmp_path, documents)
    assert reached.reach_table(group, "lora") is None
    assert (curves.by_seconds(group) is None) == (evaluations == 1)


def test_one_method_makes_no_table(tmp_path: Path) -> None:
    group = group_of(tmp_path, [trained("lora", LORA), fakes.record("zeroshot")])
    assert reached.reach_table(group, "lora") is None


def test_seconds_on_a_busy_machine_are_marked(tmp_path: Path) -> None:
    documents = [trained("lora", LORA), trained("cmer", LORA)]
    documents[1]["efficiency"]["warning"] = "other processes took CPU time"
    group = group_of(tmp_path, documents)
    found = table_of(group)
    assert times(found["lora"]) == ["20.0", "30.0", "40.0"]
    assert times(found["cmer"]) == ["20.0†", "30.0†", "40.0†"]
    picture = by_seconds(group)
    assert {text.get_text() for text in picture.axes[0].texts} == {"lora", "cmer†"}
    assert "† machine busy" in title_of(picture)


def test_the_table_is_in_every_form_of_the_report(tmp_path: Path) -> None:
    fakes.save(tmp_path / "r", [trained("lora", LORA), trained("cmer", [*LORA[:2], (25.0, 39.0)])])
    fakes.write_report(tmp_path / "r", tmp_path / "out")
    for name in ("report.md", "index.html", "latex/ucm-starter-reach.tex"):
        text = (tmp_path / "out" / name).read_text(encoding="utf-8")
        assert "of the validation mR of lora cost" in text, name
        assert "25.0" in text, name
    assert "ucm-starter-recall_seconds.png" in (tmp_path / "out" / "report.md").read_text()
    with (tmp_path / "out" / "table.csv").open(encoding="utf-8") as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert rows["lora"]["seconds_to_95_percent"] == "30.0"
    assert rows["cmer"]["seconds_to_95_percent"] == "25.0"
    assert rows["cmer"]["seconds_to_100_percent"] == ""
    assert rows["cmer"]["reach_reference"] == "lora"


# The plot.


def by_seconds(group: Group) -> Figure:
    """The plot by seconds."""
    return laid_out(lambda: curves.by_seconds(group))


def title_of(picture: Figure) -> str:
    """The lines of a title as one."""
    return picture.texts[0].get_text().replace("\n", " ")


def test_lines_step_at_the_evaluations_and_go_on_to_the_edge(tmp_path: Path) -> None:
    ends = {"lora": 40.0, "cmer": 39.0}
    points_of: dict[str, Curve] = {"lora": LORA, "cmer": [(5.0, 38.0), (10.0, 39.0), (15.0, 30.0)]}
    documents = []
    for method, points in points_of.items():
        for seed in range(2):
            documents.append(trained(method, points, seed))
            documents[-1]["metrics"]["test"]["mR"] = ends[method] - 5 + 2 * seed
    left, right = by_seconds(group_of(tmp_path, documents)).axes
    assert left.get_xscale() == "linear"
    means = [line for line in left.lines if line.get_linewidth() == 1.1]
    corners = {tuple(map(tuple, line.get_xydata())) for line in means}
    assert corners == {tuple(LORA), ((5.0, 38.0), (10.0, 39.0), (15.0, 39.0))}
    assert {line.get_drawstyle() for line in means} == {"steps-post"}
    dotted = [line for line in left.lines if line.get_linestyle() == ":"]
    assert {line.get_xdata()[1] for line in dotted} == {left.get_xlim()[1]}
    assert {line.get_ydata()[1] for line in dotted} == set(ends.values())
    # Test recall: a marker with its deviation at the height of the name.
    heights = {text.get_text(): text.xyann[1] for text in left.texts}
    points = {tuple(line.get_xydata()[0]) for line in right.lines if line.get_markersize() == 5}
    assert points == {(ends[name] - 4, heights[name]) for name in ends}
    [[[low, _], [high, _]], _] = [s for c in right.collections for s in c.get_segments()]
    assert (high - low) / 2 == pytest.approx(2**0.5)
    assert right.get_ylim() == left.get_ylim()


@pytest.mark.parametrize(("factor", "scale"), [(9.0, "linear"), (11.0, "log")])
def test_the_axis_is_logarithmic_where_lengths_differ_tenfold(
    tmp_path: Path, factor: float, scale: str
) -> None:
    long = [(factor * seconds, recall) for seconds, recall in LORA]
    group = group_of(tmp_path, [trained("lora", long), trained("cmer", LORA)])
    axes = by_seconds(group).axes[0]
    assert axes.get_xscale() == scale
    assert ("log scale" in axes.get_xlabel()) == (scale == "log")
    low, high = axes.get_xlim()
    assert low < 10.0
    assert high > 40.0 * factor


def test_many_methods_with_long_names_stay_in_the_picture(tmp_path: Path) -> None:
    documents = fakes.sweep(3)
    for n in range(14):
        documents += [fakes.record("cmer", seed, queue=n, a_long_setting=n) for seed in range(2)]
    documents[3]["metrics"]["test"]["mR"] = 1.0  # a long bar
    picture = by_seconds(group_of(tmp_path, documents))
    left, right = picture.axes
    width, height = picture.get_size_inches() * picture.dpi
    names = [Text.get_window_extent(text) for text in left.texts]
    assert len(names) == 26
    for box in names:
        assert box.x0 > 0
        assert box.x1 < width
        assert 0 < box.y0 < box.y1 < height
    frame = right.get_window_extent()
    assert max(box.x1 for box in names) < frame.x0
    tops = sorted((box.y0, box.y1) for box in names)
    assert all(a[1] <= b[0] + 1 for a, b in itertools.pairwise(tops))
    for text in left.texts:  # markers are not cut by the frame
        assert left.get_ylim()[0] < text.xyann[1] < left.get_ylim()[1]
    assert right.get_xlim()[0] > 1.0  # and does not press the others together


# Groups of an equal budget.


def budgeted(time: float | None, memory: int | None) -> list[dict[str, Any]]:
    """Records of two methods under an equal budget, with the batch and steps that came out."""
    documents = [trained("lora", LORA), trained("cmer", LORA), fakes.record("zeroshot")]
    for document, batch, steps in zip(documents, (64, 512, None), (40, 1200, None), strict=True):
        document["trial"]["recipe"] |= {"time": time, "memory": memory}
        if batch and steps:
            document["data"]["batch_size"] = batch
            document["efficiency"]["budget_steps"] = steps
            document["curve"][-1]["step"] = steps
    return documents


@pytest.mark.parametrize(
    ("time", "memory", "heading", "name"),
    [
        (
            *(45.0, 364 * 2**20),
            "equal training time (45 s) and memory (364 MiB)",
            "ucm-starter-memory364MiB-time45s",
        ),
        (600.0, None, "equal training time (10 min)", "ucm-starter-time10m"),
        (None, 24 * 2**30, "equal memory (24 GiB)", "ucm-starter-memory24GiB"),
    ],
)
def test_headings_say_what_was_equal(
    tmp_path: Path, time: float | None, memory: int | None, heading: str, name: str
) -> None:
    group = group_of(tmp_path, budgeted(time, memory))
    assert group.title == f"ucm · starter · cpu · {heading}"
    assert group.name == name
    said = conditions.conditions(group)[0]
    assert heading in said
    assert ("batch 64 to 512;" in said) == (memory is not None)
    assert ("40 to 1,200 steps;" in said) == (time is not None)
    assert ("30 epochs" in said) == (time is None)
    titles = [column.title for column in tables.costs(group)]
    assert ("batch" in titles) == (memory is not None)
    assert ("steps" in titles) == (time is not None)


def test_equal_time_is_drawn_over_seconds_alone(tmp_path: Path) -> None:
    timed = group_of(tmp_path / "timed", budgeted(45.0, None))
    other = group_of(tmp_path / "other", budgeted(None, 2**30))
    assert curves.by_seconds(timed) is not None
    assert curves.by_steps(timed) is None
    assert curves.by_steps(other) is not None


def test_trainings_outside_their_time_are_named(tmp_path: Path) -> None:
    documents = budgeted(45.0, None)
    assert conditions.off_budget(group_of(tmp_path / "in", documents)) == ""
    documents = budgeted(45.0, None)
    documents[1]["efficiency"]["budget_warning"] = "it took 5% longer"
    said = conditions.off_budget(group_of(tmp_path / "out", documents))
    assert said == "Not within the time budget: cmer seed 0 (it took 5% longer)."
