"""Check before a run that a backbone's weights can be had and fit its architecture."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench import hub
from bench.backbone import activation, checkpoint, loading, names, weights
from bench.backbone.absent import Absent, absent
from bench.backbone.spec import Spec, split_spec
from bench.console import tilde
from bench.units import DOWNLOADS, format_bytes


@dataclass(frozen=True)
class Ready:
    """The result of checking a backbone's weights.

    `to_download`: bytes that are not on this machine yet; None if the Hub does not say. `notes`:
    for the user, such as an activation that was assumed.
    """

    to_download: int | None = 0
    notes: tuple[str, ...] = ()


def make_ready(spec: str, say: Callable[[str], None], *, download: bool = True) -> Ready:
    """Make sure that a backbone can be loaded, and download what is missing to the Hub's cache.

    `say` is called with a sentence before a download. Without `download` the Hub is only asked
    whether it has the files. A file is opened and compared with the architecture. Raises Absent for
    weights that are not available, UserError for those that do not work.
    """
    weights.check(spec)
    parts = split_spec(spec)
    if parts.is_starter:
        return Ready()
    try:
        size = _download(spec, say) if download else _missing_bytes(spec)
    except hub.Unreachable as why:
        raise Absent(absent(spec, str(why))) from None
    if size != 0:
        return Ready(size)
    if download and loading.needs_transformers(parts):
        loading.tokenizer(parts)  # this and the config of a text tower are downloaded here
        if not parts.has_config:
            loading.create_without_memory(parts)
    path = weights.locate(spec)
    if path is None or parts.has_config:
        return Ready()
    if parts.is_tag:
        known = names.exactly(*parts) is not None
        wrong = None if known else activation.note_of_tag(*parts)
        return Ready(0, (wrong,) if wrong else ())
    weights.demand_pinned(spec, path)
    return Ready(0, tuple(_notes_on_file(spec, parts, path)))


def _missing_bytes(spec: str) -> int | None:
    sizes = [hub.ask(files).size for files in weights.missing(spec)]
    return None if None in sizes else sum(filter(None, sizes))


def _download(spec: str, say: Callable[[str], None]) -> int:
    if missing := [hub.ask(files) for files in weights.missing(spec)]:
        sizes = [stated.size for stated in missing]
        much = "" if None in sizes else f" ({format_bytes(sum(filter(None, sizes)), DOWNLOADS)})"
        say(f"downloading {missing[-1].file}{much} to {tilde(hub.cache_folder())}")
        weights.fetch(spec)
    return 0


def _notes_on_file(spec: str, parts: Spec, path: Path) -> list[str]:
    """Notes on a file; raises UserError if it is damaged or does not fit the architecture."""
    if path.suffix in loading.BIG_VISION:
        return []
    model = loading.create_without_memory(parts)
    found = checkpoint.aligned(checkpoint.read(path), model)
    activation.demand(parts.name, found, parts.weights)
    return loading.fill(model, spec, found)
