"""Write docs/records.md: what a record holds, field by field, from bench/schema.py.

Run it after a change to the schema: `python tests/records_page.py`.
"""

import ast
import itertools
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "records.md"
CLASSES = {
    "Record": ("The record", ""),
    "TrialFields": ("What was asked for", "trial."),
    "Recipe": ("The recipe", "trial.recipe."),
    "Data": ("The data set", "data."),
    "Backbone": ("The backbone", "backbone."),
    "CurvePoint": ("The training curve", "curve[]."),
    "Efficiency": ("Memory, time and speed", "efficiency."),
    "Environment": ("The machine", "environment."),
}
UNITS = {
    r"(^|_)seconds(_|$)|^time$": "seconds",
    r"_bytes$|^memory$": "bytes",
    r"images_per_second(_iqr)?$": "images/s",
    r"captions_per_second$": "captions/s",
    r"flops_per_image$": "FLOPs per image",
    r"_hours$": "hours",
    r"_joules$": "joules",
    r"_mhz_": "MHz",
    r"_watts_": "watts",
    r"_celsius_": "°C",
    r"^val_mR$|^metrics$": "percent",
    r"^image_size$": "pixels",
    r"^context_length$": "tokens",
}
KINDS = {
    "float": "number",
    "int": "whole number",
    "str": "text",
    "bool": "true or false",
    "Number": "number",
    "Positive": "number above 0",
    "Whole": "whole number from 1",
    "Count": "whole number from 0",
    "Text": "text",
    "Call": "text",
    "Word": "text",
}
NAMED = {
    "efficiency": "What the trial took: memory, time and speed.",
    "data": "The data set as it was found.",
    "backbone": "The backbone and its weights.",
    "environment": "Machine and versions.",
}
INTRODUCTION = """# Records

What the JSON file of a trial holds, field by field. [results/README.md](../results/README.md)
says where records lie and how they are kept. A field in *italics* may be absent: older versions
wrote fewer, and some belong to a GPU, to cached features or to a budget. "or null" means that
nothing was measured, which is not the same as 0. Names say their units; recalls are in percent.

Every record is checked against this when it is read. One that does not fit is named in a sentence
and left out.

Generated from `bench/schema.py` and `bench/recipe.py` by `python tests/records_page.py`; the
tests compare it with the code.
"""


def unit(name: str) -> str:
    """The unit of a field, from its name; empty where it has none."""
    return next((unit for pattern, unit in UNITS.items() if re.search(pattern, name)), "")


def kind(hint: ast.expr) -> str:
    """A type annotation in words."""
    if isinstance(hint, ast.BinOp):
        return f"{kind(hint.left)} or {kind(hint.right)}"
    if isinstance(hint, ast.Constant):
        return "null"
    if isinstance(hint, ast.Subscript):
        assert isinstance(hint.value, ast.Name)
        if hint.value.id == "NotRequired":
            return kind(hint.slice)
        if hint.value.id == "list":
            return f"list of {kind(hint.slice)}" if _plain(hint.slice) else "list of objects"
        assert hint.value.id == "dict"
        return "object"
    assert isinstance(hint, ast.Name)
    return KINDS.get(hint.id, "object")


def _plain(hint: ast.expr) -> bool:
    return isinstance(hint, ast.Name) and hint.id in KINDS


def rows(node: ast.ClassDef) -> list[str]:
    """A row of the table for each field of a class."""
    sparse = any(k.arg == "total" for k in node.keywords)
    lines = []
    for field, after in itertools.pairwise([*node.body, ast.Pass()]):
        if not isinstance(field, ast.AnnAssign):
            continue
        assert isinstance(field.target, ast.Name)
        name, said = field.target.id, ""
        if isinstance(after, ast.Expr):
            said = " ".join(str(ast.literal_eval(after.value)).split())
        absent = sparse or ast.unparse(field.annotation).startswith("NotRequired")
        later = field.value is not None and "LATER" in ast.unparse(field.value)
        shown = f"*{name}*" if absent or later else name
        said = said or (NAMED.get(name, "") if node.name == "Record" else f"Version of {name}.")
        cells = [shown, kind(field.annotation), unit(name), said.replace("|", "\\|")]
        lines.append(f"| {' | '.join(cells)} |".replace("|  |", "| |"))
    return lines


def page() -> str:
    """The whole page: a table for each part of a record."""
    classes = {
        node.name: node
        for name in ("schema.py", "recipe.py")
        for node in ast.parse((ROOT / "bench" / name).read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
    }
    parts = [INTRODUCTION]
    for name, (title, place) in CLASSES.items():
        where = f"Fields of `{place.rstrip('.')}`.\n\n" if place else ""
        table = "| field | holds | unit | what it is |\n| --- | --- | --- | --- |\n"
        parts.append(f"## {title}\n\n{where}{table}" + "\n".join(rows(classes[name])) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
