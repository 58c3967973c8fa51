"""One view of the towers of a two-tower model: embed, blocks, pool, project.

Legend: B batch, N tokens, P patches, L text length, D tower width, E joint embedding width.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class NotApplicable(Exception):
    """A method cannot be built on this kind of backbone; the message says why in one sentence."""


class UnknownBlocks(Exception):
    """The blocks of this make of tower are not known; the message is a clause that says why."""


@dataclass(frozen=True)
class Hidden:
    """Hidden states between two blocks.

    tokens `(B, N, D)`; mask: the attention mask as this tower's blocks take it, or None;
    pooled: `(B,)` position of the token that is pooled (text), or None for position 0 or pooling
    over all; prompts: how many prompt tokens stand after the first token.
    """

    tokens: Tensor
    mask: Tensor | None = None
    pooled: Tensor | None = None
    prompts: int = 0


class Tower(ABC):
    """A tower seen as embed -> blocks -> pool -> project. Not a module: it owns no parameter.

    width D; output_dim E; blocks: the tower's own transformer blocks, in order; prefix: tokens
    before the patches (image; 1 where there is a class token).
    """

    width: int
    output_dim: int
    blocks: nn.ModuleList | nn.Sequential
    prefix: int = 0
    checkpointing: bool = False

    @abstractmethod
    def embed(self, inputs: Tensor, prompts: Tensor | None = None) -> Hidden:
        """Images `(B, 3, H, W)` or token ids `(B, L)` -> hidden states before the first block.

        prompts `(n, D)` or `(B, n, D)` are inserted after the first token (image: after the class
        token, without a position; text: after the start token, before positions are added).
        """

    @abstractmethod
    def run_block(self, index: int, hidden: Hidden) -> Hidden:
        """Hidden states after block `index`."""

    @abstractmethod
    def pool(self, hidden: Hidden) -> Tensor:
        """Hidden states after the last block -> `(B, D)`, normalised, before the projection."""

    @abstractmethod
    def project(self, feature: Tensor) -> Tensor:
        """`(B, D)` -> `(B, E)`, not of unit length."""

    def block(self, index: int, hidden: Hidden) -> Hidden:
        """Hidden states after block `index`, recomputed in the backward if `checkpointing`."""
        if not (self.checkpointing and torch.is_grad_enabled()):
            return self.run_block(index, hidden)

        def tokens_after(tokens: Tensor) -> Tensor:
            return self.run_block(index, replace(hidden, tokens=tokens)).tokens

        tokens = checkpoint(tokens_after, hidden.tokens, use_reentrant=False)
        return replace(hidden, tokens=tokens)

    def __call__(self, inputs: Tensor) -> Tensor:
        """`(B, 3, H, W)` or `(B, L)` -> `(B, E)`, not of unit length."""
        return self.finish(self.embed(inputs))

    def finish(self, hidden: Hidden) -> Tensor:
        """Hidden states before the first block -> `(B, E)`, not of unit length."""
        for index in range(len(self.blocks)):
            hidden = self.block(index, hidden)
        return self.project(self.pool(hidden))

    def states(self, inputs: Tensor) -> list[Hidden]:
        """Hidden states after the embedding and after each block: `len(blocks) + 1` of them."""
        hidden = self.embed(inputs)
        states = [hidden]
        for index in range(len(self.blocks)):
            hidden = self.block(index, hidden)
            states.append(hidden)
        return states

    def summary(self, hidden: Hidden) -> Tensor:
        """What stands for the whole input: class or end token; the mean without one. `(B, D)`"""
        if hidden.pooled is not None:
            rows = torch.arange(len(hidden.tokens), device=hidden.tokens.device)
            return hidden.tokens[rows, hidden.pooled]
        if self.prefix == 0:
            return self.patches(hidden).mean(dim=1)
        return hidden.tokens[:, 0]

    def real(self, hidden: Hidden) -> Tensor:
        """Which tokens are neither padding nor after the end token: bool `(B, N)`."""
        count, device = hidden.tokens.shape[1], hidden.tokens.device
        if hidden.pooled is None:
            return torch.ones(len(hidden.tokens), count, dtype=torch.bool, device=device)
        return torch.arange(count, device=device)[None] <= hidden.pooled[:, None]

    def patches(self, hidden: Hidden) -> Tensor:
        """The patch tokens, without class token and prompts. `(B, P, D)`"""
        return hidden.tokens[:, self.prefix + hidden.prompts :]

    def replace_prompts(self, hidden: Hidden, prompts: Tensor) -> Hidden:
        """Replace the present prompts by deeper ones, `(n, D)` or `(B, n, D)`."""
        first = self.prefix if hidden.pooled is None else 1
        tokens = insert_tokens(hidden.tokens, prompts, first, hidden.prompts)
        return replace(hidden, tokens=tokens)


def insert_tokens(tokens: Tensor, prompts: Tensor, after: int, instead: int = 0) -> Tensor:
    """Put prompts `(n, D)` or `(B, n, D)` behind the first `after` tokens of `(B, N, D)`, in place
    of the next `instead` tokens."""
    if prompts.ndim == 2:
        prompts = prompts.expand(len(tokens), -1, -1)
    tail = tokens[:, after + instead :]
    return torch.cat([tokens[:, :after], prompts.to(tokens.dtype), tail], dim=1)


class OpenClipImage(Tower):
    """open_clip's own vision transformer."""

    def __init__(self, visual: Any) -> None:
        if visual.attn_pool is not None:
            raise UnknownBlocks("towers with attentional pooling (CoCa) are not supported")
        self.visual = visual
        self.blocks = visual.transformer.resblocks
        self.width = visual.transformer.width
        self.output_dim = visual.output_dim
        self.prefix = 1

    def embed(self, inputs: Tensor, prompts: Tensor | None = None) -> Hidden:
        tokens = self.visual._embeds(inputs)
        if prompts is None:
            return Hidden(tokens)
        return Hidden(insert_tokens(tokens, prompts, 1), prompts=prompts.shape[-2])

    def run_block(self, index: int, hidden: Hidden) -> Hidden:
        return replace(hidden, tokens=self.blocks[index](hidden.tokens))

    def pool(self, hidden: Hidden) -> Tensor:
        """See `Tower.pool`; prompts take no part in average pooling."""
        visual = self.visual
        if visual.pool_type == "tok":
            return cast(Tensor, visual.ln_post(hidden.tokens[:, 0]))
        patches = self.patches(hidden)
        if visual.final_ln_after_pool:
            return cast(Tensor, visual.ln_post(patches.mean(dim=1)))
        return cast(Tensor, visual.ln_post(patches).mean(dim=1))

    def project(self, feature: Tensor) -> Tensor:
        return feature if self.visual.proj is None else feature @ self.visual.proj


class OpenClipText(Tower):
    """open_clip's own text transformer, inside `CLIP` or as the `text` of `CustomTextCLIP`."""

    def __init__(self, model: Any) -> None:
        text = getattr(model, "text", model)
        if getattr(text, "cls_emb", None) is not None:
            raise UnknownBlocks("towers with an appended class token (CoCa) are not supported")
        self.text = text
        self.blocks = text.transformer.resblocks
        self.width = text.transformer.width
        self.pool_type = getattr(text, "pool_type", None) or text.text_pool_type
        self.eos_id = getattr(text, "eos_id", None) or getattr(text, "text_eos_id", None)
        projection = text.text_projection
        if projection is None:
            self.output_dim = self.width
        else:
            linear = isinstance(projection, nn.Linear)
            self.output_dim = projection.out_features if linear else projection.shape[1]

    @property
    def trimmable(self) -> bool:
        """Whether positions after the end token cannot change the output."""
        masked = self.text.attn_mask is not None or getattr(self.text, "use_pad_mask", False)
        return masked and self.pool_type in ("argmax", "eos", "first")

    def embed(self, inputs: Tensor, prompts: Tensor | None = None) -> Hidden:
        """See `Tower.embed`; a text too long loses words at its end, but not its end token."""
        text, n = self.text, 0 if prompts is None else prompts.shape[-2]
        places = left_for_words(len(text.positional_embedding), n)
        if inputs.shape[1] > places:
            inputs = self._shorten(inputs, places)
        tokens = text.token_embedding(inputs)
        if prompts is not None:
            tokens = insert_tokens(tokens, prompts, 1)
        length = tokens.shape[1]
        tokens = tokens + text.positional_embedding[:length]
        mask = None if text.attn_mask is None else text.attn_mask[:length, :length]
        if getattr(text, "use_pad_mask", False):  # then padding is masked, for each head alike
            keep = inputs != text.pad_id
            if n:
                keep = torch.cat([keep[:, :1], keep[:, :1].expand(-1, n), keep[:, 1:]], dim=1)
            additive = torch.zeros_like(keep, dtype=tokens.dtype).masked_fill(~keep, float("-inf"))
            additive = additive[:, None, :].expand(-1, length, -1)
            mask = additive.repeat_interleave(text.heads, dim=0)
        return Hidden(tokens, mask, self._end(inputs, n), prompts=n)

    def _end(self, inputs: Tensor, shift: int) -> Tensor:
        if self.pool_type == "argmax":  # CLIP's end token has the highest number
            return inputs.argmax(dim=-1) + shift
        if self.pool_type == "eos":
            ends = cast(Tensor, inputs == self.eos_id)
            return ends.int().argmax(dim=-1) + shift
        place = 0 if self.pool_type == "first" else inputs.shape[1] + shift - 1
        return torch.full((len(inputs),), place, device=inputs.device)

    def _shorten(self, inputs: Tensor, length: int) -> Tensor:
        cut = inputs[:, :length].clone()
        if self.pool_type in ("argmax", "eos"):  # put the end token that was cut off back
            end = inputs.gather(1, self._end(inputs, 0)[:, None])[:, 0]
            cut[:, -1] = torch.where(self._end(inputs, 0) >= length, end, cut[:, -1])
        return cut

    def real(self, hidden: Hidden) -> Tensor:
        """See `Tower.real`; where the first token is pooled the end is not known, so all."""
        return super().real(replace(hidden, pooled=None) if self.pool_type == "first" else hidden)

    def run_block(self, index: int, hidden: Hidden) -> Hidden:
        tokens = self.blocks[index](hidden.tokens, attn_mask=hidden.mask)
        return replace(hidden, tokens=tokens)

    def pool(self, hidden: Hidden) -> Tensor:
        return cast(Tensor, self.text.ln_final(self.summary(hidden)))

    def project(self, feature: Tensor) -> Tensor:
        projection = self.text.text_projection
        if projection is None:
            return feature
        if isinstance(projection, nn.Linear):
            return cast(Tensor, projection(feature))
        return feature @ cast(Tensor, projection)


def left_for_words(places: int, prompts: int) -> int:
    """How many tokens prompts leave to a text: start, words, end. Raises NotApplicable below 3."""
    if places - prompts < 3:
        raise NotApplicable(
            f"{prompts} prompt tokens leave no room for words in the {places} of a text"
        )
    return places - prompts


def tower_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters of both towers by their names in the model.

    Not among them: the temperature and SigLIP's bias of the logits, which cancels out in the
    softmax of InfoNCE; and CoCa's text decoder, which the features do not depend on.
    """
    apart = ("logit_scale", "logit_bias", "text_decoder.")
    return {n: p for n, p in model.named_parameters() if not n.startswith(apart)}
