"""Trained methods on the test set of another data set: a small record for each.

It lies in `transfer/` beside the trial's record, under a name that no trial has, and belongs to
that very run of the trial: after `bench run --rerun` it is measured again.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

from bench import UserError, data, record, schema
from bench.data import Card, Dataset, cache, cut, leaks
from bench.data.resize import Pixels, Resize
from bench.schema import Environment, Record

SCHEMA = 1
Images = Callable[[Dataset, int, Resize], Pixels]


@dataclass(frozen=True)
class Transfer:
    """The recall of a trained method on the test set of another data set."""

    identity: str
    """Of the trial that trained it."""
    trial_finished: str | None
    """When that run of the trial ended; tells it from others of the same trial."""
    seed: int
    dataset: str
    test_images: int
    hashes: dict[str, str]
    """Of the test images' names, and of captions and scenes where the card pins none."""
    card: str
    captions_cut: int
    """Test captions that are longer than the backbone's context."""
    shared: int | None
    """Test images that share captions with images it was trained or selected on (see
    `bench.data.leaks`); None where that data set is not there to be compared."""
    notes: list[str]
    metrics: dict[str, float]
    """As in a trial's record: recalls in percent, ceilings."""
    device: str
    environment: Environment
    finished: str
    schema: int = SCHEMA

    @property
    def test_set(self) -> str:
        """What tells one state of the test set from another: card, images and captions."""
        return data.short_hash(json.dumps([self.card, self.hashes], sort_keys=True))


def path_of(trial: Path, dataset: str) -> Path:
    """Where the result of a trial (the path of its record) on a data set belongs."""
    return trial.parent / "transfer" / f"{dataset}-{trial.name}"


def known(
    trial: Path, document: Record, left_out: Callable[[str], None] = lambda _: None
) -> dict[str, Transfer]:
    """The results beside a trial's record (its path and what it says) that belong to it.

    By data set. `left_out` is told, in a sentence, of each file that is no such result.
    """
    fault, what = schema.fault_in_transfer, "result on another data set"
    results = record.results_beside(
        trial, document, "transfer", fault, what, "bench evaluate", left_out
    )
    names = [field.name for field in fields(Transfer)]
    return {
        result["dataset"]: Transfer(**{name: result[name] for name in names})
        for result in results
        if result["schema"] == SCHEMA
    }


def measure(trial: Path, card: Card, root: Path, pixels: Images = cache.images) -> Transfer:
    """Test the method of a trial's record on the test set of a card, and record that.

    `pixels` gives the decoded images of a data set at a size, resized in a given way. Raises
    UserError where the trained weights, the data or a library are not there.
    """
    from bench.measure.machine import environment
    from bench.trained.encode import encode
    from bench.trained.restore import restore

    dataset = data.load(card, root)
    restored = restore(trial, None)
    encoded = encode(restored, dataset, pixels)
    tests = [dataset.samples[row] for row in dataset.split("test")]
    captions = [caption for sample in tests for caption in sample.captions]
    result = Transfer(
        identity=str(restored.record["identity"]),
        trial_finished=restored.record.get("finished"),
        seed=restored.trial.seed,
        dataset=card.name,
        test_images=len(tests),
        hashes={k: v for k, v in dataset.hashes.items() if k in ("test", "annotation")},
        card=card.digest(),
        captions_cut=cut.find(restored.backbone.tokenizer, captions).count(captions),
        shared=shared_with(restored.trial.dataset, dataset, root),
        notes=list(dataset.notes),
        metrics=encoded.metrics(),
        device=restored.device.type,
        environment=environment(restored.device),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    record.write_document(path_of(trial, card.name), asdict(result))
    return result


def retest(trial: Path, root: Path, pixels: Images = cache.images) -> dict[str, float]:
    """The metrics of a trial's method on its own test set, measured again; nothing is recorded."""
    from bench.trained.encode import encode
    from bench.trained.restore import restore

    restored = restore(trial, root)
    assert restored.dataset is not None
    return encode(restored, restored.dataset, pixels).metrics()


def shared_with(trained_on: str, dataset: Dataset, root: Path) -> int | None:
    """Test images that share captions with train or val of another data set; None: not there."""
    try:
        samples, _ = data.read(data.card(trained_on), root)
    except UserError:
        return None
    tests = [dataset.samples[row] for row in dataset.split("test")]
    pairs = leaks.by_captions(tests, [s for s in samples if s.split != "test"])
    return len({pair.images[0] for pair in pairs})
