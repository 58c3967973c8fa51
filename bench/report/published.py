"""Published results beside ours, and a warning where a zero-shot result is not what others have."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from bench.backbone.names import known_weights, other_activation
from bench.report.conditions import letter, trained_on
from bench.report.groups import SEEN, Group
from bench.report.tables import Cell, Table, cell_of, count, recalls

PUBLISHED = Path(__file__).with_name("published_numbers.csv")
TOLERANCE = 1.0
"""Points of mR that a zero-shot result may lie outside the published band."""
CAUSES = (
    "first, images resized or cropped in another way; second, another tokenizer, or captions that "
    "were changed; third, GELU where the weights have QuickGELU or the other way round (try "
    "{other}); fourth, another test split (`bench data check`)"
)


def numbers() -> list[dict[str, str]]:
    """Published results, as printed, with their sources."""
    with PUBLISHED.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@dataclass(frozen=True)
class Calibration:
    """A zero-shot result of ours beside what others published of the same weights and test set."""

    label: str
    backbone: str
    dataset: str
    found: float
    """Our mR, in percent."""
    low: float
    high: float
    other_activation: str
    """The same weights with the other activation, as a spec."""

    @property
    def fits(self) -> bool:
        """Whether ours lies in the published band, or within TOLERANCE of it."""
        return self.low - TOLERANCE <= self.found <= self.high + TOLERANCE

    @property
    def band(self) -> str:
        """What is published: `23.05 to 24.19`."""
        return " to ".join(f"{end:.2f}" for end in sorted({self.low, self.high}))

    def __str__(self) -> str:
        where = f"{self.label} with {self.backbone} on {self.dataset}"
        beside = f"{where}: mR {self.found:.2f}, published {self.band}"
        if self.fits:
            return f"{beside}: as it should be"
        causes = CAUSES.format(other=self.other_activation)
        return f"{beside}. Look for the fault before you believe the rest; likely: {causes}"


def calibrations(groups: Iterable[Group]) -> list[Calibration]:
    """The zero-shot results that others published too, of backbones that have names.

    A model that nobody trained gives everybody the same numbers. Ours more than TOLERANCE outside
    the band means a fault, and the rest should not be believed before it is found.
    """
    found = []
    for group in groups:
        known = known_weights(group.spec)
        if known is None or known.published is None or group.scene_at_test != "none":
            continue
        band = [
            float(row["mR"])
            for row in numbers()
            if row["dataset"].lower() == group.dataset
            and row["backbone"] == known.published.backbone
            and row["method"] in known.published.methods
        ]
        for row in group.rows:
            ours = row.statistic("metrics.test.mR")
            if band and ours is not None and not row.trains:
                ends = (ours.mean, min(band), max(band), other_activation(group.spec))
                found.append(Calibration(row.label, group.backbone, group.dataset, *ends))
    return found


def calibration(groups: Iterable[Group]) -> list[str]:
    """A warning for each zero-shot result that is not what others published."""
    return [f"{result}." for result in calibrations(groups) if not result.fits]


def beside_ours(groups: list[Group], dataset: str) -> tuple[Table, list[str]] | None:
    """Published results of a data set and ours beside them, and what its letters and numbers mean;
    None where nothing is published.
    """
    found = [row for row in numbers() if row["dataset"].lower() == dataset]
    if not found:
        return None
    lines, told = [], []
    for group in groups:
        if group.dataset != dataset or group.scene_at_test != "none" or group.cached_features:
            continue
        selection = "best on val" if group.recipe["track"] == "train" else "train+val, last step"
        for row in group.rows:
            if row.statistic("metrics.test.mR"):
                cells = [Cell(cell_of(row, column).text) for column in recalls()]
                parameters = row.statistic("efficiency.trainable_parameters")
                size = count(parameters.mean) if parameters else "–"
                backbone = Cell(group.backbone, sign=f" {SEEN}" if group.seen else "")
                lines.append([Cell(row.label, code=True), backbone, Cell(size), *cells])
                told.append((selection, f"ours, {', '.join([group.device, *group.special])}"))
    names = [column.path.rpartition(".")[2].replace("@", "") for column in recalls()]
    other = []
    for source in found:
        words = [source["method"], source["backbone"], source["trainable_params"]]
        cells = [Cell(f"{float(source[name]):.2f}" if source[name] else "–") for name in names]
        if (
            source["mR_recomputed"]
            and abs(float(source["mR"]) - float(source["mR_recomputed"])) > 0.02
        ):
            cells[0] = replace(cells[0], sign=" *")
            other.append(f"{source['method']} {source['mR_recomputed']}")
        lines.append([*map(Cell, words), *cells])
        told.append((source["protocol"], source["source"]))
    protocols, sources = (list(dict.fromkeys(part)) for part in zip(*told, strict=True))
    for line, (protocol, source_) in zip(lines, told, strict=True):
        line.append(Cell(f"{letter(protocols.index(protocol))} {1 + sources.index(source_)}"))
    notes = [
        "Protocol " + "; ".join(f"{letter(n)}: {text}" for n, text in enumerate(protocols)) + ".",
        "Source " + "; ".join(f"{n}: {text}" for n, text in enumerate(sources, 1)) + ".",
    ]
    if other:
        notes.append(f"*: the mean of its six recalls is not the mR printed: {', '.join(other)}.")
    own = [group for group in groups if group.dataset == dataset]
    notes = [*dict.fromkeys(trained_on(group) for group in own if group.seen), *notes]
    titles = [column.title for column in recalls()]
    return Table(["method", "backbone", "trainable parameters", *titles, "notes"], lines), notes
