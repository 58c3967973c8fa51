"""Metrics on matrices that a reader can check by eye, and against a slow second implementation."""

import itertools
import random

import pytest
import torch

from bench import retrieval
from bench.retrieval import Ranks, rank_both, recalls, right_items, t2i_ceiling

NONE = float("-inf")


def rank_rows(similarity: torch.Tensor, right: torch.Tensor) -> Ranks:
    return retrieval.rank_rows(similarity, [right])[0]


def rank(queries: torch.Tensor, gallery: torch.Tensor, right: torch.Tensor) -> Ranks:
    return retrieval.rank(queries, gallery, [right])[0]


def same(one: Ranks, two: Ranks) -> bool:
    return all(torch.equal(getattr(one, n), getattr(two, n)) for n in one.__dataclass_fields__)


def test_ranks_of_a_small_matrix() -> None:
    similarity = torch.tensor([[0.9, 0.1, 0.5], [0.9, 0.1, 0.5], [0.2, 0.1, 0.3]])
    ranks = rank_rows(similarity, torch.tensor([[0], [1], [0]]))
    assert ranks.expected().tolist() == [1, 3, 2]
    assert ranks.hit(1).tolist() == [1, 0, 0]
    assert ranks.hit(2).tolist() == [1, 0, 1]


def test_the_best_of_several_right_items_counts() -> None:
    ranks = rank_rows(torch.tensor([[0.1, 0.9, 0.4, 0.8]]), torch.tensor([[0, 2, 3]]))
    assert ranks.expected().tolist() == [2]


def test_padding_is_not_an_item() -> None:
    similarity = torch.tensor([[0.9, 0.1]])
    assert rank_rows(similarity, torch.tensor([[1, -1]])).expected().tolist() == [2]


def test_ties_are_broken_at_random_in_expectation() -> None:
    one_of_four = rank_rows(torch.full((1, 4), 0.5), torch.tensor([[2]]))
    assert one_of_four.expected().tolist() == [2.5]
    assert one_of_four.hit(1).tolist() == [0.25]
    assert one_of_four.hit(3).tolist() == [0.75]
    assert one_of_four.hit(4).tolist() == [1]
    two_of_four = rank_rows(torch.full((1, 4), 0.5), torch.tensor([[0, 1]]))
    assert two_of_four.hit(1).tolist() == [0.5]
    assert two_of_four.hit(2).tolist() == pytest.approx([5 / 6])  # 1 - (2/4)(1/3)
    below_a_winner = rank_rows(torch.tensor([[0.9, 0.5, 0.5]]), torch.tensor([[1]]))
    assert below_a_winner.hit(2).tolist() == [0.5]


def test_a_collapsed_model_scores_chance() -> None:
    images, captions = 40, 200
    right = right_items([c // 5 for c in range(captions)], [str(c) for c in range(captions)])
    flat = torch.nn.functional.normalize(torch.ones(1, 8), dim=1)
    i2t = rank(flat.expand(images, -1), flat.expand(captions, -1), right["i2t"])
    t2i = rank(flat.expand(captions, -1), flat.expand(images, -1), right["t2i"])
    result = recalls(i2t, t2i)
    assert result["t2i_R@1"] == pytest.approx(100 / 40)
    assert result["t2i_R@10"] == pytest.approx(25)
    assert result["i2t_R@1"] == pytest.approx(100 * 5 / 200)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), NONE])
def test_a_similarity_that_is_no_number_is_an_error(bad: float) -> None:
    with pytest.raises(retrieval.NotFinite):
        rank_rows(torch.tensor([[0.5, bad]]), torch.tensor([[0]]))


def slow_hit(scores: list[float], right: set[int], k: int) -> float:
    """Share of all orders that respect the scores in which a right item is in the top k."""
    hits = orders = 0
    for order in itertools.permutations(range(len(scores))):
        if all(scores[a] >= scores[b] for a, b in itertools.pairwise(order)):
            orders += 1
            hits += bool(right & set(order[:k]))
    return hits / orders


def test_against_the_enumeration_of_all_orders() -> None:
    rng = random.Random(3)
    for _ in range(60):
        size = rng.randint(2, 6)
        scores = [rng.choice([0.0, 0.25, 0.5, 0.75]) for _ in range(size)]
        right = set(rng.sample(range(size), rng.randint(1, size)))
        ranks = rank_rows(torch.tensor([scores]), torch.tensor([sorted(right)]))
        for k in range(1, size + 1):
            assert float(ranks.hit(k)) == pytest.approx(slow_hit(scores, right, k))


def test_against_a_plain_loop_on_random_features() -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.nn.functional.normalize(torch.randn(30, 16, generator=generator), dim=1)
    text = torch.nn.functional.normalize(torch.randn(90, 16, generator=generator), dim=1)
    image_of = [c // 3 for c in range(90)]
    right = right_items(image_of, [str(c) for c in range(90)])
    result = recalls(rank(image, text, right["i2t"]), rank(text, image, right["t2i"]))
    similarity = (image @ text.t()).tolist()
    for k in retrieval.KS:
        i2t = t2i = 0
        for i in range(30):
            top = sorted(range(90), key=lambda c: -similarity[i][c])[:k]
            i2t += any(image_of[c] == i for c in top)
        for c in range(90):
            top = sorted(range(30), key=lambda i: -similarity[i][c])[:k]
            t2i += image_of[c] in top
        assert result[f"i2t_R@{k}"] == pytest.approx(100 * i2t / 30)
        assert result[f"t2i_R@{k}"] == pytest.approx(100 * t2i / 90)


def coarse(rows: int, seed: int) -> torch.Tensor:
    """Features of few values, whose products are exact: many ties, the same in every order."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-1, 2, (rows, 4), generator=generator).float() / 2


@pytest.mark.parametrize("elements", [1, 500, 30 * 90 - 1])
def test_metrics_are_equal_in_blocks_and_at_once(elements: int) -> None:
    image, text = coarse(30, 4), coarse(90, 5)
    right = right_items([c // 3 for c in range(90)], [str(c % 40) for c in range(90)])
    at_once, blocks = (rank_both(image, text, right, n) for n in (30 * 90, elements))
    assert list(at_once) == list(blocks) == list(right)
    assert all(same(at_once[name], blocks[name]) for name in right)
    for name, items in right.items():
        way = (image, text) if name.endswith("i2t") else (text, image)
        assert same(at_once[name], rank(*way, items))
    assert recalls(at_once["i2t"], at_once["t2i"]) == recalls(blocks["i2t"], blocks["t2i"])


def test_no_more_similarities_exist_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: list[torch.Size] = []
    rows = retrieval.rank_rows

    def look(similarity: torch.Tensor, rights: list[torch.Tensor]) -> list[Ranks]:
        shapes.append(similarity.shape)
        return rows(similarity, rights)

    monkeypatch.setattr(retrieval, "rank_rows", look)
    image, text = coarse(30, 4), coarse(90, 5)
    right = right_items([c // 3 for c in range(90)], [str(c) for c in range(90)])
    rank_both(image, text, right, 500)
    assert max(shape.numel() for shape in shapes) <= 500
    assert {shape[1] for shape in shapes} == {30, 90}


def test_mean_recall_is_the_mean_of_six() -> None:
    first = Ranks(*(torch.tensor(v) for v in ([0, 4, 20], [0, 0, 0], [1, 1, 1])))
    result = recalls(first, first)
    assert result["i2t_R@1"] == pytest.approx(100 / 3)
    assert result["i2t_R@5"] == pytest.approx(200 / 3)
    assert result["mR"] == pytest.approx((100 + 200 + 200) / 9)


def test_equal_sentences_count_as_right_in_the_aware_recall() -> None:
    # image 0: a, b; image 1: a, c
    right = right_items([0, 0, 1, 1], ["a", "b", "a", "c"])
    assert right["i2t"].tolist() == [[0, 1], [2, 3]]
    assert right["t2i"].tolist() == [[0], [0], [1], [1]]
    assert right["dup_i2t"].tolist() == [[0, 1, 2], [0, 2, 3]]
    assert right["dup_t2i"].tolist() == [[0, 1], [0, -1], [0, 1], [1, -1]]


def test_ceiling_of_shared_captions() -> None:
    # sentence a is carried by two images: only one of its two queries can be right at 1
    ceiling = t2i_ceiling([0, 0, 1, 1], ["a", "b", "a", "c"])
    assert ceiling["ceiling_t2i_R@1"] == 75
    assert ceiling["ceiling_t2i_R@5"] == 100
