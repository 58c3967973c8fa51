"""Records: what is committed stays what it is, under the same name and identity."""

import json
import subprocess
from pathlib import Path

import pytest

from bench import record
from bench.trial import Trial

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
        asked = Trial.of(document["trial"])
        if asked.identity != document["identity"]:
            asked = Trial.of({**document["trial"], "lr": None})
        assert asked.identity == document["identity"], path
        assert asked.path(path.parents[3]) == path


@pytest.mark.parametrize("folder", ["results", "benchmarks"])
def test_committed_records_load(folder: str) -> None:
    frame = record.load(ROOT / folder)
    here = [name for name in pinned() if name.startswith(f"{folder}/")]
    assert set(here) <= {f"{folder}/{path}" for path in frame["path"]}


if __name__ == "__main__":
    known = pinned() if PINNED.exists() else {}
    new = {str(p.relative_to(ROOT)): record.read(p)["identity"] for p in committed()}
    lines = [f"{identity} {path}\n" for path, identity in sorted({**new, **known}.items())]
    PINNED.write_text("".join(lines), encoding="utf-8")
