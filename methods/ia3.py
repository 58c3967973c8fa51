"""(IA)3: learned factors on keys, values and the MLP's inner activations, through peft."""

from typing import Any

from torch import nn

from methods import register
from methods.base import Paper
from methods.injected import Injected


@register("ia3")
class IA3(Injected):
    """A learned factor per channel of keys, values and MLPs.

    In an MLP they scale the input of its last layer.

    If query, key and value are one layer (open_clip, timm), the query has factors too. They add
    nothing: the key's factors could do the same.
    """

    family = "Scales and biases"
    paper = Paper(
        "Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning",
        2022,
        "https://arxiv.org/abs/2205.05638",
    )
    lr = 3e-3

    def __init__(self, model: nn.Module) -> None:
        from peft import IA3Config  # slow to import

        super().__init__(model)
        outputs, inner = self.factor_names("attn+mlp")
        config = IA3Config(target_modules=[*outputs, *inner], feedforward_modules=inner)
        self.inject(config, cast_inputs=True)

    def param_groups(self) -> list[dict[str, Any]]:
        """One group without weight decay, which would pull factors of 1 towards 0."""
        return [{"params": [p for p in self.parameters() if p.requires_grad], "weight_decay": 0.0}]
