"""Write docs/schemas/: JSON Schemas of sweep files and cards, from the code that reads them.

Run it after a change to the keys of either: `python tests/schemas.py`.
"""

import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from bench.data import cardfile
from bench.recipe import CHOICES, Recipe, meanings
from bench.sweeps import sweepfile

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "schemas"
FORMS = {
    "sweep.json": (sweepfile.SweepFile, sweepfile.EngineOptions, sweepfile.SearchConfig),
    "card.json": (cardfile.CardKeys, cardfile.CountKeys, cardfile.TestKeys, cardfile.SceneKeys),
}
"""The form of each kind of file, and the classes whose keys it has as well."""


class Untitled(GenerateJsonSchema):
    """A schema without titles, which repeat the names of the keys."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def pages() -> dict[str, str]:
    """The text of each schema, by the name of its file."""
    return {name: json.dumps(_schema(*forms), indent=1) + "\n" for name, forms in FORMS.items()}


def _schema(form: type, *parts: type) -> dict[str, Any]:
    """What an editor needs: keys, types, and the text below each field of the code."""
    whole = TypeAdapter(form).json_schema(schema_generator=Untitled)
    whole["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    texts = {cls.__name__: meanings(cls) for cls in (form, *parts)}
    tables = {form.__name__: whole, **whole["$defs"]}
    if form is sweepfile.SweepFile:
        texts[form.__name__] |= texts.pop("EngineOptions")
        for table in tables.values():
            table["properties"]["recipe"] |= _recipe()
    for name, table in tables.items():
        for key, value in table["properties"].items():
            value["description"] = texts[name][key]
    return whole


def _recipe() -> dict[str, Any]:
    """The table `recipe`, in which time and memory may have units, and none is a word."""
    known = TypeAdapter(Recipe).json_schema(schema_generator=Untitled)["properties"]
    for name, value in known.items():
        value["description"] = meanings()[name]
        if name in CHOICES:
            value["enum"] = CHOICES[name]
        if "anyOf" in value:
            other = {"type": "string"} if name in ("time", "memory") else {"const": "none"}
            value["anyOf"][-1] = other
            del value["default"]
    return {"properties": known, "additionalProperties": False}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
