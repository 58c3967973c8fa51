"""What is refused while a sweep is planned: settings that the data set cannot serve."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench import UserError, data
from bench.recipe import Recipe
from bench.sweeps import sweep
from bench.sweeps.sweep import Plan


def planned(root: Path, methods: str, **recipe: Any) -> Plan:
    return sweep.plan(
        methods=methods,
        datasets=[str(root / "tiny.toml")],
        backbones=["starter"],
        seeds=[0],
        recipe=Recipe(**recipe),
        root=root,
        results=root / "results",
    )


def silence(root: Path, images: int, captions: int = 5) -> None:
    """Blank the first captions of the first training images."""
    path = root / "tiny" / "dataset.json"
    said = json.loads(path.read_text())
    for image in said["images"][:images]:
        for sentence in image["sentences"][:captions]:
            sentence["raw"] = " . "
    path.write_text(json.dumps(said))


@pytest.mark.parametrize("mode", ["oracle", "predicted"])
def test_scenes_at_test_need_scenes(mode: str, tiny: Path) -> None:
    call = f"cmer(scene_at_test='{mode}')"
    assert planned(tiny, call).trials[0].call == call
    card = tiny / "tiny.toml"
    card.write_text(card.read_text().replace('[scenes]\nrule = "filename"\n', ""))
    assert not data.load(data.card(str(card)), tiny).scenes
    with pytest.raises(UserError, match=r"tiny has no scenes; state \[scenes\] on its card"):
        planned(tiny, f"zeroshot,{call}")
    assert len(planned(tiny, "zeroshot,cmer").trials) == 2  # labels in training are optional


def test_blank_training_captions_are_told(tiny: Path) -> None:
    def note() -> str:
        notes = data.load(data.card(str(tiny / "tiny.toml")), tiny).notes
        return next((note for note in notes if "no word" in note), "")

    assert note() == ""
    silence(tiny, images=1, captions=1)
    assert note() == "1 training caption has no word: left out of training"
    silence(tiny, images=2)
    expected = "10 training captions have no word: left out of training, and so are 2 training"
    assert note().startswith(expected)


def test_a_training_without_captions_is_refused_before_it_starts(tiny: Path) -> None:
    silence(tiny, images=7)
    assert planned(tiny, "zeroshot").trials
    with pytest.raises(UserError, match="1 of the 8 training images of tiny have a caption"):
        planned(tiny, "zeroshot,lora")
    assert planned(tiny, "lora", track="train+val").trials  # the validation images have captions
