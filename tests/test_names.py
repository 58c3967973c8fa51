"""Backbones by name: the table, the long spelling, one identity for all spellings of a backbone."""

from pathlib import Path

import open_clip
import pytest
from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
from open_clip.pretrained import get_pretrained_cfg

from bench import UserError, backbone, data
from bench.backbone import names
from bench.backbone.names import known_weights
from bench.backbone.weights import OPEN_CLIP_FILES
from bench.recipe import Recipe
from bench.report.published import numbers
from bench.spec import portable
from bench.sweeps import sweep
from bench.sweeps.sweepfile import SweepConfig
from bench.trial import Trial

REMOTECLIP = "ViT-B-32-quickgelu:hf:chendelong/RemoteCLIP/RemoteCLIP-ViT-B-32.pt"


def trial(spec: str, weights: str = "a hash") -> Trial:
    return Trial("ucm", spec, "cmer", "cmer", {}, None, Recipe(), 0, {"weights": weights})


def test_every_name_is_of_an_architecture_and_a_tag_that_open_clip_knows() -> None:
    assert OPEN_CLIP_FILES == (HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME)
    for one in list(names.table().values())[1:]:
        assert one.architecture in open_clip.list_models(), one.name
        if one.tag:
            config = get_pretrained_cfg(one.architecture, one.tag)
            assert config["hf_hub"] == f"{one.repo}/", one.name
            quick = one.architecture.endswith(names.QUICK)
            assert bool(config.get("quick_gelu")) == quick, one.name
        else:
            assert one.file, one.name
            assert len(one.revision) == 40, one.name
        assert one.sha256 == "" or len(one.sha256) == 64, one.name
        assert set(one.datasets) <= set(data.cards()), one.name
        backbone.check(one.name)


def test_the_published_rows_of_a_name_are_in_the_table_of_published_numbers() -> None:
    rows = {(row["backbone"], row["method"]) for row in numbers()}
    for one in names.table().values():
        if one.published is not None:
            backbone_, methods = one.published["backbone"], one.published["methods"]
            assert {(backbone_, method) for method in methods} <= rows, one.name


@pytest.mark.parametrize(
    ("word", "spec"),
    [
        ("openai-b32", "ViT-B-32-quickgelu:openai"),
        ("laion-l14", "ViT-L-14:laion2b_s32b_b82k"),
        ("remoteclip-b32", f"{REMOTECLIP}@bf1d8a3ccf2ddbf7c875705e46373bfe542bce38"),
        ("remoteclip-b32:/a/mine.pt", "ViT-B-32-quickgelu:/a/mine.pt"),
        ("openai-b16:none", "ViT-B-16-quickgelu:none"),
        ("starter", "starter"),
        ("starter:none", "starter:none"),
        ("ViT-B-32:openai", "ViT-B-32:openai"),
        ("hf-hub:org/name", "hf-hub:org/name"),
        ("openai-b32:~/mine.pt", "ViT-B-32-quickgelu:/home/me/mine.pt"),
        ("local-dir:~/mine", "local-dir:/home/me/mine"),
    ],
)
def test_a_name_is_short_for_a_spec(word: str, spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert backbone.expand(word) == spec
    assert backbone.folder_name(word) == backbone.folder_name(spec)


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("openai-b23", "did you mean 'openai-b32'"),
        ("ViT-B-32", "names no weights"),
        ("hf:a/b/c.pt@main", "write for instance ViT-B-32:hf:a/b/c.pt@main"),
        ("hf-hub:a/b/c/d", "write hf-hub:OWNER/REPO"),
        ("hf-hub:", "write hf-hub:OWNER/REPO"),
        ("local-dir:", "write local-dir:FOLDER"),
        ("::", "names no architecture; write ARCHITECTURE:WEIGHTS"),
        (":openai", "names no architecture; write ARCHITECTURE:WEIGHTS"),
    ],
)
def test_what_is_no_name_is_one_sentence(word: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        backbone.expand(word)


def test_an_unknown_architecture_is_told_with_what_to_write() -> None:
    for act in (backbone.check, backbone.load):  # `bench run` checks, `bench plan` loads
        with pytest.raises(UserError, match=r"no model 'ViT-B-99'.* written ARCHITECTURE:WEIGHTS"):
            act("ViT-B-99:none")


def test_where_weights_come_from_is_no_part_of_an_identity() -> None:
    local, hub = "ViT-B-32:/a/RemoteCLIP.pt", "ViT-B-32:hf:owner/repo/ckpt/RemoteCLIP.pt@refs/pr/1"
    assert portable(local) == portable(hub) == "ViT-B-32:RemoteCLIP.pt"
    assert trial(local).identity == trial(hub).identity
    assert trial(local).path(Path("r")) == trial(hub).path(Path("r"))
    assert trial(local).identity != trial(local, "another hash").identity
    assert trial("ViT-B-32-quickgelu:/a/RemoteCLIP.pt").identity != trial(local).identity


def planned(root: Path, datasets: list[str], backbones: list[str], **words: bool) -> sweep.Plan:
    return sweep.plan(SweepConfig("zeroshot", datasets, backbones, data_root=root), **words)


def test_a_short_name_is_the_trial_of_its_long_spelling(tmp_path: Path) -> None:
    (short,) = planned(tmp_path, ["synthetic"], ["openai-b32"]).trials
    (long,) = planned(tmp_path, ["synthetic"], ["ViT-B-32-quickgelu:openai"]).trials
    assert short == long
    both = planned(tmp_path, ["synthetic"], ["openai-b32", "ViT-B-32-quickgelu:openai"])
    assert both.trials == [short]
    (remote,) = planned(tmp_path, ["synthetic"], ["remoteclip-b32"]).trials
    assert remote.defines["weights"] == "sha256:60014e395d930a3f"  # known without the file
    assert remote.backbone.startswith(REMOTECLIP)


def test_without_a_backbone_each_data_set_has_its_own(tiny: Path) -> None:
    own = str(tiny / "tiny.toml")
    plan = planned(tiny, ["synthetic", own, "rsitmd"], [], rehearse=True)
    found = [(trial.dataset_name, portable(trial.backbone)) for trial in plan.trials]
    assert found == [
        ("synthetic", "starter"),
        ("tiny", "starter"),
        ("rsitmd", "ViT-B-32-quickgelu:openai"),
    ]
    given = planned(tiny, ["synthetic", "rsitmd"], ["laion-b32"], rehearse=True)
    assert {trial.backbone for trial in given.trials} == {"ViT-B-32:laion2b_s34b_b79k"}


def test_the_default_backbone_is_no_part_of_a_card_s_digest(tiny: Path) -> None:
    card = data.card(str(tiny / "tiny.toml"))
    without = data.Card(card.name, {k: v for k, v in card.raw.items() if k != "backbone"})
    assert card.digest() == without.digest()
    assert (card.backbone, without.backbone) == ("starter", "openai-b32")
    for name, real in data.cards().items():
        assert real.backbone == ("starter" if name == "synthetic" else "openai-b32")


def test_what_the_weights_were_trained_on_is_known_by_every_spelling() -> None:
    for spec in ("remoteclip-b32", "ViT-B-32:/a/RemoteCLIP-ViT-B-32.pt"):
        known = known_weights(backbone.expand(spec))
        assert known is not None
        assert known.datasets == ["rsicd", "rsitmd", "ucm"]
    renamed = known_weights("ViT-B-32:mine.pt", known.sha256)
    assert renamed == known
    assert known_weights("ViT-B-32:mine.pt", "0" * 64) is None
    assert known_weights("ViT-B-16:RemoteCLIP-ViT-B-32.pt") is None
    starter = known_weights("starter")
    assert starter is not None
    assert starter.datasets == ["rsicd"]
    assert known_weights("starter:none") is None


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("openai", "openai-b32"),
        ("remoteclip", "remoteclip-b32"),
        ("geo", "georsclip-b32"),
        ("openai-l15", "openai-l14"),
        ("", None),
    ],
)
def test_the_usual_model_of_a_family_is_suggested(word: str, meant: str | None) -> None:
    assert names.likely(word) == ("" if meant is None else f" (did you mean {meant!r}?)")
