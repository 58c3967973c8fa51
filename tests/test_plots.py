"""Plots: Pareto front, names that overlap nothing, looks that follow from names, same bytes."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from bench import record
from bench.report import curves, figure, labels, plots, tradeoff
from bench.report.group import Group
from bench.report.grouping import group_records
from bench.report.row import Row
from methods import registry
from tests.helpers import fake_records as fakes
from tests.helpers.drawing import laid_out
from tests.helpers.fake_records import group_of

RATE = "efficiency.train_images_per_second"


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Group:
    """A group of 17 rows, several close together."""
    documents = fakes.sweep(3)
    for document in documents:
        if document["trial"]["method"] == "adapter":  # a wide bar
            document["efficiency"]["train_images_per_second"] *= (
                0.7 + 0.3 * document["trial"]["seed"]
            )
    for settings in ({"queue": 0}, {"focus": "none"}, {"focus": "topk"}, {"scene_p": 0.0}):
        documents += [fakes.record("cmer", seed, **settings) for seed in range(3)]
    return group_of(tmp_path_factory.mktemp("crowded"), documents)


def drawn_against(group: Group, path: str, better: int) -> Figure:
    """Recall against a cost."""
    return laid_out(lambda: tradeoff.recall_against(group, path, "", better))


def both_against(group: Group) -> list[Figure]:
    """Recall against memory and against throughput."""
    return [drawn_against(group, group.memory, -1), drawn_against(group, RATE, 1)]


def curves_of(group: Group) -> Figure:
    """The learning curves of a group."""
    return laid_out(lambda: curves.by_steps(group))


def boxes_of(texts: list[Text]) -> np.ndarray:
    """Boxes of texts without the lines that join them to their points, in pixels."""
    return np.array([Text.get_window_extent(text).extents for text in texts])


def test_pareto_front_by_hand() -> None:
    points = [(1, 10), (2, 9), (2, 12), (3, 12), (4, 20), (5, 15)]
    assert tradeoff.pareto(points, -1) == [(1, 10), (2, 12), (4, 20)]
    assert tradeoff.pareto(points, 1) == [(5, 15), (4, 20)]


def overlaps(boxes: np.ndarray) -> int:
    """Pairs of boxes x0, y0, x1, y1 that overlap."""
    count = 0
    for n, a in enumerate(boxes):
        for b in boxes[n + 1 :]:
            count += bool((np.maximum(a[:2], b[:2]) < np.minimum(a[2:], b[2:])).all())
    return count


@pytest.mark.parametrize("spread", [200.0, 60.0, 15.0])
def test_names_keep_apart_and_off_markers(spread: float) -> None:
    rng = np.random.default_rng(int(spread))
    at = 200 + rng.uniform(-spread / 2, spread / 2, (16, 2)) * (1.4, 1)
    sizes = np.stack([rng.uniform(25, 80, 16), np.full(16, 10.0)], axis=1)
    frame = np.array([0.0, 0.0, 480.0, 330.0])
    moves, leaders = labels.solve(at, sizes, np.empty((0, 4)), frame)
    boxes = np.concatenate([at + moves - sizes / 2, at + moves + sizes / 2], axis=1)
    assert overlaps(boxes) == 0
    assert (boxes[:, :2] >= frame[:2]).all()
    assert (boxes[:, 2:] <= frame[2:]).all()
    for n, box in enumerate(boxes):
        distance = np.hypot(*(np.maximum(box[:2] - at, 0) + np.maximum(at - box[2:], 0)).T)
        assert (np.delete(distance, n) > labels.MARKER).all()
        if not leaders[n]:  # without a line a name is nearest to its own marker
            assert distance[n] < np.delete(distance, n).min()


def test_a_name_has_a_line_if_it_is_far_from_its_point_or_as_near_to_another() -> None:
    drawn = Figure((4, 4), dpi=72)
    axes = drawn.subplots()
    FigureCanvasAgg(drawn)
    axes.set(xlim=(0, 10), ylim=(0, 10))
    labels.place(axes, [(5, 5), (8, 8)] * 6, [f"method {n}" for n in range(12)], ["black"] * 12)
    assert all(text.arrow_patch is not None for text in axes.texts)
    labels.place(axes, [(1, 1)], ["alone"], ["black"])
    assert axes.texts[-1].arrow_patch is None
    sizes = np.array([[16.0, 8.0], [16.0, 8.0]])
    frame = np.array([95.0, 94.0, 170.0, 106.0])  # the first name has room between the two alone
    for other, expected in ((130.0, True), (400.0, False)):
        at = np.array([[100.0, 100.0], [other, 100.0]])
        moves, leaders = labels.solve(at, sizes, np.empty((0, 4)), frame)
        assert (moves[0].tolist(), bool(leaders[0])) == ([15.0, 0.0], expected)


def test_names_in_the_picture_overlap_no_name_line_or_marker(crowded: Group) -> None:
    for drawn in both_against(crowded):
        [axes] = drawn.axes
        boxes = boxes_of(axes.texts)
        frame = axes.get_window_extent().extents
        assert (boxes[:, :2] >= frame[:2]).all()
        assert (boxes[:, 2:] <= frame[2:]).all()
        trained = {row.label for row in crowded.rows if row.trains}
        assert {text.get_text() for text in axes.texts} == {*trained, "zeroshot 21.8"}
        assert overlaps(boxes) == 0
        bars = [segment for c in axes.collections for segment in c.get_segments()]
        [dashed] = [line for line in axes.lines if line.get_linestyle() == "--"]
        [level] = [line for line in axes.lines if line.get_linestyle() == ":"]
        steps = []
        for (x0, y0), (x1, y1) in itertools.pairwise(dashed.get_xydata()):
            steps += [(x0, y0, x1, y0), (x1, y0, x1, y1)]
        for x0, y0, x1, y1 in (
            *(np.array(bar).ravel() for bar in bars),
            *steps,
            (axes.get_xlim()[0], level.get_ydata()[0], axes.get_xlim()[1], level.get_ydata()[0]),
        ):
            corners = np.sort(axes.transData.transform([(x0, y0), (x1, y1)]), axis=0)
            struck = np.concatenate([corners[0] - 0.1, corners[1] + 0.1])
            for text, box in zip(axes.texts, boxes, strict=True):
                assert not overlaps(np.stack([box, struck])), text.get_text()


def test_names_at_the_ends_of_curves_keep_apart_in_their_order(crowded: Group) -> None:
    drawn = curves_of(crowded)
    texts = drawn.axes[1].texts
    boxes = boxes_of(texts)
    assert len(texts) == 16
    assert overlaps(boxes) == 0
    width, height = drawn.get_size_inches() * drawn.dpi
    assert (boxes[:, :2] > 0).all()
    assert (boxes[:, 2] < width).all()
    assert (boxes[:, 3] < height).all()
    lines = drawn.axes[1].lines
    last = sorted(float(line.get_ydata()[-1]) for line in lines)
    order = sorted(texts, key=lambda text: float(Text.get_window_extent(text).y0))
    assert [text.xy[1] for text in order] == last


def test_names_are_moved_as_little_as_keeps_them_apart() -> None:
    assert labels.spread([1.0, 5.0, 5.0, 9.0], 2.0, 0.0, 10.0) == [1.0, 4.0, 6.0, 9.0]
    assert labels.spread([9.0, 9.5, 10.0], 2.0, 0.0, 10.0) == [6.0, 8.0, 10.0]
    assert labels.spread([0.0, 0.1, 0.2], 2.0, 0.0, 10.0) == [0.0, 2.0, 4.0]
    assert labels.spread([0.0] * 3, 5.0, 0.0, 8.0) == [0.0, 5.0, 10.0]  # there is no room
    assert labels.spread([], 5.0, 0.0, 8.0) == []


def with_recalls(recalls: dict[str, list[float]]) -> list[dict[str, Any]]:
    """Records of methods with the given mR by seed."""
    documents = []
    for method, values in recalls.items():
        for seed, value in enumerate(values):
            documents.append(fakes.record(method, seed))
            documents[-1]["metrics"]["test"]["mR"] = value
    return documents


def test_points_bars_and_front_are_where_the_figures_are(tmp_path: Path) -> None:
    recalls = {"zeroshot": [25.0, 25.0], "lora": [40.0, 44.0], "vpt": [30.0, 31.0]}
    documents = with_recalls({**recalls, "cmer": [38.0, 39.0]})
    figures = {"lora": (4, 100.0), "vpt": (2, 200.0), "cmer": (1, 400.0)}
    for document in documents:
        if document["trial"]["method"] in figures:
            mib, rate = figures[document["trial"]["method"]]
            document["efficiency"]["saved_for_backward_bytes"] = mib * 2**20
            document["efficiency"]["train_images_per_second"] = rate
    group = group_of(tmp_path, documents)
    for path, better, front, corner in (
        (group.memory, -1, [(2**20, 38.5), (2**22, 42.0)], "upper left"),
        (RATE, 1, [(400, 38.5), (100, 42.0)], "upper right"),
    ):
        drawn = drawn_against(group, path, better)
        [axes] = drawn.axes
        [dashed] = [line for line in axes.lines if line.get_linestyle() == "--"]
        start, end = axes.get_xlim()[::-better]
        corners = [(start, 25.0), *front, (end, 42.0)]  # zero-shot costs nothing: it begins
        assert list(dashed.get_xydata()) == pytest.approx(np.array(corners))
        assert dashed.get_drawstyle() == "steps-post"
        title = drawn.texts[0].get_text().replace("\n", " ")
        assert f"better: {corner}" in title
        assert "trains nothing" in title
        [level] = [line for line in axes.lines if line.get_linestyle() == ":"]
        assert set(level.get_ydata()) == {25.0}
        segments = [s for c in axes.collections for s in c.get_segments()]
        heights = sorted((s[0][1], s[1][1]) for s in segments if s[0][1] != s[1][1])
        # The sample deviation of two is their distance by the root of two.
        bars = [(m - d / 2**0.5, m + d / 2**0.5) for m, d in ((30.5, 1), (38.5, 1), (42.0, 4))]
        assert np.array(heights) == pytest.approx(np.array(sorted(bars)))


def test_what_is_worse_than_zero_shot_is_not_on_the_front(tmp_path: Path) -> None:
    recalls = {"zeroshot": [30.0], "linear": [29.0], "lora": [40.0], "vpt": [28.0]}
    for drawn in both_against(group_of(tmp_path, with_recalls(recalls))):
        [axes] = drawn.axes
        [dashed] = [line for line in axes.lines if line.get_linestyle() == "--"]
        assert [y for _, y in dashed.get_xydata()] == [30.0, 40.0, 40.0]
        low, high = axes.get_ylim()
        assert low < 28.0 < 40.0 < high


def test_curves_are_means_and_memory_is_stacked(tmp_path: Path) -> None:
    documents = fakes.sweep(2, ["lora"]) + fakes.sweep(1, ["cmer"])
    for document in documents[:2]:
        part = {"parameter_bytes": 3, "gradient_bytes": 1, "optimizer_bytes": 2}
        part["saved_for_backward_bytes"] = 2000
        document["efficiency"] |= {name: size * 2**20 for name, size in part.items()}
        for point in document["curve"]:
            point["loss"] = point["step"] + 2.0 * document["trial"]["seed"]
            point["val_mR"] = 50 + point["loss"]
    parts = plots.memory_parts(group_of(tmp_path / "two", documents))
    assert parts is not None
    alone = group_of(tmp_path / "one", documents[:2])
    assert plots.memory_parts(alone) is None  # nothing to compare
    steps = [39 * n for n in range(1, 11)]
    for axes, more in zip(curves_of(alone).axes, (1, 51), strict=True):
        assert list(axes.lines[0].get_xdata()) == steps
        assert list(axes.lines[0].get_ydata()) == [step + more for step in steps]
        assert set(axes.get_xticks()) <= set(steps)  # ticks stand where evaluations were
        assert axes.get_xticks()[-1] == steps[-1]
        assert len(axes.get_xticks()) <= curves.MOST_TICKS
    [axes] = parts.axes
    bars = [(patch.get_x(), patch.get_width()) for patch in axes.patches]
    assert bars[::2] == [(0, 3), (3, 1), (4, 2), (6, 2000)]
    assert axes.texts[0].get_text() == "2,006"


def test_curves_without_validation_are_named_at_their_loss(tmp_path: Path) -> None:
    documents = fakes.sweep(1, ["lora", "vpt"])
    for document in documents:
        for point in document["curve"]:
            del point["val_mR"]
    [axes] = curves_of(group_of(tmp_path, documents)).axes
    assert axes.get_ylabel().startswith("loss")
    assert {text.get_text() for text in axes.texts} == {"lora", "vpt"}


def test_a_spoilt_rate_is_marked_in_the_picture(tmp_path: Path) -> None:
    documents = fakes.sweep(2, ("lora", "vpt"))
    documents[1]["efficiency"]["warning"] = "other processes took CPU time"
    memory, rate = both_against(group_of(tmp_path, documents))
    assert {text.get_text() for text in rate.axes[0].texts} == {"lora†", "vpt"}
    assert "† machine busy" in rate.texts[0].get_text().replace("\n", " ")
    assert {text.get_text() for text in memory.axes[0].texts} == {"lora", "vpt"}
    assert "†" not in memory.texts[0].get_text()


def bars_of(axes: Axes) -> int:
    """How many vertical error bars are drawn."""
    segments = [s for c in axes.collections for s in c.get_segments()]
    return sum(s[0][1] != s[1][1] for s in segments)


def test_a_very_long_bar_does_not_press_the_others_together(tmp_path: Path) -> None:
    alike = with_recalls({"lora": [28.0, 32.0], "vpt": [27.0, 31.0]})
    [axes] = drawn_against(group := group_of(tmp_path / "a", alike), group.memory, -1).axes
    assert bars_of(axes) == 2
    wild = with_recalls({"lora": [29.9, 30.1], "vpt": [9.0, 49.0], "coop": [27.9, 28.1]})
    drawn = drawn_against(group := group_of(tmp_path / "b", wild), group.memory, -1)
    [axes] = drawn.axes
    assert bars_of(axes) == 3
    low, high = axes.get_ylim()
    assert 27 < low < high < 31


def test_long_calls_and_titles_stay_in_the_picture(tmp_path: Path) -> None:
    long = {f"a_setting_of_many_letters_{n}": 0.1 * n for n in range(4)}
    given = {"backbone": "ViT-B-32:" + "a-very-long-name-of-weights" * 4 + ".pt"}
    documents = [fakes.record("lora", **given, **{**long, "rank": rank}) for rank in (4, 8)]
    for n in (0.1, 0.2):
        documents.append(fakes.record("lora", **given, **{"dropout": n, **long, "rank": 4}))
    group = group_of(tmp_path / "r", [*documents, fakes.record("zeroshot", **given)])
    names = [look.name for look in figure.method_styles(group.rows).values()]
    assert len(set(names)) == len(names) == 5
    assert max(map(len, names)) < 140 < max(len(row.label) for row in group.rows)
    assert any("…" in name for name in names)
    for drawn in (*both_against(group), curves_of(group)):
        width = drawn.get_figwidth() * drawn.dpi
        texts = [*drawn.texts, *(text for axes in drawn.axes for text in axes.texts)]
        assert all(box[0] >= 0 and box[2] <= width for box in boxes_of(texts))
    assert len(plots.draw([group], tmp_path, tmp_path)[group.name]) == 5


def test_a_dollar_in_a_name_is_no_formula(tmp_path: Path) -> None:
    names = ("q$|v$", "k$|_$")
    group = group_of(tmp_path, [fakes.record("lora", targets=name) for name in names])
    for drawn in both_against(group):
        said = [text.get_text() for text in drawn.findobj(Text)]
        assert {row.label for row in group.rows} <= {text.partition(" ")[0] for text in said}


def test_a_method_looks_the_same_in_every_report(crowded: Group, tmp_path: Path) -> None:
    def look_of(label: str, rows: list[Row]) -> tuple[str, str, bool]:
        look = figure.method_styles(rows)[label]
        return look.colour, look.marker, look.filled

    alone = {row.label: look_of(row.label, [row]) for row in crowded.rows}
    for row in crowded.rows:
        if row.label in figure.METHODS:
            assert look_of(row.label, crowded.rows) == alone[row.label]
    built_in = [group_of(tmp_path / name, [fakes.record(name)]).rows[0] for name in fakes.METHODS]
    assert len({look_of(row.label, built_in) for row in built_in}) == len(fakes.METHODS)
    assert set(figure.METHODS) == {name for name in registry() if "." not in name}
    assert len(figure.METHODS) <= len(figure.SHAPES)


def test_rows_are_told_apart_without_colour(crowded: Group) -> None:
    found = figure.method_styles(crowded.rows)
    shapes = [(look.marker, look.filled) for look in found.values()]
    assert len(set(shapes)) == len(shapes) == 17
    of_method = {look.colour for label, look in found.items() if label.startswith("cmer")}
    assert len(of_method) == 1


def test_files_are_the_same_bytes_again_and_some_are_left_out(
    crowded: Group, tmp_path: Path
) -> None:
    [paths] = plots.draw([crowded], tmp_path, tmp_path, pdf=True).values()
    kinds = ("recall_memory", "recall_throughput", "recall_seconds")
    kinds = (*kinds, "learning_curves", "memory_parts")
    names = [f"ucm-starter-{kind}.{form}" for kind in kinds for form in ("png", "pdf")]
    assert [path.name for path in paths] == names
    assert max(path.stat().st_size for path in paths) < 130_000
    pdf = paths[1].read_bytes()
    assert b"CIDFontType2" in pdf  # TrueType
    assert b"/Type3" not in pdf  # which some publishers refuse
    assert b"Date" not in pdf
    (tmp_path / "again").mkdir()
    [again] = plots.draw([crowded], tmp_path, tmp_path / "again", pdf=True).values()
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in paths]
    zero = group_of(tmp_path / "zero", fakes.sweep(2, ["zeroshot"]))
    assert plots.draw([zero], tmp_path, tmp_path / "none") == {zero.name: []}


def test_figures_of_the_same_records_are_left_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drawn(documents: list[dict[str, Any]], *, pdf: bool = False) -> set[str]:
        """The files of the first plot that were written anew."""
        before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.p*")}
        group = group_of(tmp_path / "r", documents)
        [paths] = plots.draw([group], tmp_path / "r", tmp_path, pdf=pdf).values()
        new = [path for path in paths if before.get(path) != path.stat().st_mtime_ns]
        return {path.suffix for path in new if path.stem.endswith("recall_memory")}

    documents = fakes.sweep(2, ["lora", "cmer"])
    png = tmp_path / "ucm-starter-recall_memory.png"
    assert drawn(documents) == {".png"}
    assert drawn(documents) == set()
    first = png.read_bytes()
    png.write_bytes(first[:-100])  # a disk that was full
    assert drawn(documents) == {".png"}
    assert png.read_bytes() == first
    assert drawn(documents, pdf=True) == {".png", ".pdf"}
    assert drawn(documents) == set()
    documents[0]["metrics"]["test"]["mR"] += 1
    assert drawn(documents) == {".png", ".pdf"}  # a PDF that is there is not left behind
    assert png.read_bytes() != first
    monkeypatch.setattr(figure, "_code_changed", lambda: png.stat().st_mtime + 1)
    assert drawn(documents) == {".png", ".pdf"}


def test_one_evaluation_is_no_curve(tmp_path: Path) -> None:
    documents = fakes.sweep(1, ["lora"])
    assert curves.by_steps(group_of(tmp_path / "many", documents)) is not None
    for document in documents:
        document["curve"] = document["curve"][-1:]
    assert curves.by_steps(group_of(tmp_path / "one", documents)) is None


def test_batch_size_against_memory(tmp_path: Path) -> None:
    documents = []
    for size in (32, 64, 128):
        for method in ("lora", "cmer"):
            document = fakes.record(method, recipe={"batch_size": size})
            document["efficiency"]["saved_for_backward_bytes"] *= size / 128
            documents.append(document)
    documents.append(fakes.record("cmer", recipe={"batch_size": 256, "augment": False}))
    fakes.save(tmp_path / "r", documents)
    found = group_records(record.load(tmp_path / "r"))
    assert len({group.family for group in found}) == 2
    [family] = plots.families(found)
    assert [group.recipe.batch_size for group in family] == [32, 64, 128]
    written = plots.draw(found, tmp_path / "r", tmp_path)[family[0].name]
    assert f"{family[0].name}-batch_memory.png" in [path.name for path in written]
    drawn = plots.batch_memory(family)
    assert drawn is not None
    assert [list(line.get_xdata()) for line in drawn.axes[0].lines] == [[32, 64, 128]] * 2
    heights = drawn.axes[0].lines[0].get_ydata()
    assert heights[2] == pytest.approx(4 * heights[0], rel=1e-3)
    assert heights[2] == pytest.approx(1150)  # MiB of cmer's
    assert plots.batch_memory(family[:1]) is None


@pytest.mark.parametrize("number", [1, 2])
def test_one_or_two_methods(tmp_path: Path, number: int) -> None:
    group = group_of(tmp_path / "r", fakes.sweep(1, ["lora", "cmer"][:number]))
    found = plots.draw([group], tmp_path, tmp_path)[group.name]
    kinds = {"recall_memory", "recall_throughput", "recall_seconds", "memory_parts"}
    compared = kinds if number == 2 else set()
    kinds = {path.stem.rpartition("-")[2] for path in found}
    assert kinds == {"learning_curves"} | compared


def test_one_method_within_a_time_has_its_curve_by_seconds(tmp_path: Path) -> None:
    group = group_of(tmp_path / "r", fakes.sweep(1, ["lora"], recipe={"time": 60.0}))
    [path] = plots.draw([group], tmp_path / "r", tmp_path)[group.name]
    assert path.name == f"{group.name}-recall_seconds.png"


def test_the_label_of_the_left_axis_is_on_the_page_beside_long_numbers(
    crowded: Group,
) -> None:
    by_time = laid_out(lambda: curves.by_seconds(crowded))
    for drawn in (by_time, curves_of(crowded), *both_against(crowded)):
        axes = drawn.axes[0]
        axes.set_ylim(14.7, 14.9)
        drawn.draw_without_rendering()
        assert max(len(text.get_text()) for text in axes.get_yticklabels()) == 6
        assert axes.yaxis.label.get_window_extent().x0 > 0
