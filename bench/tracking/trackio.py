"""Trackio: a run for each trial, in its local folder, or on a Space (TRACKIO_SPACE_ID)."""

import contextvars
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.tracking.base import PROJECT, Ending, Figures, Run


def make(results: Path) -> "Trackio":
    """The tracker; see `bench.tracking.base.Tracker`."""
    return Trackio()


class Trackio:
    """Runs of Trackio."""

    name = "trackio"

    def __init__(self) -> None:
        self.place = f"trackio show --project {PROJECT}"

    def begin(self, run: Run) -> "_Open":
        """See `Tracker`. Trackio finds the run to continue by its name, which has the identity.

        `init` ends the run that is open in its context, so each run gets a context of its own. Its
        sampling of CPU and GPU is off, since it would disturb the measurement of speed.
        """
        import trackio

        opened = contextvars.Context().run(
            trackio.init,
            project=PROJECT,
            name=run.name,
            group=run.group,
            config=run.config,
            resume="allow" if run.resumed else "never",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        return _Open(opened)


@dataclass
class _Open:
    run: Any
    step: int = 0

    def log(self, step: int, figures: Figures) -> None:
        """See `Open`."""
        self.step = step
        self.run.log(dict(figures), step=step)

    def end(self, ending: Ending) -> None:
        """See `Open`."""
        final: dict[str, Any] = {**ending.figures, "status": ending.status}
        if ending.record is not None:
            final["record"] = str(ending.record)
        self.run.log(final, step=self.step)
        self.run.finish()
