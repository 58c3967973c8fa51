"""Sizes and times as text, and back."""

import pytest

from bench import UserError, units


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (7, "7 bytes"),
        (2.0**13, "8 KiB"),
        (2.0**29, "512 MiB"),
        (1.5 * 2**30, "1.5 GiB"),
        (1.23 * 2**20, "1.23 MiB"),
        (1020 * 2**20, "1,020 MiB"),
        (5000 * 2**30, "5,000 GiB"),
    ],
)
def test_memory_has_binary_units(size: float, text: str) -> None:
    assert units.format_bytes(size) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(7, "7 bytes"), (12_300, "12.3 kB"), (860_000_000, "860 MB"), (2_310_000_000, "2.31 GB")],
)
def test_downloads_have_decimal_units(size: int, text: str) -> None:
    assert units.format_bytes(size, units.DOWNLOADS) == text


@pytest.mark.parametrize(
    ("text", "size"),
    [("24GiB", 24 * 2**30), ("80 GB", 80 * 10**9), ("1.5", 3 * 2**29), (" 512mib ", 2**29)],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert units.parse_bytes(text, "the GPU memory") == size


@pytest.mark.parametrize("text", ["", "much", "0GiB", "12 TiBs", "-3", "1e9"])
def test_a_size_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=rf"the GPU memory '{text}' is not a size; .* 24GiB"):
        units.parse_bytes(text, "the GPU memory")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.25, "0.25 s"),
        (45, "45 s"),
        (59.7, "1 min"),
        (200, "3 min 20 s"),
        (7200, "2 h"),
        (7499, "2 h 5 min"),
        (3599.8, "1 h"),
        (100 * 3600, "100 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert units.format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2h", 7200), ("1h30m", 5400), ("1 h 30 min", 5400), ("90", 5400), ("45s", 45), ("0", 0)],
)
def test_times_are_read(text: str, seconds: float) -> None:
    assert units.parse_seconds(text, "--time-limit") == seconds


@pytest.mark.parametrize("text", ["", "two hours", "-3", "1h x"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="--time-limit is a time such as 2h"):
        units.parse_seconds(text, "--time-limit")


def test_a_clock_begins_with_minutes() -> None:
    assert [units.format_clock(s) for s in (0, 119.6, 3723)] == ["0:00", "2:00", "1:02:03"]
