"""Records: what is committed stays what it is, under the same name and identity."""

import json
import math
import re
import subprocess
from pathlib import Path

import pytest

from bench import UserError, __version__, perquery, record
from bench.recalls import METRICS
from bench.recipe import Recipe
from bench.trial import Trial
from bench.trial_run import run
from methods import registry
from tests.helpers.calls import calls
from tests.helpers.tiny import trial

ROOT = Path(__file__).resolve().parent.parent
PINNED = ROOT / "tests" / "identities.txt"
"""Identity and path of every committed record. A line may be added for a new record (run
`python tests/test_record.py`) but never changed: scripts and papers refer to these names."""


def pinned() -> dict[str, str]:
    """Path below the repository -> identity."""
    lines = PINNED.read_text(encoding="utf-8").splitlines()
    return {path: identity for identity, path in (line.split(" ", 1) for line in lines)}


def committed() -> list[Path]:
    """All records that git knows; not those of a sweep that somebody ran in this folder."""
    words = ["git", "ls-files", "results", "benchmarks"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    names = (ROOT / name for name in done.stdout.splitlines())
    return sorted(p for p in names if p.name.startswith("seed") and p.suffix == ".json")


def test_committed_records_keep_their_names_and_identities() -> None:
    found = {path: record.read(ROOT / path)["identity"] for path in pinned()}
    assert len(found) >= 241
    assert found == pinned()


def test_every_committed_record_is_pinned() -> None:
    new = {str(path.relative_to(ROOT)) for path in committed()} - pinned().keys()
    assert not new, "run `python tests/test_record.py`, which adds their lines"


def test_committed_records_are_what_a_sweep_would_look_for() -> None:
    """The code of today gives each committed trial the identity and the path it was stored under.

    Some old records state the learning rate that the training used where the trial had left it to
    the method; asked without it, the trial is theirs.
    """
    for name in pinned():
        path = ROOT / name
        document = json.loads(path.read_text(encoding="utf-8"))
        asked = Trial.recorded(document)
        assert asked.identity == document["identity"], path
        assert asked.path(path.parents[3]) == path


@pytest.mark.parametrize(
    "folder", ["results", "results/archive/starter-1", "results/archive/version-0.6", "benchmarks"]
)
def test_committed_records_load(folder: str) -> None:
    """What lies in `archive/` below a results folder is read only where that is asked for."""
    frame = record.load(ROOT / folder)
    below = {name.removeprefix(f"{folder}/") for name in pinned() if name.startswith(f"{folder}/")}
    expected = {name for name in below if not name.startswith(f"{record.ARCHIVE}/")}
    assert expected
    assert expected <= set(frame["path"])
    assert not any(path.startswith(f"{record.ARCHIVE}/") for path in frame["path"])


def test_a_new_record_says_what_was_asked_and_what_was_used(tiny: Path) -> None:
    """Its identity follows from its trial alone; the rate that the method chose is beside it."""
    recipe = Recipe(steps=2, batch_size=4, evaluations=1, precision="fp32")
    given = trial(tiny, "linear", recipe)
    files: record.Files = {}
    written = json.loads(json.dumps(run(given, tiny, tiny / "results", lambda _: None, files)))
    assert written["status"] == "ok", written["traceback"]
    assert written["environment"]["bench"] == __version__
    assert written["trial"]["lr"] is None
    assert written["lr"] == registry()["linear"].lr == record.learning_rate(written)
    assert Trial.of(written["trial"]).identity == written["identity"] == given.identity
    assert Trial.recorded(written).path(tiny) == given.path(tiny)
    path = given.path(tiny / "results")
    record.write(path, written, files)
    [row] = record.load(tiny / "results").to_dict("records")
    assert row["lr"] == written["lr"]
    found = perquery.load(path)
    recalls = [written["metrics"]["test"][name] for name in METRICS]
    assert found.per_image().mean(axis=0) == pytest.approx(recalls, abs=1e-9)
    newer = {**written, "trial": {**written["trial"], "future": 1}}
    with pytest.raises(UserError, match="has future, which this version"):
        Trial.recorded(newer)


# Files that are named like a record and are none.

SOUND = ROOT / "results/archive/starter-1/ucm/starter/cmer/seed0-f539814e.json"


def changed(**fields: object) -> bytes:
    """A sound record with some fields replaced; a dotted name is written with two underscores."""
    document = json.loads(SOUND.read_text(encoding="utf-8"))
    for name, value in fields.items():
        *path, last = name.split("__")
        place = document
        for key in path:
            place = place[key]
        if value is ...:
            del place[last]
        else:
            place[last] = value
    return json.dumps(document).encode()


ODD = {
    "empty": (b"", "it is empty"),
    "truncated": (SOUND.read_bytes()[:500], "it is not JSON"),
    "binary": (bytes(range(256)), "it is not text"),
    "a list": (b"[1, 2]", "it is [1, 2] and should be a table"),
    "a number": (b"3", "it is 3 and should be a table"),
    "deep": (b"[" * 100_000, "recursion"),
    "NaN": (changed(metrics__test__mR=math.nan), "NaN is not a number"),
    "infinite": (changed(metrics__test__mR=12345).replace(b"12345", b"1e999"), "1e999 is not a"),
    "long number": (changed(trial__seed=10**40), "is not a number that a record can hold"),
    "newer schema": (changed(schema=2), "another version of cmer-bench (record schema 2"),
    "no trial": (changed(trial=...), "'trial' is missing"),
    "no seed": (changed(trial__seed=...), "'trial.seed' is missing"),
    "text for a number": (changed(efficiency__windows="many"), "'efficiency.windows' is 'many'"),
    "number for a text": (changed(trial__call=3), "'trial.call' is 3"),
    "true for a number": (changed(metrics__test__mR=True), "'metrics.test.mR' is True"),
    "no step": (changed(curve=[{"step": 0, "epoch": 1.0}]), "'curve.0.step' is 0"),
    "two lines for a name": (
        changed(trial__dataset="a\nb"),
        r"'trial.dataset' is 'a\nb' and should be a line of text without control characters",
    ),
    "odd status": (changed(status="Ok!"), "'status' is 'Ok!' and should be a word of small"),
    "batch of none": (changed(trial__recipe__batch_size=0), "'trial.recipe.batch_size' is 0"),
}


@pytest.mark.parametrize("what", ODD)
def test_an_odd_file_is_named_and_the_rest_is_read(tmp_path: Path, what: str) -> None:
    content, why = ODD[what]
    sound, odd = tmp_path / "ucm/starter/cmer/seed0.json", tmp_path / "ucm/starter/cmer/seed1.json"
    sound.parent.mkdir(parents=True)
    sound.write_bytes(SOUND.read_bytes())
    odd.write_bytes(content)
    said: list[str] = []
    assert list(record.load(tmp_path, left_out=said.append)["path"]) == [
        "ucm/starter/cmer/seed0.json"
    ]
    [sentence] = said
    assert sentence.startswith(f"{odd} ")
    assert why in sentence
    assert "--rerun" in sentence or "with that version" in sentence
    assert "\n" not in sentence
    assert len(sentence) < 500
    with pytest.raises(record.Unreadable, match=re.escape(sentence)):
        record.read(odd)
    with pytest.warns(UserWarning, match=re.escape(str(odd))):
        record.load(tmp_path)


def test_what_is_no_file_is_named_without_advice_to_delete_it(tmp_path: Path) -> None:
    (tmp_path / "seed0.json").mkdir()
    (tmp_path / "seed1.json").symlink_to(tmp_path / "nowhere")
    said: list[str] = []
    assert not len(record.load(tmp_path, left_out=said.append))
    folder, missing = said
    assert "is a folder" in folder
    assert "there is no record at" in missing
    assert not [sentence for sentence in said if "remove" in sentence or "delete" in sentence]
    with pytest.raises(record.Unreadable, match="there is no record at"):
        record.read(tmp_path / "none.json")
    (tmp_path / "file").touch()
    with pytest.raises(record.Unreadable, match="there is no record at"):
        record.read(tmp_path / "file" / "below-a-file.json")


def test_fields_that_a_newer_version_adds_are_let_through(tmp_path: Path) -> None:
    path = tmp_path / "seed0.json"
    path.write_bytes(changed(new=[1], efficiency__new="x", trial__recipe__new=1, status="new"))
    assert record.read(path)["new"] == [1]


def test_reading_many_records_is_quick() -> None:
    record.read(SOUND)  # the forms are made once
    said: list[str] = []
    paths = sorted((ROOT / "results").rglob("seed*.json"))
    assert calls(record.read_all, paths, said.append) < 1000 * len(
        paths
    )  # 130 where this was written
    assert not said


if __name__ == "__main__":
    known = pinned() if PINNED.exists() else {}
    new = {str(p.relative_to(ROOT)): record.read(p)["identity"] for p in committed()}
    lines = [f"{identity} {path}\n" for path, identity in sorted({**new, **known}.items())]
    PINNED.write_text("".join(lines), encoding="utf-8")
