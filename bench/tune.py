"""An equal learning-rate search for each method, judged on validation; winners in a TOML."""

import re
import tomllib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench import UserError, record
from bench.record import atomically
from bench.sweep import Plan
from bench.trial import Trial

FACTORS = (0.3, 1.0, 3.0)


def widen(plan: Plan, centres: dict[str, float | None], factors: Iterable[float]) -> Plan:
    """Each trial once per factor times a learning rate: the call's, else its method's (`centres`).

    The call carries the rate, so that every point of the search has a record of its own; methods
    that train nothing are left out. Raises UserError where none trains anything.
    """
    trials = []
    for trial in plan.trials:
        centre = trial.lr or centres[trial.method]
        if centre is None:
            continue
        for factor in factors:
            lr = float(f"{centre * factor:.3g}")
            inside = plain_call(trial)[len(trial.method) + 1 : -1]
            words = [*([inside] if inside else []), f"lr={lr:g}"]
            trials.append(replace(trial, lr=lr, call=f"{trial.method}({', '.join(words)})"))
    if not trials:
        raise UserError("none of these methods trains anything, so there is nothing to search")
    return replace(plan, trials=trials)


def winners(plan: Plan, searched: Plan) -> list[dict[str, Any]]:
    """For each trial's call the rates, their validation mR (mean over seeds) and the best rate.

    A rate with a trial that did not end well has the mR -1 and cannot win; raises UserError where
    no rate is left.
    """
    found: dict[tuple[str, str, str], dict[float, list[float]]] = {}
    plain = {_key(trial): plain_call(trial) for trial in plan.trials}
    for trial in searched.trials:
        assert trial.lr is not None
        scores = found.setdefault((trial.dataset, trial.backbone, plain[_key(trial)]), {})
        scores.setdefault(trial.lr, []).append(_score(trial.path(searched.results)))
    rows = []
    for (dataset, backbone, call), scores in found.items():
        means = {lr: min(s) if min(s) < 0 else sum(s) / len(s) for lr, s in scores.items()}
        best = max(means, key=lambda lr: means[lr])
        if means[best] < 0:
            raise UserError(f"no learning rate of {call} on {dataset} ended well; see the records")
        rows.append(
            {
                "dataset": dataset,
                "backbone": backbone,
                "call": call,
                "lr": best,
                "grid": list(means),
                "val_mR": [round(value, 3) for value in means.values()],
                "at_edge": best in (min(means), max(means)),
            }
        )
    return rows


def plain_call(trial: Trial) -> str:
    """The call without its learning rate."""
    return re.sub(r"\(lr=[^,)]+\)$", "", re.sub(r", lr=[^,)]+\)$", ")", trial.call))


def _score(path: Path) -> float:
    if not path.exists():
        return -1.0
    done = record.read(path)
    return float(done["metrics"]["val"]["mR"]) if done["status"] == "ok" else -1.0


def _key(trial: Trial) -> tuple[str, str, str, str]:
    return trial.dataset, trial.backbone, trial.method, str(trial.settings)


def save(rows: list[dict[str, Any]], searched: Plan, path: Path) -> None:
    """Write the winners with the grid and the budget, as TOML."""
    recipe = {k: v for k, v in vars(searched.trials[0].recipe).items() if v is not None}
    lines = [
        "# Learning rates chosen on validation; the same number of trials for each method.",
        f"recipe = {{ {', '.join(f'{k} = {_toml(v)}' for k, v in recipe.items())} }}",
        f"seeds = {sorted({t.seed for t in searched.trials})}",
    ]
    for row in rows:
        lines += ["", "[[tuned]]", *(f"{key} = {_toml(value)}" for key, value in row.items())]
    atomically(path, lambda file: file.write_text("\n".join(lines) + "\n", encoding="utf-8"))


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, list):
        return f"[{', '.join(_toml(v) for v in value)}]"
    return repr(value)


def apply(plan: Plan, path: Path) -> Plan:
    """The plan with the winners' learning rates where a call names none; raises UserError."""
    try:
        rows = tomllib.loads(path.read_text(encoding="utf-8"))["tuned"]
        rates = {(r["dataset"], r["backbone"], r["call"]): float(r["lr"]) for r in rows}
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} holds no learning rates ({error}); `bench tune` makes such a file"
        ) from None
    return replace(
        plan,
        trials=[
            t if t.lr is not None else replace(t, lr=rates.get((t.dataset, t.backbone, t.call)))
            for t in plan.trials
        ],
    )
