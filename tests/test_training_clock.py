"""Seconds of training, on a clock that tests move by hand."""

import pytest

from bench.measure import training_clock
from bench.measure.training_clock import TrainingClock
from tests.helpers.hand import Hand


@pytest.fixture
def hand(monkeypatch: pytest.MonkeyPatch) -> Hand:
    """A clock that stands still until it is moved."""
    hand = Hand()
    monkeypatch.setattr(training_clock, "now", hand)
    return hand


def test_a_pause_does_not_count_and_what_was_before_does(hand: Hand) -> None:
    clock = TrainingClock(5.0)
    hand.move(7)  # not started
    assert clock.seconds == 5
    clock.start()
    hand.move(3)
    with clock.paused():
        hand.move(40)
        assert clock.seconds == 8
    hand.move(1)
    assert clock.seconds == 9


def test_a_resumed_training_goes_on_from_its_seconds(hand: Hand) -> None:
    clock = TrainingClock(6.0)  # features were built again
    clock.set(20.0)
    clock.start()
    hand.move(2)
    assert clock.seconds == 22
