"""Files that a command writes where the user says: what can go wrong, in one sentence."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench import UserError, brief


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an error of the file system, while the user's `path` is written, into a UserError."""
    try:
        yield
    except OSError as error:
        why = error.strerror or brief(error)
        raise UserError(f"{path} cannot be written ({why}); give another name or folder") from None


def demand_writable(path: Path) -> None:
    """Make the folder of a file; raises UserError if the file cannot be written there.

    Asked before the work for the file begins, which may take hours.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder; give the name of a file")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):  # without a name: nothing can be left
            pass


def demand_png(path: Path | None) -> None:
    """Raise UserError for a picture, if one is wanted, that is no PNG or cannot be written."""
    if path is None:
        return
    if path.suffix.lower() != ".png":
        raise UserError(f"the picture is a PNG, not {path}; give a name that ends in .png")
    demand_writable(path)
