"""(IA)3: learned factors on keys, values and the MLP's inner activations, through peft."""

from typing import Any, ClassVar

from torch import Tensor, nn

from methods import register
from methods.base import Method, Paper
from methods.surgery import linear_layers, merge_adapters, module_names, open_attention, plain_state


@register("ia3")
class IA3(Method):
    """A learned factor per channel of keys, values and MLPs.

    One factor per channel of keys and values, and of the input of the MLP's last layer.

    Where query, key and value are one layer (open_clip, timm) the query has factors too, which
    those of the key could stand for.
    """

    family: ClassVar[str] = "Scales and biases"
    paper: ClassVar[Paper | None] = Paper(
        "Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning",
        2022,
        "https://arxiv.org/abs/2205.05638",
    )
    lr: ClassVar[float | None] = 3e-3

    def __init__(self, model: nn.Module) -> None:
        from peft import IA3Config, inject_adapter_in_model  # slow to import

        super().__init__(model)
        outputs: list[nn.Module] = []
        inner: list[nn.Module] = []
        for tower in (self.image_tower, self.text_tower):
            open_attention(tower)
            for module in tower.blocks.modules():
                for name in ("in_proj", "qkv", "key", "value"):
                    if isinstance(layer := getattr(module, name, None), nn.Linear):
                        outputs.append(layer)
            inner += (m for m in linear_layers(tower, "mlp") if m.in_features > m.out_features)
        config = IA3Config(
            target_modules=module_names(model, [*outputs, *inner]),
            feedforward_modules=module_names(model, inner),
        )
        inject_adapter_in_model(config, model)
        self.logit_scale.requires_grad_(True)  # peft froze everything but its own

    def param_groups(self) -> list[dict[str, Any]]:
        """One group without weight decay, which would draw factors of 1 to 0."""
        return [{"params": [p for p in self.parameters() if p.requires_grad], "weight_decay": 0.0}]

    def merged_state(self) -> dict[str, Tensor]:
        """See `Method.merged_state`: the factors, multiplied into the weights."""
        merge_adapters(self.model)
        return plain_state(self.model)
