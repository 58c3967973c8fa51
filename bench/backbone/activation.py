"""Check that an architecture has the activation of its weights: GELU or QuickGELU.

Files of weights do not say which it is. With the wrong one nothing fails, but recall is too low.
open_clip gives most architectures a second name with QuickGELU: `ViT-B-32-quickgelu`.
"""

import json
from pathlib import Path
from typing import Any

from bench import UserError
from bench.backbone.checkpoint import Checkpoint
from bench.backbone.names import Named, other_activation

WORDS = {True: "QuickGELU", False: "GELU"}


def is_quick(name: str) -> bool:
    """Whether an architecture of open_clip has QuickGELU."""
    import open_clip

    config: dict[str, Any] | None = open_clip.get_model_config(name)
    return bool(config and config.get("quick_gelu", False))


def sibling(name: str) -> str | None:
    """The same architecture with the other activation; None where open_clip has none."""
    import open_clip

    other = other_activation(name)
    known = other in open_clip.list_models()
    return other if known and is_quick(other) != is_quick(name) else None


def check_tag(name: str, tag: str) -> None:
    """Raise UserError where open_clip knows that a tag's weights have the other activation.

    That is also so where it lists the tag under the sibling's name alone.
    """
    other, wrong = sibling(name), note_of_tag(name, tag)
    if other is not None and wrong is not None:
        raise UserError(f"{wrong}, so every recall would be too low (did you mean {other}:{tag}?)")


def note_of_tag(name: str, tag: str) -> str | None:
    """What to say where a tag's weights have another activation than the architecture.

    None where they have the same, or where open_clip does not know the tag.
    """
    from open_clip.pretrained import get_pretrained_cfg

    config = get_pretrained_cfg(name, tag) or get_pretrained_cfg(sibling(name) or name, tag)
    quick = bool(config.get("quick_gelu", False))
    if not config or quick == is_quick(name):
        return None
    return f"the weights {tag!r} were trained with {WORDS[quick]} and {name} has {WORDS[not quick]}"


def known_activation(checkpoint: Checkpoint) -> tuple[bool, str] | None:
    """Whether a file's weights were trained with QuickGELU, and how it is known; or None."""
    if checkpoint.openai:
        return True, "its form, OpenAI's own archive"
    config = checkpoint.path.with_name("config.json")
    if checkpoint.hugging_face and config.is_file():
        return _of_config(config)
    return None


def _of_config(path: Path) -> tuple[bool, str] | None:
    """The activation in the config.json beside a `CLIPModel`, if both towers have the same."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        towers = [said.get(f"{tower}_config") or {} for tower in ("text", "vision")]
        # transformers leaves out what is its default, which is QuickGELU.
        kinds = {str(tower.get("hidden_act", "quick_gelu")) for tower in towers}
    except (OSError, ValueError, AttributeError):
        return None
    quick = {"quick_gelu": True, "gelu": False}.get(kinds.pop()) if len(kinds) == 1 else None
    return None if quick is None else (quick, f"{path.name} beside it")


def note(name: str, checkpoint: Checkpoint, known: Named | None) -> str | None:
    """A note if a file's activation is unknown or not that of the architecture; else None.

    `known`: the row for these weights in the table of names.
    """
    other, mine = sibling(name), is_quick(name)
    if other is None:
        return None
    file = checkpoint.path.name
    told = known_activation(checkpoint)
    if told is None and known is not None:
        told = is_quick(known.architecture), known.activation
    if told is None:
        return (
            f"{file} does not say whether it was trained with GELU or QuickGELU: "
            f"{WORDS[mine]} is assumed, as {name} has it ({other} has {WORDS[not mine]})"
        )
    quick, why = told
    if quick != mine:
        return (
            f"{file} was trained with {WORDS[quick]} (known from: {why}) and {name} has "
            f"{WORDS[mine]}, so recalls will be too low; {other} has {WORDS[quick]}"
        )
    return None


def demand(name: str, checkpoint: Checkpoint, weights: str) -> None:
    """Raise UserError where the file itself shows that it has the other activation."""
    told, other = known_activation(checkpoint), sibling(name)
    if told is not None and other is not None and told[0] != is_quick(name):
        quick, why = told
        raise UserError(
            f"the file {weights!r} was trained with {WORDS[quick]} (known from: {why}) and {name} "
            f"has {WORDS[not quick]}, so every recall would be too low (did you mean "
            f"{other}:{weights}?)"
        )
