"""CMER: what its parts promise."""

import copy
import functools
import random

import pytest
import torch
from torch import Tensor

from bench import backbone
from bench.backbone.model import Backbone
from bench.measure.count import saved_bytes
from bench.training import trainer
from bench.training.batches import TokenTable, normalise
from methods import registry
from methods.base import Batch, Method, Sample, info_nce, share_caption
from methods.cmer import CMER, FocusLayer, Past, Recycler, labelled, queue_loss, tap_places
from tests.helpers.close import close

FOCUSES = ("soft", "topk", "relu", "none")


@functools.cache
def starter() -> Backbone:
    """The starter's architecture with random weights."""
    return backbone.load("starter:none")


def build(name: str, **settings: object) -> Method:
    torch.manual_seed(0)
    return registry()[name](copy.deepcopy(starter().model), **settings)


def batch(size: int = 8, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 255, (size, 64, 64, 3), dtype=torch.uint8, generator=generator)
    table = TokenTable(starter().tokenizer, 0)
    ids = torch.arange(size)
    return Batch(
        images=normalise(pixels, (0.5,) * 3, (0.2,) * 3),
        texts=table([f"{i} planes are parked near {'a building ' * (i % 3)}" for i in range(size)]),
        image_ids=ids,
        caption_ids=ids,
        caption_sets=ids[:, None],
        scenes=torch.zeros(size, dtype=torch.long),
    )


@pytest.mark.parametrize("focus", FOCUSES)
@pytest.mark.parametrize("text_taps", ["end", "all", "none"])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_before_training_it_is_zeroshot_bit_for_bit(
    focus: str, text_taps: str, kind: torch.dtype
) -> None:
    zeroshot, cmer = build("zeroshot"), build("cmer", focus=focus, text_taps=text_taps)
    given, cpu = batch(), torch.device("cpu")
    # Both run the same towers in the same shapes, and the side branch adds zeros to what they give.
    with torch.no_grad(), trainer.autocast(kind, cpu):
        assert torch.equal(cmer.encode_image(given.images), zeroshot.encode_image(given.images))
        assert torch.equal(cmer.encode_text(given.texts), zeroshot.encode_text(given.texts))


def kept(method: Method, given: Batch) -> int:
    own = [*method.parameters(), *method.buffers(), given.images, given.texts]
    return saved_bytes(lambda: method.loss(given), own)


def test_it_keeps_a_fraction_of_what_lora_keeps_for_backward() -> None:
    given = batch(32)
    assert kept(build("cmer"), given) < 0.2 * kept(build("lora"), given)


def test_topk_keeps_less_and_sees_only_the_kept_patches() -> None:
    given = batch(16)
    assert kept(build("cmer", focus="topk", keep=0.25), given) < 0.7 * kept(build("cmer"), given)
    cmer = build("cmer", focus="topk", keep=0.25)
    with torch.no_grad():
        cmer.encode_image(given.images)
    assert isinstance(cmer, CMER)
    scores = cmer.image_side.scores[0]
    assert scores.shape == (16, 64)
    assert ((scores > 0).sum(dim=1) == 16).all()


def test_what_chooses_patches_learns_under_autocast_too() -> None:
    """A step uses it twice, first without a gradient: autocast may not keep what it cast then."""
    cmer = build("cmer", focus="topk", queue=0)
    assert isinstance(cmer, CMER)
    torch.nn.init.normal_(cmer.image_side.up.weight)
    with trainer.autocast(torch.bfloat16, torch.device("cpu")):
        loss = cmer.loss(batch())
    loss.backward()
    assert cmer.image_side.select is not None
    gradient = cmer.image_side.select.weight.grad
    assert gradient is not None
    assert gradient.any()


def test_a_low_score_takes_a_patch_out_of_sight() -> None:
    torch.manual_seed(0)
    layer = FocusLayer(32, "soft")
    summary, patches = torch.randn(2, 32), torch.randn(2, 5, 32)
    assert layer.score is not None
    plain = FocusLayer(32, "none")
    plain.load_state_dict({k: v for k, v in layer.state_dict().items() if "score" not in k})
    # At the start all scores are equal, so attention is plain attention.
    close(layer(summary, patches, None)[0], plain(summary, patches, None)[0])
    # A score of zero for all but one patch: the summary sees that one alone.
    direction = patches[0, 3]
    with torch.no_grad():
        layer.score.weight.copy_(1000 * direction[None] / direction.norm() ** 2)
        layer.score.bias.fill_(-700)
    out = layer(summary[:1], patches[:1], None)
    alone = plain(summary[:1], patches[:1, 3:4], None)
    close(out[0], alone[0])
    assert out[2] is not None
    assert out[2][0].argmax() == 3


def test_attention_without_keys_is_attention() -> None:
    torch.manual_seed(0)
    layer = FocusLayer(64, "none")
    summary, patches = torch.randn(3, 64), torch.randn(3, 7, 64)
    out, _, _ = layer(summary, patches, None)
    seen, heads = patches, layer.heads
    query = layer.query(layer.norm(summary)).view(3, heads, 1, -1)
    keys = torch.einsum("bpd,hed->bhpe", seen, layer.key)
    parts = layer.value.weight.view(64, heads, 64)
    values = torch.einsum("bpd,ohd->bhpo", seen, parts)
    weights = (query @ keys.transpose(2, 3) / query.shape[-1] ** 0.5).softmax(-1)
    close(out, summary + (weights @ values).sum(dim=1)[:, 0])


@pytest.mark.parametrize("width", [64, 112, 176, 208])  # ViT-B-32-plus, ViT-g, ViT-bigG: D / 8
def test_heads_divide_any_width(width: int) -> None:
    layer = FocusLayer(width, "soft")
    assert layer(torch.randn(2, width), torch.randn(2, 5, width), None)[0].shape == (2, width)


def test_relu_attention_is_finite_where_no_logit_is_positive() -> None:
    layer = FocusLayer(32, "relu")
    with torch.no_grad():
        layer.key.zero_()
    out = layer(torch.randn(2, 32), torch.randn(2, 5, 32), None)
    assert torch.isfinite(out[0]).all()


def test_which_layers_are_tapped() -> None:
    assert tap_places(12, 0) == list(range(13))
    assert tap_places(24, 0) == list(range(0, 25, 2))
    assert tap_places(6, 4) == [0, 4, 6]


# Scene labels.


def test_scene_labels() -> None:
    cmer, sample = build("cmer", scene_p=1.0), Sample("a", ("b",), "train", "pond")
    assert cmer.train_caption("water .", sample, random.Random(0)) == "pond. water ."
    assert cmer.test_caption("water .", sample) == "water ."
    oracle = build("cmer", scene_at_test="oracle")
    assert oracle.test_caption("water .", sample) == "pond. water ."
    assert labelled("water .", Sample("a", ("b",), "test")) == "water ."
    half = build("cmer", scene_p=0.5)
    rng = random.Random(0)
    seen = [half.train_caption("x", sample, rng) != "x" for _ in range(1000)]
    assert 400 < sum(seen) < 600


# Recycling.


def entries(images: list[int], captions: list[list[int]]) -> Batch:
    n = len(images)
    return Batch(
        images=torch.zeros(n, 1),
        texts=torch.zeros(n, 1),
        image_ids=torch.tensor(images),
        caption_ids=torch.tensor([c[0] for c in captions]),
        caption_sets=torch.tensor(captions),
        scenes=torch.zeros(n, dtype=torch.long),
    )


def unit(*rows: list[float]) -> Tensor:
    return torch.nn.functional.normalize(torch.tensor(rows), dim=1)


def test_an_empty_queue_adds_nothing() -> None:
    recycler, feature = Recycler(4, 2), unit([1.0, 0.0])
    masked = torch.zeros(1, 4, dtype=torch.bool)
    past = recycler.newest()
    assert float(queue_loss(feature, feature, torch.tensor(10.0), past, masked)) == 0


def test_the_queue_is_first_in_first_out_and_bounded() -> None:
    recycler = Recycler(4, 2)
    for image in range(6):
        feature = unit([1.0, float(image)])
        recycler.push(feature, feature, entries([image], [[image]]))
    assert sorted(recycler.image_ids.tolist()) == [2, 3, 4, 5]
    assert recycler.newest().image_ids.tolist() == [5, 4, 3, 2]
    recycler.limit = 2
    past = recycler.newest()
    assert past.image_ids.tolist() == [5, 4]
    close(past.texts, unit([1.0, 5.0], [1.0, 4.0]))


def test_a_batch_longer_than_the_queue_leaves_its_end() -> None:
    recycler = Recycler(3, 2)
    ids = list(range(5))
    recycler.push(torch.randn(5, 2), torch.randn(5, 2), entries(ids, [[i] for i in ids]))
    assert sorted(recycler.image_ids.tolist()) == [2, 3, 4]


def test_the_queue_holds_and_saves_all_captions_of_an_image() -> None:
    """Also of an image with more captions than the queue has room for at first."""
    cmer, other, given = build("cmer", queue=64), build("cmer", queue=64), batch()
    before = {k: v.clone() for k, v in cmer.own_state().items()}
    given.caption_sets = torch.arange(8 * 12).view(8, 12)
    cmer.loss(given)
    other.load_own_state({k: v.clone() for k, v in cmer.own_state().items()})
    assert isinstance(other, CMER)
    assert other.recycler is not None
    past = other.recycler.newest()  # the last image first
    assert past.image_ids[:8].tolist() == [7, 6, 5, 4, 3, 2, 1, 0]
    shared = share_caption(given.caption_sets[:, 11:], past.caption_sets)
    assert shared[:, :8].equal(torch.eye(8, dtype=torch.bool).flip(1))
    cmer.load_own_state(before)  # as after the speed was measured
    assert all(torch.equal(tensor, before[name]) for name, tensor in cmer.own_state().items())
    with pytest.raises(ValueError, match=r"another method or setting.*'recycler\.images'"):
        build("cmer", queue=32).load_own_state(before)


def test_the_queue_loss_is_info_nce_over_the_queue() -> None:
    torch.manual_seed(0)
    image, text = (torch.nn.functional.normalize(torch.randn(3, 8), dim=1) for _ in range(2))
    past = [torch.nn.functional.normalize(torch.randn(5, 8), dim=1) for _ in range(2)]
    ids = torch.arange(5)
    queue = Past(past[0], past[1], ids, ids[:, None], ids)
    ignore = torch.zeros(3, 5, dtype=torch.bool)
    ignore[1, 2] = True
    found = float(queue_loss(image, text, torch.tensor(7.0), queue, ignore))
    total = 0.0
    for i in range(3):
        keep = [j for j in range(5) if not ignore[i, j]]
        right = torch.exp(7 * image[i] @ text[i])
        for anchor, queue in ((image[i], past[1]), (text[i], past[0])):
            wrong = sum(torch.exp(7 * anchor @ queue[j]) for j in keep)
            total -= float(torch.log(right / (right + wrong))) / 6
    assert found == pytest.approx(total, rel=1e-4)


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        ("scene", [True, True, True, True]),
        ("set", [True, True, True, False]),
        ("caption", [True, True, False, False]),
        ("image", [True, False, False, False]),
    ],
)
def test_what_is_never_a_negative(mask: str, expected: list[bool]) -> None:
    # The anchor is image 7 with captions {1, 2}, trained with caption 1.
    cmer = build("cmer", mask=mask)
    anchor = entries([7], [[1, 2]])
    queue = entries([7, 8, 9, 10], [[1, 2], [1, 5], [2, 6], [3, 4]])
    assert isinstance(cmer, CMER)
    queue.scenes = torch.tensor([0, 1, 1, 0])  # the anchor's scene is 0
    assert cmer._same(anchor, queue)[0].tolist() == expected


@pytest.mark.parametrize(("mask", "shared"), [("caption", True), ("image", False)])
def test_in_a_batch_either_caption_may_be_the_shared_one(mask: str, shared: bool) -> None:
    # The second image's caption, 1, is one of the first's too; the first is shown with another.
    cmer, given = build("cmer", mask=mask), entries([7, 8], [[2, 1], [1, 5]])
    assert isinstance(cmer, CMER)
    assert cmer._same(given, given).tolist() == [[True, shared], [shared, True]]


def test_the_anchors_own_pair_is_never_offered() -> None:
    cmer, given = build("cmer", queue=64, queue_start=0.0, mask="set"), batch()
    assert isinstance(cmer, CMER)
    assert cmer.recycler is not None
    first = cmer.loss(given)
    # The queue now holds exactly this batch: seen again, each anchor masks its own image's entry.
    past = cmer.recycler.newest()
    assert past.image_ids.tolist() == [7, 6, 5, 4, 3, 2, 1, 0] + [-1] * 56
    assert cmer._same(given, past)[:, :8].equal(torch.eye(8, dtype=torch.bool).flip(1))
    alone = build("cmer", queue=0, mask="set").loss(given)
    close(first, alone)  # an empty queue changed nothing
    assert float(cmer.loss(given).detach()) > float(first.detach())


def test_gradients_stay_finite_with_masked_entries() -> None:
    cmer, given = build("cmer", queue=64, queue_start=0.0), batch()
    for _ in range(2):
        cmer.loss(given).backward()
    assert all(torch.isfinite(p.grad).all() for p in cmer.parameters() if p.grad is not None)
    assert cmer.logit_scale.grad is not None


def test_info_nce_against_the_definition() -> None:
    logits = torch.tensor([[2.0, 1.0], [0.5, 3.0]])
    rows = -torch.log(torch.tensor([2.0, 3.0]).exp() / logits.exp().sum(1)).mean()
    columns = -torch.log(torch.tensor([2.0, 3.0]).exp() / logits.exp().sum(0)).mean()
    close(info_nce(logits), (rows + columns) / 2)
    assert float(info_nce(logits, torch.ones(2, 2, dtype=torch.bool))) == 0


def test_shared_captions_ignore_padding() -> None:
    a, b = torch.tensor([[1, -1], [2, 3]]), torch.tensor([[-1, -1], [3, 4], [1, 2]])
    assert share_caption(a, b).tolist() == [[False, False, True], [False, True, True]]
