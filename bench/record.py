"""Records: one JSON file for each trial, written last and atomically, and read as a DataFrame."""

import hashlib
import itertools
import json
import math
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import UserError, brief, disk

if TYPE_CHECKING:
    import pandas as pd

    from bench.schema import Record

SCHEMA = 1
STATUSES = ("ok", "out_of_memory", "diverged", "failed", "timeout", "not_applicable")
ARCHIVE = "archive"
"""Folder below `results` for records that are kept but no longer reported with the others."""
FINISHED_STATUSES = ("ok", "not_applicable")
"""Statuses that count as finished: `--retry-failed` leaves these trials alone."""
REPAIR = (
    "put it back as it was (from git or a copy), or repeat its trial with `bench run ... --rerun`, "
    "which keeps the old file under another name"
)

Files = dict[str, Callable[[Path], Any]]
"""Functions that write the files beside a record (ranks, weights), by suffix."""


def write(path: Path, record: "Record", beside: Files | None = None) -> None:
    """Write a record and the files beside it (`beside`, by suffix), all or nothing.

    Each is written to the disk under another name first. Then all get their names, the record last,
    so a crash leaves no half record. If a file beside it cannot be written, the record says so. An
    older record of the same name stays as `<name>.<time>.replaced`: nothing recorded is ever lost.
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
        partials[path.suffix] = _partial(path, lambda partial: _dump(record, partial))
        _keep_replaced(path)
        for suffix, partial in partials.items():
            partial.replace(path.with_suffix(suffix))
    finally:
        for partial in partials.values():
            partial.unlink(missing_ok=True)


def write_document(path: Path, document: Mapping[str, Any]) -> None:
    """Like `write`, for a JSON document that is not a record and has no files beside it."""
    atomically(path, lambda partial: _dump(document, partial), keep_old=True)


def _dump(document: Mapping[str, Any], path: Path) -> None:
    text = json.dumps(_finite(document), indent=1, sort_keys=True, allow_nan=False) + "\n"
    path.write_text(text, encoding="utf-8")


def atomically(path: Path, write_to: Callable[[Path], Any], keep_old: bool = False) -> None:
    """Let `write_to` write a new file, flush it to the disk and only then give it its name.

    `keep_old`: a file that it replaces stays under another name, as in `write`.
    """
    partial = _partial(path, write_to)
    try:
        if keep_old:
            _keep_replaced(path)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _partial(path: Path, write_to: Callable[[Path], Any]) -> Path:
    """Write a file completely, flush it to the disk, and return it under a temporary name."""
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
    """The value with None in place of NaN and infinity, which JSON does not know."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _keep_replaced(path: Path) -> None:
    """Keep a record that is about to be replaced, under a second name."""
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
        if kept.samefile(path):  # a process did this and was killed before it replaced the record
            return


def digest(path: Path) -> str | None:
    """Hash of a file's bytes: 16 hex digits; None if there is no file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except (FileNotFoundError, NotADirectoryError):
        return None


def is_stray(path: Path, record: "Record", suffix: str) -> bool:
    """Whether the file beside a record was written by another run of its trial."""
    known = record.get("beside")
    return known is not None and digest(path.with_suffix(suffix)) != known.get(suffix)


def probe(folder: Path, needed: int = 2**20) -> None:
    """Raise disk.NoRoom unless `needed` bytes can be written; called before a trial, not after."""
    try:
        disk.try_writing(folder, min(needed, 2**20))
    except OSError as error:
        raise disk.NoRoom(folder, error, "--results") from None
    disk.demand_room(folder, needed, "--results")


class Unreadable(UserError):
    """A file or folder that is named like a record and cannot be read as one."""


def read(path: Path) -> "Record":
    """Read a record and check its fields against `bench.schema.Record`.

    Raises Unreadable, with the remedy, if there is no record at `path`, if another version wrote
    it, or if it is damaged.
    """
    from bench import schema

    if path.suffix in (".safetensors", ".npz"):
        raise Unreadable(
            f"{path} is no record; give the seed*.json beside it, or the folder of an export"
        )
    document = parsed(path)
    if isinstance(document, dict) and document.get("schema", SCHEMA) != SCHEMA:
        raise Unreadable(
            f"{path} was written by another version of cmer-bench (record schema "
            f"{brief(document['schema'])}, this version reads {SCHEMA}); read it with that version"
        )
    fault = schema.fault(document)
    if fault is not None:
        raise Unreadable(f"{path} is not a sound record: {fault}; {REPAIR}")
    sound: Record = document
    return sound


def parsed(path: Path) -> Any:
    """The JSON in a file that may be a record, whatever it holds; raises Unreadable."""
    try:
        if path.is_dir():
            raise Unreadable(f"{path} is a folder, and a record is a file, such as seed0-*.json")
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise Unreadable(f"there is no record at {path}; `bench run` writes records") from None
    except OSError as error:
        why = error.strerror or brief(error)
        raise Unreadable(f"{path} cannot be read ({why}); make it readable") from None
    try:
        text = content.decode("utf-8")
        return json.loads(text, parse_constant=_refuse, parse_int=_int, parse_float=_float)
    except UnicodeDecodeError:
        why = "it is not text"
    except json.JSONDecodeError as error:
        why = "it is empty" if not content.strip() else f"it is not JSON: {error}"
    except (ValueError, RecursionError) as error:
        why = brief(error)
    raise Unreadable(f"{path} is not a sound record: {why}; {REPAIR}")


def results_beside(
    trial: Path,
    document: "Record",
    folder: str,
    fault: Callable[[Any], str | None],
    what: str,
    command: str,
    left_out: Callable[[str], None],
) -> list[Any]:
    """Results that were measured later on a trained trial, and lie in a folder beside its record.

    `trial`: path of the record `document`; results of an earlier run of the trial, which this
    record replaced, do not count. `fault` returns what is wrong with a result, or None. `left_out`
    gets a sentence for each unsound one: `what` it should be, and the `command` that measures it
    again.
    """
    results = []
    for path in sorted((trial.parent / folder).glob(f"*-{trial.name}")):
        try:
            result = parsed(path)
            why = fault(result)
            if why is not None:
                raise Unreadable(
                    f"{path} is not a sound {what}: {why}; the same `{command}` measures it again "
                    "and keeps this file under another name"
                )
        except Unreadable as error:
            left_out(str(error))
            continue
        if result["trial_finished"] == document.get("finished"):
            results.append(result)
    return results


def _refuse(word: str) -> Any:
    raise ValueError(f"{word[:20]} is not a number that a record can hold")


def _int(word: str) -> int:
    """A whole number of at most 64 bits, since tables cannot hold larger ones."""
    return int(word) if len(word) < 19 else _refuse(word)


def _float(word: str) -> float:
    number = float(word)
    return number if math.isfinite(number) else _refuse(word)


def learning_rate(document: "Record") -> float | None:
    """The peak learning rate that a record's training used; None if nothing was trained.

    Older records have it in their trial, in the place of what the user gave.
    """
    rate = document.get("lr") or document["trial"].get("lr")
    return None if rate is None else float(rate)


def paths(results: Path) -> list[Path]:
    """All records below a results folder, in order of their names.

    `archive/` in it is left out: records are put there that are not to be compared with the rest.
    """
    return sorted(
        path
        for path in results.rglob("seed[0-9]*.json")
        if not path.name.startswith(".") and path.relative_to(results).parts[0] != ARCHIVE
    )


def read_all(
    records: Iterable[Path], left_out: Callable[[str], None]
) -> "list[tuple[Path, Record]]":
    """Read many records; `left_out` gets a sentence for each that cannot be read."""
    readable = []
    for path in records:
        try:
            readable.append((path, read(path)))
        except Unreadable as error:
            left_out(str(error))
    return readable


def load(
    results: Path | str,
    *,
    only: Iterable[Path] | None = None,
    left_out: Callable[[str], None] = warnings.warn,
) -> "pd.DataFrame":
    """All records as a tidy table: one row per trial, nested keys joined with a dot.

    Columns are `status`, `identity`, `path` (below `results`), `lr` (`learning_rate`),
    `trial.dataset`, `trial.method`, `metrics.test.mR`, `efficiency.peak_memory_train_bytes` and so
    on; `record` holds the whole record as a dict. `only`: read just these, as far as they exist. A
    record that cannot be read is left out; `left_out` gets a sentence that says so.
    """
    import pandas as pd

    root = Path(results)
    wanted = paths(root) if only is None else [path for path in only if path.exists()]
    rows = [
        {
            **flatten(document),
            "lr": learning_rate(document),
            "path": str(path.relative_to(root)),
            "record": document,
        }
        for path, document in read_all(wanted, left_out)
    ]
    return pd.DataFrame(rows)


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one, keys joined with a dot; lists stay as they are."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
