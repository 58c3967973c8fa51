"""Any adapter of the library peft: `peft(kind='oft', oft_block_size=16)`."""

from collections.abc import Mapping
from typing import Any, Literal

from torch import nn

from methods import peft_kinds, register
from methods.base import NotApplicable, Paper
from methods.injected import Injected
from methods.settings import Refused, Setting
from methods.surgery import Part


@register("peft")
class Peft(Injected):
    """Any adapter of the library peft, chosen by `kind`.

    Settings: kind; targets: the linear layers of both towers' blocks that it wraps (`ia3` takes
    those of them that its paper scales; `ln_tuning` always trains all layer norms); and the kind's
    own settings, with peft's names and defaults. `bench methods "peft(kind='loha')"` shows those
    of one kind. The default kind, OFT, multiplies weights with learned rotations. `lora`, `ia3` and
    `vera` are methods of their own here as well, with their own defaults and learning rates.

    The learning rate of 1e-3 is that of `lora`. Kinds with few parameters (fourierft, ia3,
    ln_tuning, vblora, vera, waveft) need a higher one: give lr=..., or let `bench tune` find it.
    """

    family = "Adapters of the peft library"
    paper = Paper(
        "PEFT: State-of-the-art Parameter-Efficient Fine-Tuning methods",
        2022,
        "https://github.com/huggingface/peft",
    )
    lr = 1e-3
    decides = "kind"

    def __init__(
        self, model: nn.Module, *, kind: str = "oft", targets: Part = "attn+mlp", **settings: Any
    ) -> None:
        super().__init__(model)
        self.kind = kind
        if kind not in peft_kinds.kinds():  # a record may be of another version of peft
            raise NotApplicable(f"the installed peft has no kind {kind!r}")
        where = self._places(targets)
        try:
            self.inject(peft_kinds.kinds()[kind].config(**{**settings, **where}))
        except (ValueError, TypeError, AttributeError, RuntimeError, ImportError) as error:
            why = " ".join(str(error).split()) or type(error).__name__
            raise NotApplicable(f"peft cannot put {kind} into these towers: {why}") from error

    def _places(self, part: Part) -> dict[str, Any]:
        if self.kind == "ln_tuning":
            return {"target_modules": self.norm_names()}
        if self.kind == "ia3":
            outputs, inner = self.factor_names(part)
            return {"target_modules": [*outputs, *inner], "feedforward_modules": inner}
        return {"target_modules": self.linear_names(part)}

    @classmethod
    def further_settings(cls, given: Mapping[str, Any]) -> dict[str, Setting]:
        """The setting `kind`, and the settings of the kind given, read from its config class."""
        kind, known = given.get("kind", "oft"), peft_kinds.kinds()
        usable = tuple(name for name, found in known.items() if found.refused is None)
        choice = {"kind": Setting("oft", Literal[usable])}
        if not isinstance(kind, str) or kind not in known:
            return choice
        if (reason := known[kind].refused) is not None:
            raise Refused(f"kind={kind!r} cannot be used: {reason}")
        return choice | peft_kinds.settings_of(kind)

    @classmethod
    def alternatives(cls) -> dict[str, str | None]:
        """Every kind of the installed peft, with the reason why it cannot be used, or None."""
        return {name: found.refused for name, found in peft_kinds.kinds().items()}

    @classmethod
    def check_settings(cls, settings: Mapping[str, Any]) -> None:
        """Refuse what peft's config class refuses, with its message."""
        given = dict(settings)
        kind, targets = given.pop("kind"), given.pop("targets")
        if kind == "ln_tuning" and targets != "attn+mlp":
            raise Refused(
                f"kind={kind!r} always trains the layer norms of both towers; leave out targets"
            )
        where: dict[str, Any] = {"target_modules": ["any"]}  # the config wants some layer's name
        if kind == "ia3":
            where["feedforward_modules"] = []
        try:
            peft_kinds.kinds()[kind].config(**{**given, **where})
        except (ValueError, TypeError, ImportError, AttributeError) as error:
            raise Refused(f"peft refuses these settings: {' '.join(str(error).split())}") from None

    def param_groups(self) -> list[dict[str, Any]]:
        """See `Method.param_groups`; `ia3` learns factors, which decay would pull from 1 to 0."""
        groups = super().param_groups()
        return [g | {"weight_decay": 0.0} for g in groups] if self.kind == "ia3" else groups
