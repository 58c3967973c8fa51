"""VeRA: low-rank updates of shared frozen random matrices, with learned vectors, through peft."""

from itertools import chain
from typing import Annotated, Any, ClassVar, Literal, cast

from torch import Tensor, nn

from methods import register
from methods.base import Method, Paper
from methods.settings import Within
from methods.surgery import linear_layers, merge_adapters, module_names, open_attention, plain_state


@register("vera")
class VeRA(Method):
    """Frozen random matrices with learned scaling vectors.

    All layers share one pair of frozen random matrices; each learns two vectors of factors.

    Settings: rank (256 is the paper's for base-sized models), targets. The matrices come from a
    fixed key, so they are not saved.
    """

    family: ClassVar[str] = "Low-rank updates"
    paper: ClassVar[Paper | None] = Paper(
        "VeRA: Vector-based Random Matrix Adaptation", 2023, "https://arxiv.org/abs/2310.11454"
    )
    lr: ClassVar[float | None] = 1e-2

    def __init__(
        self,
        model: nn.Module,
        *,
        rank: Annotated[int, Within(1)] = 256,
        targets: Literal["attn", "mlp", "attn+mlp"] = "attn+mlp",
    ) -> None:
        from peft import VeraConfig, VeraModel  # slow to import
        from peft.tuners.vera import VeraLayer

        super().__init__(model)
        towers = (self.image_tower, self.text_tower)
        if "attn" in targets:
            for tower in towers:
                open_attention(tower)
        layers = chain.from_iterable(linear_layers(tower, targets) for tower in towers)
        config = VeraConfig(r=rank, target_modules=module_names(model, layers))
        VeraModel(model, {"default": config}, "default")  # changes the model in place
        self.logit_scale.requires_grad_(True)  # peft froze everything but its own
        for layer in (m for m in model.modules() if isinstance(m, VeraLayer)):
            cast(Any, layer).cast_input_dtype_enabled = False  # autocast does it, without copies

    def merged_state(self) -> dict[str, Tensor]:
        """See `Method.merged_state`: what peft adds to each weight matrix, added to it."""
        merge_adapters(self.model)
        return plain_state(self.model)
