"""Full fine-tuning: every weight of both towers and the temperature."""

from torch import Tensor, nn

from methods import register
from methods.base import Method, Paper
from methods.surgery import plain_state
from methods.towers import tower_parameters


@register("full")
class Full(Method):
    """Full fine-tuning of both towers and the temperature.

    Left alone are the running statistics of a ResNet's batch norms, and CoCa's text decoder, which
    retrieval does not use.
    """

    family = "Whole model"
    paper = Paper(
        "Learning Transferable Visual Models From Natural Language Supervision",
        2021,
        "https://arxiv.org/abs/2103.00020",
    )
    lr = 1e-5  # the field fine-tunes CLIP with 7e-6 to 1e-5

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)  # freezes everything and leaves the temperature trainable
        for parameter in tower_parameters(model).values():
            parameter.requires_grad_(True)

    def merged_state(self) -> dict[str, Tensor]:
        """See `Method.merged_state`: the backbone's own weights, which are what was trained."""
        return plain_state(self.model)
