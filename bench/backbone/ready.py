"""Check before a run that the weights are available and fit the architecture."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import hub
from bench.backbone import activation, checkpoint, loading, names, sources
from bench.backbone.absent import Absent, absent, tilde
from bench.backbone.spec import FOREIGN, is_tag, split_spec
from bench.backbone.starter import is_starter
from bench.units import DOWNLOADS, format_bytes

Say = Callable[[str], None]


@dataclass(frozen=True)
class Ready:
    """The result of checking a backbone's weights.

    `to_download`: bytes that are not on this machine yet; None where the Hub does not say. `notes`:
    for the user, such as an activation that was assumed.
    """

    spec: str
    to_download: int | None = 0
    notes: tuple[str, ...] = ()


def make_ready(spec: str, say: Say, *, download: bool = True) -> Ready:
    """Make sure that a backbone can be loaded, and download what is missing to the Hub's cache.

    `say` is called with a sentence before a download. Without `download` the Hub is only asked
    whether it has the files. A file is opened and compared with the architecture. Raises Absent for
    weights that are not available, UserError for those that do not work.
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
    """Bytes that remain to be downloaded, 0 after a download; None if the size is unknown."""
    left = [hub.ask(some) for some in sources.missing(spec)]
    sizes = [found.size for found in left]
    size = None if None in sizes else sum(filter(None, sizes))
    if left and download:
        much = "" if size is None else f" ({format_bytes(size, DOWNLOADS)})"
        say(f"downloading {left[-1].file}{much} to {tilde(hub.cache_folder())}")
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
    """A model on the meta device, which has shapes but no values and is built quickly."""
    import torch

    with torch.device("meta"):
        return loading.create(name, device="meta")
