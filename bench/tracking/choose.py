"""Which trackers `--log` names: each checked before any trial runs."""

import importlib
import importlib.util
from pathlib import Path

from bench import UserError
from bench.spec import nearest
from bench.tracking.base import Tracker

TRACKERS = ("tensorboard", "wandb", "mlflow", "trackio")
"""Each is a module of this package, an extra of this project, and the name of what it needs."""
NEEDS = {"mlflow": ("mlflow", "sqlalchemy", "alembic")}
"""What must be there beside or instead of a package of the tracker's own name."""


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
    """Raise UserError where `--log` names a tracker that is unknown or not installed."""
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

    `results` is the folder of the records, where trackers that write files put them. Raises
    UserError as `check` does, and where a tracker lets only known users in.
    """
    check(text)
    chosen = names(text) if text else []
    modules = [importlib.import_module(f"bench.tracking.{name}") for name in chosen]
    return [module.make(results) for module in modules]
