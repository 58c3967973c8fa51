"""Trained methods on corrupted test images: a small record for each corruption and severity.

Each lies in `corrupted/` beside the trial's record, under a file name that no trial has. It belongs
to one run of the trial: after `bench run --rerun` it is measured again.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench import UserError, record, schema
from bench.data.corrupt import CORRUPTIONS, SEVERITIES, VERSION, corrupt
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
    corruptions = list(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
    known = ", ".join(CORRUPTIONS)
    if not corruptions:
        raise UserError(f"--corrupt is one or more of {known}, with commas")
    for name in corruptions:
        if name not in CORRUPTIONS:
            raise UserError(
                f"no corruption is called {name!r}{nearest(name, CORRUPTIONS)}; known: {known}"
            )
    steps = {word.strip() for word in severities.split(",") if word.strip()}
    if not steps or steps - set(map(str, SEVERITIES)):
        raise UserError(f"--severity is one or more of 1 to 5 with commas, not {severities!r}")
    return [Condition(name, int(step)) for name in corruptions for step in sorted(steps)]


def path_of(trial: Path, condition: Condition) -> Path:
    """The file of a result; `trial` is the path of the trial's record."""
    name = f"{condition.corruption}-{condition.severity}-{trial.name}"
    return trial.parent / "corrupted" / name


def results_of(
    trial: Path, document: Record, left_out: Callable[[str], None] = lambda _: None
) -> dict[Condition, Corrupted]:
    """The results beside a trial's record (its path and content) that belong to it.

    `left_out` gets a sentence on each file that is no such result; `bench run --corrupt` measures
    it again.
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
    """Test a trial's method under each condition and record it; yields each one when done.

    What is random depends on the trial's seed and on the place of an image in the test split alone,
    so all methods see the same pictures. Raises UserError if the trained weights are missing.
    """
    from bench.evaluate import EVAL_BATCH
    from bench.measure.machine import environment
    from bench.trained.restore import restore

    restored = restore(trial)
    # Captions are encoded once: only images are corrupted.
    test_set = restored.test_set(restored.own_dataset(root))
    clean_images, texts = restored.encode(test_set)
    pixels, seed = test_set.pixels[test_set.rows], restored.trial.seed
    common = {
        "schema": SCHEMA,
        "corrupt_version": VERSION,
        "identity": restored.record["identity"],
        "trial_finished": restored.record.get("finished"),
        "seed": seed,
        "clean": test_set.metrics(test_set.ranks(clean_images, texts)),
        "device": restored.device.type,
        "environment": environment(restored.device),
    }
    for condition in wanted:
        corrupted = corrupt(pixels, condition.corruption, condition.severity, seed)
        images = restored.encode_images(corrupted, EVAL_BATCH).to(texts.device)
        document = common | {
            "condition": asdict(condition),
            "metrics": test_set.metrics(test_set.ranks(images, texts)),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        record.write_document(path_of(trial, condition), document)
        yield condition


def todo(
    trials: Iterable[Trial], results: Path, wanted: list[Condition]
) -> list[tuple[Trial, list[Condition]]]:
    """The trained trials that lack results, each with the conditions that are not measured yet."""
    pending = []
    for trial in trials:
        path = trial.path(results)
        if not path.exists():
            continue
        document = record.read(path)
        if document["status"] == "ok" and document.get("metrics"):
            measured = results_of(path, document)
            if left := [condition for condition in wanted if condition not in measured]:
                pending.append((trial, left))
    return pending


def work(trial: Path, root: Path, wanted: list[tuple[str, int]], progress: Progress) -> End:
    """Measure what is missing, in the process of a trial that holds the trial's lock.

    If the trained weights are missing, the message of the end says so, with the remedy.
    """
    measured = results_of(trial, record.read(trial))
    asked = [Condition(*pair) for pair in wanted]
    left = [condition for condition in asked if condition not in measured]
    try:
        for done, condition in enumerate(measure(trial, root, left) if left else (), 1):
            progress(Stage(f"{condition.corruption} {condition.severity}, {done}/{len(left)}"))
    except UserError as error:
        return End("not_measured", str(error))
    return End("ok", f"measured under {len(left)} corruptions")
