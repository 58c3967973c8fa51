"""Published results beside ours, and a warning where a zero-shot result is not what others have."""

import csv
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from bench.recalls import METRICS
from bench.report.conditions import letter
from bench.report.groups import Group
from bench.report.tables import Cell, Table, call_of, cell_of, count, percent, recalls

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
                known = " to ".join(f"{end:.2f}" for end in sorted({min(band), max(band)}))
                warnings.append(
                    f"{row.label} with {one.backbone} has mR {found.mean:.2f} on {one.dataset}, "
                    f"published is {known}: look for a fault in tokenizer, activation "
                    "(QuickGELU), resizing or split before believing the rest"
                )
    return warnings


def beside_ours(
    groups: list[Group], dataset: str, show: Callable[[float], str] = percent
) -> tuple[Table, str] | None:
    """Published results of a data set and ours beside them, and what its letters and numbers mean;
    None where nothing is published.
    """
    found = [row for row in numbers() if row["dataset"].lower() == dataset]
    if not found:
        return None
    lines, told = [], []
    for one in groups:
        if one.dataset != dataset or one.scene_at_test != "none" or one.cached_features:
            continue
        selection = "best on val" if one.recipe["track"] == "train" else "train+val, last step"
        for row in one.rows:
            if row.statistic("metrics.test.mR"):
                cells = [Cell(cell_of(row, column).text) for column in recalls(show=show)]
                parameters = row.statistic("efficiency.trainable_parameters")
                size = count(parameters.mean) if parameters else "–"
                lines.append([call_of(row), Cell(one.backbone), Cell(size), *cells])
                told.append((selection, f"ours, {', '.join([one.device, *one.special])}"))
    names = [name.replace("@", "") for name in METRICS]
    other = []
    for source in found:
        words = [source["method"], source["backbone"], source["trainable_params"]]
        cells = [Cell(f"{float(source[name]):.2f}") for name in names]
        if abs(float(source["mR"]) - float(source["mR_recomputed"])) > 0.02:
            cells[-1] = replace(cells[-1], sign=" *")
            other.append(f"{source['method']} {source['mR_recomputed']}")
        lines.append([*map(Cell, words), *cells])
        told.append((source["protocol"], source["source"]))
    protocols, sources = (list(dict.fromkeys(part)) for part in zip(*told, strict=True))
    for line, (protocol, source_) in zip(lines, told, strict=True):
        line.append(Cell(f"{letter(protocols.index(protocol))} {1 + sources.index(source_)}"))
    legend = "Notes: protocol " + "; ".join(
        f"{letter(n)}: {text}" for n, text in enumerate(protocols)
    )
    legend += "; source " + "; ".join(f"{n}: {text}" for n, text in enumerate(sources, 1)) + "."
    if other:
        legend += f" * The mean of its six recalls is not the mR printed: {', '.join(other)}."
    titles = [column.title for column in recalls()]
    heads = ["method", "backbone", "trainable parameters", *titles, "notes"]
    spans = (("", 3), ("i2t", 3), ("t2i", 3), ("", 2))
    return Table(heads, lines, spans), legend
