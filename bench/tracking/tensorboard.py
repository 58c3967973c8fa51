"""TensorBoard: event files in `tensorboard/` of the results folder."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.console import from_here
from bench.tracking.base import Ending, Figures, Run, Value


def make(results: Path) -> "TensorBoard":
    """The tracker; see `bench.tracking.base.Tracker`."""
    return TensorBoard(results / "tensorboard")


class TensorBoard:
    """Event files, a folder for each trial."""

    name = "tensorboard"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.place = f"tensorboard --logdir {from_here(folder)}"

    def begin(self, run: Run) -> "_Open":
        """See `Tracker`. A trial that resumes writes another file into its folder.

        From `purge_step` on, TensorBoard ignores the earlier files of the folder: the steps that a
        killed trial repeats, or everything if it begins anew.
        """
        from torch.utils.tensorboard import SummaryWriter

        folder = self._folder / run.folder
        writer = SummaryWriter(str(folder), purge_step=run.step if run.resumed else 0)
        writer.add_text("config", _table(run.config))
        return _Open(writer, run.config)


@dataclass
class _Open:
    writer: Any
    config: dict[str, Value]
    step: int = 0

    def log(self, step: int, figures: Figures) -> None:
        """See `Open`."""
        self.step = step
        for name, value in figures.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def end(self, ending: Ending) -> None:
        """See `Open`. The page HPARAMS compares settings and final figures of all trials."""
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


def _table(config: dict[str, Value]) -> str:
    """A table in Markdown, which TensorBoard draws."""
    rows = [f"| {name} | {value} |" for name, value in config.items()]
    return "\n".join(["| name | value |", "| --- | --- |", *rows])
