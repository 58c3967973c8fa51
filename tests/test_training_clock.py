"""Seconds of training, on a clock that tests move by hand."""

from bench.measure.training_clock import TrainingClock


class Hand:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time

    def move(self, seconds: float) -> None:
        self.time += seconds


def test_a_pause_does_not_count_and_what_was_before_does() -> None:
    hand = Hand()
    clock = TrainingClock(5.0, hand)
    hand.move(7)  # not started
    assert clock.seconds == 5
    clock.start()
    hand.move(3)
    with clock.paused():
        hand.move(40)
        assert clock.seconds == 8
    hand.move(1)
    assert clock.seconds == 9


def test_a_resumed_training_goes_on_from_its_seconds() -> None:
    hand = Hand()
    clock = TrainingClock(6.0, hand)  # features were built again
    clock.set(20.0)
    clock.start()
    hand.move(2)
    assert clock.seconds == 22
