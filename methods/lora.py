"""LoRA: low-rank updates of the linear layers of both towers, through peft."""

from itertools import chain
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from torch import Tensor, nn

from methods import register
from methods.base import Method, Paper
from methods.settings import Within
from methods.surgery import linear_layers, merge_adapters, module_names, open_attention, plain_state

if TYPE_CHECKING:
    from peft.tuners.lora import LoraLayer


@register("lora")
class LoRA(Method):
    """Low-rank updates of the linear layers of both towers.

    Settings: rank; alpha, the update's factor being alpha / rank, or alpha / sqrt(rank) with rslora
    (Kalajdzievski 2023); targets; dropout before the down-projection; dora (Liu et al. 2024). The
    paper adapts query and value only; all linear layers and alpha = 2 rank are today's custom.
    Query, key and value are one layer with one down-projection where the backbone has them so
    (open_clip, timm), as in peft's wrapper of `nn.MultiheadAttention`, which is not used: see
    `surgery.OpenAttention`.
    """

    family: ClassVar[str] = "Low-rank updates"
    paper: ClassVar[Paper | None] = Paper(
        "LoRA: Low-Rank Adaptation of Large Language Models",
        2021,
        "https://arxiv.org/abs/2106.09685",
    )
    lr: ClassVar[float | None] = 1e-3

    def __init__(
        self,
        model: nn.Module,
        *,
        rank: Annotated[int, Within(1)] = 8,
        alpha: Annotated[int, Within(1)] = 16,
        targets: Literal["attn", "mlp", "attn+mlp"] = "attn+mlp",
        dropout: Annotated[float, Within(0, 1, below=True)] = 0.0,
        dora: bool = False,
        rslora: bool = False,
    ) -> None:
        from peft import LoraConfig, inject_adapter_in_model  # slow to import

        super().__init__(model)
        towers = (self.image_tower, self.text_tower)
        if "attn" in targets:
            for tower in towers:
                open_attention(tower)
        layers = chain.from_iterable(linear_layers(tower, targets) for tower in towers)
        config = LoraConfig(
            r=rank,
            lora_alpha=alpha,
            target_modules=module_names(model, layers),
            lora_dropout=dropout,
            use_dora=dora,
            use_rslora=rslora,
        )
        inject_adapter_in_model(config, model)
        self.logit_scale.requires_grad_(True)  # peft froze everything but its own
        for layer in self.lora_layers():
            layer.cast_input_dtype_enabled = False  # autocast does it, without copies in float32

    def lora_layers(self) -> "list[LoraLayer]":
        """The adapted layers, each with peft's `merge()` and `unmerge()`."""
        from peft.tuners.lora import LoraLayer

        return [m for m in self.model.modules() if isinstance(m, LoraLayer)]

    def train(self, mode: bool = True) -> "LoRA":
        """The backbone stays in evaluation mode; LoRA's dropout, which sits inside it, does not."""
        super().train(mode)
        for layer in self.lora_layers():
            layer.lora_dropout.train(mode)
        return self

    def merged_state(self) -> dict[str, Tensor]:
        """See `Method.merged_state`: what peft adds to each weight matrix, added to it."""
        merge_adapters(self.model)
        return plain_state(self.model)
