"""Plots: Pareto front, labels that do not overlap, looks that can be told apart, same bytes."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from bench import record
from bench.report import drawing, figure, groups, labels, plots, tradeoff

fakes = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("fake_records.py"))))
DATA = ("ucm", "rsicd")


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> groups.Group:
    """A group of 17 rows, several close together."""
    root = tmp_path_factory.mktemp("crowded")
    documents = fakes.sweep(3)
    for settings in ({"queue": 0}, {"focus": "none"}, {"focus": "topk"}, {"scene_p": 0.0}):
        documents += [fakes.record("cmer", seed, **settings) for seed in range(3)]
    fakes.save(root, documents)
    [one] = groups.group(record.load(root))
    return one


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
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_labels_keep_apart(spread: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    at = 200 + rng.uniform(-spread / 2, spread / 2, (16, 2)) * (1.4, 1)
    sizes = np.stack([rng.uniform(25, 80, 16), np.full(16, 10.0)], axis=1)
    markers = np.concatenate([at - 4.5, at + 4.5], axis=1)
    inside = np.array([0.0, 0.0, 480.0, 330.0])
    found = labels.solve(at, sizes, markers, inside)
    centres = at + np.array([offset[:2] for offset in found])
    boxes = np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1)
    assert overlaps(boxes) == 0
    assert (boxes[:, :2] >= inside[:2]).all()
    assert (boxes[:, 2:] <= inside[2:]).all()
    apart = [(n, m) for n in range(16) for m in range(16)]
    covered = sum(overlaps(np.stack([boxes[n], markers[m]])) for n, m in apart)
    assert covered == 0
    far = np.abs(centres - at).max(axis=1) > 70
    assert all(line for (*_, line), is_far in zip(found, far, strict=True) if is_far)


def test_labels_stay_in_the_frame_and_off_all_markers() -> None:
    figure = Figure((3, 3), dpi=144)
    axes = figure.subplots()
    canvas = FigureCanvasAgg(figure)
    axes.set(xlim=(0, 10), ylim=(0, 10))
    points = [(0.1, 9.9), (9.9, 0.1), *((3 + 0.7 * n, 5 + 0.2 * (n % 3)) for n in range(6))]
    labels.place(axes, points, ["a method"] * 8, ["black"] * 8, fontsize=7)
    figure.draw_without_rendering()
    renderer = canvas.get_renderer()
    boxes = np.array([Text.get_window_extent(t, renderer).extents for t in axes.texts])
    frame = axes.get_window_extent(renderer).extents
    assert (boxes[:, :2] >= frame[:2] + 4).all()
    assert (boxes[:, 2:] <= frame[2:] - 4).all()
    at = axes.transData.transform(points)
    markers = np.concatenate([at - 8, at + 8], axis=1)
    assert not [n for n, m in np.ndindex(8, 8) if overlaps(np.stack([boxes[n], markers[m]]))]


def test_a_name_far_from_its_point_has_a_line_to_it() -> None:
    drawn = Figure((4, 4), dpi=72)
    axes = drawn.subplots()
    FigureCanvasAgg(drawn)
    axes.set(xlim=(0, 10), ylim=(0, 10))
    labels.place(axes, [(5, 5)] * 12, [f"method {n}" for n in range(12)], ["black"] * 12)
    joined = [text.arrow_patch is not None for text in axes.texts]
    assert 2 <= sum(joined) <= 10  # the nearest names need none


def test_leaders_through_one_another_and_through_boxes() -> None:
    crossing, apart = [[[0, 0], [10, 10]], [[0, 10], [10, 0]]], [[[20, 0], [30, 0]]]
    lines = np.array([*crossing, *apart, [[25, 1], [25, 5]]], dtype=float)
    assert np.argwhere(labels._meet(lines, lines)).tolist() == [[0, 1], [1, 0]]
    boxes = np.array([[4, 4, 6, 6], [22, -1, 23, 1], [4, -1, 6, 1], [6, 2, 8, 4]], dtype=float)
    assert np.argwhere(labels._along(lines, boxes)).tolist() == [[0, 0], [1, 0], [1, 3], [2, 1]]


def test_names_in_the_picture_do_not_overlap(crowded: groups.Group) -> None:
    with matplotlib.rc_context(figure.STYLE):
        path = crowded.memory
        drawn = tradeoff.recall_against(
            crowded, figure.looks(crowded), path, "memory", -1, tradeoff.bytes_axis
        )
        assert drawn is not None
        drawn.draw_without_rendering()
        renderer = drawn.canvas.get_renderer()
        [axes] = drawn.axes
        texts = [text for text in axes.texts if text.get_text()]
        boxes = [matplotlib.text.Text.get_window_extent(t, renderer).extents for t in texts]
    trained = [row.label for row in crowded.rows if row.trains]
    assert {text.get_text() for text in texts} >= set(trained)
    assert any("zeroshot" in text.get_text() for text in texts)
    assert overlaps(np.asarray(boxes)) == 0


def test_names_at_the_ends_of_curves_keep_apart_in_their_order(crowded: groups.Group) -> None:
    with matplotlib.rc_context(figure.STYLE):
        drawn = plots.learning_curves(crowded, figure.looks(crowded))
        assert drawn is not None
        drawn.draw_without_rendering()
    texts = drawn.axes[1].texts
    boxes = np.array([text.get_window_extent().extents for text in texts])
    assert len(texts) == 16
    assert (
        overlaps(boxes + np.array([0, 1.5, 0, -1.5])) == 0
    )  # letters are smaller than their boxes
    last = {row.label: plots._curve(row)[390]["val_mR"] for row in crowded.rows if row.trains}
    order = sorted(texts, key=lambda text: float(text.get_position()[1]))
    assert [text.get_text().strip() for text in order] == sorted(last, key=last.__getitem__)


def test_names_in_the_picture_keep_off_lines(tmp_path: Path) -> None:
    documents = fakes.sweep(3, ("zeroshot", "lora", "vpt", "coop", "adapter", "bitfit"))
    vpt = [d["metrics"]["test"]["mR"] for d in documents if d["trial"]["method"] == "vpt"]
    level = float(np.mean(vpt))
    for document in documents:
        if document["trial"]["method"] == "zeroshot":  # a dotted line through a point
            document["metrics"]["test"]["mR"] = level
        elif document["trial"]["method"] != "vpt":  # wide bars
            seed = document["trial"]["seed"]
            document["efficiency"]["train_images_per_second"] *= 0.7 + 0.3 * seed
    fakes.save(tmp_path, documents)
    [one] = groups.group(record.load(tmp_path))
    with matplotlib.rc_context(figure.STYLE):
        path = "efficiency.train_images_per_second"
        drawn = tradeoff.recall_against(
            one, figure.looks(one), path, "images/s", 1, tradeoff.rate_axis
        )
        assert drawn is not None
        drawn.draw_without_rendering()
        renderer = drawn.canvas.get_renderer()
        [axes] = drawn.axes
        extent = matplotlib.text.Text.get_window_extent  # without the line that joins it to a point
        boxes = np.array([extent(text, renderer).extents for text in axes.texts])
    bars = [s for c in axes.collections for s in c.get_segments() if s[0][1] == s[1][1]]
    assert len(bars) == 5
    lines = [axes.transData.transform(bar) for bar in bars]
    height = axes.transData.transform((1, level))[1]
    lines.append(np.array([[0.0, height], [1e4, height]]))
    for line in lines:
        for text, box in zip(axes.texts, boxes, strict=True):
            thick = np.array([[0, -0.1], [0, 0.1]])
            apart = overlaps(np.stack([box, (line + thick).ravel()])) == 0
            assert apart, text.get_text()


def drawn_against(one: groups.Group, path: str, better: int) -> Figure:
    """Recall against a cost, laid out."""
    axis = tradeoff.rate_axis if better > 0 else tradeoff.bytes_axis
    with matplotlib.rc_context(figure.STYLE):
        drawn = tradeoff.recall_against(one, figure.looks(one), path, "", better, axis)
        assert drawn is not None
        drawn.draw_without_rendering()
    return drawn


def test_points_bars_and_front_are_where_the_figures_are(tmp_path: Path) -> None:
    documents = fakes.sweep(2, ("zeroshot", "lora", "vpt", "cmer"))
    recall = iter((25.0, 25.0, 40.0, 44.0, 30.0, 31.0, 38.0, 39.0))
    figures = {"lora": (4, 100.0), "vpt": (2, 200.0), "cmer": (1, 400.0)}
    for document in documents:
        document["metrics"]["test"]["mR"] = next(recall)
        if document["trial"]["method"] in figures:
            mib, rate = figures[document["trial"]["method"]]
            document["efficiency"]["saved_for_backward_bytes"] = mib * 2**20
            document["efficiency"]["train_images_per_second"] = rate
    fakes.save(tmp_path, documents)
    [one] = groups.group(record.load(tmp_path))
    for path, better, front, corner in (
        (one.memory, -1, [(2**20, 38.5), (2**22, 42.0)], "upper left"),
        ("efficiency.train_images_per_second", 1, [(400, 38.5), (100, 42.0)], "upper right"),
    ):
        [axes] = drawn_against(one, path, better).axes
        [dashed] = [line for line in axes.lines if line.get_linestyle() == "--"]
        edge = axes.get_xlim()[1 if better < 0 else 0]
        assert list(dashed.get_xydata()) == pytest.approx(np.array([*front, (edge, 42.0)]))
        assert dashed.get_drawstyle() == "steps-post"
        assert f"better: {corner}" in axes.get_title(loc="left")
        [level] = [line for line in axes.lines if line.get_linestyle() == ":"]
        assert set(level.get_ydata()) == {25.0}
        drawn = [s for c in axes.collections for s in c.get_segments()]
        heights = sorted((s[0][1], s[1][1]) for s in drawn if s[0][1] != s[1][1])
        # The sample deviation of two is their distance by the root of two.
        bars = [(m - d / 2**0.5, m + d / 2**0.5) for m, d in ((30.5, 1), (38.5, 1), (42.0, 4))]
        assert np.array(heights) == pytest.approx(np.array(sorted(bars)))


def test_curves_are_means_and_memory_is_stacked(tmp_path: Path) -> None:
    documents = fakes.sweep(2, ["lora"])
    for document in documents:
        part = {"parameter_bytes": 3, "gradient_bytes": 1, "optimizer_bytes": 2}
        part["saved_for_backward_bytes"] = 2000
        document["efficiency"] |= {name: size * 2**20 for name, size in part.items()}
        for point in document["curve"]:
            point["loss"] = point["step"] + 2.0 * document["trial"]["seed"]
            point["val_mR"] = 50 + point["loss"]
    fakes.save(tmp_path, documents)
    [one] = groups.group(record.load(tmp_path))
    curves, parts = (
        draw(one, figure.looks(one)) for draw in (plots.learning_curves, plots.memory_parts)
    )
    assert curves is not None
    assert parts is not None
    for axes, more in zip(curves.axes, (1, 51), strict=True):
        steps = [39 * n for n in range(1, 11)]
        assert axes.lines[0].get_xdata().tolist() == steps
        assert axes.lines[0].get_ydata().tolist() == [step + more for step in steps]
    [axes] = parts.axes
    bars = [(patch.get_x(), patch.get_width()) for patch in axes.patches]
    assert bars == [(0, 3), (3, 1), (4, 2), (6, 2000)]
    assert [text.get_text() for text in axes.texts] == ["2,006"]


def test_a_spoilt_rate_is_marked_in_the_picture(tmp_path: Path) -> None:
    documents = fakes.sweep(2, ("lora", "vpt"))
    documents[1]["efficiency"]["warning"] = "other processes took CPU time"
    fakes.save(tmp_path, documents)
    [one] = groups.group(record.load(tmp_path))
    [axes] = drawn_against(one, "efficiency.train_images_per_second", 1).axes
    assert {text.get_text() for text in axes.texts} == {"lora†", "vpt"}
    assert "† machine busy" in axes.get_title(loc="left")
    [axes] = drawn_against(one, one.memory, -1).axes
    assert {text.get_text() for text in axes.texts} == {"lora", "vpt"}
    assert "†" not in axes.get_title(loc="left")


def test_bars_leave_the_picture_of_a_method_less_stable_than_others_only(tmp_path: Path) -> None:
    def ends(spread: dict[str, float]) -> dict[str, bool]:
        documents = fakes.sweep(2, spread)
        for document in documents:
            name, seed = document["trial"]["method"], document["trial"]["seed"]
            means = {"lora": 30.0, "vpt": 29.0, "coop": 28.0}
            document["metrics"]["test"]["mR"] = means[name] + (2 * seed - 1) * spread[name]
        fakes.save(tmp_path / str(spread), documents)
        [one] = groups.group(record.load(tmp_path / str(spread)))
        [axes] = drawn_against(one, one.memory, -1).axes
        low, high = axes.get_ylim()
        whole = {}
        for row in one.rows:
            found = row.statistic("metrics.test.mR")
            assert found is not None
            assert found.std is not None
            whole[row.label] = low < found.mean - found.std < found.mean + found.std < high
        return whole

    assert ends({"lora": 2.0, "vpt": 2.0}) == {"lora": True, "vpt": True}
    found = ends({"lora": 0.2, "vpt": 20.0, "coop": 0.2})
    assert found == {"lora": True, "vpt": False, "coop": True}


@pytest.mark.filterwarnings("error::UserWarning")
def test_long_calls_leave_room_for_the_picture(tmp_path: Path) -> None:
    long = {f"a_setting_of_many_letters_{n}": 0.1 * n for n in range(4)}
    documents = [fakes.record("lora", **{**long, "rank": rank}) for rank in (4, 8)]
    documents += [fakes.record("lora", **{"dropout": n, **long, "rank": 4}) for n in (0.1, 0.2)]
    fakes.save(tmp_path / "r", [*documents, fakes.record("zeroshot")])
    [one] = groups.group(record.load(tmp_path / "r"))
    names = [look.name for look in figure.looks(one).values()]
    assert len(set(names)) == len(names) == 5
    assert max(map(len, names)) < 140 < max(len(row.label) for row in one.rows)
    assert any("…" in name for name in names)
    assert len(drawing.write([one], tmp_path, ["png"])[one.name]) == 4


def test_a_method_looks_the_same_in_all_figures_of_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = fakes.sweep(1, ("lora", "vpt"), dataset="rsicd")
    documents += fakes.sweep(1, ("adapter", "lora", "vpt"))
    fakes.save(tmp_path / "r", documents)
    two = groups.group(record.load(tmp_path / "r"))
    found = [figure.looks_of([one], two)["lora"] for one in two]
    assert found[0] == found[1] != figure.looks(two[0])["lora"]
    jobs: list[drawing.Job] = []
    monkeypatch.setattr(drawing, "_draw", lambda todo: jobs.extend(todo) or [True] * len(todo))
    drawing.write(two, tmp_path)
    assert {job.look["lora"] for job in jobs} == {found[0]}
    other = jobs[0].digest
    jobs.clear()
    drawing.write(two[:1], tmp_path)  # without the other group it looks otherwise
    assert jobs[0].digest != other
    monkeypatch.setattr(figure, "MARKERS", "o")  # too few to tell five calls apart
    assert figure.looks_of(two[:1], two) == figure.looks(two[0])


def test_rows_are_told_apart_without_colour(crowded: groups.Group) -> None:
    found = figure.looks(crowded)
    shapes = [(look.marker, look.filled) for look in found.values()]
    assert len(set(shapes)) == len(shapes) == 17
    of_method = {look.colour for label, look in found.items() if label.startswith("cmer")}
    assert len(of_method) == 1


def test_files_and_what_is_left_out(crowded: groups.Group, tmp_path: Path) -> None:
    [paths] = drawing.write([crowded], tmp_path, ["svg"]).values()
    kinds = ("recall_memory", "recall_throughput", "learning_curves", "memory_parts")
    assert [path.name for path in paths] == [f"ucm-starter-{kind}.svg" for kind in kinds]
    assert max(path.stat().st_size for path in paths) < 130_000
    fakes.save(tmp_path / "zero", fakes.sweep(2, ["zeroshot"]))
    [one] = groups.group(record.load(tmp_path / "zero"))
    assert drawing.write([one], tmp_path / "none", ["svg"]) == {one.name: []}


def test_one_look_is_no_curve(tmp_path: Path) -> None:
    documents = fakes.sweep(1, ["lora"])
    fakes.save(tmp_path / "many", documents)
    [many] = groups.group(record.load(tmp_path / "many"))
    assert plots.learning_curves(many, figure.looks(many)) is not None
    for document in documents:
        document["curve"] = document["curve"][-1:]
    fakes.save(tmp_path / "one", documents)
    [one] = groups.group(record.load(tmp_path / "one"))
    assert plots.learning_curves(one, figure.looks(one)) is None


def test_only_what_changed_is_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes.save(tmp_path / "r", [fakes.record(m, dataset=d) for m in ("lora", "cmer") for d in DATA])
    found = groups.group(record.load(tmp_path / "r"))
    first = drawing.write(found, tmp_path, ["svg"])
    before = {path: path.read_bytes() for paths in first.values() for path in paths}
    drawn: list[str] = []
    draw_all = drawing.draw_all

    def counted(jobs: list[drawing.Job]) -> list[bool]:
        drawn.extend(job.paths[0].name for job in jobs)
        return draw_all(jobs)

    monkeypatch.setattr(drawing, "draw_all", counted)
    monkeypatch.setattr(drawing, "ALONE", 100)
    assert drawing.write(found, tmp_path, ["svg"]) == first
    assert drawn == []
    found[1].ok[0].record["efficiency"]["gradient_bytes"] += 2**24
    next(iter(before)).unlink()
    assert drawing.write(found, tmp_path, ["svg"]) == first
    assert len(drawn) == 5
    before_digest = drawing.digest_of("facts")
    monkeypatch.setattr("importlib.metadata.version", lambda name: "another matplotlib")
    drawing._code.cache_clear()
    assert drawing.digest_of("facts") != before_digest
    drawing._code.cache_clear()
    assert sum(path.read_bytes() != was for path, was in before.items()) == 4


def test_many_plots_are_drawn_in_several_processes(tmp_path: Path) -> None:
    fakes.save(tmp_path / "r", [fakes.record(m, dataset=d) for m in ("lora", "cmer") for d in DATA])
    found = groups.group(record.load(tmp_path / "r"))
    shared = drawing.write(found, tmp_path, ["png"])
    assert [len(paths) for paths in shared.values()] == [4, 4]
    for one in found:
        (tmp_path / "alone").mkdir(exist_ok=True)
        for path in drawing.write([one], tmp_path / "alone", ["png"])[one.name]:
            assert path.read_bytes() == (tmp_path / path.name).read_bytes()


def test_batch_size_against_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = []
    for size in (32, 64, 128):
        for method in ("lora", "cmer"):
            one = fakes.record(method, recipe={"batch_size": size})
            one["efficiency"]["saved_for_backward_bytes"] *= size / 128
            documents.append(one)
    documents.append(fakes.record("cmer", recipe={"batch_size": 256, "augment": False}))
    fakes.save(tmp_path / "r", documents)
    found = groups.group(record.load(tmp_path / "r"))
    assert len({one.family for one in found}) == 2
    families = drawing._families(found)
    [family] = families
    assert [one.recipe["batch_size"] for one in family] == [32, 64, 128]
    name = family[0].name
    monkeypatch.setattr(drawing, "SINGLE", ())
    [path] = drawing.write(found, tmp_path, ["svg"])[name]
    assert path.name == f"{name}-batch_memory.svg"
    drawn = plots.batch_memory(family, figure.looks(*family))
    assert drawn is not None
    lines = [line for line in drawn.axes[0].lines if len(line.get_xdata()) == 3]
    assert [line.get_xdata().tolist() for line in lines] == [[32, 64, 128]] * 2
    heights = lines[0].get_ydata()
    assert heights[2] == pytest.approx(4 * heights[0], rel=1e-3)
    assert heights[2] == pytest.approx(1150)  # MiB of cmer's
    assert plots.batch_memory(family[:1], figure.looks(*family)) is None


@pytest.mark.parametrize("number", [1, 2])
def test_one_or_two_methods(tmp_path: Path, number: int) -> None:
    fakes.save(tmp_path / "r", fakes.sweep(1, ["lora", "cmer"][:number]))
    [one] = groups.group(record.load(tmp_path / "r"))
    found = drawing.write([one], tmp_path, ["png"])[one.name]
    against = {"recall_memory", "recall_throughput"} if number == 2 else set()
    kinds = {path.stem.rpartition("-")[2] for path in found}
    assert kinds == {"learning_curves", "memory_parts"} | against


def test_same_bytes(crowded: groups.Group, tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    [first], [second] = (drawing.write([crowded], tmp_path / d).values() for d in ("", "again"))
    assert len(first) == 12
    for a, b in zip(first, second, strict=True):
        assert a.read_bytes() == b.read_bytes(), a.name


@pytest.mark.parametrize(
    ("value", "words"), [(2.0**29, "512 MiB"), (1.5 * 2**30, "1.5 GiB"), (2.0**13, "8 KiB")]
)
def test_bytes_in_words(value: float, words: str) -> None:
    assert tradeoff.bytes_words(value) == words
