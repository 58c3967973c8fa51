"""docs/records.md is the schema, and the schema is what records hold."""

import ast
import json
import re
from typing import get_type_hints

from bench import schema
from tests import records_page

ROOT = records_page.ROOT
NUMBERS = ("Number", "Number | None")


def test_the_page_of_records_is_the_schema() -> None:
    fresh = records_page.page()
    assert fresh == records_page.PAGE.read_text(encoding="utf-8"), (
        "run `python tests/records_page.py`"
    )


def test_every_field_is_explained() -> None:
    for line in records_page.page().splitlines():
        if line.startswith("|"):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            assert len(cells) == 4, line
            assert cells[3], f"say in a docstring below it what {cells[0]} is"


def test_what_is_measured_has_a_unit() -> None:
    (node,) = (
        node
        for node in ast.parse((ROOT / "bench" / "schema.py").read_text("utf-8")).body
        if isinstance(node, ast.ClassDef) and node.name == "Efficiency"
    )
    bare = {"allocator_retries"}  # a count
    for field in node.body:
        if isinstance(field, ast.AnnAssign) and ast.unparse(field.annotation) in NUMBERS:
            name = ast.unparse(field.target)
            assert records_page.unit(name) or name in bare, name


def test_committed_records_hold_nothing_that_the_page_leaves_out() -> None:
    parts = {
        "": schema.Record,
        "trial": schema.TrialFields,
        "data": schema.Data,
        "backbone": schema.Backbone,
        "efficiency": schema.Efficiency,
        "environment": schema.Environment,
    }
    known = {part: get_type_hints(fields).keys() for part, fields in parts.items()}
    paths = [p for p in (ROOT / "results").rglob("seed*.json") if p.parent.name != "corrupted"]
    assert paths
    for path in paths:
        record = json.loads(path.read_text(encoding="utf-8"))
        for part in parts:
            held = record[part] if part else record
            assert held.keys() <= known[part], f"{path.name}: {held.keys() - known[part]}"
        for point in record["curve"]:
            assert point.keys() <= get_type_hints(schema.CurvePoint).keys()
