"""Which module of bench/ and methods/ imports which, read from the source: nothing is run."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
ENTRY = ("bench.api", "bench.cli", "bench.__main__")
"""Where the command and `import bench` begin; they stand above all rooms."""


@dataclass(frozen=True)
class Import:
    """One import: `late` inside a function, `typing` under TYPE_CHECKING."""

    source: str
    target: str
    """A module of bench or methods, or the name of another package."""
    line: int
    late: bool = False
    typing: bool = False

    def __str__(self) -> str:
        return f"{self.source} (line {self.line}) imports {self.target}"


@cache
def modules() -> dict[str, Path]:
    """The file of each module of bench/ and methods/, by its dotted name."""
    found = {}
    for top in ("bench", "methods"):
        for path in sorted((ROOT / top).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports() -> tuple[Import, ...]:
    """Every import of every module, those of other packages too; none of a module of itself."""
    return tuple(
        found
        for name, path in modules().items()
        for found in _of(ast.parse(path.read_text(encoding="utf-8")), name)
        if found.target != name
    )


def _of(node: ast.AST, source: str, late: bool = False, typing: bool = False) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(source, _module(alias.name), child.lineno, late, typing)
        elif isinstance(child, ast.ImportFrom):
            assert child.module, f"{source}: write `from bench`, not `from .`"
            assert not child.level, f"{source}: write `from bench`, not `from .`"
            for alias in child.names:
                target = _module(f"{child.module}.{alias.name}")
                yield Import(source, target, child.lineno, late, typing)
        else:
            within = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            checking = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            yield from _of(child, source, late or within, typing or checking)


def _module(name: str) -> str:
    """`bench.units.format_bytes` -> `bench.units`; of another package the first name."""
    if name.partition(".")[0] not in ("bench", "methods"):
        return name.partition(".")[0]
    while name not in modules():
        name = name.rpartition(".")[0]
    return name


def room(module: str) -> str:
    """The folder that a module stands in, as docs/architecture.md names it."""
    if module in ENTRY:
        return "`bench/cli.py`, `bench/api.py`"
    folder = modules()[module].parent.relative_to(ROOT).as_posix()
    return "`bench/*.py`" if folder == "bench" else f"`{folder}/`"
