"""Runs one trial in a process of its own, under the trial's lock.

`python -m bench.trial_process` reads a job from standard input and writes events to standard
output (`bench.messages`). Writing the record is the last thing that it does. It ends when its input
closes, so a trial does not outlive the sweep that started it. On SIGTERM it writes a checkpoint and
ends.
"""

import contextlib
import os
import signal
import sys
import tempfile
import threading
from pathlib import Path

from bench import UserError, lock
from bench.data.cache import cache_folder
from bench.measure import gpus
from bench.messages import End, Event, Job, Progress, Stage, event_to_json
from bench.record import Files, digest, probe, read, write
from bench.schema import Record
from bench.training.limits import Clock
from bench.trial import Trial, blank_record
from bench.units import format_seconds
from methods import load_plugin


class Unsaved(Exception):
    """The record of a trial that has ended could not be written; the message says where it is."""


def main() -> int:
    """Run the job given on standard input. Returns 2 for an error of the user's, else 0."""
    job = Job.from_json(sys.stdin.readline())
    with contextlib.suppress(OSError):  # if the folder was removed meanwhile
        os.chdir(job.folder)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Standard output is kept for events. What libraries print there goes to standard error.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    clock = Clock(job.time_limit)
    signal.signal(signal.SIGTERM, clock.stop)

    from bench.measure.meter import LiveMemory

    memory = LiveMemory()

    def progress(event: Event) -> None:
        print(event_to_json(memory.added_to(event)), file=out, flush=True)
        if isinstance(event, Stage):
            clock.check()

    try:
        progress(_run_job(job, progress, clock))
    except UserError as error:
        progress(End("user_error", str(error)))
        return 2
    except Unsaved as error:
        progress(End("unsaved", str(error)))
    return 0


def _run_job(job: Job, progress: Progress, clock: Clock) -> End:
    """Run a job under the trial's lock. Returns how it ended."""
    from bench import trial_run
    from bench.measure.meter import shared

    for plugin in job.plugins:
        load_plugin(plugin)
    trial, path, root = job.trial, job.trial.path(job.results), job.data_root
    files: Files = {}
    probe(path.parent)  # before the work, not after it
    if (reason := gpus.given_but_unusable()) is not None:
        raise UserError(reason)
    with lock.held(path) as locked:
        if not locked:
            return End("elsewhere", "another sweep is running it")
        if job.corrupt:
            from bench.trained import under_corruption

            return under_corruption.work(path, root, job.corrupt, progress)
        if digest(path) != job.record_before:  # another sweep was faster
            document = read(path)
        else:
            clear(path)
            every = job.checkpoint_seconds
            document = trial_run.run(trial, root, job.results, progress, files, clock, every)
            document["efficiency"] |= shared(job.jobs_per_gpu, document["efficiency"])
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # too late to stop
            _write(path, document, files)
    metrics = document.get("metrics", {})
    return End(
        document["status"],
        document.get("message"),
        path,
        metrics.get("test", {}).get("mR"),
        document.get("efficiency", {}).get("trial_seconds"),
        metrics.get("val", {}).get("mR"),
    )


def _write(path: Path, document: Record, files: Files) -> None:
    """Write the record and remove the checkpoint of a finished trial.

    If the results folder is full, the record is written somewhere else, and Unsaved says where.
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
            raise Unsaved(f"{why}; it is kept as {kept}: move it to {path}") from None
        raise Unsaved(f"{why}, nor anywhere else; its metrics: {document['metrics']}") from None
    clear(path)


def clear(path: Path) -> None:
    """Remove the checkpoints of a trial whose record says that it is finished.

    They are left behind if the process is killed right after it wrote the record. A checkpoint that
    is newer than the record stays, since it belongs to a trial that is being repeated.
    """
    for suffix in (".checkpoint", ".checkpoint.aside"):
        checkpoint = path.with_suffix(suffix)
        with contextlib.suppress(OSError, UserError):
            if checkpoint.stat().st_mtime_ns > path.stat().st_mtime_ns:
                continue
            # After other statuses the trial may be resumed with --retry-failed.
            if read(path)["status"] in ("ok", "diverged", "not_applicable"):
                checkpoint.unlink()


def give_up(trial: Trial, results: Path, seconds: float) -> tuple[str, str]:
    """Write the record of a trial that was killed after `seconds`; returns status and message."""
    from bench.measure.machine import environment

    path = trial.path(results)
    message = (
        f"it was killed {format_seconds(seconds)} after it began, because it did not end by itself"
    )
    with lock.held(path) as locked:
        if locked:
            record = blank_record(trial)
            record |= {"status": "timeout", "message": message, "environment": environment()}
            write(path, record)
    return "timeout", message


def _end_with_parent() -> None:
    while os.read(0, 4096):  # sys.stdin has a lock, which would keep the process from ending
        pass
    os._exit(1)


if __name__ == "__main__":
    raise SystemExit(main())
