"""Trained methods on the test set of another data set: recorded, told, tabled."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from bench import UserError, cli, data, record
from bench.recalls import METRICS
from bench.report import contents, markdown
from bench.report import transfer as report
from bench.report.entry import RECALL
from bench.report.grouping import group_records
from bench.trained import transfer
from tests.helpers import fake_records as fakes
from tests.helpers.trained import trained


@pytest.fixture
def other(tiny: Path) -> Path:
    """`tiny`, and the card `other.toml` of a data set of four test images alone."""
    folder = tiny / "other"
    (folder / "images").mkdir(parents=True)
    images = []
    for number in range(4):
        Image.new("RGB", (40, 40), (60 * number, 90, 30)).save(folder / f"images/{number}.png")
        said = [{"raw": f"a plain picture number {number} of one colour"}]
        images.append({"filename": f"{number}.png", "split": "test", "sentences": said})
    # two long sentences of a training image of `tiny`
    images[3]["sentences"] = [{"raw": f"picture 0 of a pond , version {k} ."} for k in range(2)]
    (folder / "dataset.json").write_text(json.dumps({"images": images}))
    (tiny / "other.toml").write_text(
        'kind = "karpathy"\nannotation = "dataset.json"\nimages = "images"\n[counts]\ntest = 4\n'
    )
    return tiny


def run(root: Path, *words: object) -> Any:
    arguments = ["evaluate", *map(str, words), "--data-root", str(root)]
    return CliRunner().invoke(cli.app, arguments, env={"COLUMNS": "80"})


def test_a_trained_method_is_tested_elsewhere_and_that_is_recorded(other: Path) -> None:
    path, _ = trained(other, "linear")
    before = path.read_bytes()
    done = run(other, path, "--dataset", other / "other.toml")
    assert done.exit_code == 0, done.output
    assert "ok tiny starter linear seed 0 on other: mR " in done.stdout
    assert "(12.5 on its own test set)" in done.stdout
    assert "1 of the 4 test images share captions with images that it was trained" in done.stdout
    assert "Transfer to other: trained on tiny, recall on the 4 test images of other" in (
        " ".join(done.stdout.split())
    )
    (file,) = (path.parent / "transfer").iterdir()
    assert file == transfer.path_of(path, "other")
    assert path.read_bytes() == before
    assert record.paths(other / "results") == [path]  # no result is taken for a trial
    found = transfer.results_of(path, record.read(path))["other"]
    assert [found[key] for key in ("test_images", "shared", "captions_cut", "seed")] == [4, 1, 0, 0]
    assert found["hashes"].keys() == {"test", "annotation"}
    assert found["identity"] == record.read(path)["identity"]
    assert 0 <= found["metrics"]["mR"] <= 100
    assert found["metrics"]["ceiling_t2i_R@1"] == 100


def test_the_figures_are_those_of_the_method_on_those_images(other: Path) -> None:
    """A method that is tested on a copy of its own data set reaches what it does there."""
    path, _ = trained(other, "lora")
    text = (other / "tiny.toml").read_text()
    (other / "copy.toml").write_text(f'folder = "tiny"\n{text}'.replace('"tiny"\nti', '"copy"\nti'))
    result = transfer.measure(path, data.card(str(other / "copy.toml")), other)
    assert result["metrics"] == pytest.approx(transfer.retest(path, other))
    assert result["shared"] == 0
    elsewhere = transfer.measure(path, data.card(str(other / "other.toml")), other)
    assert elsewhere["metrics"] != result["metrics"]


def test_what_is_recorded_is_not_measured_again(
    other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = trained(other, "linear")
    words = (path.parent, "--dataset", f"{other / 'other.toml'},{other / 'tiny.toml'}")
    first = run(other, *words)
    assert "left out tiny starter linear seed 0: tiny is its own data set" in first.stdout
    file = transfer.path_of(path, "other")
    content = file.read_bytes()
    monkeypatch.setattr(transfer, "measure", None)
    assert "recorded tiny starter linear seed 0 on other" in run(other, *words).stdout
    monkeypatch.undo()
    assert file.read_bytes() == content
    assert run(other, *words, "--rerun").exit_code == 0
    assert len(list(file.parent.glob("*.replaced"))) == 1  # nothing recorded is lost
    record.write(path, record.read(path) | {"finished": "later"})  # the trial was repeated
    assert transfer.results_of(path, record.read(path)) == {}
    assert "ok tiny starter linear seed 0 on other" in run(other, *words).stdout


def test_what_was_measured_on_another_test_set_is_measured_again(other: Path) -> None:
    path, _ = trained(other, "linear")
    words = (path, "--dataset", other / "other.toml")
    assert run(other, *words).exit_code == 0
    captions = other / "other" / "dataset.json"
    captions.write_text(captions.read_text().replace("of one colour", "of a single colour"))
    assert "ok tiny starter linear seed 0 on other" in run(other, *words).stdout
    assert "recorded tiny starter linear seed 0 on other" in run(other, *words).stdout


def test_without_a_data_set_it_is_tested_on_its_own_again(other: Path) -> None:
    path, _ = trained(other, "zeroshot")
    done = run(other, path)
    assert done.exit_code == 0, done.output
    assert "ok tiny starter zeroshot seed 0: mR " in done.stdout
    assert "now, 12.50 recorded" in done.stdout
    assert not (path.parent / "transfer").exists()
    shutil.rmtree(other / "tiny")  # for another data set, its own need not be there
    with pytest.raises(UserError, match="is not there"):
        transfer.retest(path, other)
    result = transfer.measure(path, data.card(str(other / "other.toml")), other)
    assert result["shared"] is None


def test_what_cannot_be_tested_is_named_and_the_rest_is_done(
    other: Path, recwarn: pytest.WarningsRecorder
) -> None:
    lost, _ = trained(other, "linear")
    lost.with_suffix(".safetensors").unlink()
    kept, _ = trained(other, "zeroshot")
    broken = kept.with_name("seed9-broken.json")
    broken.write_text("{")
    done = run(other, other / "results", "--dataset", other / "other.toml")
    assert done.exit_code == 1
    assert f"left out: {broken} is not a sound record" in done.stdout
    assert "failed tiny starter linear seed 0 on other: the trained weights" in done.stdout
    assert "--rerun" in done.stdout
    assert "ok tiny starter zeroshot seed 0 on other" in done.stdout
    assert transfer.results_of(kept, record.read(kept)).keys() == {"other"}
    done = run(other, broken, "--dataset", other / "other.toml")
    assert f"failed {broken} on other: {broken} is not a sound record" in done.stdout
    assert not [warning for warning in recwarn if str(broken) in str(warning.message)]
    (other / "more").mkdir()
    twin = shutil.copy(other / "other.toml", other / "more")
    for words, said in (
        ((other / "tiny",), "has no record of a trial that ended well"),
        ((kept, "--dataset", "ucmm"), "no data set 'ucmm'"),
        ((kept, "--dataset", ","), "--dataset names nothing"),
        ((kept, "--dataset", f"{other / 'other.toml'},{twin}"), "sets are called other"),
        ((kept, "--dataset", "ucm"), "'ucm' is not there"),
    ):
        assert said in str(run(other, *words).exception)


@pytest.mark.parametrize("mode", ["oracle", "predicted"])
def test_a_method_that_reads_scenes_needs_a_data_set_with_scenes(other: Path, mode: str) -> None:
    path, _ = trained(other, "cmer", scene_at_test=mode)
    done = run(other, path, "--dataset", other / "other.toml")
    assert done.exit_code == 1
    assert "other has no scenes; state [scenes] on its card" in " ".join(done.stdout.split())


def test_a_file_that_is_no_result_is_told_and_replaced(other: Path) -> None:
    path, _ = trained(other, "zeroshot")
    file = transfer.path_of(path, "other")
    file.parent.mkdir(parents=True)
    file.write_text('{"schema": 1}')
    told: list[str] = []
    assert transfer.results_of(path, record.read(path), told.append) == {}
    assert "is not a sound result on another data set: 'identity' is missing" in told[0]
    assert run(other, path, "--dataset", other / "other.toml").exit_code == 0
    assert transfer.results_of(path, record.read(path), told.append).keys() == {"other"}
    assert len(told) == 1


# The report.


def made(folder: Path, method: str, seed: int, dataset: str, mr: float, **more: Any) -> None:
    """A made record with mR 40 and a made result on another data set."""
    document = fakes.record(method, seed)
    (path,) = fakes.save(folder, [document])
    result = {
        "schema": 1,
        "identity": document["identity"],
        "trial_finished": document.get("finished"),
        "seed": seed,
        "dataset": dataset,
        "test_images": 452,
        "hashes": {"test": "a"},
        "card": "b",
        "captions_cut": 0,
        "shared": 0,
        "notes": [],
        "metrics": dict.fromkeys(METRICS, mr),
        "device": "cpu",
        "environment": {},
        "finished": f"2026-01-0{seed + 1}",
    }
    record.write(transfer.path_of(path, dataset), result | more)


def test_the_report_has_a_table_for_each_data_set(tmp_path: Path) -> None:
    for seed in (0, 1):
        made(tmp_path, "lora", seed, "rsitmd", 20.0 + 2 * seed)
    made(tmp_path, "vpt", 0, "rsitmd", 30.0, shared=24)
    made(tmp_path, "vpt", 0, "sydney", 10.0)
    frame = record.load(tmp_path)
    (group,) = group_records(frame)
    first, second = report.tables(group, tmp_path)
    assert first.title.startswith(
        f"Transfer to rsitmd: trained on {group.dataset}, recall on the 452"
    )
    assert first.title.endswith(
        "24 of them share captions with images trained on, so part of this is no transfer"
    )
    assert (first.name, second.name) == ("transfer-rsitmd", "transfer-sydney")
    assert "Transfer to sydney" in second.title
    assert "share" not in second.title
    assert [[row[0].text, row[1].text, row[2].text, row[2].spread] for row in first.table.rows] == [
        ["vpt", "1", "30.0", ""],
        ["lora", "2", "21.0", "1.4"],
    ]
    assert first.table.heads[2:9] == [
        *("mR", "i2t R@1", "i2t R@5", "i2t R@10", "t2i R@1", "t2i R@5", "t2i R@10"),
    ]
    made(tmp_path, "vpt", 0, "sydney", 10.0, shared=None)  # what it trained on was not there
    assert report.tables(group, tmp_path)[1].title.endswith("images trained on is not known")
    assert len(report.tables(group, tmp_path, short=True)[0].table.heads) == 6
    said = markdown.write(contents.contents(frame, [group], tmp_path, "lora", {}))
    assert "Transfer to rsitmd" in said


def test_results_on_an_older_state_of_the_test_set_are_not_mixed(tmp_path: Path) -> None:
    made(tmp_path, "lora", 0, "rsitmd", 20.0, hashes={"test": "older"})
    made(tmp_path, "lora", 1, "rsitmd", 30.0)
    made(tmp_path, "vpt", 0, "rsitmd", 10.0, hashes={"test": "older"})
    (group,) = group_records(record.load(tmp_path))
    [part] = report.tables(group, tmp_path)
    assert [[row[0].text, row[1].text, row[2].text] for row in part.table.rows] == [
        ["lora", "1", "30.0"]
    ]


def test_beside_a_transfer_stands_the_recall_of_the_same_seeds(tmp_path: Path) -> None:
    fakes.save(tmp_path, [fakes.record("lora", 0)])
    made(tmp_path, "lora", 1, "rsitmd", 20.0)
    (group,) = group_records(record.load(tmp_path))
    [part] = report.tables(group, tmp_path)
    [cells] = part.table.rows
    own = group.rows[0].values(RECALL)
    assert len(own) == 2
    assert (cells[1].text, cells[-1].text, cells[-1].spread) == ("1", f"{own[1]:.1f}", "")


def test_a_result_on_a_data_set_called_like_a_record_is_none(tmp_path: Path) -> None:
    made(tmp_path, "lora", 0, "seedlings", 20.0)
    assert [path.parent.name for path in record.paths(tmp_path)] == ["lora"]
