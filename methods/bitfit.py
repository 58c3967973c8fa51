"""BitFit: the biases of both towers, and nothing else."""

from torch import Tensor, nn

from methods import register
from methods.base import Method, Paper
from methods.surgery import plain_state
from methods.towers import tower_parameters


@register("bitfit")
class BitFit(Method):
    """Trains only the biases of both towers.

    The biases of all layers, the norms' included, as in the paper.
    """

    family = "Scales and biases"
    paper = Paper(
        "BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based Masked "
        "Language-models",
        2021,
        "https://arxiv.org/abs/2106.10199",
    )
    lr = 1e-3

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        for name, parameter in tower_parameters(model).items():
            if name.endswith("bias"):  # also `in_proj_bias` and EVA's `q_bias`
                parameter.requires_grad_(True)

    def merged_state(self) -> dict[str, Tensor]:
        """See `Method.merged_state`: the backbone's own weights, among them the trained biases."""
        return plain_state(self.model)
