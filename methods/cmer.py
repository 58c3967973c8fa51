"""CMER: a side branch with a focus layer, scene labels in captions, recycled negatives.

A re-implementation from the abstract of Zhang et al. (2025, arXiv 2501.10638), whose body, code and
ablations were not at hand. From the paper: a Focus-Adapter as a side branch with region-focused
attention; scene labels as a concise caption augmentation; two queues that decouple the number of
negatives from the batch size, without a momentum encoder; loss = L_batch + L_queue. Everything else
is our decision, and every decision is a setting.

Legend: B batch, T taps, P patches, D tower width, d side width, E embedding width, C captions per
image, Q queue length.
"""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods import register
from methods.base import (
    Batch,
    Method,
    NotApplicable,
    Paper,
    Sample,
    cosines,
    info_nce,
    share_caption,
    unit,
)
from methods.settings import Within
from methods.towers import Hidden

Focus = Literal["soft", "topk", "relu", "none"]
NARROWEST = 64
"""Least width of a side branch, for small towers: what an eighth of CLIP's narrowest tower is."""


class FocusLayer(nn.Module):
    """The summary token looks at the patches, drawn to those with a high focus score.

    A patch's score is s = sigmoid(w . z + b); the summary attends with q.k / sqrt(d) + log s;
    patches pass on scaled by s. With one query per image, q.(W y) = (W' q).y and a.(V y) = V (a.y),
    so no key or value is ever computed (or kept for backward) per patch.
    """

    def __init__(self, width: int, focus: Focus) -> None:
        super().__init__()
        self.focus = focus
        self.heads = next(h for h in range(max(1, width // 32), 0, -1) if width % h == 0)
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Parameter(torch.empty(self.heads, width // self.heads, width))
        self.value = nn.Linear(width * self.heads, width, bias=False)
        nn.init.normal_(self.key, std=width**-0.5)
        self.score = nn.Linear(width, 1) if focus != "none" else None
        if self.score is not None:
            nn.init.zeros_(self.score.weight)
            nn.init.constant_(self.score.bias, 2.0)  # at first every patch passes almost whole

    def forward(
        self, summary: Tensor, patches: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """summary `(B, d)`, patches `(B, P, d)`, mask `(B, P)` -> both, and scores `(B, P)`."""
        query = self.query(self.norm(summary)).unflatten(1, (self.heads, -1))  # (B, h, d/h)
        # W' q of each head: the query in the space of the patches, so that patches need no keys.
        asked = torch.einsum("bhe,hed->bhd", query, self.key) / query.shape[-1] ** 0.5
        scores = None
        if self.score is not None:  # w as one query more: one product gives q.k and w.z
            asked = torch.cat(
                [asked, self.score.weight.to(asked.dtype).expand(len(asked), 1, -1)], 1
            )
        logits = asked @ patches.transpose(1, 2)  # (B, h, P)
        if self.score is not None:
            score = logits[:, -1].float() + self.score.bias
            logits = logits[:, :-1] + F.logsigmoid(score)[:, None]
            scores = score.sigmoid()
        if mask is not None:
            logits = logits.masked_fill(~mask[:, None], float("-inf"))
        if self.focus == "relu":
            weights = F.normalize(F.relu(logits), p=1, dim=-1)
        else:
            weights = logits.softmax(dim=-1)
        summary = summary + self.value((weights.to(patches.dtype) @ patches).flatten(1))
        if scores is not None:
            patches = patches * scores[..., None].to(patches.dtype)
        return summary, patches, scores


class SideBranch(nn.Module):
    """A ladder of small blocks beside one frozen tower, of width D / reduction, at least 64.

    Per tap: the tap, normalised without parameters, is projected down and mixed into the side state
    by a learned gate sigmoid(alpha / 0.1) (Sung et al. 2022); then the summary
    token looks at the patches through a focus layer, and an MLP follows. The output starts at zero.
    """

    def __init__(
        self, width: int, reduction: int, taps: int, focus: Focus, patches: bool, keep: float
    ) -> None:
        super().__init__()
        side = min(width, max(NARROWEST, width // reduction))
        self.keep = keep
        self.down = nn.ModuleList(nn.Linear(width, side, bias=False) for _ in range(taps))
        self.gate = nn.Parameter(torch.zeros(taps))
        self.look = nn.ModuleList(FocusLayer(side, focus) for _ in range(taps if patches else 0))
        self.mlp = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(side), nn.Linear(side, 4 * side), nn.GELU(), nn.Linear(4 * side, side)
            )
            for _ in range(taps)
        )
        self.select = nn.Linear(width, 1) if patches and focus == "topk" else None
        self.norm = nn.LayerNorm(side)
        self.up = nn.Linear(side, width, bias=False)
        nn.init.zeros_(self.up.weight)
        self.scores: list[Tensor] = []
        """Focus scores `(B, P)` of each tap in the last evaluation; for drawing."""

    def forward(
        self, summaries: Sequence[Tensor], patches: Sequence[Tensor], mask: Tensor | None = None
    ) -> Tensor:
        """T normalised taps: summaries `(B, D)`, patches `(B, P, D)` or none -> addend `(B, D)`."""
        self.scores, all_patches = [], patches
        chosen, share = self._choose(patches, mask)
        if chosen is not None:
            patches = [p.gather(1, chosen[..., None].expand(-1, -1, p.shape[-1])) for p in patches]
        state = looked = None  # the side's own summary (B, d) and patches (B, P, d)
        for tap, down in enumerate(self.down):
            fresh = down(summaries[tap])
            state = fresh if state is None else self._mix(tap, fresh, state)
            if self.look:
                seen = down(patches[tap])
                if share is not None:  # so that the loss teaches `select` which patches to keep
                    seen = seen * share
                looked = seen if looked is None else self._mix(tap, seen, looked)
                state, looked, scores = self.look[tap](state, looked, mask)
                if scores is not None and not torch.is_grad_enabled():
                    # Patches that topk dropped have score 0 on the map.
                    whole = scores.new_zeros(all_patches[tap].shape[:2])
                    self.scores.append(
                        scores if chosen is None else whole.scatter(1, chosen, scores)
                    )
            state = state + self.mlp[tap](state)
        assert state is not None
        added: Tensor = self.up(self.norm(state))
        return added

    def _mix(self, tap: int, fresh: Tensor, state: Tensor) -> Tensor:
        gate = torch.sigmoid(self.gate[tap] / 0.1).to(fresh.dtype)
        return torch.lerp(state, fresh, gate)

    def _choose(
        self, patches: Sequence[Tensor], mask: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None]:
        """topk: rows `(B, K)` of the patches kept, judged on the last tap, and their scores."""
        if self.select is None:
            return None, None
        assert mask is None
        with torch.no_grad():
            last = patches[-1]
            count = max(1, round(self.keep * last.shape[1]))
            chosen = self.select(last)[..., 0].topk(count, dim=1).indices
            last = last.gather(1, chosen[..., None].expand(-1, -1, last.shape[-1]))
        return chosen, self.select(last).sigmoid()


Frozen = tuple[Tensor, list[Tensor], list[Tensor]]
"""Pooled feature `(B, D)`; normalised taps: summaries T x `(B, D)`, patches T x `(B, P, D)`."""


@register("cmer")
class CMER(Method):
    """Side branch, scene labels in captions, reused negatives.

    Settings; all of them are our decisions, chosen on UCM's validation split (docs/cmer.md has the
    figures). The branch: reduction: its width is D / reduction, at least 64; stride: a tap after
    every so many blocks, 0: as many as give at most 13 taps; focus: soft, topk (the share `keep` of
    the patches), relu (Diao et al. 2024) or none; text_taps: end (the end token), all (tokens) or
    none. Scene labels: scene_p: share of training captions written "{scene}. {caption}";
    scene_at_test: none, oracle or predicted. The queues: queue: their length Q, 0: none;
    queue_share: they hold at most this share of the training images; queue_weight: factor on
    L_queue; queue_start: share of the steps before L_queue counts. mask: which images are no
    negatives: those that share a caption with the anchor (set), in the queue also those of the
    anchor's scene (scene), those with the anchor's very caption (caption), or only the anchor's own
    image (image).
    """

    family = "Side branches"
    paper = Paper(
        "A Resource-Efficient Training Framework for Remote Sensing Text-Image Retrieval",
        2025,
        "https://arxiv.org/abs/2501.10638",
    )
    lr = 3e-3
    frozen_features = True

    def __init__(
        self,
        model: nn.Module,
        *,
        reduction: Annotated[int, Within(1)] = 8,
        stride: Annotated[int, Within(0)] = 2,
        focus: Focus = "soft",
        keep: Annotated[float, Within(0, 1, above=True)] = 0.5,
        text_taps: Literal["end", "all", "none"] = "all",
        scene_p: Annotated[float, Within(0, 1)] = 0.3,
        scene_at_test: Literal["none", "oracle", "predicted"] = "none",
        queue: Annotated[int, Within(0)] = 2048,
        queue_share: Annotated[float, Within(0, 1, above=True)] = 0.5,
        queue_weight: Annotated[float, Within(0)] = 0.1,
        queue_start: Annotated[float, Within(0, 1)] = 0.5,
        mask: Literal["scene", "set", "caption", "image"] = "scene",
    ) -> None:
        super().__init__(model)
        self.scene_p, self.scene_at_test = scene_p, scene_at_test
        self.queue_weight, self.queue_start = queue_weight, queue_start
        self.queue_share, self.mask, self.text_taps = queue_share, mask, text_taps
        image, text = self.image_tower, self.text_tower
        self.image_taps = tap_places(len(image.blocks), stride)
        self.image_side = SideBranch(
            image.width, reduction, len(self.image_taps), focus, True, keep
        )
        self.text_places = tap_places(len(text.blocks), stride) if text_taps != "none" else []
        self.text_side = (
            SideBranch(
                text.width, reduction, len(self.text_places), "none", text_taps == "all", 1.0
            )
            if text_taps != "none"
            else None
        )
        self.recycler = Recycler(queue, image.output_dim) if queue else None
        self.progress = 0.0
        """Share of the training that is done."""

    # Encoding.

    @torch.no_grad()
    def frozen_image(self, images: Tensor) -> Frozen:
        """`(B, 3, H, W)` -> what the side branch needs from the frozen image tower."""
        tower = self.image_tower
        hidden = tower.embed(images)
        summaries: list[Tensor] = []
        patches: list[Tensor] = []
        for done in range(len(tower.blocks) + 1):
            hidden = tower.block(done - 1, hidden) if done else hidden
            if done in self.image_taps:
                tap = normalised(hidden)
                # Copies, so that neither view keeps the other alive until the backward.
                summaries.append(tower.summary(tap).contiguous())
                patches.append(tower.patches(tap).contiguous())
        return tower.pool(hidden), summaries, patches

    @torch.no_grad()
    def frozen_text(self, texts: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor], Tensor]:
        """`(B, L)` -> what the side branch needs from the frozen tower, and a mask `(B, L)`."""
        tower = self.text_tower
        hidden = tower.embed(texts)
        summaries: list[Tensor] = []
        tokens: list[Tensor] = []
        for done in range(len(tower.blocks) + 1):
            hidden = tower.block(done - 1, hidden) if done else hidden
            if done in self.text_places:
                tap = normalised(hidden)
                summaries.append(tower.summary(tap))
                tokens += [tap.tokens] if self.text_taps == "all" else []
        return tower.pool(hidden), summaries, tokens, tower.real(hidden)

    def encode_image(self, images: Tensor | Frozen) -> Tensor:
        """`(B, 3, H, W)`, or what `frozen_image` gave -> `(B, E)`, unit length."""
        frozen = self.frozen_image(images) if isinstance(images, Tensor) else images
        pooled, summaries, patches = frozen
        feature = pooled + self.image_side(summaries, patches)
        return unit(self.image_tower.project(feature))

    def encode_text(
        self, texts: Tensor | tuple[Tensor, list[Tensor], list[Tensor], Tensor]
    ) -> Tensor:
        """`(B, L)`, or what `frozen_text` gave -> `(B, E)`, unit length."""
        frozen = self.frozen_text(texts) if isinstance(texts, Tensor) else texts
        pooled, summaries, patches, mask = frozen
        if self.text_side is not None:
            pooled = pooled + self.text_side(summaries, patches, mask)
        return unit(self.text_tower.project(pooled))

    @torch.no_grad()
    def focus_map(self, images: Tensor) -> Tensor:
        """`(B, 3, H, W)` -> focus score of each patch, the mean over the taps, `(B, h, w)`.

        Optional hook of a method that can show where it looks: values in 0..1 on a square grid.
        """
        self.encode_image(images)
        if not self.image_side.scores:
            raise NotApplicable("cmer(focus='none') has no focus map")
        scores = torch.stack(self.image_side.scores).mean(dim=0)
        return scores.view(len(scores), round(scores.shape[1] ** 0.5), -1)

    # Scene labels.

    def train_caption(self, caption: str, sample: Sample, rng: random.Random) -> str:
        """With probability `scene_p`: "{scene}. {caption}"."""
        return labelled(caption, sample) if rng.random() < self.scene_p else caption

    def test_caption(self, caption: str, sample: Sample) -> str:
        """The sample has a scene only where `scene_at_test` says so."""
        return caption if self.scene_at_test == "none" else labelled(caption, sample)

    # Loss.

    def on_fit(self, images: int) -> None:
        """Bound the queue by a share of the training images."""
        if self.recycler is not None:
            self.recycler.limit = max(1, round(self.queue_share * images))

    def on_step(self, step: int, steps: int) -> None:
        """Remember how far training is."""
        self.progress = step / steps

    def loss(self, batch: Batch) -> Tensor:
        """L_batch + queue_weight * L_queue; then the batch enters the queue."""
        image, text = self.encode_image(batch.images), self.encode_text(batch.texts)
        scale = self.temperature()
        loss = info_nce(scale * cosines(image, text), self._same(batch, batch))
        if self.recycler is not None:
            if self.progress >= self.queue_start:
                past = self.recycler.newest()
                lost = queue_loss(image, text, scale, past, self._same(batch, past))
                loss = loss + self.queue_weight * lost
            self.recycler.push(image, text, batch)
        return loss

    def _same(self, batch: Batch, others: "Batch | Past") -> Tensor:
        """Which of the others are no negatives of the batch's anchors: `(B, others)`."""
        same = batch.image_ids[:, None] == others.image_ids[None, :]
        if self.mask in ("set", "scene"):
            same = same | share_caption(batch.caption_sets, others.caption_sets)
        elif self.mask == "caption":
            same = same | share_caption(batch.caption_ids[:, None], others.caption_sets)
            if others is batch:  # no negatives, whichever has the other's caption
                same = same | same.t()
        if self.mask == "scene" and others is not batch:
            known = (batch.scenes >= 0)[:, None]
            same = same | (known & (batch.scenes[:, None] == others.scenes[None, :]))
        return same

    def load_own_state(self, state: dict[str, Tensor]) -> None:
        """As in `Method`; the queue's caption sets become as wide as the saved ones."""
        saved = state.get("recycler.caption_sets")
        if self.recycler is not None and saved is not None:
            own = self.recycler.caption_sets
            self.recycler.caption_sets = own.new_empty(len(own), *saved.shape[1:])
        super().load_own_state(state)


class Past(NamedTuple):
    """Entries of the queues, newest first: features `(Q, E)`, image id `(Q,)` (-1: empty), caption
    set `(Q, C)`, scene `(Q,)`."""

    images: Tensor
    texts: Tensor
    image_ids: Tensor
    caption_sets: Tensor
    scenes: Tensor


class Recycler(nn.Module):
    """Two first-in first-out queues of detached features, as buffers, so saved with the method.

    `limit` bounds how many of the newest entries count. `caption_sets` is wide enough for eight
    captions per image, and becomes wider when a batch has more.
    """

    images: Tensor
    texts: Tensor
    image_ids: Tensor
    caption_sets: Tensor
    scenes: Tensor
    head: Tensor

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.limit = length
        self.register_buffer("images", torch.zeros(length, width))
        self.register_buffer("texts", torch.zeros(length, width))
        self.register_buffer("image_ids", torch.full((length,), -1))
        self.register_buffer("caption_sets", torch.full((length, 8), -1))
        self.register_buffer("scenes", torch.full((length,), -1))
        self.register_buffer("head", torch.zeros((), dtype=torch.long))

    def newest(self) -> Past:
        """Copies of the entries that count; the backward reads them after the queue moved on."""
        length = len(self.image_ids)
        # `head` is where the next entry goes, so the newest one stands before it, round the end.
        age = torch.arange(min(self.limit, length), device=self.head.device)
        slots = (self.head - 1 - age) % length
        return Past(*(getattr(self, name).index_select(0, slots) for name in Past._fields))

    @torch.no_grad()
    def push(self, image: Tensor, text: Tensor, batch: Batch) -> None:
        """Enter a batch in place of the oldest entries."""
        length = len(self.image_ids)
        image, text = image[-length:], text[-length:]  # of a batch longer than the queue, its end
        slots = (self.head + torch.arange(len(image), device=self.head.device)) % length
        self.images[slots] = image.to(self.images.dtype)
        self.texts[slots] = text.to(self.texts.dtype)
        self.image_ids[slots] = batch.image_ids[-length:]
        self.scenes[slots] = batch.scenes[-length:]
        missing = batch.caption_sets.shape[1] - self.caption_sets.shape[1]
        if missing > 0:
            self.caption_sets = F.pad(self.caption_sets, (0, missing), value=-1)
        sets = batch.caption_sets[-length:]
        self.caption_sets[slots] = F.pad(sets, (0, max(0, -missing)), value=-1)
        self.head.copy_((self.head + len(image)) % length)


def queue_loss(image: Tensor, text: Tensor, scale: Tensor, past: Past, ignore: Tensor) -> Tensor:
    """InfoNCE with the positive from the batch and the negatives from the queue, both ways.

    image, text `(B, E)`; ignore `(B, Q)` marks what is no negative; empty entries never are.
    """
    right = (image * text).sum(dim=1, keepdim=True)  # column 0 of the logits is the positive
    target = torch.zeros(len(image), dtype=torch.long, device=image.device)
    never = F.pad(ignore | (past.image_ids < 0), (1, 0), value=False)
    total = torch.zeros((), device=image.device)
    for anchor, queue in ((image, past.texts), (text, past.images)):
        logits = scale * torch.cat([right, cosines(anchor, queue)], dim=1)
        # Masked after scaling: the temperature's gradient would be 0 * -inf otherwise.
        total = total + F.cross_entropy(logits.masked_fill(never, float("-inf")), target)
    return total / 2


def labelled(caption: str, sample: Sample) -> str:
    """ "{scene}. {caption}", or the caption alone where the scene is unknown."""
    return caption if sample.scene is None else f"{sample.scene}. {caption}"


def tap_places(blocks: int, stride: int) -> list[int]:
    """After how many blocks a tap is taken, first and last always; stride 0 gives at most 13."""
    stride = stride or -(-blocks // 12)
    return [0, *range(stride, blocks, stride), blocks]


def normalised(hidden: Hidden) -> Hidden:
    """Hidden states with each token normalised, without parameters, so that taps are alike."""
    tokens = hidden.tokens
    return replace(hidden, tokens=F.layer_norm(tokens, tokens.shape[-1:]).to(tokens.dtype))
