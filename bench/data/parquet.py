"""Data sets in Parquet, as the Hugging Face Hub keeps them: a row an image, with its captions.

The columns are `filename`, `captions` (a list or a text) and `image`: the bytes of the file, or a
pair of `bytes` and `path` as `datasets.Image` writes it. If no column holds names, `path` is
the name. Needs pyarrow.
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
    """The rows without the bytes of pictures; `path` takes their place if no column holds names."""
    with _opened(path) as file:
        image, named = _picture_columns(file.schema_arrow)
        columns = [field.name for field in file.schema_arrow if not _holds_bytes(field.type)]
        if image and not named:
            columns.append(f"{image}.path")  # pyarrow skips it if there is none
        entries: list[dict[str, Any]] = file.read(columns).to_pylist()
    for row in entries:
        for key, value in row.items():
            if isinstance(value, dict) and set(value) == {"path"}:  # a picture without its bytes
                row[key] = value["path"]
    return entries


def pictures(path: Path) -> Iterator[tuple[str, bytes]]:
    """The name and the bytes of each picture; raises UserError where there are none."""
    with _opened(path) as file:
        image, named = _picture_columns(file.schema_arrow)
        if image is None:
            columns = ", ".join(file.schema_arrow.names)
            raise UserError(f"{path} has no column of pictures; its columns: {columns}")
        for batch in file.iter_batches(ROWS, columns=[image, *([named] if named else [])]):
            for row in batch.to_pylist():
                held = row[image] if isinstance(row[image], dict) else {"bytes": row[image]}
                content = held["bytes"]
                name = row[named] if named else held.get("path")
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


def _picture_columns(schema: Any) -> tuple[str | None, str | None]:
    """The column of the pictures and that of their names; None for one that is not there."""
    held = [field.name for field in schema if _holds_bytes(field.type)]
    # Of several the one with a usual name, such as `image`: others may be masks or thumbnails.
    usual = [name for name in held if name.lower() in NAME_COLUMNS]
    image = next(iter([*usual, *held]), None)
    others = {name.lower(): name for name in schema.names if name not in held}
    return image, next((others[name] for name in NAME_COLUMNS if name in others), None)


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
