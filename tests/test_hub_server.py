"""The tests' own Hub speaks with the real client, and fails as it is told to."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.hub_server import HubServer

huggingface_hub = pytest.importorskip("huggingface_hub")
from huggingface_hub import constants, errors  # noqa: E402

SMALL, LARGE = b"{}", os.urandom(300_000)


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as made:
        made.add_repo("datasets/some/set", {"a.json": SMALL, "below/b.zip": LARGE})
        made.add_repo("some/model", {"model.pt": LARGE})
        made.add_repo("datasets/some/gated", {"c.zip": LARGE}, gated=True, tokens=("hf_right",))
        yield made


def get(hub: HubServer, cache: Path, repo: str, file: str, token: str | bool = False) -> bytes:
    name = repo.removeprefix("datasets/")
    found = huggingface_hub.hf_hub_download(
        name,
        file,
        repo_type="dataset" if repo.startswith("datasets/") else "model",
        endpoint=hub.url,
        cache_dir=cache,
        token=token,
    )
    return Path(found).read_bytes()


def test_files_of_data_sets_and_models_arrive(hub: HubServer, tmp_path: Path) -> None:
    assert get(hub, tmp_path, "datasets/some/set", "a.json") == SMALL
    assert get(hub, tmp_path, "datasets/some/set", "below/b.zip") == LARGE
    assert get(hub, tmp_path, "some/model", "model.pt") == LARGE


def test_a_whole_repository_and_its_listing(hub: HubServer, tmp_path: Path) -> None:
    api = huggingface_hub.HfApi(endpoint=hub.url, token=False)
    info = api.dataset_info("some/set", files_metadata=False)
    assert info.sha == hub.repos["datasets/some/set"].commit
    sizes = {
        f.path: f.size for f in api.list_repo_tree("some/set", recursive=True, repo_type="dataset")
    }
    assert sizes == {"a.json": 2, "below/b.zip": 300_000}
    (entry,) = api.get_paths_info("some/set", ["below/b.zip"], repo_type="dataset")
    assert entry.lfs.size == 300_000
    folder = huggingface_hub.snapshot_download(
        "some/set", repo_type="dataset", endpoint=hub.url, cache_dir=tmp_path, token=False
    )
    assert (Path(folder) / "below/b.zip").read_bytes() == LARGE


def test_a_cut_connection_is_gone_on_with(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The client keeps whole chunks only; its own size of them is 10 MiB.
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 50_000)
    hub.fail("below/b.zip", "cut", after=100_000)
    assert get(hub, tmp_path, "datasets/some/set", "below/b.zip") == LARGE
    assert [r.range for r in hub.downloads("below/b.zip")] == [None, "bytes=100000-"]


def test_what_is_missing_or_closed(hub: HubServer, tmp_path: Path) -> None:
    with pytest.raises(errors.EntryNotFoundError):
        get(hub, tmp_path, "datasets/some/set", "absent.zip")
    with pytest.raises(errors.RepositoryNotFoundError):
        get(hub, tmp_path, "datasets/some/absent", "a.zip")
    with pytest.raises(errors.GatedRepoError):
        get(hub, tmp_path, "datasets/some/gated", "c.zip")
    with pytest.raises(errors.GatedRepoError):
        get(hub, tmp_path, "datasets/some/gated", "c.zip", token="hf_wrong")
    assert get(hub, tmp_path, "datasets/some/gated", "c.zip", token="hf_right") == LARGE


def test_wrong_bytes_are_served_as_if_they_were_right(hub: HubServer, tmp_path: Path) -> None:
    hub.fail("model.pt", "wrong")
    assert get(hub, tmp_path, "some/model", "model.pt") != LARGE
