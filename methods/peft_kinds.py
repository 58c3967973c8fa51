"""The kinds of adapters of the installed peft, their settings, and which cannot be used here.

The kinds are read from peft's own list, so those of another version are found too.
"""

import dataclasses
import functools
from typing import Any, NamedTuple, get_type_hints

from methods.settings import Setting

OURS = {
    "target_modules",
    "feedforward_modules",
    "exclude_modules",
    "modules_to_save",
    "target_parameters",
    "trainable_token_indices",
    "layers_to_transform",
    "layers_pattern",
    "layer_replication",
    "fan_in_fan_out",
    "progressbar",
}
"""Fields of peft's configs that are not settings here: `targets` says where adapters go."""

REFUSED = {
    "adalora": "it prunes ranks by gradients that it must be shown after each backward pass, and "
    "the training loop that all methods share does not show them",
    "poly": "it chooses among adapters by a task number that comes with each input, and retrieval "
    "is a single task",
    "xlora": "it mixes LoRA adapters that are trained already; train one with kind='lora'",
    "trainable_tokens": "it trains chosen rows of the word embedding, and the captions that would "
    "decide which are not known when a method is built",
    "frod": "it groups layers by name, so those of the text tower would replace those of the image "
    "tower",
    "shadow": "it puts a second, smaller language model beside a language model of transformers",
    "adaption_prompt": "it is made for the attention of Llama, Mistral and GPT-2",
}
"""Kinds that need more than layers to wrap, with what they need, as a clause."""
PROMPTS = (
    "it puts learned tokens before the input of a language model of transformers; for CLIP's "
    "towers use coop, vpt, vlprompt or maple"
)


class Kind(NamedTuple):
    """One of peft's kinds: its config class, and why it cannot be used here (None: it can)."""

    config: type
    refused: str | None


@functools.cache
def kinds() -> dict[str, Kind]:
    """Every kind of the installed peft, by its name in lower case."""
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING

    found = {}
    for kind, config in PEFT_TYPE_TO_CONFIG_MAPPING.items():
        name = kind.value.lower()
        found[name] = Kind(config, _why_not(name, config, PEFT_TYPE_TO_TUNER_MAPPING.get(kind)))
    return dict(sorted(found.items()))


def _why_not(name: str, config: Any, tuner: type | None) -> str | None:
    from peft.config import PromptLearningConfig
    from peft.tuners.tuners_utils import BaseTuner

    if issubclass(config, PromptLearningConfig):
        return PROMPTS
    if name in REFUSED:
        return REFUSED[name]
    if tuner is None or not issubclass(tuner, BaseTuner):
        return "it changes particular language models of transformers, not layers of any model"
    if "target_modules" not in {field.name for field in dataclasses.fields(config)}:
        return "it cannot be told which layers to wrap"
    return None


@functools.cache
def settings_of(kind: str) -> dict[str, Setting]:
    """The settings of a kind: the fields of its config, except those in `OURS`."""
    from peft import PeftConfig

    config: Any = kinds()[kind].config
    hints, shared = get_type_hints(config), {f.name for f in dataclasses.fields(PeftConfig)}
    found = {}
    for field in dataclasses.fields(config):
        if field.init and field.name not in shared | OURS:
            default = field.default
            if field.default_factory is not dataclasses.MISSING:
                default = field.default_factory()
            found[field.name] = Setting(_plain(default), hints[field.name])
    return found


def _plain(default: Any) -> Any:
    """A default as one would write it: an enum as its value, any other object as None."""
    default = getattr(default, "value", default)
    known = (bool, int, float, str, list, tuple, dict)
    return default if isinstance(default, known) else None
