"""Each backbone's images are prepared as open_clip prepares them, and records say how."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from open_clip.pretrained import get_pretrained_cfg
from open_clip.transform import PreprocessCfg, image_transform_v2, merge_preprocess_dict
from PIL import Image
from safetensors.torch import save_file

from bench import UserError, backbone, record, trial_run
from bench.backbone.preprocess import Preprocess, defining, of_record, preprocess_of
from bench.contract import TEXT, VISION
from bench.data import cache
from bench.data.resize import CLIP, Resize
from bench.recipe import Recipe
from bench.sweeps import sweep
from bench.sweeps.sweepfile import SweepConfig
from bench.trained.model import TrainedModel
from bench.trained.restore import restore
from bench.trained.retrieve import Searcher
from bench.training.batches import normalise
from tests.helpers.close import close

HALF = (0.5, 0.5, 0.5)
SIGLIP = Preprocess(Resize("squash"), HALF, HALF)


def test_what_is_wanted_for_each_tag_is_what_open_clip_does() -> None:
    """A hundred and ninety tags; the pixels of two shapes, to the bit, and their normalisation."""
    noise = np.random.default_rng(0)
    pictures = [
        Image.fromarray(noise.integers(0, 255, shape, dtype=np.uint8))
        for shape in ((37, 50, 3), (61, 33, 3))
    ]
    for name, tag in open_clip.list_pretrained():
        wanted = preprocess_of(f"{name}:{tag}")
        config = merge_preprocess_dict(PreprocessCfg(), get_pretrained_cfg(name, tag))
        theirs = image_transform_v2(PreprocessCfg(**{**config, "size": 24}), is_train=False)
        for picture in pictures:
            pixels = torch.from_numpy(cache.fit(picture, 24, wanted.resize).copy())[None]
            ours = normalise(pixels, wanted.mean, wanted.std)[0]
            close(ours, theirs(picture))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small model in a folder, as open_clip loads it; its config wants squashed images."""
    config = {
        "embed_dim": 32,
        "vision_cfg": VISION,
        "text_cfg": TEXT | {"context_length": 77, "vocab_size": 49408},
    }
    wanted = {"resize_mode": "squash", "interpolation": "bilinear", "mean": HALF, "std": HALF}
    place = tmp_path / "model"
    place.mkdir()
    document = {"model_cfg": config, "preprocess_cfg": wanted}
    (place / "open_clip_config.json").write_text(json.dumps(document))
    torch.manual_seed(0)
    save_file(open_clip.CLIP(**config).state_dict(), place / "open_clip_model.safetensors")
    return place


def test_a_trial_and_its_trained_model_see_what_open_clip_would(tiny: Path, folder: Path) -> None:
    card, backbones = str(tiny / "tiny.toml"), [f"local-dir:{folder}"]
    fp32 = Recipe(precision="fp32")
    config = SweepConfig("zeroshot", [card], backbones, recipe=fp32, data_root=tiny)
    (one,) = sweep.plan(config).trials
    assert "squash" in one.defines["preprocess"]
    document = trial_run.run(one, tiny, tiny / "results", lambda _: None)
    assert document["backbone"]["preprocess"]["resize_mode"] == "squash"
    path = one.path(tiny / "results")
    record.write(path, document)
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    picture = tiny / "tiny" / "images" / "pond_0.png"
    with Image.open(picture) as opened, torch.no_grad():
        assert opened.width != opened.height
        theirs = model.eval().encode_image(transform(opened)[None], normalize=True)
    ours = TrainedModel(path).encode_images([picture])
    close(ours, theirs)
    searcher = Searcher(restore(path), tiny)
    row = [sample.filename for sample in searcher.dataset.samples].index("pond_0.png")
    again = searcher.captions_for(picture, 3)
    assert again.pixels is not None
    assert np.array_equal(again.pixels, searcher.pixels[row])
    del document["backbone"]["preprocess"]  # as in the records of the first versions
    record.write(path, document)
    before = TrainedModel(path).encode_images([picture])
    assert not torch.allclose(before, theirs, atol=1e-3)


def test_images_that_are_not_square_are_refused_in_a_sentence(folder: Path) -> None:
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["vision_cfg"]["image_size"] = [32, 32 + 8]
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="only square ones are supported"):
        backbone.load(f"local-dir:{folder}")


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ("starter", Preprocess()),
        ("ViT-B-32-quickgelu:openai", Preprocess()),
        ("ViT-B-16-SigLIP:webli", SIGLIP),
        ("ViT-B-16-SigLIP:mine.pt", SIGLIP),
        ("ViT-B-16-SigLIP:hf:owner/repo/mine.pt", SIGLIP),
        ("ViT-B-16-SigLIP:none", SIGLIP),
        ("ViT-L-14:mine.pt", Preprocess()),  # of its tags one has other means than the rest
        ("ViT-L-14:laion2b_s32b_b82k", Preprocess(CLIP, HALF, HALF)),
        ("RN50:RemoteCLIP-RN50.pt", Preprocess()),
        ("PE-Core-B-16:mine.pt", Preprocess(Resize("squash", "bilinear"), HALF, HALF)),
        (
            "MobileCLIP-S1:mine.pt",
            Preprocess(Resize("shortest", "bilinear"), (0.0,) * 3, (1.0,) * 3),
        ),
        ("ViT-S-32-alt:mine.pt", Preprocess()),  # an architecture without published weights
    ],
)
def test_files_get_what_all_weights_of_the_architecture_agree_on(
    spec: str, wanted: Preprocess
) -> None:
    assert preprocess_of(spec) == wanted


def test_a_folder_says_it_in_its_config(tmp_path: Path) -> None:
    (tmp_path / "open_clip_config.json").write_text(
        json.dumps({"preprocess_cfg": {"resize_mode": "longest", "fill_color": 7, "mean": HALF}})
    )
    wanted = preprocess_of(f"local-dir:{tmp_path}")
    assert wanted == Preprocess(Resize("longest", "bicubic", 7), HALF)
    assert Preprocess.of(wanted.config()) == wanted
    (tmp_path / "open_clip_config.json").write_text(
        json.dumps({"preprocess_cfg": {"resize_mode": "stretch"}})
    )
    with pytest.raises(UserError, match="resized by 'stretch'; known are shortest, longest"):
        preprocess_of(f"local-dir:{tmp_path}")


def test_random_interpolation_is_bicubic_in_evaluation_as_in_open_clip() -> None:
    assert Preprocess.of({"interpolation": "random", "mean": None}) == Preprocess()


# Identity and records.


@pytest.mark.parametrize(
    ("spec", "enters"),
    [
        ("starter", False),
        ("ViT-B-32-quickgelu:openai", False),
        ("ViT-L-14:laion2b_s32b_b82k", False),  # whose means were followed from the first
        ("remoteclip-b32", False),
        ("ViT-L-14:mine.pt", False),
        ("ViT-B-16-SigLIP:none", False),  # no recall is recorded with random weights
        ("ViT-B-16-SigLIP:webli", True),
        ("ViT-B-16-SigLIP:mine.pt", True),
        ("ViT-H-14-quickgelu:dfn5b", True),
        ("MobileCLIP-S1:datacompdr", True),
    ],
)
def test_it_enters_an_identity_where_it_is_not_what_was_done_before(
    spec: str, enters: bool
) -> None:
    assert bool(defining(spec)) == enters


def test_a_sweep_gives_new_trials_another_identity() -> None:
    def trials(spec: str) -> Any:
        return sweep.plan(SweepConfig("zeroshot", ["synthetic"], [spec])).trials[0]

    now = trials("ViT-B-16-SigLIP:webli")
    assert json.loads(now.defines["preprocess"])["resize_mode"] == "squash"
    before = replace(now, defines={k: v for k, v in now.defines.items() if k != "preprocess"})
    assert now.identity != before.identity
    assert "preprocess" not in trials("ViT-B-32-quickgelu:openai").defines


def test_an_old_record_is_used_with_the_pixels_it_was_made_with() -> None:
    now = preprocess_of("ViT-B-16-SigLIP:webli")
    assert of_record("ViT-B-16-SigLIP:webli", {}, now) == Preprocess(CLIP, HALF, HALF)
    assert of_record("ViT-B-16-SigLIP:mine.pt", {}, now) == Preprocess()
    assert of_record("ViT-B-16-SigLIP:mine.pt", {"preprocess": now.config()}, now) == now
