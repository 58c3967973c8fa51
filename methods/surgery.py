"""The parts of a tower's blocks that methods wrap or hook: attention, MLP, their linear layers.

Legend: B batch, N tokens, D tower width.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Literal, NamedTuple, cast

from torch import Tensor, nn

from methods.attention import attend, is_plain
from methods.known_towers import image_tower, text_tower
from methods.towers import NotApplicable, Tower

Part = Literal["attn", "mlp", "attn+mlp"]


class OpenAttention(nn.Module):
    """Self-attention of an `nn.MultiheadAttention`, its projections as linear layers to be wrapped.

    `nn.MultiheadAttention` never calls its projections, so wrapping them has no effect. peft's own
    wrapper adds and subtracts a full-size weight in every forward, after which the frozen weights
    are no longer bit-identical, and it knows neither dropout nor DoRA. The parameters are those of
    `attention`, not copies.
    """

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        width = attention.embed_dim
        if not is_plain(attention):
            raise NotApplicable("only batch-first self-attention without dropout can be opened")
        self.num_heads = attention.num_heads
        # Layers without memory of their own (meta), which then get the weights of `attention`.
        biased = attention.in_proj_bias is not None
        self.in_proj = nn.Linear(width, 3 * width, bias=biased, device="meta")
        self.out_proj = nn.Linear(width, width, bias=biased, device="meta")
        self.in_proj.weight, self.in_proj.bias = attention.in_proj_weight, attention.in_proj_bias
        self.out_proj.weight, self.out_proj.bias = (
            attention.out_proj.weight,
            attention.out_proj.bias,
        )

    def forward(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        need_weights: bool = False,
        attn_mask: Tensor | None = None,
    ) -> tuple[Tensor, None]:
        """`(B, N, D)` -> `(B, N, D)`; as `nn.MultiheadAttention`, without its weights."""
        assert not need_weights
        assert key is None or key is query
        return self.out_proj(attend(self.in_proj(query), self.num_heads, attn_mask)), None


def attention_name(block: nn.Module) -> str:
    """Attribute of a block that holds its attention."""
    for name in ("attn", "attention"):
        if isinstance(getattr(block, name, None), nn.Module):
            return name
    raise NotApplicable(f"no attention module is known in blocks of type {type(block).__name__}")


def open_attention(tower: Tower) -> None:
    """Replace each `nn.MultiheadAttention` in the tower's blocks by its `OpenAttention`."""
    for block in tower.blocks:
        name = attention_name(block)
        attention = cast(Any, block).__getattr__(name)
        if isinstance(attention, nn.MultiheadAttention):
            setattr(block, name, OpenAttention(attention))
        elif hasattr(attention, "in_proj_weight"):
            raise NotApplicable(f"attention of type {type(attention).__name__} cannot be opened")


class Opened(nn.Module):
    """A two-tower model with its attention opened, as an exported adapter of peft's wants it.

    The model has a name of its own in here, and the adapter asks for layers by that name. In a
    model that was not opened peft then finds nothing to wrap and raises an error, where it would
    otherwise leave out the attention without a word.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        for tower in (image_tower(model), text_tower(model)):
            open_attention(tower)
        self.opened_attention = model

    def encode_image(self, images: Tensor, normalize: bool = False) -> Tensor:
        """`(B, 3, H, W)` -> `(B, E)`, as the model itself."""
        return cast(Tensor, cast(Any, self.opened_attention).encode_image(images, normalize))

    def encode_text(self, texts: Tensor, normalize: bool = False) -> Tensor:
        """`(B, L)` -> `(B, E)`, as the model itself."""
        return cast(Tensor, cast(Any, self.opened_attention).encode_text(texts, normalize))


def linear_layers(tower: Tower, part: Part = "attn+mlp") -> Iterator[nn.Linear]:
    """The linear layers of the tower's blocks: of the attention, of the rest (the MLP), or both.

    Open the attention first.
    """
    for block in tower.blocks:
        inside = {id(m) for m in getattr(block, attention_name(block)).modules()}  # by identity
        for module in block.modules():
            if isinstance(module, nn.Linear) and (
                ("attn" if id(module) in inside else "mlp") in part.split("+")
            ):
                yield module


def module_names(model: nn.Module, modules: Iterable[nn.Module]) -> list[str]:
    """Names of modules inside the model, in the model's order."""
    wanted = {id(module) for module in modules}
    return [name for name, module in model.named_modules() if id(module) in wanted]


def plain_state(model: nn.Module) -> dict[str, Tensor]:
    """A model's weights under the names that it had before `open_attention` and before peft.

    What adapters have of their own is left out.
    """
    state = dict(model.state_dict())
    for name, module in model.named_modules():
        if hasattr(module, "base_layer"):  # peft's wrapper; the backbone's layer is inside it
            inside = [key for key in state if key.startswith(f"{name}.")]
            tensors = {key: state.pop(key) for key in inside}
            own = f"{name}.base_layer."
            state |= {
                f"{name}.{key.removeprefix(own)}": tensor
                for key, tensor in tensors.items()
                if key.startswith(own)
            }
    for name, module in model.named_modules():
        if isinstance(module, OpenAttention):  # in_proj.weight was nn.MultiheadAttention's own
            for kind in ("weight", "bias"):
                if f"{name}.in_proj.{kind}" in state:
                    state[f"{name}.in_proj_{kind}"] = state.pop(f"{name}.in_proj.{kind}")
    return state


def last_map(model: Any, side: Literal["image", "text"]) -> nn.Linear | nn.Parameter | None:
    """The linear map that a tower ends with; None where it ends otherwise.

    A linear layer, or a matrix `(D, E)` that features are multiplied with from the right.
    """
    end = _image_end(model.visual) if side == "image" else _text_end(getattr(model, "text", model))
    if isinstance(end, nn.Module):
        idle = (nn.Dropout, nn.Identity)  # they change nothing in evaluation
        leaves = [m for m in end.modules() if not list(m.children()) and not isinstance(m, idle)]
        end = leaves[-1] if leaves else None
    return end if isinstance(end, nn.Linear | nn.Parameter) else None


def _image_end(visual: Any) -> object:
    if hasattr(visual, "trunk"):  # timm
        return visual.head if len(visual.head) else visual.trunk.get_classifier()
    if hasattr(visual, "attnpool"):  # ModifiedResNet
        return visual.attnpool.c_proj
    return getattr(visual, "proj", None)


def _text_end(text: Any) -> object:
    hugging_face = getattr(text, "proj", None)
    return getattr(text, "text_projection", None) if hugging_face is None else hugging_face


class Sublayers(NamedTuple):
    """Modules of a block at whose ends an adapter is put.

    attention and mlp: their output is what the residual sum adds (in BERT before its norm).
    before_norm: its input is the MLP's, in a pre-norm block before the norm; before_mlp: its input
    is the MLP's.
    """

    attention: nn.Module
    mlp: nn.Module
    before_norm: nn.Module
    before_mlp: nn.Module


def sublayers(block: Any) -> Sublayers:
    """The sublayers of a block of any of the known towers; raises NotApplicable for another."""
    if hasattr(block, "ln_2") and hasattr(block, "ls_2"):  # open_clip
        return Sublayers(block.ls_1, block.ls_2, block.ln_2, block.mlp)
    if hasattr(block, "norm2") and hasattr(block, "ls2"):  # timm
        return Sublayers(block.ls1, block.ls2, block.norm2, block.mlp)
    if hasattr(block, "intermediate") and hasattr(block.attention, "output"):  # BERT, RoBERTa
        inner = block.intermediate
        return Sublayers(block.attention.output.dense, block.output.dense, inner, inner)
    raise NotApplicable(f"the sublayers of blocks of type {type(block).__name__} are not known")


def after(module: nn.Module, change: Callable[[Tensor], Tensor]) -> None:
    """Pass the module's output through `change`, `(B, N, D)` -> `(B, N, D)`."""
    module.register_forward_hook(partial(_changed, change))


def beside(
    block: nn.Module, start: nn.Module, end: nn.Module, branch: Callable[[Tensor], Tensor]
) -> None:
    """Add `branch` of the input of `start` to the output of `end`, which runs later in `block`."""
    waiting: list[Tensor] = []  # emptied at once, so that nothing outlives the forward
    start.register_forward_pre_hook(partial(_remember, branch, waiting))
    after(end, partial(_added, waiting))
    # The recomputation of a checkpointed block ends with an exception once the backward pass has
    # what it needs, so `end` may not run.
    block.register_forward_hook(partial(_forget, waiting), always_call=True)


# Hooks are partial functions, not closures: `copy.deepcopy` of a method copies what they refer to.


def _changed(
    change: Callable[[Tensor], Tensor], _module: nn.Module, _inputs: object, output: Tensor
) -> Tensor:
    return change(output)


def _remember(
    branch: Callable[[Tensor], Tensor],
    waiting: list[Tensor],
    _module: nn.Module,
    inputs: tuple[Tensor, ...],
) -> None:
    waiting[:] = [branch(inputs[0])]


def _added(waiting: list[Tensor], output: Tensor) -> Tensor:
    return output + waiting.pop()


def _forget(waiting: list[Tensor], *_: object) -> None:
    waiting.clear()
