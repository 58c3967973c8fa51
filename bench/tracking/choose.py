"""Which trackers `--log` names: each checked before any trial runs."""

import importlib
import importlib.util
from pathlib import Path

from bench import UserError
from bench.spec import nearest
from bench.tracking.base import Tracker

TRACKERS = ("tensorboard", "wandb", "mlflow", "trackio")
"""Each name is that of a module here, of an extra of this project, and of a Python package."""
NEEDS = {"mlflow": ("mlflow", "sqlalchemy", "alembic")}
"""The packages that a tracker needs, if not just the one of its own name."""


def names(text: str) -> list[str]:
    """`tensorboard,mlflow` -> the trackers' names; raises UserError for others."""
    words = list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    for word in words:
        if word not in TRACKERS:
            known = ", ".join(TRACKERS)
            raise UserError(
                f"there is no tracker {word!r}{nearest(word, TRACKERS)}; known: {known}"
            )
    if not words:
        raise UserError(f"--log names no tracker; known: {', '.join(TRACKERS)}")
    return words


def check(text: str) -> None:
    """Raise UserError if `--log` names a tracker that is unknown or not installed."""
    for name in names(text) if text else []:
        needed = NEEDS.get(name, (name,))
        missing = [package for package in needed if importlib.util.find_spec(package) is None]
        if missing:
            verb = "is" if len(missing) == 1 else "are"
            raise UserError(
                f"--log {name} needs {' and '.join(missing)}, which {verb} not installed: "
                f"pip install 'cmer-bench[{name}]'"
            )


def trackers(text: str, results: Path) -> list[Tracker]:
    """The trackers that `--log` names, ready to use; "" names none.

    `results` is the folder of the records, in which trackers may write files. Raises UserError as
    `check` does, and if a tracker requires a login that is missing.
    """
    check(text)
    chosen = names(text) if text else []
    modules = [importlib.import_module(f"bench.tracking.{name}") for name in chosen]
    return [module.make(results) for module in modules]
