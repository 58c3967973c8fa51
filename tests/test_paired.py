"""Tests of paired differences: against values by hand, and their error rates by simulation."""

from itertools import product

import numpy as np
import pytest

from bench.trained import paired


def normal(
    rng: np.random.Generator, seeds: int, images: int, spread: tuple[float, float, float]
) -> np.ndarray:
    """Differences `(S, I, 1)` of mean 0; spread: standard deviations of the mean that come from
    the seeds, the images and the noise of single queries."""
    of_seeds, of_images, noise = spread
    return np.asarray(
        rng.normal(0, of_seeds * seeds**0.5, (seeds, 1, 1))
        + rng.normal(0, of_images * images**0.5, (1, images, 1))
        + rng.normal(0, noise * (seeds * images) ** 0.5, (seeds, images, 1))
    )


def p_value(differences: list[float]) -> float:
    """The p of Student's t over seeds."""
    test = paired.t_test(differences)
    assert test is not None
    return test.p


@pytest.mark.parametrize("seeds", [2, 5])
@pytest.mark.parametrize("spread", [(1, 0.1, 0.1), (0.3, 1, 1), (0, 1, 0.1), (0, 0, 1)])
def test_the_interval_over_seeds_and_images_covers(
    seeds: int, spread: tuple[float, float, float]
) -> None:
    """Whatever dominates, 95% intervals hold the true value in 95% of 600 simulated comparisons."""
    rng = np.random.default_rng([seeds, *(int(10 * s) for s in spread)])
    covered = false_alarms = 0
    for _ in range(600):
        low, high, p = paired.seeds_and_images(normal(rng, seeds, 60, spread))
        covered += bool(low[0] <= 0 <= high[0])
        false_alarms += bool(p[0] < 0.05)
    assert covered >= 0.95 * 600 - 3 * (0.05 * 0.95 * 600) ** 0.5  # three standard errors below
    assert covered + false_alarms == 600  # p and interval say the same


def test_over_seeds_alone_it_is_a_paired_t_test() -> None:
    """Images that all say the same add nothing."""
    by_seed = np.array([1.0, 1.3, 0.7])
    low, high, p = paired.seeds_and_images(np.tile(by_seed[:, None, None], (1, 50, 1)))
    error = 0.3 / 3**0.5
    assert (low[0], high[0]) == pytest.approx((1 - 4.3027 * error, 1 + 4.3027 * error), abs=1e-4)
    assert p[0] == pytest.approx(p_value(by_seed.tolist()), abs=1e-9)


def test_over_images_alone_it_is_a_t_test_over_images() -> None:
    """Trainings that all give the same add nothing."""
    by_image = np.random.default_rng(1).normal(0.3, 1, 40)
    low, high, _ = paired.seeds_and_images(np.tile(by_image[None, :, None], (4, 1, 1)))
    error = by_image.std(ddof=1) / 40**0.5
    assert high[0] - low[0] == pytest.approx(2 * 2.0227 * error, rel=1e-4)
    assert (low[0] + high[0]) / 2 == pytest.approx(by_image.mean())


def test_no_difference_has_p_1() -> None:
    low, high, p = paired.seeds_and_images(np.zeros((3, 20, 2)))
    assert low.tolist() == high.tolist() == [0, 0]
    assert p.tolist() == [1, 1]
    _, _, p = paired.seeds_and_images(np.ones((3, 20, 1)))
    assert p[0] < 1e-6


def test_t_test_by_hand() -> None:
    # Two-sided points of Student's t: 12.706 with 1 degree of freedom, 4.303 with 2.
    t = 12.706
    assert p_value([1 + 1 / t, 1 - 1 / t]) == pytest.approx(0.05, abs=1e-4)
    p = p_value([1.0, 1.3, 0.7])  # t = 1 / (0.3 / sqrt 3) = 5.77
    assert p == pytest.approx(0.0287, abs=1e-4)
    assert p_value([-1.0, -1.3, -0.7]) == pytest.approx(p)
    assert paired.t_test([1.0]) is None
    assert paired.t_test([]) is None
    assert p_value([0.0, 0.0]) == 1
    assert p_value([1e-14, -2e-14, 3e-14]) == 1  # rounding
    assert p_value([0.2, 0.2, 0.2]) == pytest.approx(0)  # nothing is left to chance


def test_holm_by_hand() -> None:
    assert paired.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert paired.holm([0.5, None, 0.9]) == [1.0, None, 1.0]
    assert paired.holm([]) == []
    assert paired.holm([None]) == [None]


def test_bootstrap_is_that_of_the_mean() -> None:
    differences = np.random.default_rng(1).normal(3.0, 10.0, (400, 1))
    low, high = paired.bootstrap(differences, 4000)
    error = differences.std(ddof=1) / 400**0.5
    assert low[0] == pytest.approx(differences.mean() - 1.96 * error, abs=0.1)
    assert high[0] == pytest.approx(differences.mean() + 1.96 * error, abs=0.1)


def test_permutation_by_enumeration() -> None:
    given = [1.0, 1.0, 1.0, 2.0]
    reached = [abs(np.dot(signs, given)) >= 5 for signs in product((-1, 1), repeat=4)]
    p = paired.permutation(np.array(given)[:, None], 20_000)
    assert p[0] == pytest.approx(np.mean(reached), abs=0.01)  # 2 of 16
    assert paired.permutation(np.full((40, 1), 1.0), 99)[0] == 1 / 100  # never none at all
