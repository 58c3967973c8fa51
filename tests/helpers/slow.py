"""Which tests `make check` leaves out: those that tests/slow.txt names.

The list is measured: `make slow` runs every test and writes it anew. What counts is the CPU time of
a test function with all its parameters, its child processes included, since that does not depend on
what else the machine does. A test that is not on the list, because it is new, is run.
"""

import resource
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

LIST = Path(__file__).resolve().parent.parent / "slow.txt"
LIMIT = 0.5
"""CPU seconds from which a test function is slow."""


def cpu_seconds() -> float:
    """CPU time of this process and of its children that ended."""
    parts = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(sum(resource.getrusage(part)[:2]) for part in parts)


def function(node: str) -> str:
    """`test_spec.py::test_a` of `tests/test_spec.py::test_a[1]`."""
    return node.split("[")[0].removeprefix("tests/")


def named() -> set[str]:
    """The functions on the list."""
    lines = LIST.read_text(encoding="utf-8").splitlines()
    return {line.split()[1] for line in lines if line and not line.startswith("#")}


def write(seconds: Counter[str]) -> None:
    """Write the list from the CPU seconds of every test function."""
    slow = sorted((name, used) for name, used in seconds.items() if used >= LIMIT)
    head = [f"# CPU seconds of the tests that take {LIMIT:g} or more; written by `make slow`."]
    lines: Iterable[str] = (f"{used:7.1f}  {name}" for name, used in slow)
    LIST.write_text("\n".join([*head, *lines]) + "\n", encoding="utf-8")
