"""A report's records as CSV and Parquet: a row for each record, and one for each method."""

import importlib.util
import json
import statistics
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from bench.report.difference import difference_of
from bench.report.group import Group
from bench.report.reached import SHARES, reach
from bench.report.tables import costs, machine, recalls


def tidy(frame: pd.DataFrame) -> pd.DataFrame:
    """The records with columns in the order of interest: what was run, how well, at what cost."""
    names = [name for name in frame.columns if name not in ("record", "curve", "traceback")]
    order = [
        *("trial.dataset", "trial.backbone", "trial.method", "trial.call"),
        *sorted(name for name in names if name.startswith("trial.settings.")),
        *("lr", "trial.seed", "status"),
        *(column.path for column in recalls()),
        *sorted(name for name in names if name.startswith("metrics.test.")),
        *sorted(name for name in names if name.startswith("efficiency.")),
        *sorted(names),
    ]
    return frame[[name for name in dict.fromkeys(order) if name in names]]


def parquet(records: pd.DataFrame, path: Path) -> bool:
    """Write one row per record as Parquet; False if pyarrow is not installed.

    A column of Parquet has one type, so one with lists, or with words and numbers, becomes JSON.
    """
    if importlib.util.find_spec("pyarrow") is None:
        return False
    records = records.copy()
    for name, values in records.items():
        types = {type(value) for value in values.dropna()}
        if list in types or (len(types) > 1 and not types <= {int, float}):
            cells = zip(values, values.notna(), strict=True)
            records[name] = [json.dumps(value) if filled else None for value, filled in cells]
    records.to_parquet(path, index=False, engine="pyarrow")
    return True


def table(groups: list[Group], reference: str) -> str:
    """A row for each method and group: mean, std and n of every number, in full precision.

    reference: the method or call that others are compared with: the difference of mR, and the
    seconds to shares of its validation mR.
    """
    lines = []
    for group in groups:
        columns = [*recalls(), *recalls("dup_"), *costs(group), *machine(group)]
        shares = reach(group, reference)
        recipe = {name: value for name, value in asdict(group.recipe).items() if name != "lr"}
        for row in group.every:
            line: dict[str, object] = {
                "group": group.name,
                "dataset": group.dataset,
                "backbone": group.backbone,
                "device": group.device,
                "recipe": json.dumps(recipe, sort_keys=True),
                "scene_at_test": group.scene_at_test,
                "cached_features": row.entries[0].cached_features,
                "method": row.label,
                "n": len(row.ok),
                "not_ok": len(row.not_ok),
                "differs": "; ".join(row.differs),
            }
            for column in columns:
                name = column.path.rpartition(".")[2]
                if statistic := row.statistic(column.path):
                    line |= {f"{name}_{key}": value for key, value in asdict(statistic).items()}
            if each := difference_of(row, group, reference):
                line |= {"difference_to": each.reference, "difference_seeds": each.seeds}
                for name, test in (("val_mR", each.validation), ("test_mR", each.test)):
                    if test:
                        line[f"{name}_difference"] = test.mean
                        line[f"{name}_difference_half_width"] = test.half_width
            if shares and row.label in shares.courses:
                line["best_val_mR_mean"] = statistics.fmean(shares.courses[row.label].best)
                line["reach_reference"] = shares.reference
                for share, seconds in zip(SHARES, shares.seconds(row.label), strict=True):
                    line[f"seconds_to_{share}_percent"] = seconds
            lines.append(line)
    frame = pd.DataFrame(lines, dtype=object)  # so that integers in columns with gaps stay integers
    return str(frame.to_csv(index=False, lineterminator="\n"))
