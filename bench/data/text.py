"""Read text and JSON files, with one sentence for what is wrong with them."""

import contextlib
import json
from pathlib import Path
from typing import Any

from bench import UserError
from bench.units import format_bytes

JSON_LINES = (".jsonl", ".ndjson")
LIMIT_BYTES = 256 * 2**20
"""A larger annotation is refused unread; the largest one published has a fifth of it."""


def read_text(path: Path) -> str:
    """Read a text file in UTF-8, or in UTF-16 with a byte order mark; raises UserError."""
    content = _bytes(path)
    utf16 = content[:2] in (b"\xff\xfe", b"\xfe\xff")  # Excel's "Unicode text"
    try:
        return content.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not UTF-8 text (from byte {error.start:,} on); save it as UTF-8"
        ) from None


def _bytes(path: Path) -> bytes:
    if not path.is_file():
        raise UserError(f"{path} is not a file, or a link to none; put the annotation there")
    try:
        size = path.stat().st_size
        if size > LIMIT_BYTES:
            raise UserError(
                f"{path} has {format_bytes(size)}, more than any annotation "
                f"({format_bytes(LIMIT_BYTES)} is the limit); leave out the images, if it holds "
                "them as a column"
            )
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from None


def read_json(path: Path) -> Any:
    """A JSON file, or JSON Lines as a list, whatever it is called; raises UserError."""
    text = read_text(path)
    if path.suffix.lower() not in JSON_LINES:
        with contextlib.suppress(ValueError, RecursionError):
            return json.loads(text)
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    objects = all(line.lstrip().startswith("{") for _, line in lines)
    if path.suffix.lower() in JSON_LINES or (objects and len(lines) > 1):
        return [_parse(line, f"line {number} of {path}") for number, line in lines]
    return _parse(text, str(path))


def _parse(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{place} is not valid JSON ({error}); fetch the annotation again"
        ) from None
