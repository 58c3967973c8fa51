"""A benchmark of ways to fit vision-language models to remote-sensing text-image retrieval.

From Python:

    import bench

    frame = bench.run("cmer,lora", "synthetic", backbone="starter", recipe={"steps": 24})
    model = bench.load(frame["path"][0])
    model.search("many planes beside a runway", ["a.jpg", "b.jpg"])
    frame = bench.records("results")
"""

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.api import load, records, run

__version__ = "0.8.0"
__all__ = ["UserError", "__version__", "load", "records", "run"]
FROM_API = ("load", "records", "run")


class UserError(Exception):
    """Something the user can mend; the message is one sentence with the remedy."""


def brief(error: object) -> str:
    """The text of somebody else's error, or else its type, in one line of at most 200 letters."""
    return textwrap.shorten(str(error) or type(error).__name__, 200, placeholder=" ...")


def demand_text(text: str, name: str) -> None:
    """Raise UserError for a value that nobody can mean: blanks alone, or one with a NUL in it."""
    if not text.strip():
        raise UserError(f"{name} is empty; give it a value or leave it out")
    if "\0" in text:
        raise UserError(f"{name} holds a NUL character, which is in no name; write it without")


def at_home(path: str | Path) -> Path:
    """A path with ~ as the home folder; raises UserError where there is no home folder."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(
            f"there is no home folder to stand for ~ in {path}; write the whole path, or set HOME"
        ) from None


def __getattr__(name: str) -> Any:
    """`load`, `records` and `run`, looked up in `bench.api` when they are first used.

    So `import bench` takes milliseconds, not the seconds of pandas and torch.
    """
    if name not in FROM_API:
        raise AttributeError(f"module 'bench' has no attribute {name!r}")
    from bench import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *FROM_API])
