"""The record: one JSON per trial, written last and atomically; and all of them as one DataFrame."""

import hashlib
import itertools
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import UserError

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1
STATUSES = ("ok", "out_of_memory", "diverged", "failed", "timeout", "not_applicable")
GOOD = ("ok", "not_applicable")
"""How a trial ends of which nothing need be said or repeated."""


class NoRoom(OSError):
    """The results folder cannot take what a trial will write; the message is one sentence."""


def write(
    path: Path, record: dict[str, Any], beside: dict[str, Callable[[Path], Any]] | None = None
) -> None:
    """Write a record so that it is there whole or not at all, even through a crash.

    `beside`: by suffix, what writes a file that belongs to it; all get their names after all are on
    the disk, the record last. Where one cannot be written the record says so. An older record of
    the same name is kept beside it as `<name>.<time>.replaced`: nothing recorded is ever lost.
    """
    partials: dict[str, Path] = {}
    try:
        for suffix, write_to in (beside or {}).items():
            try:
                partials[suffix] = _partial(path.with_suffix(suffix), write_to)
            except OSError as error:
                lost = f"{path.with_suffix(suffix).name} could not be kept ({error})"
                record["message"] = "; ".join(filter(None, [record.get("message"), lost]))
        if beside:
            record["beside"] = {suffix: digest(partial) for suffix, partial in partials.items()}
        text = json.dumps(_finite(record), indent=1, sort_keys=True, allow_nan=False) + "\n"
        partials[path.suffix] = _partial(path, lambda p: p.write_text(text, encoding="utf-8"))
        _keep_replaced(path)
        for suffix, partial in partials.items():
            partial.replace(path.with_suffix(suffix))
    finally:
        for partial in partials.values():
            partial.unlink(missing_ok=True)


def atomically(path: Path, write_to: Callable[[Path], Any]) -> None:
    """Let `write_to` write a new file, flush it to the disk and only then give it its name."""
    partial = _partial(path, write_to)
    try:
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _partial(path: Path, write_to: Callable[[Path], Any]) -> Path:
    """A whole file on the disk that has yet to get its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    os.close(handle)
    partial = Path(name)
    try:
        write_to(partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.chmod(0o644)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return partial


def _finite(value: Any) -> Any:
    """The same with None for each number that JSON does not know (NaN, infinity)."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _keep_replaced(path: Path) -> None:
    """Give a record that is about to be replaced a second name, which stays."""
    if not path.exists():
        return
    stamp = datetime.fromtimestamp(path.stat().st_mtime, UTC).strftime("%Y%m%dT%H%M%S")
    for name in itertools.chain([stamp], (f"{stamp}-{number}" for number in itertools.count(2))):
        kept = path.with_name(f"{path.name}.{name}.replaced")
        if not kept.exists():
            try:
                os.link(path, kept)
            except OSError:  # no hard links here
                atomically(kept, lambda partial: shutil.copyfile(path, partial))
            return
        if kept.samefile(path):  # a write that was killed after this
            return


def digest(path: Path) -> str | None:
    """Hash of a file's bytes: 16 hex digits; None where there is none."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except (FileNotFoundError, NotADirectoryError):
        return None


def is_stray(path: Path, record: dict[str, Any], suffix: str) -> bool:
    """Whether the file beside a record is of another run of its trial."""
    known = record.get("beside")
    return known is not None and digest(path.with_suffix(suffix)) != known.get(suffix)


def probe(folder: Path, needed: int = 2**20) -> None:
    """Find out now whether so many bytes can be written later; raises NoRoom."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:  # has no name, so that nothing can be left
            file.write(bytes(min(needed, 2**20)))
            file.flush()
            os.fsync(file.fileno())
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise NoRoom(
            f"nothing can be written to {folder} ({error.strerror or error}); make room, allow "
            "it, or give another --results"
        ) from None
    if free < needed:
        raise NoRoom(
            f"{free / 2**20:,.0f} MiB are free in {folder} and a trial needs "
            f"{needed / 2**20:,.0f}; make room or give another --results"
        )


def read(path: Path) -> dict[str, Any]:
    """Read one record; raises UserError where the file is no record."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(
            f"{path} is no record ({error}); remove it and run the trial again"
        ) from None
    if not isinstance(record, dict) or "status" not in record or "trial" not in record:
        raise UserError(f"{path} is no record of a trial; remove it or give another --results")
    if record.get("schema") != SCHEMA:
        raise UserError(
            f"{path} has record schema {record.get('schema')}, this version reads {SCHEMA}"
        )
    return record


def paths(results: Path) -> list[Path]:
    """All records below a results folder, in order of their names."""
    return sorted(p for p in results.rglob("seed*.json") if not p.name.startswith("."))


def load(results: Path) -> "pd.DataFrame":
    """All records as a tidy table: one row per trial, nested keys joined with a dot.

    Columns are `status`, `identity`, `path`, `trial.dataset`, `trial.method`, `metrics.test.mR`,
    `efficiency.peak_memory_train_bytes` and so on; `record` holds the whole record as a dict.
    """
    import pandas as pd

    rows = []
    for path in paths(results):
        record = read(path)
        rows.append({**flatten(record), "path": str(path.relative_to(results)), "record": record})
    return pd.DataFrame(rows)


def flatten(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one, keys joined with a dot; lists stay as they are."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
