"""Hashes of what files hold, each file read once: as long as its size and times stay the same."""

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from bench.data.pixelmap import cores
from bench.record import atomically


def contents(paths: Sequence[Path], memo: Path) -> list[str]:
    """SHA-256 of each file's bytes, 32 hex digits.

    `memo` is a file that remembers them under size, modification time and change time. The last
    cannot be set back, so that an edit which keeps size and date is noticed too. Raises OSError
    where a file cannot be read.
    """
    known = _load(memo)
    states = {str(path): _state(path) for path in paths}
    fresh = [path for path, state in states.items() if known.get(path, ("", ""))[0] != state]
    if fresh:
        with ThreadPoolExecutor(cores()) as pool:
            hashes = list(pool.map(_hash, fresh))
        known |= {path: (states[path], text) for path, text in zip(fresh, hashes, strict=True)}
        known = {path: known[path] for path in states}
        with suppress(OSError):  # a folder that only others may write: they are read again
            atomically(memo, lambda part: part.write_text(json.dumps(known), encoding="utf-8"))
    return [known[str(path)][1] for path in paths]


def _state(path: Path) -> str:
    now = path.stat()
    return f"{now.st_size} {now.st_mtime_ns} {now.st_ctime_ns}"


def _hash(path: str) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


def _load(memo: Path) -> dict[str, tuple[str, str]]:
    """What is remembered; nothing where the file is absent or is no such memo."""
    try:
        found = json.loads(memo.read_text(encoding="utf-8"))
        return {path: (str(state), str(text)) for path, (state, text) in found.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
