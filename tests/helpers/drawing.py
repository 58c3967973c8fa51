"""Figures of a report, drawn so that tests can ask where their texts and lines are."""

from collections.abc import Callable

import matplotlib
import pytest
from matplotlib.figure import Figure

from bench.report import figure


def laid_out(make: Callable[[], Figure | None]) -> Figure:
    """The figure that `make` gives, in the style of a report, laid out but not written."""
    with matplotlib.rc_context(figure.STYLE):
        made = make() or pytest.fail("there is no figure")
        made.draw_without_rendering()
    return made
