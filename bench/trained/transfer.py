"""Trained methods on the test set of another data set: a small record for each.

Each lies in `transfer/` beside the trial's record, under a file name that no trial has. It belongs
to one run of the trial and to one state of the test set: if either changes it is measured again.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bench import UserError, data, record, schema
from bench.data import Card, Dataset, cache, cut, leaks
from bench.schema import Record, TransferFields

if TYPE_CHECKING:
    from bench.workbench import Decode

SCHEMA = 1


def path_of(trial: Path, dataset: str) -> Path:
    """The file of a result; `trial` is the path of the trial's record."""
    return trial.parent / "transfer" / f"{dataset}-{trial.name}"


def results_of(
    trial: Path, document: Record, left_out: Callable[[str], None] = lambda _: None
) -> dict[str, TransferFields]:
    """The results beside a trial's record (its path and content) that belong to it, by data set.

    `left_out` gets a sentence on each file that is no such result.
    """
    fault, what = schema.fault_in_transfer, "result on another data set"
    results = record.results_beside(
        trial, document, "transfer", fault, what, "bench evaluate", left_out
    )
    return {result["dataset"]: result for result in results if result["schema"] == SCHEMA}


def state_of_test_set(result: TransferFields) -> tuple[str, dict[str, str]]:
    """The hashes of the test set as it was measured: of its card, and of images and captions."""
    return result["card"], result["hashes"]


def is_current(result: TransferFields, dataset: Dataset) -> bool:
    """Whether a result was measured on the test set as it is now."""
    return state_of_test_set(result) == (dataset.card.digest(), _hashes(dataset))


def _hashes(dataset: Dataset) -> dict[str, str]:
    return {k: v for k, v in dataset.hashes.items() if k in ("test", "annotation")}


def measure(trial: Path, card: Card, root: Path, decode: "Decode" = cache.images) -> TransferFields:
    """Test the method of a trial's record on the test set of a card, and record that.

    Raises UserError if the trained weights, the data or a library are missing.
    """
    from bench.measure.machine import environment
    from bench.trained.restore import restore

    dataset = data.load(card, root)
    restored = restore(trial)
    metrics, _ = restored.rank(restored.test_set(dataset, decode))
    tests = [dataset.samples[row] for row in dataset.split("test")]
    captions = [caption for sample in tests for caption in sample.captions]
    result: TransferFields = {
        "schema": SCHEMA,
        "identity": restored.record["identity"],
        "trial_finished": restored.record.get("finished"),
        "seed": restored.trial.seed,
        "dataset": card.name,
        "test_images": len(tests),
        "hashes": _hashes(dataset),
        "card": card.digest(),
        "captions_cut": cut.find(restored.backbone.tokenizer, captions).count(captions),
        "shared": _shared_with(restored.trial.dataset, dataset, root),
        "notes": list(dataset.notes),
        "metrics": metrics,
        "device": restored.device.type,
        "environment": environment(restored.device),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    record.write_document(path_of(trial, card.name), dict(result))
    return result


def retest(trial: Path, root: Path, decode: "Decode" = cache.images) -> dict[str, float]:
    """The metrics of a trial's method on its own test set, measured again; nothing is recorded."""
    from bench.trained.restore import restore

    restored = restore(trial)
    return restored.rank(restored.test_set(restored.own_dataset(root), decode))[0]


def _shared_with(trained_on: str, dataset: Dataset, root: Path) -> int | None:
    """How many test images share captions with train or val of the data set trained on.

    None if that data set is not here.
    """
    try:
        samples, _ = data.read(data.card(trained_on), root)
    except UserError:
        return None
    tests = [dataset.samples[row] for row in dataset.split("test")]
    pairs = leaks.by_captions(tests, [s for s in samples if s.split != "test"])
    return len({pair.images[0] for pair in pairs})
