"""Runs one trial in a process of its own, under the trial's lock.

`python -m bench.trial_process` reads a job as a line of JSON from standard input and writes its
progress as JSON lines to standard output. Writing the record is the last thing that it does. It
ends when its input closes, so a trial does not outlive the sweep that started it. On SIGTERM it
writes a checkpoint and ends.
"""

import contextlib
import json
import os
import signal
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from bench import UserError, lock
from bench.data.cache import cache_folder
from bench.limits import Clock
from bench.measure import gpus
from bench.record import NoRoom, digest, probe, read, write
from bench.trial import Trial, blank_record
from bench.units import format_seconds
from methods import load_plugin


def main() -> int:
    """Run the trial given on standard input. Returns 2 for an error of the user's, else 0.

    The last line says how it ended: the status of its record, `elsewhere` if another sweep is
    running it, `unsaved` if the record could not be written to the results folder.
    """
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    out = os.fdopen(os.dup(1), "w")  # for progress alone; other prints go to standard error
    os.dup2(2, 1)
    clock = Clock(job.get("time_limit"))
    signal.signal(signal.SIGTERM, clock.stop)

    from bench.measure.meter import LiveMemory

    memory = LiveMemory()

    def progress(state: dict[str, Any]) -> None:
        print(json.dumps(state | memory.read(state)), file=out, flush=True)
        if "stage" in state:
            clock.check()

    try:
        progress(_done(job, progress, clock))
    except UserError as error:
        progress({"status": "user_error", "message": str(error)})
        return 2
    except NoRoom as error:
        progress({"status": "unsaved", "message": str(error)})
    return 0


def _done(job: dict[str, Any], progress: Any, clock: Clock) -> dict[str, Any]:
    """Do a job under the trial's lock. Returns how it ended."""
    from bench import trial_run
    from bench.measure.meter import shared

    for plugin in job["plugins"]:
        load_plugin(Path(plugin))
    trial, results = Trial.of(job["trial"]), Path(job["results"])
    path, root = trial.path(results), Path(job["data_root"])
    files: dict[str, Any] = {}
    probe(path.parent)
    if (reason := gpus.given_but_unusable()) is not None:
        raise UserError(reason)
    with lock.held(path) as locked:
        if not locked:
            return {"status": "elsewhere", "message": "another sweep is running it"}
        if job.get("corrupt"):
            from bench.trained import under_corruption

            return under_corruption.work(path, root, job["corrupt"], progress)
        if digest(path) != job.get("before"):  # another sweep was faster
            document = read(path)
        else:
            clear(path)
            every = job.get("checkpoint_seconds")
            document = trial_run.run(trial, root, results, progress, files, clock, every)
            document["efficiency"] |= shared(job.get("jobs_per_gpu", 1), document["efficiency"])
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # too late to stop
            _write(path, document, files)
    return {
        "status": document["status"],
        "message": document["message"],
        "record": str(path),
        "mR": document["metrics"].get("test", {}).get("mR"),
        "seconds": document["efficiency"].get("trial_seconds"),
    }


def _write(path: Path, document: dict[str, Any], files: dict[str, Any]) -> None:
    """Write the record, and remove the checkpoint of a trial that is finished.

    If the results folder is full, the record is written elsewhere, and NoRoom says where.
    """
    try:
        write(path, document, files)
    except OSError as error:
        why = f"the record could not be written ({error.strerror or error})"
        for folder in (cache_folder(), Path(tempfile.gettempdir())):
            kept = folder / "unsaved" / path.parent.name / path.name
            try:
                write(kept, document)
            except OSError:
                continue
            raise NoRoom(f"{why}; it is kept as {kept}: move it to {path}") from None
        raise NoRoom(f"{why}, nor anywhere else; its metrics: {document['metrics']}") from None
    clear(path)


def clear(path: Path) -> None:
    """Remove the checkpoints of a trial whose record says that it is finished.

    A process that is killed right after it wrote the record leaves them behind. A checkpoint that
    is newer than the record stays: it belongs to a trial that is being repeated.
    """
    for suffix in (".checkpoint", ".checkpoint.aside"):
        left = path.with_suffix(suffix)
        with contextlib.suppress(OSError, UserError):
            if left.stat().st_mtime_ns > path.stat().st_mtime_ns:
                continue
            if read(path)["status"] in ("ok", "diverged", "not_applicable"):
                left.unlink()


def give_up(trial: Trial, results: Path, seconds: float) -> tuple[str, str]:
    """Write the record of a trial that was killed after so many seconds; its status and message."""
    from bench.measure import meter

    path = trial.path(results)
    message = (
        f"it was killed {format_seconds(seconds)} after it began, for it did not end by itself"
    )
    with lock.held(path) as locked:
        if locked:
            document = blank_record(trial) | {"status": "timeout", "message": message}
            write(path, {**document, "environment": meter.environment()})
    return "timeout", message


def _end_with_parent() -> None:
    while os.read(0, 4096):  # not through sys.stdin, whose lock would hinder the end of the process
        pass
    os._exit(1)


if __name__ == "__main__":
    raise SystemExit(main())
