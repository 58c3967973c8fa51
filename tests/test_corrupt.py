"""Corruptions: decided by the seed, stronger by severity, each what its name says."""

import numpy as np
import pytest
from PIL import Image

from bench.data.corrupt import CLOUD, CORRUPTIONS, NOISE, SEVERITIES, corrupt

RNG = np.random.default_rng(0)
COARSE = RNG.integers(20, 200, (2, 12, 16, 3), dtype=np.uint8)
IMAGES = np.stack(
    [np.asarray(Image.fromarray(c).resize((96, 72), Image.Resampling.BICUBIC)) for c in COARSE]
)


@pytest.mark.parametrize("name", sorted(CORRUPTIONS))
def test_a_corruption_is_decided_by_its_seed(name: str) -> None:
    before = IMAGES.copy()
    once, again = (corrupt(IMAGES, name, 3, seed=1) for _ in range(2))
    assert np.array_equal(once, again)
    assert np.array_equal(IMAGES, before)
    assert once.shape == IMAGES.shape
    assert once.dtype == np.uint8
    other = corrupt(IMAGES, name, 3, seed=2)
    assert np.array_equal(once, other) == (name in ("blur", "jpeg"))  # these draw nothing


@pytest.mark.parametrize("name", sorted(CORRUPTIONS))
def test_a_higher_severity_changes_more(name: str) -> None:
    apart = [
        np.abs(corrupt(IMAGES, name, severity).astype(int) - IMAGES).mean()
        for severity in SEVERITIES
    ]
    assert apart == sorted(apart)
    assert apart[0] > 0
    assert len(set(apart)) == 5


def test_an_image_does_not_depend_on_those_after_it() -> None:
    assert np.array_equal(corrupt(IMAGES, "cloud", 2)[:1], corrupt(IMAGES[:1], "cloud", 2))


def test_blur_keeps_the_mean_and_lowers_the_contrast() -> None:
    made = corrupt(IMAGES, "blur", 5)
    assert abs(made.mean() - IMAGES.mean()) < 1
    assert made.std() < IMAGES.std()
    flat = np.full((1, 32, 32, 3), 77, np.uint8)
    assert (corrupt(flat, "blur", 5) == 77).all()


def test_noise_has_its_deviation() -> None:
    grey = np.full((1, 128, 128, 3), 128, np.uint8)
    made = corrupt(grey, "noise", 2)
    assert made.std() / 255 == pytest.approx(NOISE[1], rel=0.05)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_clouds_cover_their_share(severity: int) -> None:
    black = np.zeros((1, 96, 96, 3), np.uint8)
    covered = (corrupt(black, "cloud", severity) > 110).mean()
    assert covered == pytest.approx(CLOUD[severity - 1], abs=0.02)


def test_haze_lightens_and_flattens() -> None:
    made = corrupt(IMAGES, "haze", 4)
    assert made.mean() > IMAGES.mean()
    assert made.std() < IMAGES.std()
