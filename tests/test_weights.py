"""Weights on the Hub: fetched by the real client from a server here, checked before a run."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import open_clip
import pytest
import torch
from huggingface_hub import constants
from open_clip import pretrained

from bench import UserError, backbone
from bench.backbone import Absent, names, ready, weights
from bench.backbone.starter import STARTER
from bench.units import DOWNLOADS, format_bytes
from tests.helpers.command import bench
from tests.helpers.hub_server import HubServer, hub_of_this_process

REPO, FILE = "owner/weights", "ckpt/mine.pt"
SPEC = f"starter:hf:{REPO}/{FILE}@main"


@pytest.fixture(scope="session")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A checkpoint of the starter's architecture, in half precision."""
    path = tmp_path_factory.mktemp("weights") / "mine.pt"
    state = backbone.load("starter").model.state_dict()
    torch.save({"state_dict": {k: v.half() for k, v in state.items()}}, path)
    return path.read_bytes()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> Iterator[HubServer]:
    """A Hub with one repository; an empty cache of its own."""
    with hub_of_this_process(monkeypatch, tmp_path / "hub") as server:
        server.add_repo(REPO, {FILE: content, "README.md": b"weights"})
        yield server


def said_by(spec: str, download: bool = True) -> tuple[ready.Ready, list[str]]:
    said: list[str] = []
    return ready.make_ready(spec, said.append, download=download), said


def test_weights_of_the_hub_are_those_of_the_file(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = tmp_path / "mine.pt"
    local.write_bytes(server.repos[REPO].files[FILE])
    commit = server.repos[REPO].commit
    specs = [SPEC, f"starter:hf:{REPO}/{FILE}", f"starter:hf:{REPO}/{FILE}@{commit}"]
    asked = {backbone.weights_identity(spec) for spec in specs}
    assert asked == {backbone.weights_identity(f"starter:{local}")}
    assert not server.downloads(FILE), "the Hub says the hash of a large file without a download"
    bases = [backbone.load(spec) for spec in (*specs, f"starter:{local}")]
    assert len({base.weights_sha256 for base in bases}) == 1
    assert len(server.downloads(FILE)) == 1, "a branch and its commit are one file"
    assert {backbone.weights_identity(SPEC)} == asked
    requests = len(server.requests)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert said_by(SPEC)[0].to_download == 0
    assert len(server.requests) == requests, "what is in the cache needs no request"


def test_what_is_missing_is_said_downloaded_once_and_opened(server: HubServer) -> None:
    found, said = said_by(SPEC, download=False)
    size = len(server.repos[REPO].files[FILE])
    assert (found.to_download, said) == (size, [])
    assert not server.downloads(FILE)
    found, said = said_by(SPEC)
    assert found.to_download == 0
    assert said == [
        f"downloading {REPO}/{FILE} ({format_bytes(size, DOWNLOADS)}) to {constants.HF_HUB_CACHE}"
    ]
    assert said_by(SPEC) == (found, [])
    assert len(server.downloads(FILE)) == 1


def test_a_download_that_broke_off_goes_on(server: HubServer) -> None:
    server.fail(FILE, "cut", after=12_000_000)  # more than the client keeps in memory
    said_by(SPEC)
    ranges = [request.range for request in server.downloads(FILE)]
    assert len(ranges) == 2
    assert ranges[1] is not None


def test_a_file_that_arrives_damaged_is_fetched_again_and_never_used(server: HubServer) -> None:
    server.fail(FILE, "wrong", times=1)
    assert said_by(SPEC)[0].to_download == 0
    assert len(server.downloads(FILE)) == 2
    server.add_repo("owner/other", {FILE: server.repos[REPO].files[FILE]})
    server.fail(FILE, "wrong", times=9)
    with pytest.raises(UserError, match="arrived damaged twice"):
        said_by(f"starter:hf:owner/other/{FILE}")


def test_offline_and_without_a_connection_say_what_to_do(
    server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(Absent) as found:
        said_by(SPEC)
    text = str(found.value)
    assert "are not on this machine and cannot be downloaded (HF_HUB_OFFLINE is set)" in text
    assert f"bench backbones fetch {SPEC}" in text
    assert "--backbone starter " in text
    assert "--backbone starter:none" in text
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    server.shutdown()
    server.server_close()
    host = server.url.removeprefix("http://")
    with pytest.raises(Absent, match=rf"\(no connection to {host}\)"):
        said_by("openai-b32")
    with pytest.raises(Absent):
        backbone.weights_identity(SPEC.replace("mine", "other"))
    with pytest.raises(Absent, match="605 MB -> "):
        backbone.load("openai-b32")


def test_a_tokenizer_that_cannot_be_had_is_one_sentence_at_once(
    server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("transformers")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for spec in ("ViT-B-16-SigLIP:none", "roberta-ViT-B-32:none"):
        with pytest.raises(UserError, match=r"cannot be had \(HF_HUB_OFFLINE is set\)") as found:
            said_by(spec)
        assert str(found.value).endswith(f"`bench backbones fetch {spec}`")


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        (
            f"hf:{REPO}/ckpt/mime.pt",
            r"has no file 'ckpt/mime.pt' \(did you mean 'ckpt/mine.pt'\?\)",
        ),
        (f"hf:{REPO}/{FILE}@nowhere", "has no revision 'nowhere'"),
        ("hf:owner/nothing/a.pt", "has no model repository 'owner/nothing', or it is private"),
        ("hf:owner/closed/a.pt", "only to those who accepted its terms: open .*/owner/closed"),
        (f"hf:{REPO}", "name no file on the Hub; write hf:OWNER/REPO/FILE@REVISION"),
        ("hf:a--b/c/a.pt", "'a--b/c' is no repository .*; write OWNER/NAME"),
    ],
)
def test_what_the_hub_does_not_give_is_one_sentence(
    server: HubServer, weights: str, says: str
) -> None:
    server.add_repo("owner/closed", {"a.pt": b"0" * 200_000}, gated=True, tokens=("hf_x",))
    with pytest.raises(UserError, match=says) as found:
        said_by(f"starter:{weights}")
    assert "\n" not in str(found.value)
    assert not isinstance(found.value, Absent)


def test_a_file_of_another_architecture_is_told_before_anything_runs(server: HubServer) -> None:
    with pytest.raises(UserError, match=r"does not fit ViT-B-32: .* of another shape"):
        said_by(SPEC.replace("starter:", "ViT-B-32:"))


def test_a_pinned_file_that_is_damaged_is_refused(
    server: HubServer, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    known = replace(
        names.table()["remoteclip-b32"],
        name="mine",
        architecture="starter",
        repo=REPO,
        file=FILE,
        revision=server.repos[REPO].commit,
        sha256=hashlib.sha256(content).hexdigest(),
    )
    monkeypatch.setattr(names, "table", lambda: {"mine": known})
    said_by("mine")
    path = weights.locate("mine")
    assert path is not None
    path.resolve().write_bytes(content[:-1] + b"x")
    with pytest.raises(UserError, match=r"delete .*, then `bench backbones fetch mine`"):
        said_by("mine")
    path.resolve().unlink()
    assert said_by("mine")[0].to_download == 0


def test_a_tag_of_open_clip_is_looked_for_under_both_names(
    server: HubServer, monkeypatch: pytest.MonkeyPatch, content: bytes, tmp_path: Path
) -> None:
    config = tmp_path / "tagged.json"  # the starter's sizes under a name that has tags
    config.write_bytes((STARTER / "starter.json").read_bytes())
    open_clip.add_model_config(config)
    tags = {"mine": pretrained._pcfg(hf_hub="owner/tagged/", mean=(0.1, 0.2, 0.3))}
    monkeypatch.setitem(pretrained._PRETRAINED, "tagged", tags)
    server.add_repo("owner/tagged", {"open_clip_pytorch_model.bin": content})
    assert said_by("tagged:mine", download=False)[0].to_download == len(content)
    base = backbone.load("tagged:mine")
    assert base.preprocess.mean == (0.1, 0.2, 0.3)
    assert backbone.weights_identity("tagged:mine") == "open_clip:mine"


def test_forms_of_open_clip_without_their_config_are_one_sentence(
    server: HubServer, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=f"{REPO} has no file 'open_clip_config.json'"):
        said_by(f"hf-hub:{REPO}")
    for folder in (tmp_path / "nowhere", tmp_path):
        for ask in (backbone.check, said_by, backbone.load, backbone.image_size):
            with pytest.raises(UserError, match="is no config of open_clip"):
                ask(f"local-dir:{folder}")
    (tmp_path / "open_clip_config.json").write_text('{"model_cfg": {}}')
    with pytest.raises(UserError, match="is no config of open_clip"):
        backbone.check(f"local-dir:{tmp_path}")


# The command line.


@pytest.mark.parametrize("command", [["run"], ["run", "--dry-run", "--no-memory"], ["tune"]])
def test_weights_that_cannot_be_had_end_a_sweep_before_an_image_is_decoded(
    server: HubServer, tiny: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("BENCH_CACHE", str(tiny / "cache"))
    monkeypatch.chdir(tiny)
    card = tiny / "tiny.toml"
    card.write_text(card.read_text().replace('backbone = "starter"\n', ""))
    done = bench(*command, "--methods", "cmer,lora", "--dataset", str(card), "--data-root", ".")
    assert done.code == 2, done.out + done.err
    assert "backbone: openai-b32 (ViT-B-32-quickgelu:openai), the default of tiny" in done.out
    assert done.err.count("are not on this machine") == 1
    assert "bench backbones fetch openai-b32" in done.err
    left = 6 if command == ["tune"] else 2
    assert f"Nothing was run: {left} trials are left." in done.err
    assert "decoding" not in done.out
    assert not (tiny / "cache").exists()


def test_bench_backbones_lists_shows_and_fetches(
    server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = bench("backbones").out.splitlines()
    assert all(len(line) <= 80 for line in lines[:19])
    assert [line.split()[0] for line in lines[3:18]] == list(names.table())
    assert "marked on     rsicd, rsitmd, ucm" in bench("backbones", "remoteclip-l14").out
    done = bench("backbones", "remoteclip")
    assert done.code == 2
    assert "did you mean 'remoteclip-" in done.err
    done = bench("backbones", "fetch", SPEC)
    assert done.code == 0, done.err
    assert f"{SPEC} is ready: " in done.out
    assert len(server.downloads(FILE)) == 1


def test_an_unknown_tag_is_no_random_model() -> None:
    with pytest.raises(UserError, match="ViT-B-32 has no weights tagged 'bogus'"):
        backbone.load("ViT-B-32:bogus")
