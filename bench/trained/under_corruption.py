"""Trained methods on corrupted test images: a small record for each corruption and severity.

It lies in `corrupted/` beside the trial's record, under a name that no trial has, and belongs to
that very run of the trial: after `--rerun` it is measured again.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench import UserError, record, schema
from bench.corrupt import CORRUPTIONS, SEVERITIES, VERSION, corrupt
from bench.messages import End, Progress, Stage
from bench.schema import Corrupted, Record
from bench.spec import nearest
from bench.trial import Trial

SCHEMA = 1


@dataclass(frozen=True, order=True)
class Condition:
    """One corruption at one severity."""

    corruption: str
    severity: int


def conditions(names: str, severities: str) -> list[Condition]:
    """`blur,noise` and `1,3,5` -> every pair; raises UserError."""
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    for name in wanted:
        if name not in CORRUPTIONS:
            known = ", ".join(CORRUPTIONS)
            raise UserError(
                f"no corruption is called {name!r}{nearest(name, CORRUPTIONS)}; known: {known}"
            )
    steps = [word.strip() for word in severities.split(",") if word.strip()]
    if not steps or any(word not in map(str, SEVERITIES) for word in steps):
        raise UserError(f"--severity is one or more of 1 to 5 with commas, not {severities!r}")
    if not wanted:
        raise UserError(f"--corrupt is one or more of {', '.join(CORRUPTIONS)}, with commas")
    numbers = sorted({int(word) for word in steps})
    return [Condition(name, number) for name in dict.fromkeys(wanted) for number in numbers]


def path_of(trial: Path, condition: Condition) -> Path:
    """Where the result of a trial (the path of its record) under a condition belongs."""
    name = f"{condition.corruption}-{condition.severity}-{trial.name}"
    return trial.parent / "corrupted" / name


def known(
    trial: Path, document: Record, left_out: Callable[[str], None] = lambda _: None
) -> dict[Condition, Corrupted]:
    """The results beside a trial's record (its path and what it says) that belong to it.

    `left_out` is told, in a sentence, of each file that is no such result; `bench run --corrupt`
    measures it again.
    """
    fault, what = schema.fault_under_corruption, "result under corruption"
    results = record.results_beside(
        trial, document, "corrupted", fault, what, "bench run --corrupt", left_out
    )
    return {
        Condition(**result["condition"]): result
        for result in results
        if (result["schema"], result["corrupt_version"]) == (SCHEMA, VERSION)
    }


def measure(trial: Path, root: Path, wanted: list[Condition]) -> Iterator[Condition]:
    """Evaluate a trial's method under each condition and record it; yields what is done.

    The draws are decided by the trial's seed and the place of the image in the test split, so all
    methods see the same pictures. Raises UserError where the trained weights are gone.
    """
    from bench.evaluate import EVAL_BATCH
    from bench.measure.machine import environment
    from bench.trained.encode import encode
    from bench.trained.restore import restore

    restored = restore(trial, root)
    assert restored.dataset is not None
    encoded = encode(restored, restored.dataset)
    clean, around = encoded.metrics(), environment(restored.device)
    pixels, rows = encoded.pixels, encoded.evaluation.rows
    for condition in wanted:
        made = corrupt(pixels[rows], condition.corruption, condition.severity, restored.trial.seed)
        images = restored.encode_images(made, range(len(rows)), EVAL_BATCH)
        document = {
            "schema": SCHEMA,
            "corrupt_version": VERSION,
            "identity": restored.record["identity"],
            "trial_finished": restored.record.get("finished"),
            "condition": asdict(condition),
            "seed": restored.trial.seed,
            "clean": clean,
            "metrics": encoded.metrics(images),
            "device": restored.device.type,
            "environment": around,
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        path = path_of(trial, condition)
        record.write_document(path, document)
        yield condition


def todo(
    trials: Iterable[Trial], results: Path, wanted: list[Condition]
) -> list[tuple[Trial, list[Condition]]]:
    """The trials that ended well with a recall, and what is not measured of each."""
    pending = []
    for trial in trials:
        path = trial.path(results)
        if not path.exists():
            continue
        document = record.read(path)
        if document["status"] == "ok" and document.get("metrics"):
            there = known(path, document)
            left = [condition for condition in wanted if condition not in there]
            if left:
                pending.append((trial, left))
    return pending


def work(trial: Path, root: Path, wanted: list[tuple[str, int]], progress: Progress) -> End:
    """Measure what is still missing; call it under the trial's lock. Returns how it ended.

    Where the trained weights are gone the message says so, with the remedy.
    """
    there = known(trial, record.read(trial))
    left = [condition for pair in wanted if (condition := Condition(*pair)) not in there]
    if not left:
        return End("ok", "another command has measured it")
    try:
        for done, condition in enumerate(measure(trial, root, left), 1):
            progress(Stage(f"{condition.corruption} {condition.severity}, {done}/{len(left)}"))
    except UserError as error:
        return End("not_measured", str(error))
    return End("ok", f"measured under {len(left)} corruptions")
