"""The difference to the reference, paired by seed: hand-made recalls with known intervals."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from bench.report import difference, plots
from tests.helpers import fake_records as fakes
from tests.helpers.fake_records import group_of


def measured(
    method: str, validation: Sequence[float], test: Sequence[float], **given: Any
) -> list[dict[str, Any]]:
    """Records of seeds 0, 1 and so on with these mR; without validation if none is given."""
    documents = []
    for seed, recall in enumerate(test):
        document = fakes.record(method, seed, **given)
        document["metrics"]["test"]["mR"] = recall
        if validation:
            document["metrics"]["val"]["mR"] = validation[seed]
        else:
            del document["metrics"]["val"]
        documents.append(document)
    return documents


def sample() -> list[dict[str, Any]]:
    """LoRA, and methods that differ from it by known amounts."""
    lora = measured("lora", [50.0, 51.0, 53.0, 90.0], [40.0, 41.0, 42.0, 90.0])
    cmer = measured("cmer", [49.0, 49.0, 50.0], [41.0, 41.0, 43.0])  # by -1, -2, -3 and 1, 0, 1
    zeroshot = measured("zeroshot", [], [20.0, 21.0, 22.0])  # by -20 in every seed
    alone = measured("vpt", [50.0], [40.0])
    failed = [fakes.record("bitfit", seed, status="diverged") for seed in range(3)]
    return [*lora, *cmer, *zeroshot, *alone, *failed]


def test_differences_by_hand(tmp_path: Path) -> None:
    part = difference.difference_table(group_of(tmp_path, sample()), "lora")
    assert part is not None
    assert part.title == "Difference to lora, paired by seed, in points of mR"
    assert part.table.heads == ["method", "seeds in common", "validation mR", "test mR", "differs"]
    cells = {row[0].text: [(c.text, c.spread) for c in row[1:4]] for row in part.table.rows}
    # Half of the interval: 4.303, a quantile of Student's t, times the standard error. That is
    # 1 / sqrt 3 of -1, -2, -3, and 1 / 3 of 1, 0, 1. LoRA's fourth seed does not count.
    assert cells == {
        "cmer": [("3", ""), ("-2.0", "2.5"), ("+0.7", "1.4")],
        "zeroshot": [("3", ""), ("–", ""), ("-20.0", "0.0")],
        "vpt": [("1", ""), ("–", ""), ("–", "")],
    }
    other = difference.difference_table(group_of(tmp_path, sample()), "cmer")
    assert other is not None
    [lora] = [row for row in other.table.rows if row[0].text == "lora"]
    assert [cell.text for cell in lora[1:4]] == ["3", "+2.0", "-0.7"]


def test_the_interval_is_that_of_scipy(tmp_path: Path) -> None:
    mine, other = [31.2, 30.1, 33.9, 28.0, 30.4], [28.8, 30.5, 29.1, 27.7, 29.0]
    documents = [*measured("lora", other, other), *measured("cmer", mine, mine)]
    group = group_of(tmp_path, documents)
    test = difference.difference_of(group.row("cmer"), group, "lora").test
    low, high = stats.ttest_rel(mine, other).confidence_interval(0.95)
    ends = test.mean - test.half_width, test.mean + test.half_width
    assert ends == pytest.approx((low, high), rel=1e-6)
    assert test.p == pytest.approx(stats.ttest_rel(mine, other).pvalue, rel=1e-6)


@pytest.mark.parametrize("documents", [measured("cmer", [1.0, 2.0], [1.0, 2.0]), sample()[3:5]])
def test_without_two_seeds_of_the_reference_there_is_no_table(
    tmp_path: Path, documents: list[dict[str, Any]]
) -> None:
    assert difference.difference_table(group_of(tmp_path, documents), "lora") is None


def test_the_differences_are_in_every_form_of_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plots, "draw", lambda *_, **__: {})  # takes long
    fakes.save(tmp_path / "r", sample())
    fakes.write_report(tmp_path / "r", tmp_path / "out")
    for name, shown in {
        "report.md": "| `cmer` | 3 | -2.0\u00a0±\u00a02.5 | +0.7\u00a0±\u00a01.4 |",
        "index.html": "<td>-2.0 <small>± 2.5</small></td><td>+0.7 <small>± 1.4</small></td>",
        "latex/ucm-starter-difference.tex": r"3 & $-$2.0{\tiny$\pm$2.5} & +0.7{\tiny$\pm$1.4} \\",
    }.items():
        text = (tmp_path / "out" / name).read_text(encoding="utf-8")
        assert shown in text, name
        assert "Difference to lora, paired by seed" in text, name
        assert "half of its 95% interval" in text.replace("\\", ""), name
    assert "standard deviation" not in text  # the note on other tables' ±
    recall, rest = (tmp_path / "out" / "report.md").read_text().split("Difference to lora")
    assert recall.endswith("**")
    assert "What training costs" in rest  # above the costs and plots
    with (tmp_path / "out" / "table.csv").open(encoding="utf-8") as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert rows["cmer"]["difference_to"] == "lora"
    assert rows["cmer"]["difference_seeds"] == "3"
    assert float(rows["cmer"]["val_mR_difference"]) == pytest.approx(-2)
    assert float(rows["cmer"]["test_mR_difference_half_width"]) == pytest.approx(4.30265 / 3)
    assert rows["zeroshot"]["val_mR_difference"] == rows["lora"]["difference_to"] == ""
