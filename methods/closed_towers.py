"""Towers whose blocks are not known (ResNet, ConvNeXt, EVA, CoCa): they can only encode.

Legend: B batch, L text length, E joint embedding width.
"""

from typing import Any, Literal, NoReturn, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from methods.towers import NotApplicable, Tower


class Closed(Tower):
    """A tower that is called as a whole; asking for its blocks raises NotApplicable.

    This is enough for methods that work on final features or train weights wherever they are.
    """

    def __init__(self, model: Any, side: Literal["image", "text"], reason: str) -> None:
        """`reason`: why the blocks are not known, as a clause."""
        self.model, self.side, self.reason = model, side, reason
        self.module = model.visual if side == "image" else getattr(model, "text", model)
        self.output_dim = _embedding_width(model)
        self._recompute = self._recomputes_itself = False

    def __call__(self, inputs: Tensor) -> Tensor:
        """`(B, 3, H, W)` or `(B, L)` -> `(B, E)`, not of unit length: the model's own features."""
        if self._recomputes_itself or not (self._recompute and torch.is_grad_enabled()):
            return self._encode(inputs)
        if type(self.module).__name__ == "ModifiedResNet":  # open_clip's has no switch that works
            return _resnet_by_blocks(self.module, inputs)
        return checkpoint(self._encode, inputs, use_reentrant=False)

    def _encode(self, inputs: Tensor) -> Tensor:
        encode = getattr(self.model, f"encode_{self.side}")
        return cast(Tensor, encode(inputs, normalize=False))  # CoCa's default is True

    @property
    def checkpointing(self) -> bool:
        """Whether activations are computed again in the backward instead of being kept.

        By blocks where the model offers that (timm, open_clip's transformers) and in a ResNet, else
        the whole tower at once, which saves less.
        """
        return self._recompute

    @checkpointing.setter
    def checkpointing(self, wanted: bool) -> None:
        self._recompute = wanted
        self._recomputes_itself = _switch_recomputation(self.module, wanted)

    def __getattr__(self, name: str) -> Any:
        if name in ("blocks", "width"):
            self._refuse()
        raise AttributeError(name)

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise NotApplicable(
            f"it needs the blocks of the {self.side} tower, and {self.reason}; zeroshot, linear, "
            "clip_adapter, bitfit and full run on any tower"
        )

    embed = run_block = pool = project = _refuse


def _embedding_width(model: Any) -> int:
    """E, as either tower says it."""
    text = getattr(model, "text", model)
    projection = getattr(text, "text_projection", None)
    if isinstance(projection, nn.Parameter):
        return int(projection.shape[1])
    if isinstance(projection, nn.Linear):
        return projection.out_features
    for module in (text, model.visual):
        if isinstance(width := getattr(module, "output_dim", None), int):
            return width
    raise NotApplicable(f"the width of the features of a {type(model).__name__} is not known")


def _resnet_by_blocks(visual: Any, images: Tensor) -> Tensor:
    """`ModifiedResNet.forward` with each of its blocks computed again in the backward."""
    state = checkpoint(visual.stem, images, use_reentrant=False)
    for stage in (visual.layer1, visual.layer2, visual.layer3, visual.layer4):
        for block in stage:
            state = checkpoint(block, state, use_reentrant=False)
    return cast(Tensor, visual.attnpool(state))


def _switch_recomputation(module: Any, wanted: bool) -> bool:
    """Switch a model's own recomputation by blocks; False where it has none."""
    module = getattr(module, "trunk", module)  # timm's model inside open_clip's adapter
    if type(module).__name__ in ("ModifiedResNet", "HFTextEncoder"):
        return False  # the first ignores the switch, the second heeds it in training mode only
    try:
        module.set_grad_checkpointing(wanted)
    except (AttributeError, AssertionError):  # timm asserts that a model can do it
        return False
    return True
