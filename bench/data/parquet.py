"""Data sets in Parquet, as the Hugging Face Hub keeps them: a row an image, with its captions.

The columns are `filename`, `captions` (a list or a text) and `image`: the bytes of the file, or a
pair of `bytes` and `path` as `datasets.Image` writes it. Needs pyarrow.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import UserError, brief
from bench.data import values
from bench.data.table import NAME_COLUMNS

ROWS = 32
"""Rows read at once; with pictures in them they may be large."""


def rows(path: Path) -> list[dict[str, Any]]:
    """The rows without the bytes of pictures, which are replaced by the pictures' names."""
    with _opened(path) as file:
        columns = [_without_bytes(field) for field in file.schema_arrow]
        entries: list[dict[str, Any]] = file.read([c for c in columns if c]).to_pylist()
    for row in entries:
        for key, value in row.items():
            if isinstance(value, dict) and set(value) == {"path"}:  # a picture without its bytes
                row[key] = value["path"]
    return entries


def pictures(path: Path) -> Iterator[tuple[str, bytes]]:
    """The name and the bytes of each picture; raises UserError where there are none."""
    with _opened(path) as file:
        kinds = {field.name: field.type for field in file.schema_arrow}
        image = next((name for name, kind in kinds.items() if _holds_bytes(kind)), None)
        if image is None:
            raise UserError(f"{path} has no column of pictures; its columns: {', '.join(kinds)}")
        named = next((n for n in NAME_COLUMNS if n in kinds and n != image), None)
        for batch in file.iter_batches(ROWS, columns=[image, *([named] if named else [])]):
            for row in batch.to_pylist():
                held = row[image]
                content = held["bytes"] if isinstance(held, dict) else held
                name = row[named] if named else held.get("path") if isinstance(held, dict) else None
                if not isinstance(name, str) or not isinstance(content, bytes):
                    raise UserError(f"{path} has a row without a picture or without its name")
                yield name, content


def write_pictures(path: Path, folder: Path) -> None:
    """Write each picture to `folder` under its name; raises UserError."""
    for name, content in pictures(path):
        try:
            target = folder / values.filename(name)
        except values.AnnotationError as error:
            raise UserError(f"{path}: {error}") from None
        if target.exists() and target.read_bytes() != content:
            raise UserError(
                f"{path}: two different pictures are called {name!r}; give each a name of its own "
                "in a column `filename`"
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def _without_bytes(field: Any) -> str | None:
    """The column to read for a field: of a picture its name, if it has one."""
    if not _holds_bytes(field.type):
        return str(field.name)
    named = hasattr(field.type, "names") and "path" in field.type.names
    return f"{field.name}.path" if named else None


def _holds_bytes(kind: Any) -> bool:
    """Whether a column's type is that of pictures."""
    from pyarrow import types

    if types.is_struct(kind):
        return "bytes" in kind.names
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A Parquet file; raises UserError where pyarrow is missing or the file is damaged."""
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise UserError(
            f"{path} is Parquet, which needs pyarrow: pip install 'cmer-bench[parquet]'"
        ) from None
    try:
        with parquet.ParquetFile(path) as file:
            yield file
    except (OSError, ValueError, ArrowException) as error:
        raise UserError(f"{path} cannot be read as Parquet ({brief(error)})") from None
