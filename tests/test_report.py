"""The written report: every table in every form, published results, calibration, CSV, LaTeX."""

import csv
import io
import json
import re
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from bench import UserError, cli, record
from bench.recipe import Recipe
from bench.report import contents, csvs, latex, markdown, plots, published, tables, terminal
from bench.report.grouping import group_records
from tests.helpers import fake_records as fakes
from tests.helpers.calls import calls
from tests.helpers.fake_records import by_hand, groups_of

TUNED = """
seeds = [0]
recipe = { epochs = 30.0, steps = 30, batch_size = 128 }
[[tuned]]
dataset = "ucm"
backbone = "starter"
call = "lora"
lr = 0.006
grid = [0.002, 0.006]
val_mR = [16.2, -1.0]
at_edge = true
"""
LONG = {"rank": 16, "targets": "attention,mlp", "where": "last_half_of_the_blocks", "dropout": 0.1}
"""Settings whose call has 92 letters."""


@pytest.fixture
def no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports without plots, which take most of the time."""
    monkeypatch.setattr(plots, "draw", lambda *_, **__: {})


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder of many kinds of records, and its report without plots."""
    root = tmp_path_factory.mktemp("mixed")
    documents = fakes.mixed()
    gpu = {"dataset": "rsitmd", "backbone": "ViT-B-32-quickgelu:openai", "gpu": "NVIDIA H200"}
    documents += [fakes.record("lora", seed, **gpu, **LONG) for seed in range(3)]
    fakes.save(root / "results", documents)
    (root / "results" / "tuned-ucm.toml").write_text(TUNED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "draw", lambda *_, **__: {})
        fakes.write_report(root / "results", root / "reports")
    return root / "results", root / "reports"


CLIP = {"dataset": "rsitmd", "backbone": "ViT-B-32-quickgelu:openai"}


@pytest.mark.parametrize(
    ("method", "mr", "given", "expected"),
    [
        ("zeroshot", 23.6, CLIP, "on rsitmd: mR 23.60, published 23.05 to 24.19: as it should be"),
        ("zeroshot", 18.0, CLIP, "mR 18.00, published 23.05 to 24.19. Look for the fault"),
        ("zeroshot", 18.0, CLIP, "(try ViT-B-32:openai)"),
        ("zeroshot", 18.0, {"backbone": "ViT-B-32:openai"}, "published 33.08."),
        (
            *("zeroshot", 36.0),
            {"dataset": "rsicd", "backbone": "ViT-L-14-quickgelu:RemoteCLIP-ViT-L-14.pt"},
            "published 36.35: as it should be",
        ),
        ("zeroshot", 18.0, {"dataset": "rsitmd"}, ""),  # nobody published the starter backbone
        ("lora", 18.0, CLIP, ""),  # nor is a trained method a calibration
    ],
)
def test_zero_shot_results_are_compared_with_published_ones(
    tmp_path: Path, method: str, mr: float, given: dict[str, str], expected: str
) -> None:
    results = published.calibrations(groups_of(tmp_path, by_hand(method, [mr], **given)))
    assert bool(results) == bool(expected)
    for result in results:
        assert expected in result.sentence
        assert result.fits == ("as it should be" in result.sentence)


@pytest.mark.usefixtures("no_plots")
def test_a_backbone_trained_on_the_data_set_is_marked_everywhere(tmp_path: Path) -> None:
    remote = "ViT-B-32:RemoteCLIP-ViT-B-32.pt"
    documents = by_hand("zeroshot", [40.0], dataset="rsitmd", backbone=remote)
    documents += by_hand("lora", [41.0], dataset="rsitmd", backbone="ViT-B-32:mine.pt")
    documents[-1]["backbone"]["trained_on"] = ["rsitmd"]
    documents += by_hand("lora", [20.0], dataset="rsicd", backbone="starter")
    documents += by_hand("lora", [20.0], dataset="ucm", backbone="starter")
    found = groups_of(tmp_path / "results", documents)
    assert {(group.dataset, group.spec): group.title.count(" § · ") for group in found} == {
        ("rsicd", "starter"): 1,
        ("rsitmd", remote): 1,
        ("rsitmd", "ViT-B-32:mine.pt"): 1,
        ("ucm", "starter"): 0,
    }
    part = published.beside_ours(found, "rsitmd") or pytest.fail("nothing is published")
    signs = {row[1].text: row[1].sign for row in part.table.rows[:2]}
    assert signs == {remote: " §", "ViT-B-32:mine.pt": " §"}
    assert sum(f"§ {remote} was trained on" in text for text in part.notes) == 1
    out = tmp_path / "out"
    fakes.write_report(tmp_path / "results", out)
    written = [(out / name).read_text() for name in ("report.md", "index.html")]
    for text in [*written, screen(tmp_path / "results", 100)]:
        assert text.count("§ starter was trained on the training images") >= 1
    for name in ("recall", "cost"):
        tex = (out / "latex" / f"rsicd-starter-{name}.tex").read_text()
        assert r"starter \S{}" in tex[tex.index(r"\caption") :]
        assert "was trained on the training images" in tex


def test_published_numbers_are_whole() -> None:
    rows = published.numbers()
    assert len(rows) > 80
    for row in rows:
        six = [row[f"{way}_R{k}"] for way in ("i2t", "t2i") for k in (1, 5, 10)]
        if any(six):
            mean = statistics.fmean(map(float, six))
            assert mean == pytest.approx(float(row["mR_recomputed"]), abs=0.011)
        else:  # only the mean was found
            assert not row["mR_recomputed"]
            assert float(row["mR"]) > 0
        assert row["source"]
        assert row["backbone"]
        assert row["protocol"]


def test_published_beside_ours(mixed: tuple[Path, Path]) -> None:
    text = (mixed[1] / "report.md").read_text()
    section = text[text.index("## Published on rsitmd") : text.index("## Published on ucm")]
    assert "| `cmer` | ViT-B-32-quickgelu:openai |" in section
    assert "oracle" not in section
    known = group_records(record.load(mixed[0]))

    def beside(dataset: str, **change: object) -> tables.Part:
        changed = [replace(group, **change) for group in known]
        return published.beside_ours(changed, dataset) or pytest.fail("nothing is published")

    part = beside("rsitmd")
    legend = " ".join(part.notes)
    stated = "trained on train and val; selection not stated"
    for name, protocol, source in (
        ("cmer", "best on val", "ours, NVIDIA H200"),
        ("PE-RSITR (MRS-Adapter+HMMC)", stated, "PE-RSIT"),
        ("HarMA (CLIP)", "its code: 80% of train, best epoch on test kept", "THIRD-PARTY"),
    ):
        [row] = [row for row in part.table.rows if row[0].text == name]
        letter, number = row[-1].text.split()
        assert f" {letter}: {protocol}" in legend
        assert f" {number}: {source}" in legend
    figures = " ".join(cell.text for cell in row[3:10])
    assert figures == "46.53 25.81 48.37 60.61 19.92 53.27 71.21"
    [off] = [row for row in part.table.rows if row[3].sign]
    assert (off[0].text, off[3].text) == ("AdaptFormer", "34.81")
    assert legend.endswith("is not the mR printed: AdaptFormer 34.51.")
    assert beside("rsicd").notes[-1].endswith("CLIP-CL full FT on RET-3 33.84.")
    assert not any(row[0].code for row in beside("rsitmd", cached_features=1).table.rows)
    both = beside("rsitmd", recipe=Recipe(track="train+val"))
    assert both.notes[0].startswith("Protocol a: train+val, last step;")


@pytest.mark.parametrize(
    ("cell", "written", "set_"),
    [
        (
            tables.Cell("4.1", "0.2", "best"),
            "**4.1**\u00a0±\u00a00.2",
            r"\textbf{4.1}{\tiny$\pm$0.2}",
        ),
        (tables.Cell("4.1", mark="second"), "<ins>4.1</ins>", r"\underline{4.1}"),
        (tables.Cell("91", sign="†‡"), "91†‡", r"91$^\dagger$$^\ddagger$"),
        (tables.Cell("-1.0", sign=" *"), r"-1.0 \*", "$-$1.0*"),
        (tables.Cell("m(a='x|y_z')", code=True), r"`m(a='x\|y_z')`", r"\texttt{m(a='x$|$y\_z')}"),
        (tables.Cell("a_b*|<i>"), r"a\_b\*\|\<i\>", r"a\_b*$|$$<$i$>$"),
        (tables.Cell("{~}&c%\\x"), "{~}&c%\\\\x", r"\{\textasciitilde{}\}\&c\%\textbackslash{}x"),
    ],
)
def test_cells_in_markdown_and_latex(cell: tables.Cell, written: str, set_: str) -> None:
    assert markdown._cell(cell) == written
    assert latex._cell(cell) == set_


def test_markdown_tables_are_even(mixed: tuple[Path, Path]) -> None:
    lines = (mixed[1] / "report.md").read_text().splitlines()
    tables_ = "\n".join(line if line.startswith("|") else "" for line in lines).split("\n\n")
    widths = [
        {len(re.findall(r"(?<!\\)\|", line)) for line in t.splitlines() if line} for t in tables_
    ]
    assert all(len(width) <= 1 for width in widths)
    assert "| --- |" + " ---: |" * 8 in lines  # a method call at the left, figures at the right
    assert sum(bool(width) for width in widths) > 10


def test_a_latex_file_for_each_table(mixed: tuple[Path, Path]) -> None:
    files = sorted(path.name for path in (mixed[1] / "latex").iterdir())
    assert {name for name in files if name.startswith(("published", "search", "ucm-starter"))} == {
        *("published-rsicd-table.tex", "published-rsitmd-table.tex", "published-ucm-table.tex"),
        *("search-tuned-ucm-table.tex", "ucm-starter-recall.tex", "ucm-starter-cost.tex"),
        *("ucm-starter-settings-cmer.tex", "ucm-starter-settings-lora.tex"),
        *("ucm-starter-duplicates.tex", "ucm-starter-machine.tex", "ucm-starter-reach.tex"),
        "ucm-starter-difference.tex",
    }
    assert all(re.fullmatch(r"[A-Za-z0-9-]+\.tex", name) for name in files)
    for file in (mixed[1] / "latex").iterdir():
        text = file.read_text()
        check_latex(text)
        for caption in re.findall(r"\\caption\{(.*)\}", text):
            assert caption.count(". ") == 0, caption  # one sentence
            assert len(caption) < 250
        assert "commit" not in re.sub(r"(?m)^%.*$", "", text)
        assert text.count("% conditions: ") >= 2


@pytest.mark.usefixtures("no_plots")
def test_tables_of_an_earlier_report_are_removed(tmp_path: Path) -> None:
    fakes.save(tmp_path / "r", [fakes.record("lora")])
    folder = tmp_path / "out" / "latex"
    folder.mkdir(parents=True)
    (folder / "gone.tex").write_text(f"{latex.MADE}. Needs booktabs.\nold figures")
    (folder / "mine.tex").write_text("my own")
    fakes.write_report(tmp_path / "r", tmp_path / "out")
    names = {path.name for path in folder.iterdir()}
    assert {"mine.tex", "ucm-starter-recall.tex"} <= names
    assert "gone.tex" not in names


LAYOUTS = {
    "one column, 11 points": r"\documentclass[11pt]{article}",
    "two columns": r"\documentclass[twocolumn]{article}"
    r"\usepackage[textwidth=6.875in,textheight=8.875in]{geometry}",  # CVPR's
    "the column of two": r"\documentclass[twocolumn]{article}",
}


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no TeX")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_latex_fits_the_page(mixed: tuple[Path, Path], tmp_path: Path, layout: str) -> None:
    """No box too wide, no float too high; in one column of two where `table*` becomes `table`."""
    body = ""
    for file in sorted((mixed[1] / "latex").iterdir()):
        text = file.read_text()
        body += text.replace("table*", "table") if layout == "the column of two" else text
        body += r"\clearpage" + "\n"
    head = LAYOUTS[layout] + r"\usepackage{array,booktabs,adjustbox}"
    (tmp_path / "t.tex").write_text(rf"{head}\begin{{document}}{body}\end{{document}}")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    if re.search(r"File `(adjustbox|array)\.sty' not found", done.stdout):
        pytest.skip("a TeX without adjustbox")
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout
    assert "too large" not in done.stdout


def test_every_table_is_in_every_form(mixed: tuple[Path, Path]) -> None:
    forms = [(mixed[1] / name).read_text() for name in ("report.md", "index.html")]
    forms.append("".join(file.read_text() for file in sorted((mixed[1] / "latex").iterdir())))
    words = ("every image that carries the very caption", "Compute and machine", "Settings of cmer")
    words += ("PE-RSITR (MRS-Adapter+HMMC)", "2 points for each method, seed 0, 30 steps")
    words += ("Difference to lora, paired by seed", "of the validation mR of lora cost")
    words += ("lr 0.002, 0.006", "lr 0.006 (edge of the grid: lr)", "tuned-ucm.toml", "oracle")
    for text in forms:
        for word in words:
            assert word in text.replace(r"\allowbreak{}", ""), word


@pytest.mark.usefixtures("no_plots")
def test_only_some_methods_and_columns(tmp_path: Path) -> None:
    documents = fakes.sweep(2, ("zeroshot", "lora", "cmer", "vpt"))
    documents += [fakes.record("cmer", seed, queue=0) for seed in range(2)]
    fakes.save(tmp_path / "r", documents)
    given = {"methods": "lora,cmer(queue=0)", "columns": "memory, MR,images/s / lora"}
    fakes.write_report(tmp_path / "r", tmp_path / "out", **given)
    text = (tmp_path / "out" / "report.md").read_text()
    lines = text[text.index('<a id="ucm-starter"></a>') :].splitlines()
    heads, _, *rows = [line for line in lines if line.startswith("|")][:4]
    assert heads == "| method | n | memory, MiB | mR | images/s / lora |"
    assert sorted(row.split("`")[1] for row in rows) == ["cmer(queue=0)", "lora"]
    assert "`vpt`" not in text
    assert (tmp_path / "out" / "latex" / "ucm-starter-table.tex").is_file()
    records = list(csv.DictReader((tmp_path / "out" / "records.csv").open()))
    assert len(records) == 10  # the records are all there
    fakes.write_report(tmp_path / "r", tmp_path / "out", methods="cmer")
    text = (tmp_path / "out" / "report.md").read_text()
    assert "| `cmer` |" in text
    assert "| `cmer(queue=0)` |" in text  # a name stands for all calls
    for wrong, sentence in (
        ({"methods": "cmr"}, r"no trial of 'cmr' is recorded \(did you mean 'cmer'\?\)"),
        ({"columns": "mR,memry"}, r"no column is called 'memry' \(did you mean 'memory'\?\)"),
        ({"reference": "cmerr"}, r"no trial of 'cmerr' .* \(did you mean 'cmer'\?\)"),
        ({"reference": "lora", "methods": "cmer"}, "no trial of 'lora' .*; name it in --methods"),
    ):
        with pytest.raises(UserError, match=sentence):
            fakes.write_report(tmp_path / "r", tmp_path / "out", **wrong)


@pytest.mark.usefixtures("no_plots")
def test_a_call_names_its_rows_at_every_learning_rate(tmp_path: Path) -> None:
    rates: tuple[dict[str, float], ...] = ({}, {"lr": 1e-4})
    documents = [fakes.record("lora", rank=16, recipe=recipe) for recipe in rates]
    fakes.save(tmp_path / "r", [*documents, fakes.record("lora", rank=4, more=8)])
    fakes.write_report(tmp_path / "r", tmp_path / "out", methods="lora(rank=16)")
    text = (tmp_path / "out" / "report.md").read_text()
    assert "| `lora(rank=16) [own lr]` |" in text
    assert "| `lora(rank=16) [recipe lr=0.0001]` |" in text
    assert "rank=4" not in text
    said = r"call of several rows; .*'lora\(rank=16\) \[own lr\]', '.* \[recipe lr=0.0001\]'"
    with pytest.raises(UserError, match=said):
        fakes.write_report(tmp_path / "r", tmp_path / "out", reference="lora(rank=16)")
    fakes.write_report(tmp_path / "r", tmp_path / "out", reference="lora(rank=16) [own lr]")
    heads = (tmp_path / "out" / "latex" / "ucm-starter-cost.tex").read_text()
    assert r"{memory /\\lora(rank=16)\\{[}own lr]}" in heads  # LaTeX takes \\[...] for a distance
    ratio = "images/s / lora(rank=4, more=8)"
    given = {"reference": "lora(rank=4, more=8)", "columns": f"mR,{ratio}"}
    fakes.write_report(tmp_path / "r", tmp_path / "out", **given)
    assert f"| mR | {ratio} |" in (tmp_path / "out" / "report.md").read_text()


@pytest.mark.usefixtures("no_plots")
def test_the_screen_too_shows_only_some_methods(tmp_path: Path) -> None:
    fakes.save(tmp_path / "r", fakes.sweep(1, ("lora", "vpt")))
    words = ["report", "--results", str(tmp_path / "r"), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(cli.app, [*words, "--methods", "lora"])
    assert "lora" in done.stdout
    assert "vpt" not in done.stdout


def test_the_report_begins_with_contents_and_summary(mixed: tuple[Path, Path]) -> None:
    text = (mixed[1] / "report.md").read_text()
    links = re.findall(r"(?m)^- \[[^\]]*\]\(#([^)]*)\)", text[: text.index("## Summary")])
    assert len(links) > 5
    assert [f'<a id="{link}"></a>' in text for link in links] == [True] * len(links)
    assert text.index("## Summary") < text.index(f'<a id="{links[0]}"></a>')
    assert links[0] == "rsitmd-ViT-B-32-quickgelu-openai-NVIDIA-H200"  # 3 seeds, most methods


def check_latex(text: str) -> None:
    """Braces and environments are balanced, and each row of a tabular has all its columns."""
    text = re.sub(r"(?m)^%.*\n", "", text)
    assert text.isascii(), set(text) - set(map(chr, range(128)))
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    stack = []
    for kind, name in re.findall(r"\\(begin|end)\{([^}]*)\}", text):
        if kind == "begin":
            stack.append(name)
        else:
            assert stack.pop() == name
    assert not stack
    text = text.replace(r">{\raggedright\arraybackslash}p{11em}", "l").replace(r"\&", "")
    tabulars = re.findall(r"(?s)\\begin\{tabular\}\{([lr]+)\}(.*?)\\end\{tabular\}", text)
    assert len(tabulars) == text.count("begin{tabular}") >= 1
    for columns, body in tabulars:
        for line in body.strip().splitlines():
            if line.endswith(r"\\"):
                spans = [int(n) - 1 for n in re.findall(r"\\multicolumn\{(\d+)\}", line)]
                assert line.count("&") + 1 + sum(spans) == len(columns), line


def test_a_long_table_goes_on_in_another_float() -> None:
    rows = [[tables.Cell(f"m{k}", code=True), tables.Cell("1.0")] for k in range(70)]
    table = tables.Table(["method", "figure"], rows, breaks=(1, latex.ROWS + 5))
    part = tables.Part("one", "A table", table, ["A note."])
    text = latex.write(contents.Section("s", "S", [part]), part)
    pieces = re.findall(r"(?s)\\midrule\n(.*?)\\bottomrule", text)
    for piece, (first, gap) in zip(pieces, ((0, 1), (latex.ROWS, 5)), strict=True):
        lines = piece.splitlines()
        assert lines[0].startswith(rf"\texttt{{m{first}}} & 1.0")
        assert [n for n, line in enumerate(lines) if line == r"\addlinespace"] == [gap]
    assert text.count("A table (1 of 2).") == text.count("A table (2 of 2).") == 1
    assert text.count("A note.") == 1


def test_csv_have_all_records_and_full_precision(mixed: tuple[Path, Path]) -> None:
    tidy = list(csv.DictReader((mixed[1] / "records.csv").open()))
    assert len(tidy) == len(record.paths(mixed[0]))
    assert {row["status"] for row in tidy} == set(record.STATUSES)
    one = next(row for row in tidy if row["status"] == "ok")
    document = json.loads((mixed[0] / one["path"]).read_text())
    assert float(one["metrics.test.mR"]) == document["metrics"]["test"]["mR"]
    rows = list(csv.DictReader((mixed[1] / "table.csv").open()))
    order = ["trial.dataset", "trial.backbone", "trial.method", "trial.call"]
    order += sorted(name for name in tidy[0] if name.startswith("trial.settings."))
    order += ["lr", "trial.seed", "status", "metrics.test.mR", "metrics.test.i2t_R@1"]
    assert list(tidy[0])[: len(order)] == order
    lora = next(r for r in rows if r["group"] == "ucm-starter" and r["method"] == "lora")
    values = [
        float(r["metrics.test.mR"])
        for r in tidy
        if (r["trial.dataset"], r["trial.call"]) == ("ucm", "lora")
    ]
    assert float(lora["mR_mean"]) == pytest.approx(statistics.mean(values))
    assert float(lora["mR_std"]) == pytest.approx(statistics.stdev(values))
    assert lora["mR_n"] == "3"


def test_parquet_has_all_records(
    mixed: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    tidy = pandas.read_parquet(mixed[1] / "records.parquet")
    plain = pandas.read_csv(mixed[1] / "records.csv")
    assert list(tidy.columns) == list(plain.columns)
    assert tidy["metrics.test.mR"].tolist() == pytest.approx(
        plain["metrics.test.mR"].tolist(), nan_ok=True
    )
    assert tidy["status"].tolist() == plain["status"].tolist()
    frame = record.load(mixed[0])[["status", "data.notes"]].head(2)
    frame["odd"] = [1, "word"]
    assert csvs.parquet(frame, tmp_path / "odd.parquet")
    assert pandas.read_parquet(tmp_path / "odd.parquet")["odd"].tolist() == ["1", '"word"']
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert not csvs.parquet(frame, tmp_path / "none.parquet")
    assert not (tmp_path / "none.parquet").exists()


def test_same_records_same_bytes(tmp_path: Path) -> None:
    documents = fakes.sweep(2, ("zeroshot", "lora", "cmer"))
    fakes.save(tmp_path / "a" / "results", documents)
    for source in sorted((tmp_path / "a").rglob("*.json"), reverse=True):  # another order on disk
        target = tmp_path / "b" / source.relative_to(tmp_path / "a")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    first = fakes.write_report(tmp_path / "a" / "results", tmp_path / "a" / "reports")
    time.sleep(1.1)  # a date in a file would show
    second = fakes.write_report(tmp_path / "b" / "results", tmp_path / "b" / "reports")
    assert [path.name for path in first] == [path.name for path in second]
    assert len(first) >= 15
    for a, b in zip(first, second, strict=True):
        assert a.read_bytes() == b.read_bytes(), a.name
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]*)\)", (tmp_path / "a/reports/report.md").read_text())
    assert {tmp_path / "a" / "reports" / name for name in pictures} < set(first)


def screen(results: Path, width: int) -> str:
    """What a terminal of some width shows of the records."""
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(terminal.table(group_records(record.load(results))))
    return console.export_text()


@pytest.mark.parametrize("width", [80, 100])
def test_console_table_fits(mixed: tuple[Path, Path], width: int) -> None:
    text = screen(mixed[0], width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for number in ("zeroshot", "out of", "images/s", "warning: zeroshot"):
        assert number in text
    line = next(line for line in text.splitlines() if line.strip().startswith("full "))
    assert len(re.findall(r"\d[\d.,]*", line)) == 8  # n, two R@1, mR and its spread, three costs


def test_on_the_screen_a_mark_is_explained_once_for_all_groups(tmp_path: Path) -> None:
    documents = [fakes.record("lora", dataset=dataset) for dataset in ("rsicd", "ucm")]
    for document in documents:
        document["efficiency"]["warning"] = "another process holds 9 GiB of the GPU"
    fakes.save(tmp_path, documents)
    text = " ".join(screen(tmp_path, 100).split())
    assert text.count("† the machine was busy with something else, so these figures") == 1
    assert text.count("kept MiB: what one training step keeps") == 1


def test_words_in_brackets_are_shown_on_the_screen() -> None:
    """Rich would take them for its markup and leave them out."""
    cells = [tables.Cell("lora [own lr]", code=True), tables.Cell("31.6")]
    part = tables.Part("one", "On [b] and [c]", tables.Table(["method", "mR"], [cells]))
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(terminal.short(part))
    text = console.export_text()
    assert "lora [own lr]" in text
    assert "On [b] and [c]" in text


def test_some_hundred_records_in_seconds(tmp_path: Path) -> None:
    documents = [
        fakes.record(method, seed, dataset=dataset)
        for dataset in ("ucm", "rsicd")
        for method in fakes.METHODS
        for seed in range(12)
    ]
    assert len(documents) >= 300
    fakes.save(tmp_path / "results", documents)
    work = calls(fakes.write_report, tmp_path / "results", tmp_path / "out")
    assert work < 20_000_000  # 4,500,000 in two seconds where this was written


def test_a_report_does_without_torch(tmp_path: Path) -> None:
    fakes.save(tmp_path / "results", [fakes.record("lora")])
    (tmp_path / "results" / "tuned.toml").write_text(TUNED)
    code = "import sys; from bench.cli import app; app(sys.argv[1:], standalone_mode=False); "
    code += "assert not {'torch', 'open_clip'} & sys.modules.keys()"  # they take seconds to import
    options = ["--results", str(tmp_path / "results"), "--out", str(tmp_path / "out")]
    command = [sys.executable, "-c", code, "report", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
