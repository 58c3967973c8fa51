"""Published results beside ours, and a warning where a zero-shot result is not what others have."""

import csv
from collections.abc import Iterable
from pathlib import Path

from bench.report.groups import Group
from bench.report.tables import Cell, Table, call_of, cell_of, count, recalls
from bench.trained import compare

PUBLISHED = Path(__file__).with_name("published_numbers.csv")
TOLERANCE = 1.0
"""Points of mR that a zero-shot result may lie outside the published band."""


def numbers() -> list[dict[str, str]]:
    """Published results, as printed, with their sources."""
    with PUBLISHED.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def calibration(groups: Iterable[Group]) -> list[str]:
    """Warnings where a zero-shot ViT-B/32 of OpenAI is outside what others published.

    A model that nobody trained gives everybody the same numbers; ours a point outside the band
    means a fault of tokenizer, activation, resizing or split.
    """
    rows = [r for r in numbers() if r["trainable_params"] == "0" and "B/32" in r["backbone"]]
    warnings = []
    for one in groups:
        name, _, weights = one.backbone.partition(":")
        band = [float(r["mR"]) for r in rows if r["dataset"].lower() == one.dataset]
        same = name.startswith("ViT-B-32") and weights.startswith("openai")
        if not same or not band or one.scene_at_test != "none":
            continue
        for row in one.rows:
            found = row.statistic("metrics.test.mR")
            if row.trains or found is None:
                continue
            if not min(band) - TOLERANCE <= found.mean <= max(band) + TOLERANCE:
                warnings.append(
                    f"{row.label} with {one.backbone} has mR {found.mean:.2f} on {one.dataset}; "
                    f"published are {min(band):.2f} to {max(band):.2f}: look for a fault in "
                    "tokenizer, activation (QuickGELU), resizing or split before believing the rest"
                )
    return warnings


def beside_ours(groups: list[Group], dataset: str) -> Table | None:
    """Published results of a data set and ours beside them, or None where nothing is published."""
    found = [row for row in numbers() if row["dataset"].lower() == dataset]
    if not found:
        return None
    lines = []
    for one in groups:
        if one.dataset != dataset or one.scene_at_test != "none" or one.cached_features:
            continue
        selection = "best on val" if one.recipe["track"] == "train" else "train+val, last step"
        for row in one.rows:
            if row.statistic("metrics.test.mR"):
                cells = [cell_of(row, column) for column in recalls()]
                parameters = row.statistic("efficiency.trainable_parameters")
                size = count(parameters.mean) if parameters else "–"
                words = [one.backbone, size]
                end = [selection, f"ours, {', '.join([one.device, *one.special])}"]
                lines.append([call_of(row), *map(Cell, words), *cells, *map(Cell, end)])
    names = [name.replace("@", "") for name in compare.METRICS]
    for source in found:
        values = [Cell(source[name]) for name in names]
        if abs(float(source["mR"]) - float(source["mR_recomputed"])) > 0.02:
            values[-1] = Cell(f"{source['mR']} (its parts give {source['mR_recomputed']})")
        words = [source["method"], source["backbone"], source["trainable_params"]]
        end = [source["protocol"], source["source"]]
        lines.append([*map(Cell, words), *values, *map(Cell, end)])
    titles = [column.title for column in recalls()]
    heads = ["method", "backbone", "trainable parameters", *titles, "protocol", "source"]
    return Table(heads, lines)
