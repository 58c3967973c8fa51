"""Check that an architecture has the activation of its weights: GELU or QuickGELU.

Files of weights do not say which it is. With the wrong one nothing fails, but recall is too low.
open_clip gives most architectures a second name with QuickGELU: `ViT-B-32-quickgelu`.
"""

import json
from pathlib import Path

from bench import UserError
from bench.backbone.checkpoint import Checkpoint
from bench.backbone.names import Named, architecture, other_activation

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
    other, wrong = sibling(name), note_of_tag(name, tag)
    if other is not None and wrong is not None:
        raise UserError(f"{wrong}, so every recall would be too low (did you mean {other}:{tag}?)")


def note_of_tag(name: str, tag: str) -> str | None:
    """What to say if a tag's weights have another activation than the architecture.

    None if they have the same, or if open_clip does not know the tag.
    """
    from open_clip.pretrained import get_pretrained_cfg

    config = get_pretrained_cfg(name, tag) or get_pretrained_cfg(sibling(name) or name, tag)
    quick = bool(config.get("quick_gelu", False))
    if not config or quick == is_quick(name):
        return None
    return f"the weights {tag!r} were trained with {WORDS[quick]} and {name} has {WORDS[not quick]}"


def known_activation(state: Checkpoint) -> tuple[bool, str] | None:
    """Whether a file's weights were trained with QuickGELU, and how it is known; or None."""
    if state.openai:
        return True, "its form, OpenAI's own archive"
    config = state.path.with_name("config.json")
    return _of_config(config) if state.hugging_face and config.is_file() else None


def _of_config(path: Path) -> tuple[bool, str] | None:
    """The activation in the config.json beside a `CLIPModel`, if both towers have the same."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        towers = [config.get(f"{tower}_config") or {} for tower in ("text", "vision")]
        # transformers leaves out what is its default, which is QuickGELU.
        used = {tower.get("hidden_act", "quick_gelu") for tower in towers}
    except (OSError, ValueError, AttributeError, TypeError):
        return None
    if used not in ({"quick_gelu"}, {"gelu"}):
        return None
    return used == {"quick_gelu"}, f"{path.name} beside it"


def note(name: str, state: Checkpoint, known: Named | None) -> str | None:
    """A note if a file's activation is unknown or not that of the architecture; else None.

    `known`: the row for these weights in the table of names.
    """
    other, quick = sibling(name), is_quick(name)
    if other is None:
        return None
    activation = known_activation(state)
    if activation is None and known is not None:
        activation = is_quick(known.architecture), known.activation
    if activation is None:
        return (
            f"{state.path.name} does not say whether it was trained with GELU or QuickGELU: "
            f"{WORDS[quick]} is assumed, as {name} has it ({other} has {WORDS[not quick]})"
        )
    if activation[0] != quick:
        return (
            f"{state.path.name} was trained with {WORDS[not quick]} (known from: {activation[1]}) "
            f"and {name} has {WORDS[quick]}, so recalls will be too low; {other} has "
            f"{WORDS[not quick]}"
        )
    return None


def demand(name: str, state: Checkpoint, weights: str) -> None:
    """Raise UserError if the file itself shows that it has the other activation."""
    activation, other = known_activation(state), sibling(name)
    if activation is not None and other is not None and activation[0] != is_quick(name):
        quick, why = activation
        raise UserError(
            f"the file {weights!r} was trained with {WORDS[quick]} (known from: {why}) and {name} "
            f"has {WORDS[not quick]}, so every recall would be too low (did you mean "
            f"{other}:{weights}?)"
        )
