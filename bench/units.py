"""Sizes and times as text: how they are printed, and how options (`24GiB`, `2h`) are read."""

import re

from bench import UserError

MEMORY = {"GiB": 2**30, "MiB": 2**20, "KiB": 2**10}
"""Units of memory, and of files that mirror it."""
DOWNLOADS = {"GB": 10**9, "MB": 10**6, "kB": 10**3}
"""Units in which browsers and the Hugging Face Hub give the size of a download."""
SECONDS = {"d": 86400, "h": 3600, "min": 60, "m": 60, "s": 1}
LARGEST_BYTES, LONGEST_SECONDS = 2**50, 366 * 86400
"""More memory than any device has, and a longer time than a year, is a typing error."""


def format_bytes(size: float, units: dict[str, int] = MEMORY) -> str:
    """A number of bytes with three digits and its unit: `1.25 GiB`, `605 MB`, `7 bytes`."""
    for unit, factor in units.items():
        if (value := size / factor) >= 1:
            return f"{value:.3g} {unit}" if value < 999.5 else f"{value:,.0f} {unit}"
    return f"{size:.0f} bytes"


def exact_bytes(size: int) -> str:
    """A number of bytes that `parse_bytes` reads back without loss: `24GiB`, `80GB`, `1234B`."""
    factors = {**MEMORY, **DOWNLOADS, "B": 1}
    counts = {unit: size // factor for unit, factor in factors.items() if size % factor == 0}
    unit = min(counts, key=lambda unit: counts[unit])  # 80GB, not 78125000KiB
    return f"{counts[unit]}{unit}"


def parse_bytes(text: str, what: str, plain: str = "gib") -> int:
    """`24GiB`, `80GB` or `24` as bytes; raises UserError, which begins with `what`.

    `plain`: the unit of a number without one.
    """
    factors = {unit.lower(): factor for unit, factor in (MEMORY | DOWNLOADS).items()}
    factors["b"] = 1
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*((?:[kmg]i?)?b|)\s*", text.lower())
    if match is None or float(match[1]) == 0:
        raise UserError(f"{what} {text[:99]!r} is not a size; write for instance 24GiB")
    size = float(match[1]) * factors[match[2] or plain]
    if size > LARGEST_BYTES:
        raise UserError(f"{what} {text[:99]} is more than any device has; write for instance 24GiB")
    return int(size)


def format_seconds(seconds: float) -> str:
    """A duration in its two largest units: `2 h 5 min`, `3 min 20 s`, `45 s`, `0.2 s`."""
    if seconds < 10:
        return f"{seconds:.2g} s"
    rounded = round(seconds) if seconds < 3600 else 60 * round(seconds / 60)
    parts = {"h": rounded // 3600, "min": rounded // 60 % 60, "s": rounded % 60}
    return " ".join(f"{count} {unit}" for unit, count in parts.items() if count)


def exact_seconds(seconds: float) -> str:
    """A duration that `parse_seconds` reads back without loss: `1h30m`, `10m`, `0.5s`."""
    if seconds != round(seconds):
        return f"{seconds:.15g}s"
    rounded = round(seconds)
    parts = {"h": rounded // 3600, "m": rounded // 60 % 60, "s": rounded % 60}
    return "".join(f"{count}{unit}" for unit, count in parts.items() if count) or "0s"


def parse_seconds(text: str, option: str, plain: str = "min") -> float:
    """`2h`, `1h30m`, `45s` or `90` as seconds; raises UserError, which names `option`.

    `plain`: the unit of a number without one.
    """
    # `++` gives no digit back, or a long number with a wrong unit would be split in all ways.
    number = r"(\d++(?:\.\d++)?)\s*(d|h|min|m|s|)\s*"
    words = text.strip().lower()
    if not re.fullmatch(f"({number})+", words):
        unit = {"min": "minutes", "s": "seconds"}.get(plain, plain)
        raise UserError(f"{option} is a time such as 2h, 1h30m or 90 ({unit}), not {text[:99]!r}")
    parts = re.findall(number, words)
    seconds = sum(float(count) * SECONDS[unit or plain] for count, unit in parts)
    if seconds > LONGEST_SECONDS:
        raise UserError(f"{option} {text[:99]} is more than a year; write for instance 2h")
    return seconds


def format_clock(seconds: float) -> str:
    """A duration as a clock shows it: `1:02:03` or `2:03`."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"
