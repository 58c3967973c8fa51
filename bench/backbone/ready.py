"""Check before a run that a backbone's weights can be had and fit its architecture."""

from collections.abc import Callable
from dataclasses import dataclass

from bench import UserError, hub
from bench.backbone import activation, checkpoint, loading, weights
from bench.backbone.spec import split_spec
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
    whether it has the files. A file is opened and compared with the architecture. Raises
    weights.Absent if the Hub cannot be reached, UserError for weights that do not work.
    """
    weights.check(spec)
    parts = split_spec(spec)
    if parts.is_starter:
        return Ready()
    with weights.absent_if_unreachable(spec):
        infos = [hub.find(files) for files in weights.missing(spec)]
    sizes = [info.size for info in infos]
    size = None if None in sizes else sum(filter(None, sizes))
    if infos and not download:
        return Ready(size)
    if infos:
        size_note = "" if size is None else f" ({format_bytes(size, DOWNLOADS)})"
        say(f"downloading {infos[-1].file}{size_note} to {tilde(hub.cache_folder())}")
        weights.fetch(spec)
    if download and loading.needs_transformers(parts):
        loading.tokenizer(parts)  # this and the config of a text tower are downloaded here
        if not parts.has_config:
            loading.create_without_memory(parts)
    path = weights.locate(spec)
    if path is None or parts.has_config or parts.is_tag:
        return Ready()
    if (pinned := weights.pinned_hash(spec)) and weights.file_hash(path) != pinned:
        raise UserError(
            f"{path} is damaged or another file: its SHA-256 is {weights.file_hash(path)}, not "
            f"{pinned}; delete {path.resolve()}, then `bench backbones fetch {spec}` fetches it"
        )
    model = loading.create_without_memory(parts)
    state = checkpoint.read(path, model)
    activation.demand(parts.name, state, parts.weights)
    return Ready(0, tuple(loading.fill(model, spec, state)))
