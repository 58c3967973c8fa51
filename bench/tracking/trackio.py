"""Trackio: a run for each trial, in its local folder, or on a Space (TRACKIO_SPACE_ID)."""

import contextvars
from pathlib import Path
from typing import Any

from bench.tracking.base import PROJECT, Ending, Figures, Run, Tracker


def make(results: Path) -> Tracker:
    return Tracker("trackio", f"trackio show --project {PROJECT}", TrackioRun)


class TrackioRun:
    """A run. Trackio finds the one to continue by its name, which contains the identity.

    `init` ends the run that is open in its context, so each run gets a context of its own. Its
    sampling of CPU and GPU is off, since it would disturb the measurement of speed.
    """

    def __init__(self, run: Run) -> None:
        import trackio

        self.step = 0
        self.run = contextvars.Context().run(
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

    def log(self, step: int, figures: Figures) -> None:
        self.step = step
        self.run.log(figures, step=step)

    def end(self, ending: Ending) -> None:
        """The final figures belong to the last step."""
        final: dict[str, Any] = {**ending.figures, "status": ending.status}
        if ending.record is not None:
            final["record"] = str(ending.record)
        self.run.log(final, step=self.step)
        self.run.finish()
