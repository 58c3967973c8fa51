"""The messages between a sweep and the process of a trial: a job down, events up.

Each is one line of JSON. The sweep writes a single `Job`; the process answers with any number of
events and ends with an `End`.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.trial import Trial

if TYPE_CHECKING:
    from bench.schema import CurvePoint


@dataclass(frozen=True)
class Job:
    """One trial to run, and how."""

    trial: Trial
    results: Path
    data_root: Path
    plugins: list[Path] = field(default_factory=list)
    """Files with methods of the user's own."""
    time_limit: float | None = None
    """Seconds after which the trial ends as `timeout`."""
    checkpoint_seconds: float | None = None
    """Seconds between checkpoints; 0: one after each step; None: no checkpoints."""
    jobs_per_gpu: int = 1
    record_before: str | None = None
    """Hash of the record that this job is to replace. If another one is there by the time the
    trial begins, another sweep was faster and nothing is run."""
    corrupt: list[tuple[str, int]] | None = None
    """If given, nothing is trained: the trained method is tested under these corruptions and
    severities."""
    folder: Path = field(default_factory=Path.cwd)
    """Where the sweep was started: relative paths to cards and weights start here. The helper that
    forks a trial's process may have been started in another folder."""

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, line: str) -> "Job":
        """The inverse of `to_json`."""
        fields = json.loads(line)
        # JSON has neither trials nor paths.
        fields["trial"] = Trial.of(fields["trial"])
        for name in ("results", "data_root", "folder"):
            fields[name] = Path(fields[name])
        fields["plugins"] = [Path(plugin) for plugin in fields.get("plugins", [])]
        return cls(**fields)


@dataclass(frozen=True)
class Placed:
    """A cluster has started a trial; only Slurm and Ray jobs say this."""

    host: str
    """The machine, with its GPU if there is one."""
    pid: int | None = None


@dataclass(frozen=True)
class Stage:
    """The trial begins something that takes a while: loading, compiling, testing, ..."""

    stage: str


@dataclass(frozen=True)
class Note:
    """Something the user should know."""

    note: str
    of_trial: bool = False
    """Whether it concerns this trial alone. Other notes follow from the data set and the backbone,
    so a sweep prints them once and not for every trial."""


@dataclass(frozen=True)
class Step:
    """A training step is done."""

    step: int
    steps: int
    """How many steps the training has, as far as is known now."""
    images_per_second: float | None = None
    evaluation: "CurvePoint | None" = None
    """The evaluation after this step, if there was one."""
    peak_memory_bytes: int | None = None
    """Most bytes allocated on the GPU so far; reported once a second."""
    process_memory_bytes: int | None = None
    """The same without a GPU: most memory that the whole process held."""


@dataclass(frozen=True)
class End:
    """The trial has ended; nothing follows."""

    status: str
    """The status of its record, or `elsewhere` (another sweep is running it), `unsaved` (no record
    could be written), `user_error`, `not_measured` (under corruptions)."""
    message: str | None = None
    record: Path | None = None
    test_mR: float | None = None  # noqa: N815 (the field's name)
    """Mean recall on the test set, percent."""
    seconds: float | None = None
    val_mR: float | None = None  # noqa: N815 (the field's name)
    """Mean recall on the validation split, percent; a search chooses by it."""


Event = Placed | Stage | Note | Step | End
Progress = Callable[[Event], None]
"""Takes what a trial reports."""
_EVENTS: dict[str, Any] = {cls.__name__: cls for cls in (Placed, Stage, Note, Step, End)}


def event_to_json(event: Event) -> str:
    """One line, such as `{"event": "Stage", "stage": "loading"}`."""
    return json.dumps({"event": type(event).__name__, **asdict(event)}, default=str)


def event_from_json(line: str) -> Event | None:
    """The inverse; None for a line that is no event.

    A killed process leaves half a line, and the log of a Slurm job holds other output too.
    """
    try:
        fields = json.loads(line)
        event: Event = _EVENTS[fields.pop("event")](**fields)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    if isinstance(event, End) and event.record is not None:
        return End(**{**fields, "record": Path(event.record)})
    return event
