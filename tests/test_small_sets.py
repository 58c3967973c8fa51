"""Data sets smaller than a batch, and data sets that have test images alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench import UserError, data, record, trial_run
from bench.data import newcard
from bench.messages import Event, Note
from bench.recipe import Recipe
from bench.report import conditions
from bench.report.entry import Entry
from bench.report.grouping import group_records
from bench.sweeps import sweep
from bench.sweeps.sweepfile import SweepConfig
from bench.training import train


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No measuring after training."""
    monkeypatch.setattr(train, "step_costs", lambda *_: {})


def planned(
    root: Path,
    methods: str,
    recipe: Recipe | None = None,
    cache_features: int = 0,
    rehearse: bool = False,
) -> sweep.Plan:
    config = SweepConfig(
        methods,
        [str(root / "tiny.toml")],
        ["starter"],
        recipe=recipe or Recipe(steps=2, evaluations=1),
        data_root=root,
        results=root / "results",
        cache_features=cache_features,
    )
    return sweep.plan(config, rehearse)


def ran(plan: sweep.Plan) -> tuple[dict[str, Any], list[str]]:
    """The record of a plan's only trial, written to its place, and the notes it printed."""
    (one,) = plan.trials
    events: list[Event] = []
    document = trial_run.run(one, plan.root, plan.results, events.append)
    record.write(one.path(plan.results), document)
    return document, [event.note for event in events if isinstance(event, Note)]


def keep(root: Path, **counts: int) -> None:
    """Leave so many images of each split in `tiny`, and say so on its card."""
    path = root / "tiny" / "dataset.json"
    images = json.loads(path.read_text())["images"]
    kept = []
    for split, number in counts.items():
        kept += [image for image in images if image["split"] == split][:number]
    path.write_text(json.dumps({"images": kept}))
    card = root / "tiny.toml"
    before = card.read_text().partition("[counts]")[0]
    listed = "".join(f"{split} = {number}\n" for split, number in counts.items() if number)
    card.write_text(f'{before}[counts]\n{listed}[scenes]\nrule = "filename"\n')


# Fewer images than a batch.


def test_a_batch_larger_than_the_training_set_is_told_and_recorded(tiny: Path) -> None:
    document, notes = ran(planned(tiny, "linear"))
    assert document["trial"]["recipe"]["batch_size"] == 128
    assert document["data"]["batch_size"] == 8
    said = "there are only 8 training images, so each batch has all of them "
    said += "(the recipe's batch is 128)"
    assert said in notes
    assert said in document["data"]["notes"]
    (group,) = group_records(record.load(tiny / "results"))
    assert group.batch_size == 8
    said = " ".join(conditions.conditions(group))
    assert "batch 8 (all training images; the recipe's 128 are more than those)" in said
    (path,) = record.paths(tiny / "results")
    document = record.read(path)
    document["trial"]["recipe"]["accumulation"] = 2
    record.write(path, document)
    (group,) = group_records(record.load(tiny / "results"))
    said = " ".join(conditions.conditions(group))
    assert "batch 16 (2 micro-batches of 8) (each has all training images; the" in said


def test_records_from_before_say_their_batch_by_their_counts() -> None:
    about = {"recipe": {"batch_size": 128, "track": "train"}}
    older = {"trial": about, "data": {"counts": {"train": 27, "val": 9}}}
    assert Entry("", older).batch_size == 27
    about["recipe"]["track"] = "train+val"
    assert Entry("", older).batch_size == 36
    assert Entry("", {"trial": about}).batch_size == 128


@pytest.mark.parametrize("images", [0, 1])
def test_too_few_training_images_are_one_sentence(tiny: Path, images: int) -> None:
    keep(tiny, train=images, val=2, test=3)
    have = "no training images" if not images else "one training image, and training needs two"
    said = rf"tiny.toml has {have}, so linear, lora\(rank=4\) cannot be trained on it; test"
    with pytest.raises(UserError, match=said):
        planned(tiny, "zeroshot,linear,lora(rank=4)")
    assert planned(tiny, "linear", rehearse=True).trials
    assert planned(tiny, "linear", Recipe(track="train+val")).trials


def test_an_image_held_out_for_validation_is_told_where_too_few_are_left(tiny: Path) -> None:
    keep(tiny, train=2, test=3)
    with pytest.raises(UserError, match="one training image beside those held out for validation"):
        planned(tiny, "linear")


# Test images alone.


@pytest.mark.parametrize("views", [0, 1])
def test_zeroshot_on_test_images_alone(tiny: Path, views: int) -> None:
    keep(tiny, test=4)
    dataset = data.load(data.card(str(tiny / "tiny.toml")), tiny)
    assert [len(dataset.split(s)) for s in data.SPLITS] == [0, 0, 4]
    document, _ = ran(planned(tiny, "zeroshot", cache_features=views))
    assert document["status"] == "ok", document["traceback"]
    assert 0 <= document["metrics"]["test"]["mR"] <= 100
    assert document["data"]["context_length"] > 5
    assert "batch_size" not in document["data"]


def test_a_new_card_of_test_images_alone(tiny: Path) -> None:
    keep(tiny, test=4)
    folder = tiny / "tiny"
    made = newcard.propose("mine", folder / "dataset.json", folder / "images", tiny)
    assert any("there are no training images: the card is for `zeroshot`" in n for n in made.notes)
    assert "val_share" not in made.toml
    newcard.write(made, tiny / "mine.toml")
    assert data.card(str(tiny / "mine.toml")).counts == {"test": 4}
    path = folder / "dataset.json"
    path.write_text(path.read_text().replace('"split": "test"', '"split": "train"'))
    with pytest.raises(UserError, match="4 images in train and none in test; test images are"):
        newcard.propose("other", folder / "dataset.json", folder / "images", tiny)
