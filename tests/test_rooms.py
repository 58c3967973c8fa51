"""The order of the code: no circle of imports, rooms that look downwards only, short functions."""

import ast
import re
from collections import defaultdict
from graphlib import TopologicalSorter

from tests.helpers.imports import ROOT, Import, imports, modules, room

PAGE = ROOT / "docs" / "architecture.md"
SLOW = {
    *("torch", "open_clip", "timm", "transformers", "peft", "safetensors", "huggingface_hub"),
    *("numpy", "scipy", "pandas", "PIL", "matplotlib", "pyarrow", "pydantic", "rich"),
}
"""Packages that take so long to import that `bench --help` must do without."""
NOT_COUNTED = {
    ("bench", "bench.api"): "`bench.run` is looked up in bench.api when it is first used"
}
UPWARD = {
    ("bench.trial_process", "bench.trained.under_corruption"): "a trial's process does this too"
}
LONGEST_FUNCTION = 60
AFTERNOON = 2_500
"""Lines of the files of the afternoon path, all together."""


def inside() -> list[Import]:
    """The imports of modules of bench and methods."""
    return [
        one
        for one in imports()
        if one.target in modules() and (one.source, one.target) not in NOT_COUNTED
    ]


def test_no_modules_import_each_other() -> None:
    edges: dict[str, set[str]] = defaultdict(set)
    for each in inside():  # also late and for types: a circle is hard to read in any way
        edges[each.source].add(each.target)
    TopologicalSorter(edges).prepare()  # raises CycleError, which names the circle


def rooms_of_the_page() -> dict[str, set[str]]:
    """The table of docs/architecture.md: each room, and those that it imports from."""
    rows = re.findall(r"^\| (`[^|]+`) \| [^|]+ \| ([^|]+) \|$", PAGE.read_text("utf-8"), re.M)
    return {name: set(re.findall(r"`[^`]+`", uses)) for name, uses in rows}


def test_rooms_import_what_the_page_says() -> None:
    real: dict[str, set[str]] = {room(name): set() for name in modules()}
    for one in inside():
        if room(one.source) != room(one.target) and (one.source, one.target) not in UPWARD:
            real[room(one.source)].add(room(one.target))
    assert rooms_of_the_page() == real


def test_no_room_imports_from_above() -> None:
    page = rooms_of_the_page()
    below: dict[str, set[str]] = {}
    core = ["`bench/*.py`", "`bench/training/`", "`bench/backbone/`", "`bench/data/`"]
    core += ["`bench/measure/`", "`bench/synthetic/`"]  # what one trial needs: one storey
    for name, uses in page.items():  # the table is in the order of the house, from the ground up
        allowed = {*below, *core} if name in core else {*below}
        assert uses <= allowed, f"{name} imports from {', '.join(sorted(uses - allowed))}"
        below[name] = uses
    assert page["`methods/`"] == set()


def test_late_imports_are_of_what_is_slow() -> None:
    """An import in a function needs a reason: a slow package that is not imported yet."""
    early: dict[str, set[str]] = defaultdict(set)
    for one in imports():
        if not one.late and not one.typing:
            early[one.source].add(one.target)

    def brings(name: str) -> set[str]:
        """The slow packages that importing a module imports."""
        seen, todo = set[str](), [name]
        while todo:
            module = todo.pop()
            if module not in seen:
                seen.add(module)
                parts = module.split(".")
                todo += [".".join(parts[:n]) for n in range(1, len(parts))]
                todo += early[module]
        return seen & SLOW

    idle = [str(one) for one in inside() if one.late and brings(one.target) <= brings(one.source)]
    assert idle == [], "move these imports to the top of their modules"


def test_functions_are_short() -> None:
    long = {}
    for path in modules().values():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                lines = node.end_lineno - node.lineno + 1
                if lines > LONGEST_FUNCTION:
                    long[f"{path.relative_to(ROOT)}:{node.name}"] = lines
    assert long == {}


def test_the_afternoon_path_can_be_read_in_an_afternoon() -> None:
    section = PAGE.read_text("utf-8").partition("## The afternoon path")[2]
    files = re.findall(r"^\d+\. `([^`]+)`: ", section, re.M)
    assert 8 <= len(files) <= 13
    lines = {name: len((ROOT / name).read_text("utf-8").splitlines()) for name in files}
    assert sum(lines.values()) <= AFTERNOON, lines
