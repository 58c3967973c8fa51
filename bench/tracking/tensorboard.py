"""TensorBoard: event files in `tensorboard/` of the results folder."""

import shlex
import warnings
from functools import partial
from pathlib import Path

from bench.console import from_here
from bench.tracking.base import Ending, Figures, Run, Tracker


def make(results: Path) -> Tracker:
    folder = results / "tensorboard"
    place = f"tensorboard --logdir {shlex.quote(from_here(folder))}"
    return Tracker("tensorboard", place, partial(EventFile, folder))


class EventFile:
    """The event files of a trial, which have a folder of their own.

    A trial that resumes writes another file into it. From `purge_step` on, TensorBoard ignores the
    earlier files: the steps that a killed trial repeats, or everything if it begins anew.
    """

    def __init__(self, folder: Path, run: Run) -> None:
        from torch.utils.tensorboard import SummaryWriter

        own = folder / run.trial.path(Path()).with_suffix("")
        self.writer = SummaryWriter(str(own), purge_step=run.step if run.resumed else 0)
        self.config, self.step = run.config, 0
        rows = [f"| {name} | {value} |" for name, value in run.config.items()]
        table = ["| name | value |", "| --- | --- |", *rows]  # Markdown, which TensorBoard draws
        self.writer.add_text("config", "\n".join(table))

    def log(self, step: int, figures: Figures) -> None:
        """Written at once, so that the curves can be watched."""
        self.step = step
        for name, value in figures.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def end(self, ending: Ending) -> None:
        """The page HPARAMS compares settings and final figures of all trials."""
        self.writer.add_text("status", ending.status, self.step)
        if ending.record is not None:
            self.writer.add_text("record", str(ending.record), self.step)
        if ending.figures:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.writer.add_hparams(
                    self.config, ending.figures, run_name=".", global_step=self.step
                )
        self.writer.close()
