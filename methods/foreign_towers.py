"""Towers that open_clip takes from elsewhere: timm image towers, Hugging Face text towers.

Legend: B batch, N tokens, L text length, D tower width.
"""

from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from methods.towers import Hidden, Tower, UnknownBlocks, insert_tokens, left_for_words


class TimmImage(Tower):
    """A timm vision transformer with its own pooling (SigLIP: by attention, no class token)."""

    def __init__(self, visual: Any) -> None:
        from timm.models.vision_transformer import VisionTransformer

        trunk = visual.trunk
        if type(trunk) is not VisionTransformer:  # a subclass may compute something else
            raise UnknownBlocks(
                "of timm's towers only the plain vision transformer is known, not "
                f"{type(trunk).__name__}"
            )
        if hasattr(visual.head, "pool"):
            raise UnknownBlocks("timm towers with a pooling of open_clip's own are not supported")
        self.visual, self.trunk = visual, trunk
        self.blocks = trunk.blocks
        self.width = trunk.embed_dim
        self.prefix = trunk.num_prefix_tokens
        # The last linear layer says E: timm's own head, or the projection that open_clip adds.
        head = [m for m in [trunk.head, *visual.head.modules()] if isinstance(m, nn.Linear)]
        self.output_dim = head[-1].out_features if head else self.width

    def embed(self, inputs: Tensor, prompts: Tensor | None = None) -> Hidden:
        """See `Tower.embed`; prompts stand after class and register tokens, if any."""
        trunk = self.trunk  # as `forward_features` of timm does it
        tokens = trunk.norm_pre(trunk.patch_drop(trunk._pos_embed(trunk.patch_embed(inputs))))
        if prompts is None:
            return Hidden(tokens)
        return Hidden(insert_tokens(tokens, prompts, self.prefix), prompts=prompts.shape[-2])

    def run_block(self, index: int, hidden: Hidden) -> Hidden:
        return replace(hidden, tokens=self.blocks[index](hidden.tokens))

    def pool(self, hidden: Hidden) -> Tensor:
        """See `Tower.pool`; prompts take no part."""
        tokens = hidden.tokens
        if hidden.prompts:
            tokens = torch.cat([tokens[:, : self.prefix], self.patches(hidden)], dim=1)
        trunk = self.trunk
        return cast(Tensor, trunk.fc_norm(trunk.pool(trunk.norm(tokens))))

    def project(self, feature: Tensor) -> Tensor:
        return cast(Tensor, self.visual.head(self.trunk.head(self.trunk.head_drop(feature))))

    def summary(self, hidden: Hidden) -> Tensor:
        """The class token; without one the mean of the patches. `(B, D)`"""
        if self.trunk.cls_token is None:
            return self.patches(hidden).mean(dim=1)
        return hidden.tokens[:, 0]


class HuggingFaceText(Tower):
    """BERT, RoBERTa or XLM-RoBERTa with open_clip's mean or class token pooling.

    The mask of its hidden states is additive, `(B, 1, 1, N)`. Prompts take part in mean pooling.
    """

    prefix = 1  # the start token
    trimmable = True

    def __init__(self, text: Any) -> None:
        kind, pooler = text.config.model_type, type(text.pooler).__name__
        if kind not in ("bert", "roberta", "xlm-roberta") or text.config.is_decoder:
            raise UnknownBlocks(
                f"of Hugging Face's towers only BERT, RoBERTa and XLM-RoBERTa are known, not {kind}"
            )
        if pooler not in ("MeanPooler", "ClsPooler", "ClsLastHiddenStatePooler"):
            raise UnknownBlocks(f"text towers with {pooler} are not supported")
        self.text, self.transformer = text, text.transformer
        self.blocks = text.transformer.encoder.layer
        self.width, self.output_dim = text.config.hidden_size, text.output_dim
        self.mean = pooler == "MeanPooler"
        self.pad_id = text.config.pad_token_id
        begin = self.pad_id + 1 if "roberta" in kind else 0  # RoBERTa's first position
        self.places = text.config.max_position_embeddings - begin

    def embed(self, inputs: Tensor, prompts: Tensor | None = None) -> Hidden:
        """See `Tower.embed`; a text that no longer fits loses words at its end."""
        n = 0 if prompts is None else prompts.shape[-2]
        inputs = inputs[:, : left_for_words(self.places, n)]
        keep, embeddings = inputs != self.pad_id, self.transformer.embeddings
        if prompts is None:
            tokens = embeddings(input_ids=inputs)
        else:
            words = insert_tokens(embeddings.word_embeddings(inputs), prompts, 1)
            # Prompts are as real as the start token that they follow.
            keep = torch.cat([keep[:, :1].expand(-1, n + 1), keep[:, 1:]], dim=1)
            tokens = embeddings(inputs_embeds=words)
        lowest = torch.finfo(torch.bfloat16).min  # finite under autocast as well
        mask = torch.zeros_like(keep, dtype=tokens.dtype).masked_fill(~keep, lowest)
        return Hidden(tokens, mask[:, None, None], prompts=n)

    def run_block(self, index: int, hidden: Hidden) -> Hidden:
        tokens = self.blocks[index](hidden.tokens, hidden.mask)
        return replace(hidden, tokens=tokens[0] if isinstance(tokens, tuple) else tokens)

    def pool(self, hidden: Hidden) -> Tensor:
        """See `Tower.pool`; RoBERTa's states are normalised already."""
        pooler = getattr(self.transformer, "pooler", None)
        if not self.mean and getattr(self.text.pooler, "use_pooler_output", False) and pooler:
            return cast(Tensor, pooler(hidden.tokens))
        return self.summary(hidden)

    def project(self, feature: Tensor) -> Tensor:
        return cast(Tensor, self.text.proj(feature))

    def summary(self, hidden: Hidden) -> Tensor:
        """The start token, or with mean pooling the mean of the real tokens. `(B, D)`"""
        if not self.mean:
            return hidden.tokens[:, 0]
        keep = self.real(hidden)[..., None].to(hidden.tokens.dtype)
        return (hidden.tokens * keep).sum(dim=1) / keep.sum(dim=1)

    def real(self, hidden: Hidden) -> Tensor:
        assert hidden.mask is not None
        return hidden.mask[:, 0, 0] == 0
