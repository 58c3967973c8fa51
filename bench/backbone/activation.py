"""Check that an architecture has the activation of its weights: GELU or QuickGELU.

Files of weights do not say which it is. With the wrong one nothing fails, but recall is too low.
open_clip gives most architectures a second name with QuickGELU: `ViT-B-32-quickgelu`.
"""

import json

from open_clip.pretrained import get_pretrained_cfg

from bench import UserError
from bench.backbone.checkpoint import Checkpoint
from bench.backbone.names import NamedBackbone, architecture, other_activation

WORDS = {True: "QuickGELU", False: "GELU"}


def is_quick(name: str) -> bool:
    """Whether an architecture of open_clip has QuickGELU."""
    return bool((architecture(name) or {}).get("quick_gelu", False))


def sibling(name: str) -> str | None:
    """The same architecture with the other activation; None if open_clip has none."""
    other = other_activation(name)
    known = architecture(other) is not None
    return other if known and is_quick(other) != is_quick(name) else None


def check_tag(name: str, tag: str) -> None:
    """Raise UserError if open_clip knows that a tag's weights have the other activation.

    That is also so if it lists the tag under the sibling's name alone.
    """
    if config := get_pretrained_cfg(name, tag) or get_pretrained_cfg(sibling(name) or name, tag):
        _demand(name, tag, bool(config.get("quick_gelu", False)), "open_clip's table")


def demand(name: str, state: Checkpoint, weights: str) -> None:
    """Raise UserError if the file itself shows that it has the other activation."""
    if trained_with := _of_file(state):
        _demand(name, weights, *trained_with)


def _demand(name: str, weights: str, quick: bool, source: str) -> None:
    if wrong := _mismatch(name, repr(weights), quick, source):
        remedy = f"did you mean {sibling(name)}:{weights}?"
        raise UserError(f"{wrong}, so every recall would be too low ({remedy})")


def note(name: str, state: Checkpoint, known: NamedBackbone | None) -> str | None:
    """A note if a file's activation is unknown or not that of the architecture; else None.

    `known`: the row for these weights in the table of names.
    """
    other, own = sibling(name), WORDS[is_quick(name)]
    if other is None:
        return None
    trained_with = _of_file(state)
    if trained_with is None and known is not None:
        trained_with = is_quick(known.architecture), known.activation
    if trained_with is None:
        return (
            f"{state.path.name} does not say whether it was trained with GELU or QuickGELU: {own} "
            f"is assumed, as {name} has it ({other} has {WORDS[is_quick(other)]})"
        )
    wrong = _mismatch(name, state.path.name, *trained_with)
    if wrong is None:
        return None
    return f"{wrong}, so recalls will be too low; {other} has {WORDS[trained_with[0]]}"


def _mismatch(name: str, weights: str, quick: bool, source: str) -> str | None:
    """What is wrong if weights do not have an architecture's activation, but its sibling's."""
    if sibling(name) is None or quick == is_quick(name):
        return None
    trained = f"{weights} was trained with {WORDS[quick]} (known from: {source})"
    return f"{trained} and {name} has {WORDS[not quick]}"


def _of_file(state: Checkpoint) -> tuple[bool, str] | None:
    """Whether a file's weights were trained with QuickGELU, and how it is known; or None."""
    if state.openai:
        return True, "its form, OpenAI's own archive"
    path = state.path.with_name("config.json")
    if not state.hugging_face or not path.is_file():
        return None
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        towers = [config.get(f"{tower}_config") or {} for tower in ("text", "vision")]
        # transformers leaves out what is its default, which is QuickGELU.
        used = {tower.get("hidden_act", "quick_gelu") for tower in towers}
    except (OSError, ValueError, AttributeError, TypeError):
        return None
    if used not in ({"quick_gelu"}, {"gelu"}):  # the towers differ, or have another activation
        return None
    return used == {"quick_gelu"}, f"{path.name} beside it"
