"""`peft(kind=...)`: each of peft's kinds keeps the contract, and its settings are checked."""

import itertools
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from bench import UserError, cli
from bench.contract import check_method, obstacle, tiny_batch, tiny_model
from bench.measure import parameters
from bench.recipe import Recipe
from bench.spec import Call, complete, misfits, parse_calls, resolve
from bench.sweeps import grid
from bench.trained import example
from bench.trained.export import export
from bench.trial import Trial
from methods import registry
from methods.base import Method, NotApplicable
from methods.peft_kinds import REFUSED, kinds
from tests.helpers.makes import WITH_BLOCKS, stirred
from tests.helpers.trained import trained

PEFT = registry()["peft"]
USABLE = [name for name, kind in kinds().items() if kind.refused is None]
SMALL: dict[str, dict[str, Any]] = {
    "c3a": {"block_size": 16},
    "miss": {"r": 16},
    "shira": {"r": 4},
    "road": {"group_size": 16},
    "vblora": {"vector_length": 16},
    "waveft": {"n_frequency": 100},
}
"""What the narrow towers here need; the towers of real backbones take the defaults."""


def call(text: str) -> Call:
    ((name, given),) = parse_calls(text)
    return resolve(name, given, registry())


def settings(kind: str) -> dict[str, Any]:
    """A kind's settings for the towers here; skips where it lacks another package."""
    try:
        return dict(resolve("peft", {"kind": kind, **SMALL.get(kind, {})}, registry()).settings)
    except UserError as error:
        pytest.skip(str(error))


# The makes of towers in turn, and every fourth kind, to save time: PEFT_EVERY=1 tries all kinds.
EVERY = int(os.environ.get("PEFT_EVERY", "4"))
TURNS = list(zip(USABLE, itertools.cycle(WITH_BLOCKS), strict=False))[::EVERY]


@pytest.mark.parametrize(("kind", "make"), TURNS)
def test_contract(kind: str, make: str) -> None:
    results = check_method(PEFT, settings(kind), (make,))
    assert not [result for result in results if result.passed is False]


def built(kind: str, make: str) -> Method:
    """A method of a kind, as if it had been trained."""
    torch.manual_seed(0)
    return stirred(PEFT(tiny_model(make), **settings(kind)), scale=0.05)


@pytest.mark.parametrize(
    ("kind", "make"),
    [(k, m) for (k, _), m in zip(TURNS, ["timm", "open_clip", "hf"] * 99, strict=False)],
)
def test_merged_weights_give_the_same_features(kind: str, make: str) -> None:
    batch, plain = tiny_batch(), tiny_model(make)
    method = built(kind, make)
    with torch.no_grad():
        wanted = method.encode_image(batch.images)
        before = plain.encode_image(batch.images, normalize=True)
        try:
            plain.load_state_dict(method.merged_state(), strict=True)
        except NotApplicable as error:
            assert "peft cannot merge it into plain weights" in str(error)  # noqa: PT017
            return
        merged = plain.encode_image(batch.images, normalize=True)
    moved = float((wanted - before).abs().max())
    assert moved > 2e-4
    assert float((merged - wanted).abs().max()) < 1e-4 + 1e-3 * moved


def test_only_few_kinds_cannot_be_merged() -> None:
    with pytest.raises(NotApplicable, match="not supported for Lily"):
        built("lily", "open_clip").merged_state()


@pytest.mark.parametrize("kind", ["oft", "vera", "shira", "ln_tuning"])
def test_it_loads_with_peft(kind: str, tiny: Path) -> None:
    """What is written was loaded by peft and gave the same features, or it would not be there."""
    path, _ = trained(tiny, "peft", recipe=Recipe(steps=2, precision="fp32"), kind=kind)
    names = {file.name for file in export(path, tiny / "out")}
    assert {"adapter_config.json", "adapter_model.safetensors"} <= names
    assert (tiny / "out" / "README.md").read_text().count("PeftModel.from_pretrained") == 1


def test_what_peft_loads_to_other_features_is_not_exported(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = trained(tiny, "peft", recipe=Recipe(steps=2, precision="fp32"), kind="oft")
    monkeypatch.setattr(example, "SAME", 0.0)
    names = {file.name for file in export(path, tiny / "out")}
    assert not {"adapter_config.json", "adapter_model.safetensors"} & names


@pytest.mark.parametrize("dora", [False, True])
def test_dropout_is_on_in_training_only(dora: bool) -> None:
    torch.manual_seed(0)
    method = PEFT(tiny_model("open_clip"), kind="lora", lora_dropout=0.5, use_dora=dora)
    with torch.no_grad():
        for name, parameter in method.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.05)
        images = tiny_batch().images
        method.train()
        assert not torch.equal(method.encode_image(images), method.encode_image(images))
        method.eval()  # the same operations on the same shapes: bit for bit
        assert torch.equal(method.encode_image(images), method.encode_image(images))


def test_it_is_lora_where_its_kind_is_lora() -> None:
    own, ours = (registry()[n] for n in ("lora", "peft"))
    torch.manual_seed(0)
    a = own(tiny_model("hf"), rank=4, alpha=8)
    torch.manual_seed(0)
    b = ours(tiny_model("hf"), kind="lora", r=4, lora_alpha=8)
    assert a.own_state().keys() == b.own_state().keys()
    assert all(torch.equal(t, b.own_state()[n]) for n, t in a.own_state().items())


# Settings.


def test_a_call_states_the_kind_and_what_differs_from_peft_s_defaults() -> None:
    assert call("peft").text == "peft(kind='oft')"
    assert call("peft(oft_block_size=32, kind='oft')").text == "peft(kind='oft')"
    asked = call("peft(oft_block_size=16, kind='oft', targets='attn', lr=2e-3)")
    assert asked.text == "peft(kind='oft', targets='attn', oft_block_size=16, lr=0.002)"
    assert dict(asked.settings) == {"kind": "oft", "targets": "attn", "oft_block_size": 16}
    assert dict(call("peft(kind='loha', module_dropout=0)").settings).keys() == {"kind", "targets"}
    assert complete(PEFT, dict(asked.settings))["block_share"] is False


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("peft(kind='OFT')", r"`bench methods peft` lists them\).*did you mean 'oft'"),
        ("peft(kind=3)", "kind is one of .* names"),
        ("peft(kind=['oft'])", "kind is one of .* names"),
        ("peft(kind={'oft': 1})", "kind is one of .* names"),
        ("peft(kind='oft', oft_blok_size=3)", r"peft\(kind='oft'\) has no .*'oft_block_size'"),
        ("peft(kind='loha', oft_block_size=3)", "has no setting 'oft_block_size'"),
        ("peft(kind='loha', alpha='x')", "alpha is a whole number"),
        ("peft(kind='loha', target_modules=['x'])", "has no setting 'target_modules'"),
        ("peft(kind='oft', bias='some')", "bias is 'none', 'all' or 'oft_only'"),
        ("peft(kind='lora', init_lora_weights=3)", "is True or False, 'gaussian'"),
        ("peft(kind='lora', eva_config={})", "eva_config is None"),
        (
            "peft(kind='fourierft', random_loc_seed=1.5)",
            "random_loc_seed is a whole number or None",
        ),
        ("peft(kind='oft', r=8, oft_block_size=16)", "peft refuses these settings: .*not both"),
        ("peft(kind='ln_tuning', targets='mlp')", "always trains the layer norms"),
        ("peft(kind='prompt_tuning')", "coop, vpt, vlprompt or maple"),
        *((f"peft(kind={kind!r})", "cannot be used: it") for kind in REFUSED if kind in kinds()),
    ],
)
def test_wrong_settings_are_one_sentence(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        call(text)
    assert "\n" not in str(error.value)


def test_settings_of_every_type_pass() -> None:
    assert (
        dict(call("peft(kind='fourierft', random_loc_seed=None)").settings)["random_loc_seed"]
        is None
    )
    assert call("peft(kind='lora', init_lora_weights='pissa_niter_4')").text.endswith("niter_4')")
    assert call("peft(kind='c3a', block_size_pattern={'mlp': 16})").text.endswith("16})")


def test_towers_that_a_kind_does_not_fit_are_said_to_be_so() -> None:
    with pytest.raises(NotApplicable, match="peft cannot put c3a into these towers: The block"):
        PEFT(tiny_model(), kind="c3a", block_size=7)


def test_a_search_reaches_the_settings_of_a_kind() -> None:
    """Also the one that has peft's default, which a record leaves out."""

    def trial(text: str) -> Trial:
        asked = call(text)
        given = dict(asked.settings)
        return Trial("d", "b", asked.name, asked.text, given, asked.lr, Recipe(), 0, {})

    base = trial("peft(kind='loha')")
    space = grid.space_of(["peft(r=[4, 8], alpha=[8])"])
    points = grid.grid_of(base, (1.0,), space["peft"])
    texts = [resolve("peft", point, registry()).text for point in points]
    assert texts == ["peft(kind='loha', r=4, lr=0.001)", "peft(kind='loha', lr=0.001)"]
    tried = [grid.Point(trial(text), float(n)) for n, text in enumerate(texts)]
    axes = grid.axes_of(tried, base.settings)
    assert axes == {"lr": [1e-3], "r": [4, 8]}
    following = grid.beyond(tried, axes)["r"]
    assert dict(following.settings)["r"] > 8
    with pytest.raises(UserError, match="has no setting 'oft_block_size'"):
        grid.grid_of(base, (1.0,), {"oft_block_size": [8]})


def test_a_record_is_checked_against_its_own_kind() -> None:
    fits = {"kind": "loha", "targets": "mlp", "alpha": 4}
    assert misfits(PEFT, fits) == []
    assert misfits(PEFT, {**fits, "oft_block_size": 4}) == ["oft_block_size"]
    assert misfits(PEFT, {"kind": "loha"}) == ["targets"]


def test_why_a_kind_cannot_be_had() -> None:
    assert obstacle(PEFT, {"kind": "c3a", "block_size": 7}) is not None
    assert obstacle(PEFT, {"kind": "shira"}) is None  # too narrow are the towers of the contract


def test_the_command_lists_kinds_and_settings() -> None:
    done = CliRunner().invoke(cli.app, ["methods", "peft(kind='loha')"])
    assert done.exit_code == 0, done.output
    assert "rank_dropout" in done.output
    assert """--methods "peft(kind='loha')\"""" in done.output  # in quotes that a shell takes
    assert "Not usable" not in done.output


def test_the_command_lists_the_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    some = {name: kinds()[name] for name in ("loha", "oft", "poly")}
    monkeypatch.setattr("methods.peft_kinds.kinds", lambda: some)

    def needs_a_package(_: object, **settings: Any) -> int | None:
        return None if settings["kind"] == "loha" else trainable(PEFT, **settings)

    trainable = parameters.trainable
    monkeypatch.setattr(parameters, "trainable", needs_a_package)
    monkeypatch.setattr("bench.contract.obstacle", lambda *_: "oh dear")
    done = CliRunner().invoke(cli.app, ["methods", "peft"])
    assert done.exit_code == 0, done.output
    assert "1.67 M" in done.output
    assert "Not usable: loha: oh dear." in done.output
    assert "Not usable: poly: it chooses among adapters" in done.output
