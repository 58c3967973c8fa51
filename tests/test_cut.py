"""Captions longer than the context: counted, and equal to the model where they are equal to it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from bench import data
from bench.backbone.preprocess import Preprocess
from bench.data import cache, cut
from bench.evaluate import Evaluation
from bench.training.batches import TokenTable, TrainSplit
from tests.helpers.tiny import with_captions

LENGTH = 16


def words(captions: list[str], context_length: int = LENGTH, *, left: bool = False) -> Tensor:
    """A token for each word between a start (1) and an end (2), which a cut text keeps; 0 pads."""
    rows = torch.zeros(len(captions), context_length, dtype=torch.long)
    for row, caption in zip(rows, captions, strict=True):
        ids = [3 + sum(map(ord, word)) for word in caption.split()][: context_length - 2]
        ids = [1, *ids, 2]
        row[-len(ids) :] = torch.tensor(ids) if left else row[-len(ids) :]
        row[: len(ids)] = row[: len(ids)] if left else torch.tensor(ids)
    return rows


def padding_left(captions: list[str], context_length: int = LENGTH) -> Tensor:
    return words(captions, context_length, left=True)


def class_token_last(captions: list[str], context_length: int = LENGTH) -> Tensor:
    rows = words(captions, context_length - 1)
    return torch.cat([rows, torch.full((len(captions), 1), 9)], dim=1)


FITS = "longer-words " * (LENGTH - 3)
LONG = "longer-words " * LENGTH


@pytest.mark.parametrize("tokenizer", [words, padding_left, class_token_last])
def test_a_caption_is_cut_where_more_room_gives_more_tokens(tokenizer: Any) -> None:
    captions = ["a pond", FITS, LONG, LONG + "pond", LONG + "port", "", "x" * 400]
    found = cut.find(tokenizer, captions)
    assert found.length == LENGTH
    assert found.captions == {LONG, LONG + "pond", LONG + "port"}
    assert found.count([*captions, LONG]) == 4


def test_sentences_that_are_equal_after_the_cut_have_one_key() -> None:
    just = "longer-words " * (LENGTH - 2)  # fits, and is what is left of the long ones
    captions = [LONG + "pond", "A pond!", LONG + "port", "a pond", just, f"{LONG} port .", FITS]
    keys = cut.find(words, captions).sentences(captions)
    assert keys[0] == keys[2] == keys[4] == keys[5]
    assert keys[1] == keys[3] == "a pond"
    assert len(set(keys)) == 3


def test_nothing_changes_where_nothing_is_cut() -> None:
    captions = ["A pond!", "a  pond", "a &amp; b", "a & b", FITS]
    same = cut.find(lambda texts, context_length=LENGTH: words(["w"] * len(texts)), captions)
    assert same.sentences(captions) == [data.spoken_form(c) for c in captions]  # not even by tokens
    fixed = cut.find(lambda texts: words(texts), [LONG, LONG + "x"])
    assert fixed.captions == frozenset()
    assert cut.Cut().sentences(captions) == [data.spoken_form(c) for c in captions]


def test_recall_and_ceiling_know_of_the_cut(tiny: Path) -> None:
    dataset = with_captions(tiny, "test", [LONG + "a"], [LONG + "b"], ["c"], ["d"])
    gray = Preprocess(mean=(0.5,) * 3, std=(0.5,) * 3)
    made: Any = SimpleNamespace(preprocess=gray, tokenizer=words)
    table = TokenTable(words, None)
    evaluation = Evaluation(dataset, "test", cache.images(dataset, 16), made, table)
    image = torch.eye(4)
    found = evaluation.metrics(evaluation.ranks(image, image[[1, 0, 2, 3]]))
    assert found["ceiling_t2i_R@1"] == 75
    assert found["t2i_R@1"] == 50
    assert found["dup_t2i_R@1"] == 100


def test_masks_of_training_know_of_the_cut(tiny: Path) -> None:
    dataset = with_captions(tiny, "train", [LONG + "a", "e"], [LONG + "b", "f"], ["e"])
    pixels = cache.images(dataset, 16)
    found = cut.find(words, (c for s in dataset.samples for c in s.captions))
    told = TrainSplit.of(dataset, pixels, (0.5,) * 3, (0.5,) * 3, cut=found)
    assert told.caption_ids[:3] == [(0, 1), (0, 2), (1,)]
    untold = TrainSplit.of(dataset, pixels, (0.5,) * 3, (0.5,) * 3)
    assert untold.caption_ids[:3] == [(0, 1), (2, 3), (1,)]


def test_the_note_counts_the_splits(tiny: Path) -> None:
    dataset = with_captions(tiny, "test", [LONG + "a", LONG], ["a"])
    found = cut.find(words, (c for s in dataset.samples for c in s.captions))
    assert found.by_split(dataset.samples) == {"train": 0, "val": 0, "test": 2}
    note = str(found.note(dataset.samples))
    assert note.startswith("captions longer than the backbone's 16 tokens: 2 in test; it does not")
    assert cut.Cut().note(dataset.samples) is None


def test_real_tokenizers() -> None:
    open_clip = pytest.importorskip("open_clip")
    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    captions = ["word " * 75, "word " * 76, "word " * 76 + "more", "!" * 300, "a &amp; b" * 9]
    found = cut.find(tokenizer, captions)
    assert found.length == 77
    assert found.captions == set(captions[1:3])
    assert len(set(found.sentences(captions)[:3])) == 1
