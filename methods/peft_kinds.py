"""The kinds of adapters that the installed peft has, their settings, and those it cannot use here.

The kinds are read from peft's own list, so that another version's are found too.
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
"""Fields of peft's configs that say where adapters go; `targets` says that here."""

REFUSED = {
    "adalora": "it takes ranks away by the gradients that it is shown after each backward, which "
    "the training shared by all methods does not show it",
    "poly": "it chooses among adapters by the number of a task, which is to come with each input, "
    "and retrieval is one task",
    "xlora": "it mixes LoRA adapters that were trained before; give one of them with kind='lora'",
    "trainable_tokens": "it trains chosen rows of a word embedding, and no captions are known here "
    "to choose them by",
    "frod": "it takes layers of one name for one group, and those of the text tower would take the "
    "place of those of the image tower",
    "shadow": "it puts a second, smaller language model beside one of transformers",
    "adaption_prompt": "it is made for the attention of Llama, Mistral and GPT-2",
}
"""Kinds that need more than layers to wrap, and what, as a clause."""
PROMPTS = (
    "it puts learned tokens before the input of a language model of transformers; for these towers "
    "there are coop, vpt, vlprompt and maple"
)


class Kind(NamedTuple):
    """One of peft's kinds: its config class, and why it cannot be used here (None: it can)."""

    config: type
    refused: str | None


@functools.cache
def kinds() -> dict[str, Kind]:
    """Every kind of the installed peft by its name in small letters."""
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
    """The settings that a kind has of its own: its config's, but for those in `OURS`."""
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
    """A default as somebody would write it: of an enum its value, of another object None."""
    default = getattr(default, "value", default)
    known = (bool, int, float, str, list, tuple, dict)
    return default if isinstance(default, known) else None
