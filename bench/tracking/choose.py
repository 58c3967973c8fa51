"""Which trackers `--log` names: each checked before any trial runs."""

import importlib
import importlib.util
from pathlib import Path

from bench import UserError
from bench.spec import nearest
from bench.tracking.base import Tracker

TRACKERS = ("tensorboard", "wandb", "mlflow", "trackio")
"""Each is the name of a module in this folder, of an extra of this project and of a package."""
NEEDS = {"mlflow": ("mlflow", "sqlalchemy", "alembic")}
"""The packages that a tracker needs, if not just the one of its own name."""


def check(text: str) -> list[str]:
    """`tensorboard,mlflow` -> names; raises UserError for one that is unknown or not installed."""
    names = list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    for name in names:
        if name not in TRACKERS:
            known = ", ".join(TRACKERS)
            raise UserError(
                f"there is no tracker {name!r}{nearest(name, TRACKERS)}; known: {known}"
            )
        needed = NEEDS.get(name, (name,))
        missing = [package for package in needed if importlib.util.find_spec(package) is None]
        if missing:
            raise UserError(
                f"--log {name} needs the package {' and '.join(missing)}, which is not installed: "
                f"pip install 'cmer-bench[{name}]'"
            )
    return names


def trackers(text: str, results: Path) -> list[Tracker]:
    """The trackers that `--log` names, ready to use; "" names none.

    `results` is the folder of the records, in which trackers may write files. Raises UserError as
    `check` does, and if a tracker requires a login that is missing.
    """
    modules = [importlib.import_module(f"bench.tracking.{name}") for name in check(text)]
    return [module.make(results) for module in modules]
