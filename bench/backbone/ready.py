"""Weights are looked at before anything runs: there, downloadable, and of the architecture."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.backbone import activation, checkpoint, hub, loading, names, sources
from bench.backbone.absent import Absent, absent, megabytes, tilde
from bench.backbone.spec import FOREIGN, is_tag, split_spec
from bench.backbone.starter import is_starter

Say = Callable[[str], None]


@dataclass(frozen=True)
class Ready:
    """What was found out of a backbone's weights.

    `to_download`: bytes that are not on this machine yet, 0 where all is there, None where the Hub
    does not say. `notes`: what a run should know, such as an activation that was assumed.
    """

    spec: str
    to_download: int | None = 0
    notes: tuple[str, ...] = ()


def make_ready(spec: str, say: Say, *, download: bool = True) -> Ready:
    """See to it that a backbone can be loaded; what is missing is downloaded to the Hub's cache.

    `say` is told before a download what it is and how large. Without `download` the Hub is only
    asked whether it has the files. A file is opened and compared with the architecture. Raises
    Absent for weights that cannot be had, UserError for what cannot work.
    """
    sources.check(spec)
    name, weights = split_spec(spec)
    if is_starter(name, weights):
        return Ready(spec)
    try:
        size = _have(spec, say, download)
    except hub.Unreachable as why:
        raise Absent(absent(spec, str(why))) from None
    if size != 0:
        return Ready(spec, size)
    if download and sources.needs_transformers(name):
        loading.tokenizer(name)  # this and the config of a text tower are downloaded here
        if not name.startswith(FOREIGN):
            _without_memory(name)
    path = sources.locate(spec)
    if path is None or name.startswith(FOREIGN):
        return Ready(spec)
    if is_tag(weights):
        known = names.exactly(name, weights) is not None
        wrong = None if known else activation.note_of_tag(name, weights)
        return Ready(spec, 0, (wrong,) if wrong else ())
    sources.demand_pinned(spec, path)
    return Ready(spec, 0, tuple(_look_into(spec, path)))


def _have(spec: str, say: Say, download: bool) -> int | None:
    """Bytes that are still to be downloaded: 0 after a download; None: some, size unknown."""
    left = [hub.remote(some) for some in sources.missing(spec)]
    sizes = [found.size for found in left]
    size = None if None in sizes else sum(filter(None, sizes))
    if left and download:
        much = "" if size is None else f" ({megabytes(size)})"
        say(f"downloading {left[-1].address}{much} to {tilde(hub.cache_folder())}")
        sources.fetch(spec)
        return 0
    return size


def _look_into(spec: str, path: Path) -> list[str]:
    """Notes on a file; raises UserError where it is damaged or does not fit the architecture."""
    name, weights = split_spec(spec)
    if path.suffix in loading.BIG_VISION:
        return []
    found = checkpoint.read(path)
    model = _without_memory(name)
    found = checkpoint.aligned(found, model)
    activation.demand(name, found, weights)
    return loading.fill(model, spec, found)


def _without_memory(name: str) -> Any:
    """A model of an architecture with sizes alone, built at once."""
    import torch

    with torch.device("meta"):
        return loading.create(name, device="meta")
