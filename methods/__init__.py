"""The registry: one file per method, one decorator, the folder is the list."""

import hashlib
import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from methods.base import Method

__all__ = ["load_plugin", "register", "registry"]

T = TypeVar("T", bound="type[Method]")

_REGISTRY: dict[str, "type[Method]"] = {}


def register(name: str) -> Callable[[T], T]:
    """Make a method known as `name`; a name taken twice is an error."""

    def add(cls: T) -> T:
        known = _REGISTRY.get(name)
        if known is not None and (known.__module__, known.__qualname__) != (
            cls.__module__,
            cls.__qualname__,
        ):
            raise ValueError(
                f"two methods are called {name!r}: {known.__module__}.{known.__qualname__} and "
                f"{cls.__module__}.{cls.__qualname__}; rename one"
            )
        _REGISTRY[name] = cls
        return cls

    return add


def load_plugin(path: Path) -> None:
    """Import a file of somebody's own that registers methods.

    Raises FileNotFoundError, ImportError for a file that is not called *.py, and what it raises.
    """
    path = path.resolve()
    if not path.is_file():
        raise FileNotFoundError(f"no plug-in file at {path}")
    if path.suffix != ".py":
        raise ImportError(f"a plug-in is a Python file, and {path.name} does not end in .py")
    name = f"bench_plugin_{path.stem}_{hashlib.sha256(bytes(path)).hexdigest()[:8]}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise


def registry() -> "dict[str, type[Method]]":
    """Every method by name: this folder's and those of the entry points `bench.methods`."""
    import importlib.metadata  # slow to import, and `bench --help` needs no registry

    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    for entry in importlib.metadata.entry_points(group="bench.methods"):
        entry.load()
    return dict(sorted(_REGISTRY.items()))
