"""The record: one JSON per trial, written last and atomically; and all of them as one DataFrame."""

import json
import os
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import UserError

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1
STATUSES = ("ok", "out_of_memory", "diverged", "failed", "not_applicable")


def write(path: Path, record: dict[str, Any]) -> None:
    """Write a record so that it is there whole or not at all, even through a crash.

    An older record of the same name is kept beside it as `<name>.<time>.replaced`: nothing recorded
    is ever lost.
    """
    text = json.dumps(record, indent=1, sort_keys=True, allow_nan=False) + "\n"
    atomically(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def atomically(path: Path, write_to: Callable[[Path], Any]) -> None:
    """Let `write_to` write a new file, flush it to the disk and only then give it its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    os.close(handle)
    partial = Path(name)
    try:
        write_to(partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.chmod(0o644)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def keep_replaced(path: Path) -> None:
    """Put a record that is about to be repeated aside, under a name of its own."""
    if path.exists():
        stamp = datetime.fromtimestamp(path.stat().st_mtime, UTC).strftime("%Y%m%dT%H%M%S")
        path.rename(path.with_name(f"{path.name}.{stamp}.replaced"))


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
