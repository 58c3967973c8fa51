"""A model is pushed to the Hub (a server here) and loaded again; its card is what the Hub reads."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import EvalResult, ModelCard, constants, get_session
from typer.testing import CliRunner

import bench
from bench import UserError, cli
from bench.recipe import Recipe
from bench.trained import example, hub_model
from bench.trained.model_card import base_model
from tests.helpers.close import close
from tests.helpers.hub_server import HubServer, hub_of_this_process
from tests.helpers.trained import trained

REPO = "me/lora-tiny"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A Hub on this machine, where the token `hf_mine` is of `me`; an empty cache of its own."""
    with hub_of_this_process(monkeypatch, tmp_path / "hub") as server:
        server.accounts["hf_mine"] = "me"
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
        monkeypatch.setenv("HF_TOKEN", "hf_mine")
        yield server


def command(*words: str) -> str:
    done = CliRunner().invoke(cli.app, ["export", *words])
    if isinstance(done.exception, Exception):
        raise done.exception
    return done.output


def features(model: Any) -> torch.Tensor:
    return torch.as_tensor(model.encode_texts([example.SENTENCE]))


@pytest.fixture
def fitted(tiny: Path) -> tuple[Path, torch.Tensor]:
    """A record with trained weights, and the text features of its model."""
    path, _ = trained(tiny, "linear", recipe=Recipe(steps=2, precision="fp32"))
    return path, features(bench.load(path, device="cpu"))


def test_a_pushed_adapter_is_private_and_is_loaded_again(
    server: HubServer,
    fitted: tuple[Path, torch.Tensor],
    tiny: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path, wanted = fitted
    said = command(str(path), "--push", REPO)
    assert f"to {server.url}/{REPO}" in " ".join(said.split())
    pushed = server.repos[REPO]
    assert pushed.private
    beside = {"README.md", "example.png", "example.safetensors", "record.json"}
    assert set(pushed.files) == beside | {"adapter.safetensors"}
    assert not [name for name, content in pushed.files.items() if str(tiny).encode() in content]
    assert f'bench.load("hf:{REPO}")' in pushed.files["README.md"].decode()
    for name in (f"hf:{REPO}", f"hf:{REPO}@{pushed.commit}"):
        close(features(bench.load(name, device="cpu")), wanted)
    before = len(server.requests)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)  # what was loaded once is kept
    close(features(bench.load(f"hf:{REPO}", device="cpu")), wanted)
    assert len(server.requests) == before
    with pytest.raises(UserError, match=r"me/other is not in the Hub's cache .* HF_HUB_OFFLINE"):
        bench.load("hf:me/other")


def test_another_push_replaces_the_files_and_a_revision_finds_the_old(
    server: HubServer, fitted: tuple[Path, torch.Tensor], tiny: Path
) -> None:
    path, wanted = fitted
    command(str(path), "--push", REPO, "--public")
    assert not server.repos[REPO].private
    first = server.repos[REPO].commit
    other, _ = trained(tiny, "bitfit", recipe=Recipe(steps=2, precision="fp32"))
    command(str(other), "--push", REPO, "--public")
    assert bench.load(f"hf:{REPO}", device="cpu").call == "bitfit"
    close(features(bench.load(f"hf:{REPO}@{first}", device="cpu")), wanted)
    command(str(other), "--push", REPO, "--public", "--merged")
    assert "adapter.safetensors" not in server.repos[REPO].files
    assert "open_clip_model.safetensors" in server.repos[REPO].files
    with pytest.raises(UserError, match=f"open_clip checkpoint.*--backbone hf-hub:{REPO}"):
        bench.load(f"hf:{REPO}")


def test_a_dry_run_shows_the_card_and_files_and_asks_nobody(
    server: HubServer, fitted: tuple[Path, torch.Tensor], tmp_path: Path
) -> None:
    path, _ = fitted
    said = command(str(path), "--push", REPO, "--dry-run")
    assert "model-index:" in said
    assert "adapter.safetensors: " in said
    assert f"would be pushed to {REPO}" in said
    assert not server.requests
    assert not server.repos
    said = command(str(path), "--out", str(tmp_path / "out"), "--dry-run")
    assert "would be written" in said
    assert not (tmp_path / "out").exists()


def test_the_card_holds_results_as_the_hub_reads_them(
    server: HubServer, fitted: tuple[Path, torch.Tensor], tmp_path: Path
) -> None:
    path, _ = fitted
    document = json.loads(path.read_text())
    recalls = {
        f"{way}_R@{k}": 10.0 * n + k for n, way in enumerate(("i2t", "t2i"), 1) for k in (1, 5, 10)
    }
    document["metrics"]["test"] |= {**recalls, "mR": 33.456}
    path.write_text(json.dumps(document))
    command(str(path), "--out", str(tmp_path / "out"))
    card = ModelCard.load(tmp_path / "out" / "README.md")
    results = card.data.eval_results
    assert results is not None
    assert all(isinstance(result, EvalResult) for result in results)
    assert {result.metric_name: result.metric_value for result in results} == {
        "mean recall (mR)": 33.46,
        **{f"image to text R@{k}": 10.0 + k for k in (1, 5, 10)},
        **{f"text to image R@{k}": 20.0 + k for k in (1, 5, 10)},
    }
    (place,) = {(r.task_type, r.dataset_type, r.dataset_name, r.dataset_split) for r in results}
    assert place == ("image-text-retrieval", "tiny", "Tiny", "test")
    assert card.data.library_name == "cmer-bench"
    assert "linear" in card.data.tags
    assert card.text.lstrip().startswith("# linear for Tiny")


def test_the_base_model_is_the_repository_of_the_weights() -> None:
    assert base_model("ViT-B-32:hf:chendelong/RemoteCLIP/RemoteCLIP-ViT-B-32.pt") == (
        "chendelong/RemoteCLIP"
    )
    assert base_model("starter") is None
    assert base_model("ViT-B-32:none") is None


# What goes wrong.


def test_what_keeps_a_push_from_being_made_is_one_sentence(
    server: HubServer, fitted: tuple[Path, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(fitted[0])
    for odd in ("me", "a/b/c", "me/a b", "-me/a", "me/a..b"):
        with pytest.raises(UserError, match="OWNER/NAME"):
            command(path, "--push", odd)
    with pytest.raises(UserError, match="give a new folder as --out, or a repository"):
        command(path)
    with pytest.raises(UserError, match="--public is about"):
        command(path, "--public", "--out", "x")
    folder = fitted[0].parent
    with pytest.raises(UserError, match="may not write to you/name"):
        hub_model.push(folder, "you/name", public=False)
    server.add_repo("you/there", {})
    with pytest.raises(UserError, match="may not write to you/there"):
        hub_model.push(folder, "you/there", public=True)
    server.add_repo("me/open", {})
    with pytest.raises(UserError, match="me/open is a public repository: give --public"):
        hub_model.push(folder, "me/open", public=False)
    assert not server.repos["me/open"].files
    server.add_repo("me/closed", {})
    server.repos["me/closed"].private = True
    with pytest.raises(UserError, match="me/closed is a private repository: leave out --public"):
        hub_model.push(folder, "me/closed", public=True)
    monkeypatch.setenv("HF_TOKEN", "hf_old")
    with pytest.raises(UserError, match="does not accept the token"):
        hub_model.push(folder, REPO, public=False)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(UserError, match=r"there is no token .* `hf auth login`"):
        hub_model.push(folder, REPO, public=False)
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # nobody listens there
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{deaf.getsockname()[1]}")
        with pytest.raises(UserError, match=r"nothing was pushed: .* cannot be reached"):
            hub_model.push(folder, REPO, public=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set"):
        hub_model.push(folder, REPO, public=False)
    assert REPO not in server.repos


def test_a_push_does_not_wait_for_a_silent_hub(
    server: HubServer, fitted: tuple[Path, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(get_session(), "timeout", 60)  # back to what it was, at the end
    monkeypatch.setattr(hub_model, "SILENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(UserError, match=r"nothing was pushed: .* does not answer"):
            hub_model.push(fitted[0].parent, REPO, public=False)


@pytest.mark.parametrize(
    "name",
    ["", "one", "a/b/c", "./out", "/tmp/out", "me/a b", "me/a@", "-me/a", "me/a..b", "me/a@b c"],
)
def test_what_names_no_model_on_the_hub_is_one_sentence(name: str) -> None:
    with pytest.raises(UserError, match="is no model on the Hub; write hf:OWNER/NAME"):
        bench.load(f"hf:{name}")


def test_what_cannot_be_loaded_is_one_sentence(
    server: HubServer, fitted: tuple[Path, torch.Tensor]
) -> None:
    with pytest.raises(UserError, match="has no model repository 'me/none'"):
        bench.load("hf:me/none")
    server.add_repo("me/thing", {"README.md": b"a thing", "record.json": b"{}"})
    with pytest.raises(UserError, match="me/thing is no adapter of this project"):
        bench.load("hf:me/thing")
    command(str(fitted[0]), "--push", REPO)
    with pytest.raises(UserError, match="no revision 'v9'"):
        bench.load(f"hf:{REPO}@v9")
    files = dict(server.repos[REPO].files)
    document = json.loads(files["record.json"])
    document["backbone"]["weights_sha256"] = "0" * 16
    server.commit(REPO, {**files, "record.json": json.dumps(document).encode()})
    with pytest.raises(UserError, match="the weights of starter are not those of the record"):
        bench.load(f"hf:{REPO}")
