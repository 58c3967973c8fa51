"""Read text and JSON files, with one sentence for what is wrong with them."""

import contextlib
import json
from pathlib import Path
from typing import Any

from bench import UserError

JSON_LINES = (".jsonl", ".ndjson")
LIMIT_BYTES = 256 * 2**20
"""A larger annotation is refused unread; the largest one published has a fifth of it."""


def read_text(path: Path) -> str:
    """Read a text file in UTF-8, or in UTF-16 with a byte order mark; raises UserError."""
    if not path.is_file():
        raise UserError(f"{path} is missing, or is not a file; put the annotation there")
    try:
        if path.stat().st_size > LIMIT_BYTES:
            limit = f"{LIMIT_BYTES // 2**20} MiB is the limit"
            raise UserError(f"{path} is too large ({limit}); an annotation holds no images")
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from None
    utf16 = content[:2] in (b"\xff\xfe", b"\xfe\xff")  # Excel's "Unicode text"
    try:
        return content.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        where = f"from byte {error.start:,} on"
        remedy = "save it as UTF-8, or a spreadsheet as CSV"
        raise UserError(f"{path} is not UTF-8 text ({where}); {remedy}") from None


def read_json(path: Path) -> Any:
    """A JSON file, or JSON Lines as a list, whatever it is called; raises UserError."""
    text, is_lines = read_text(path), path.suffix.lower() in JSON_LINES
    if not is_lines:
        with contextlib.suppress(ValueError, RecursionError):
            return json.loads(text)
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    # Some files called .json hold JSON Lines: an object in each line.
    is_lines |= len(lines) > 1 and all(line.lstrip().startswith("{") for _, line in lines)
    if is_lines:
        return [_parse(line, f"line {number} of {path}") for number, line in lines]
    return _parse(text, str(path))


def _parse(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{place} is not valid JSON ({error}); fetch the file again") from None
