"""Evaluation: every image and every distinct caption encoded once, the metrics of all pairs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench import trial_run
from bench.backbone.preprocess import Preprocess
from bench.data import cache
from bench.evaluate import Evaluation
from bench.recipe import Recipe
from bench.training.batches import TokenTable
from methods.sample import Sample
from tests.helpers.tiny import load, trial, with_captions


class Backbone:
    """Of a backbone, what an evaluation looks at."""

    preprocess = Preprocess(mean=(0.5,) * 3, std=(0.5,) * 3)

    def tokenizer(self, captions: list[str], context_length: int = 77) -> Tensor:
        """A token for each word."""
        rows = torch.zeros(len(captions), context_length, dtype=torch.long)
        for row, caption in zip(rows, captions, strict=True):
            words = [sum(map(ord, word)) for word in caption.split()][:context_length]
            row[: len(words)] = torch.tensor(words, dtype=torch.long)
        return rows


class Counting:
    """A method that writes down what it is asked to encode."""

    def __init__(self) -> None:
        self.images: list[int] = []
        self.captions: list[tuple[int, ...]] = []

    def eval(self) -> None:
        """Nothing to switch."""

    def test_caption(self, caption: str, sample: Sample) -> str:
        """Unchanged."""
        return caption

    def encode_image(self, images: Tensor) -> Tensor:
        """Two numbers of each image, unit length."""
        self.images.append(len(images))
        return torch.nn.functional.normalize(images.flatten(1)[:, 5:9], dim=1)

    def encode_text(self, texts: Tensor) -> Tensor:
        """The tokens themselves, unit length."""
        self.captions.extend(tuple(row) for row in texts.tolist())
        return torch.nn.functional.normalize(texts[:, :4].float(), dim=1)


def test_each_distinct_caption_is_tokenised_and_encoded_once(tiny: Path) -> None:
    tokenised: list[str] = []

    def tokenizer(captions: list[str]) -> Tensor:
        tokenised.extend(captions)
        return torch.tensor([[ord(c) for c in text[-4:]] for text in captions])

    spoken = [["abcd", "abce", "abcd", "abcf", "abcd"], ["abce"] * 5, ["abcg"] * 5, ["abcd"] * 5]
    dataset = with_captions(tiny, "test", *spoken)
    made: Any = Backbone()
    table = TokenTable(tokenizer, None)
    evaluation = Evaluation(dataset, "test", cache.images(dataset, 16), made, table)
    method: Any = Counting()
    for _ in range(2):
        image, text = evaluation.features(method, torch.float32, torch.device("cpu"), block=3)
    assert tokenised == ["abcd", "abce", "abcf", "abcg"]
    assert sorted(method.captions) == sorted(2 * [tuple(map(ord, c)) for c in tokenised])
    assert method.images == 2 * [3, 1]
    assert evaluation.encoded == {"images": 2 * 4, "captions": 2 * 4}
    assert (image.shape, text.shape) == ((4, 4), (20, 4))
    evaluation.seconds = {"images": 2.0, "captions": 4.0}
    assert evaluation.rates() == {"eval_images_per_second": 4, "eval_captions_per_second": 2}
    words = [word for captions in spoken for word in captions]
    for row, word in enumerate(words):
        assert torch.equal(text[row], text[words.index(word)])


def test_metrics_of_a_split_whose_images_share_a_sentence(tiny: Path) -> None:
    dataset = with_captions(tiny, "test", ["a", "b"], ["A .", "c"], ["d"], ["e"])
    rows = dataset.split("test")
    made: Any = Backbone()
    table = TokenTable(made.tokenizer, None)
    evaluation = Evaluation(dataset, "test", np.zeros(0, np.uint8), made, table)
    assert [s.scene for s in evaluation.queries] == [None] * 6  # no test query tells its scene
    image = torch.eye(4)
    text = image[[1, 0, 1, 1, 2, 3]]  # the sentence of two images leads to the second of them
    found = evaluation.metrics(evaluation.ranks(image, text))
    assert found["t2i_R@1"] == pytest.approx(100 * 5 / 6)
    assert found["dup_t2i_R@1"] == 100
    assert found["i2t_R@1"] == pytest.approx(100 * (3 + 2 / 3) / 4)  # two of three that tie
    assert found["dup_i2t_R@1"] == 100
    assert found["ceiling_t2i_R@1"] == pytest.approx(100 * 5 / 6)
    evaluation.label("oracle", made)
    expected = [dataset.samples[rows[i]].scene for i in (0, 0, 1, 1, 2, 3)]
    assert [s.scene for s in evaluation.queries] == expected


class Kept:
    """Frozen features that say of which row or caption they are."""

    def of_images(self, rows: list[int]) -> Tensor:
        """The rows."""
        return torch.tensor(rows)[:, None]

    def of_texts(self, captions: list[str]) -> Tensor:
        """The number in each caption: "picture 3 of ..."."""
        return torch.tensor([int(caption.split()[1]) for caption in captions])[:, None]


class Passing(Counting):
    """A method that gives back what it is to encode."""

    def encode_image(self, images: Tensor) -> Tensor:
        """Unchanged."""
        return images

    def encode_text(self, texts: Tensor) -> Tensor:
        """Unchanged."""
        return texts


def test_the_rates_of_the_test_split_are_those_of_a_warm_machine(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A method that is not trained computes for the first time on validation, not on test."""
    real, splits = Evaluation.features, list[str]()

    def features(own: Evaluation, *given: Any) -> Any:
        splits.append(own.samples[0].split)
        return real(own, *given)

    monkeypatch.setattr(Evaluation, "features", features)
    one = trial(tiny, "zeroshot", Recipe(precision="fp32"))
    done = trial_run.run(one, tiny, tiny / "results", lambda _: None)
    assert done["status"] == "ok", done["traceback"]
    assert splits == ["val", "test"]


def test_with_frozen_features_no_pixel_and_no_token_is_encoded(tiny: Path) -> None:
    dataset = load(tiny)
    made: Any = Backbone()
    table = TokenTable(lambda captions: torch.zeros(len(captions), 4, dtype=torch.long), None)
    evaluation = Evaluation(dataset, "test", cache.images(dataset, 16), made, table)
    method: Any = Passing()
    kept: Any = Kept()
    image, text = evaluation.features(method, torch.float32, torch.device("cpu"), kept, 3)
    assert image[:, 0].tolist() == dataset.split("test")
    assert text[:, 0].tolist() == [row for row in dataset.split("test") for _ in range(5)]
