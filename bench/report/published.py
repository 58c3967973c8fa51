"""Published results beside ours, and a warning if a zero-shot result is off."""

import csv
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from bench.backbone.names import known_weights, other_activation
from bench.report.conditions import letter, trained_on
from bench.report.entry import RECALL
from bench.report.group import SEEN, Group
from bench.report.tables import Cell, Part, Table, cell_of, count, recalls

PUBLISHED = Path(__file__).with_name("published_numbers.csv")
TOLERANCE = 1.0
"""How far, in points of mR, a zero-shot result may lie outside the published band."""
ROUNDING = 0.02
"""How far, in points, a printed mR may differ from the mean of the printed recalls."""
CAUSES = (
    "Look for the fault before you believe the rest; likely: first, images resized or cropped in "
    "another way; second, another tokenizer, or captions that were changed; third, GELU where the "
    "weights have QuickGELU or the other way round (try {other}); fourth, another test split "
    "(`bench data check`)"
)


def numbers() -> list[dict[str, str]]:
    """Published results, as printed, with their sources."""
    with PUBLISHED.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


class Calibration(NamedTuple):
    """Whether a zero-shot result is as others published it, and a sentence on that."""

    fits: bool
    sentence: str


def calibrations(groups: Iterable[Group]) -> list[Calibration]:
    """The zero-shot results that others published too, of backbones that have names.

    An untrained (zero-shot) model should give everybody the same numbers. If ours is more than
    TOLERANCE outside the published band, something is wrong, and no other result should be believed
    until the fault is found.
    """
    results = []
    for group in groups:
        known = known_weights(group.spec)
        if known is None or known.published is None or group.scene_at_test != "none":
            continue
        band = [
            float(row["mR"])
            for row in numbers()
            if row["dataset"].lower() == group.dataset
            and row["backbone"] == known.published["backbone"]
            and row["method"] in known.published["methods"]
        ]
        for row in group.rows:
            ours = row.statistic(RECALL)
            if not band or ours is None or row.trains:
                continue
            low, high = min(band), max(band)
            fits = low - TOLERANCE <= ours.mean <= high + TOLERANCE
            causes = CAUSES.format(other=other_activation(group.spec))
            results.append(
                Calibration(
                    fits,
                    f"{row.label} with {group.backbone} on {group.dataset}: mR {ours.mean:.2f}, "
                    f"published {' to '.join(f'{end:.2f}' for end in sorted({low, high}))}"
                    + (": as it should be" if fits else f". {causes}"),
                )
            )
    return results


class Line(NamedTuple):
    """A row of the table: its cells, its protocol, and its source."""

    cells: list[Cell]
    protocol: str
    source: str


def beside_ours(groups: list[Group], dataset: str) -> Part | None:
    """Published results of a data set and ours beside them; None if nothing is published.

    The last column has a letter for the protocol and a number for the source; notes explain them.
    """
    published = [row for row in numbers() if row["dataset"].lower() == dataset]
    if not published:
        return None
    own = [group for group in groups if group.dataset == dataset]
    lines = [line for group in own for line in _ours(group)] + [_theirs(row) for row in published]
    protocols = list(dict.fromkeys(line.protocol for line in lines))
    sources = list(dict.fromkeys(line.source for line in lines))
    rows = []
    for line in lines:
        protocol, source = protocols.index(line.protocol), sources.index(line.source)
        rows.append([*line.cells, Cell(f"{letter(protocol)} {1 + source}")])
    notes = [
        *dict.fromkeys(trained_on(group) for group in own if group.seen),
        "Protocol " + "; ".join(f"{letter(n)}: {text}" for n, text in enumerate(protocols)) + ".",
        "Source " + "; ".join(f"{n}: {text}" for n, text in enumerate(sources, 1)) + ".",
    ]
    off = [f"{row['method']} {row['mR_recomputed']}" for row in published if _is_off(row)]
    if off:
        notes.append(f"*: the mean of its six recalls is not the mR printed: {', '.join(off)}.")
    titles = [column.title for column in recalls()]
    table = Table(["method", "backbone", "trainable parameters", *titles, "notes"], rows)
    title = f"Published results on {dataset}, recall in percent"
    return Part("table", title, table, notes, folded=True)


def _ours(group: Group) -> list[Line]:
    """A line for each method of a group; none if published results cannot be compared with it."""
    if group.scene_at_test != "none" or group.cached_features:
        return []
    protocol = "best on val" if group.recipe.track == "train" else "train+val, last step"
    backbone = Cell(group.backbone, sign=f" {SEEN}" if group.seen else "")
    lines = []
    for row in group.rows:
        if row.statistic(RECALL):
            parameters = row.statistic("efficiency.trainable_parameters")
            size = Cell(count(parameters.mean) if parameters else "–")
            figures = [Cell(cell_of(row, column).text) for column in recalls()]
            source = f"ours, {', '.join([group.device, *group.special])}"
            cells = [Cell(row.label, code=True), backbone, size, *figures]
            lines.append(Line(cells, protocol, source))
    return lines


def _theirs(row: dict[str, str]) -> Line:
    names = [column.path.rpartition(".")[2].replace("@", "") for column in recalls()]
    figures = [Cell(f"{float(row[name]):.2f}" if row[name] else "–") for name in names]
    if _is_off(row):
        figures[0] = replace(figures[0], sign=" *")
    words = [Cell(row[name]) for name in ("method", "backbone", "trainable_params")]
    return Line([*words, *figures], row["protocol"], row["source"])


def _is_off(row: dict[str, str]) -> bool:
    """Whether the mR that was printed is not the mean of the recalls that were printed."""
    mean = row["mR_recomputed"]
    return bool(mean) and abs(float(row["mR"]) - float(mean)) > ROUNDING
