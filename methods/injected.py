"""What `peft`, `lora`, `ia3` and `vera` share: methods that the library peft puts into the towers.

peft wraps layers of the model in place. Random matrices that it never trains are drawn again, with
the same seed, when the method is built again, so only what is trained is saved.
"""

from itertools import chain
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor, nn

from methods.base import Method, NotApplicable
from methods.surgery import Part, linear_layers, module_names, open_attention, plain_state
from methods.towers import tower_parameters

if TYPE_CHECKING:
    from peft import PeftConfig
    from peft.tuners.tuners_utils import BaseTunerLayer


class Injected(Method):
    """A method made by a tuner of peft; a subclass says where it goes and with which config."""

    def linear_names(self, part: Part) -> list[str]:
        """Names of the linear layers of both towers' blocks. Opens the attention if `part` asks.

        In an opened attention, query, key and value are one layer if they are one matrix in the
        backbone (open_clip, timm).
        """
        towers = (self.image_tower, self.text_tower)
        if "attn" in part:
            for tower in towers:
                open_attention(tower)
        layers = chain.from_iterable(linear_layers(tower, part) for tower in towers)
        return module_names(self.model, layers)

    def factor_names(self, part: Part) -> tuple[list[str], list[str]]:
        """Names of the layers that (IA)3 scales: first those whose outputs it scales (they give
        keys and values), then those whose inputs it scales (the last layer of each MLP)."""
        outputs: list[nn.Module] = []
        inner: list[nn.Module] = []
        for tower in (self.image_tower, self.text_tower):
            open_attention(tower)
            for module in tower.blocks.modules() if "attn" in part else ():
                # An opened attention and timm's have one layer for all three, BERT's has several.
                for name in ("in_proj", "qkv", "key", "value"):
                    if isinstance(layer := getattr(module, name, None), nn.Linear):
                        outputs.append(layer)
            if "mlp" in part:
                layers = linear_layers(tower, "mlp")  # the last one narrows to the tower's width
                inner += (m for m in layers if m.in_features > m.out_features)
        return module_names(self.model, outputs), module_names(self.model, inner)

    def norm_names(self) -> list[str]:
        """Names of the layer norms of both towers."""
        towers = {name.rpartition(".")[0] for name in tower_parameters(self.model)}
        named = self.model.named_modules()
        return [name for name, m in named if isinstance(m, nn.LayerNorm) and name in towers]

    def inject(self, config: "PeftConfig", *, cast_inputs: bool = False) -> None:
        """Put peft's adapter into the model; only it and the temperature are trained after that.

        cast_inputs: let peft cast each layer's input to the adapter's dtype. Under autocast that
        only costs memory, since a copy in float32 is kept for the backward pass.
        """
        from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING

        tuner: Any = PEFT_TYPE_TO_TUNER_MAPPING[cast(Any, config).peft_type]
        # In a tuple, not as a submodule: the tuner holds the model, whose weights have names here.
        self.tuner = (tuner(self.model, config, "default"),)
        inside = tower_parameters(self.model).keys()
        for name, parameter in self.model.named_parameters():
            if name not in inside:  # peft may train all biases; not the one of SigLIP's logits
                parameter.requires_grad_(False)
        self.logit_scale.requires_grad_(True)  # peft froze everything but its own
        for layer in self.adapted_layers():
            setattr(layer, "cast_input_dtype_enabled", cast_inputs)  # noqa: B010

    def adapted_layers(self) -> "list[BaseTunerLayer]":
        """The layers that peft wrapped, each with peft's `merge()` and `unmerge()`."""
        from peft.tuners.tuners_utils import BaseTunerLayer

        return [m for m in self.model.modules() if isinstance(m, BaseTunerLayer)]

    def train(self, mode: bool = True) -> "Injected":
        """Set the mode of the adapters, which may have dropout; the backbone stays in eval mode."""
        super().train(mode)
        for layer in self.adapted_layers():
            module: Any = layer
            module.training = mode
            for name, child in module.named_children():
                if name != "base_layer":  # the wrapped layer of the backbone
                    child.train(mode)
        return self

    def merged_state(self) -> dict[str, Tensor]:
        """See `Method.merged_state`: peft's adapters merged into the weights."""
        try:
            for layer in self.adapted_layers():
                layer.merge(safe_merge=True)
        except (NotImplementedError, AttributeError, ValueError, TypeError) as error:
            why = str(error).partition("\n")[0] or type(error).__name__
            raise NotApplicable(f"peft cannot merge it into plain weights ({why})") from None
        return plain_state(self.model)
