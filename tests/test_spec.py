"""Method call strings, recipes, backbone specs: what is understood and what is refused."""

import math
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from typer.testing import CliRunner

import methods
from bench import UserError, backbone, cli
from bench.contract import tiny_batch, tiny_model
from bench.recipe import Recipe, parse_recipe
from bench.spec import defaults, load_plugins, parse_calls, resolve
from bench.trial import Trial
from methods import registry
from methods.base import NotApplicable
from methods.settings import ANY, Within

PLUGIN = """from methods import register
from methods.base import Method


@register("{name}")
class Mine(Method):
"""


def call(text: str):  # type: ignore[no-untyped-def]
    ((name, given),) = parse_calls(text)
    return resolve(name, given, registry())


def test_calls_are_canonical() -> None:
    assert call("lora").text == "lora"
    assert call("lora(rank=8)").text == "lora"
    assert call("lora( rank = 16 , alpha=32)").text == "lora(rank=16, alpha=32)"
    assert call("lora(alpha=32, rank=16)").text == "lora(rank=16, alpha=32)"
    assert call("cmer(scene_p=0)").text == "cmer(scene_p=0.0)"
    assert call("cmer(focus='none', lr=1e-3)").text == "cmer(focus='none', lr=0.001)"
    assert call("cmer(lr=1e-3)").lr == 1e-3
    assert dict(call("lora(rank=16)").settings)["alpha"] == 16
    several = parse_calls("cmer,lora(rank=16, dora=True), full")
    assert [name for name, _ in several] == ["cmer", "lora", "full"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lorra", "did you mean 'lora'"),
        ("lora(rnk=3)", "did you mean 'rank'"),
        ("LORA", "did you mean 'lora'"),
        ("lora(rank='a')", "rank is a whole number from 1"),
        ("lora(rank=1.5)", "rank is a whole number from 1"),
        ("lora(rank=0)", r"lora\(rank=0\): rank is a whole number from 1"),
        ("lora(rank=10000000000)", "rank is a whole number from 1"),
        ("lora(dropout=1.0)", "dropout is a number from 0 to below 1"),
        ("cmer(keep=0)", "keep is a number above 0 to 1"),
        ("cmer(queue_weight=1e999)", "queue_weight is a number from 0"),
        ("harma(width=24)", "width is a whole number from 16 in steps of 16"),
        ("lora(targets='all')", "targets is 'attn', 'mlp' or 'attn\\+mlp'"),
        ("lora(rank=x)", "put text in quotes"),
        ("lora(3)", "write NAME"),
        ("lora(rank=3", "cannot read"),
        ("lora],[cmer", "cannot read"),
        ("lora for lora in cmer", "cannot read"),
        ("(" * 300, "cannot read"),
        ("lora(rank={[]: 1})", "is no number, true value or text"),
        ("lora(rank=99999999999999999999)", "whole numbers are at most 9007199254740991"),
        ("lora(lr=1e40)", "above 0, at most 1e\\+30"),
        ("lora(rank=3, rank=4)", "'rank' is given twice"),
        ("lora(rank={'a': 1})", "rank is a whole number from 1"),
        ("lora(targets=['attn'])", "targets is 'attn', 'mlp' or 'attn\\+mlp'"),
        ("", "no method"),
        ("lora(lr=0)", "above 0"),
        ("lora(lr=1e999)", "above 0"),
        ("zeroshot(lr=1e-3)", "trains nothing"),
        ("lora(**x)", "write NAME"),
        ("__import__('os')", "write NAME"),
    ],
)
def test_wrong_calls(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        call(text)


@pytest.mark.parametrize("name", ["nowhere.py", str(Path(__file__).parent / "slow.txt")])
def test_a_plug_in_that_is_not_there_or_no_python_is_one_sentence(name: str) -> None:
    error = CliRunner().invoke(cli.app, ["methods", "--plugin", name]).exception
    assert isinstance(error, UserError)
    assert "plug-in" in str(error)
    assert name in str(error)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("lr = nope", r"NameError: name 'nope' is not defined.* \(line 7\)"),
        ("raise SystemExit('enough')", "SystemExit: enough"),
        ("def __init__(self, model, *, width): ...", "the setting 'width' of Mine has no default"),
    ],
)
def test_a_plug_in_with_a_fault_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, says: str
) -> None:
    monkeypatch.setattr(methods, "_REGISTRY", registry())
    (tmp_path / "mine.py").write_text(f"{PLUGIN.format(name='faulty')}    {body}\n")

    def use() -> None:
        load_plugins([tmp_path / "mine.py"])
        call("faulty")

    with pytest.raises(UserError, match=says):
        use()


def test_plug_ins_of_one_file_name_and_of_a_name_that_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(methods, "_REGISTRY", registry())
    for name in ("one_of_them", "other_of_them", "lora"):
        path = tmp_path / name / "mine.py"
        path.parent.mkdir()
        path.write_text(f"{PLUGIN.format(name=name)}    lr = 1e-3\n")
    load_plugins([tmp_path / name / "mine.py" for name in ("one_of_them", "other_of_them")])
    assert {"one_of_them", "other_of_them"} <= registry().keys()
    with pytest.raises(UserError, match=r"mine\.py cannot be loaded: .*two methods .* 'lora'"):
        load_plugins([tmp_path / "lora" / "mine.py"])


@pytest.mark.parametrize("name", registry())
def test_every_number_of_every_method_has_a_range_and_its_default_lies_in_it(name: str) -> None:
    method = registry()[name]
    hints = get_type_hints(method.__init__, include_extras=True)
    for setting, default in defaults(method).items():
        if isinstance(default, bool) or not isinstance(default, int | float):
            continue
        right = get_args(hints[setting])[-1]
        assert isinstance(right, Within), f"{name}({setting}): declare its range (methods.settings)"
        assert default in right
        kind = type(default)
        edges = [right.least, right.most]
        outside = [kind(min(edges) - 1), *([kind(max(edges) + 1)] if max(edges) < math.inf else [])]
        for value in outside:
            with pytest.raises(UserError, match=f"{setting} is a .*number"):
                resolve(name, {setting: value}, registry())


def test_a_range_leaves_out_what_is_no_number() -> None:
    for right in (ANY, Within(0), Within(0, 1)):
        assert not [value for value in (math.nan, math.inf, -math.inf) if value in right]
    assert 1.0 in Within(0, 1)
    assert 1.0 not in Within(0, 1, below=True)
    assert 0.0 not in Within(0, 1, above=True)
    assert (32 in Within(16, step=16), 24 in Within(16, step=16)) == (True, False)


@pytest.mark.parametrize("kind", ["open_clip", "hf"])
def test_prompts_that_leave_no_room_for_words_are_not_applicable(kind: str) -> None:
    method = registry()["coop"](tiny_model(kind), context=500)
    with pytest.raises(NotApplicable, match="500 prompt tokens leave no room"):
        method.loss(tiny_batch())


def test_steps_and_epochs_are_one_length() -> None:
    with pytest.raises(UserError, match="both epochs=10 and steps=20"):
        parse_recipe(["steps=20", "epochs=10"])
    by_steps = parse_recipe(["steps=20"], Recipe(epochs=10))  # an option over a sweep file
    assert (by_steps.steps, by_steps.epochs) == (20, Recipe().epochs)
    by_epochs = parse_recipe(["epochs=10"], Recipe(steps=20))
    assert (by_epochs.steps, by_epochs.epochs) == (None, 10)


def test_recipe() -> None:
    recipe = parse_recipe(["epochs=2.5,batch_size=64", "lr=1e-4", "augment=false"])
    assert recipe == Recipe(epochs=2.5, batch_size=64, lr=1e-4, augment=False)
    assert parse_recipe(["lr=none"]).lr is None


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("epoch=3", "did you mean 'epochs'"),
        ("epochs", "NAME=VALUE"),
        ("epochs=x", "is a number"),
        ("epochs=0", "above 0"),
        ("steps=0", "above 0"),
        ("steps=1e3", "a whole number"),
        ("clip_norm=nan", "above 0"),
        ("precision=int8", "is one of"),
        ("augment=maybe", "true or false"),
        ("batch_size=1", "at least 2"),
        ("warmup=2", "0 to 1"),
        ("lr=-1", "above 0"),
        ("epochs=inf", "above 0"),
        ("weight_decay=nan", "from 0"),
        ("lr=1e40", "at most 1e\\+30"),
        ("evaluations=99999999999999999999", "up to 9007199254740991"),
        ("time=0", "above 0"),
        ("time=soon", "a time such as"),
        ("time=9000h", "more than a year"),
        ("memory=2000000GiB", "more than any device"),
        ("memory=24", "write the unit, such as 24GiB"),
        ("memory=lots", "a size"),
        ("time=10m,steps=20", "both steps=20 and time=10m"),
        ("time=10m,epochs=20", "both epochs=20 and time=10m"),
        ("memory=1GiB,batch_size=64", "both batch_size=64 and memory=1GiB"),
        ("gradcache=32,compile=true", "compile"),
        ("gradcache=-1", "from 0"),
        ("frozen=bf16,precision=fp32", "precision=bf16"),
    ],
)
def test_wrong_recipes(word: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        parse_recipe([word])


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("ViT-B-33:openai", "did you mean 'ViT-B-32"),
        ("ViT-B-32:opena", "no weights tagged"),
        ("ViT-B-32:nowhere/model.pt", "no checkpoint file"),
        # Of the other activation.
        ("ViT-B-32:openai", r"did you mean ViT-B-32-quickgelu:openai\?"),
        ("RN50:cc12m", r"did you mean RN50-quickgelu:cc12m\?"),
        ("ViT-L-14-quickgelu:laion2b_s32b_b82k", r"did you mean ViT-L-14:laion2b_s32b_b82k\?"),
    ],
)
def test_wrong_backbones(spec: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        backbone.check(spec)


def test_backbone_folders() -> None:
    assert backbone.folder_name("starter") == "starter"
    assert backbone.folder_name("ViT-B-32-quickgelu:openai") == "ViT-B-32-quickgelu_openai"
    assert backbone.folder_name("ViT-B-32:/a/RemoteCLIP-ViT-B-32.pt") == (
        "ViT-B-32_RemoteCLIP-ViT-B-32"
    )
    assert backbone.folder_name("ViT-B-32:/a/mine.ckpt") == "ViT-B-32_mine"
    assert backbone.folder_name("hf-hub:org/name") == "hf-hub_org_name"


def test_a_trial_is_the_same_wherever_its_card_and_weights_lie() -> None:
    def trial(card: str, weights: str) -> Trial:
        return Trial(card, weights, "lora", "lora", {}, None, Recipe(), 0, {"weights": "a hash"})

    here, there = trial("my.toml", "ViT-B-32:mine.pt"), trial("/a/my.toml", "ViT-B-32:/b/mine.pt")
    assert here.identity == there.identity
    assert here.path(Path()) == there.path(Path())
    assert there.name == "my ViT-B-32:mine.pt lora seed 0"
    others = [
        trial("my.toml", "ViT-B-32:other.pt"),
        trial("ucm", "hf-hub:a/x"),
        trial("ucm", "hf-hub:b/x"),
    ]
    assert len({one.identity for one in [here, *others]}) == 4
    assert trial("ucm", "starter").identity == "68b283295d3097aa"  # as in records of old
