"""Start a trial's process quickly: a helper process imports torch and open_clip once, then forks.

A fresh Python needs several seconds to import what a trial needs, which is longer than a short
trial. So a sweep on this machine starts one helper process early, while it still plans. The helper
imports the libraries, touches no GPU and computes nothing (forking is safe only before CUDA and
thread pools start), and forks itself once for each trial. Where there is no fork, or if the helper
is gone, a trial gets a fresh Python as before: slower, and otherwise the same.
"""

import atexit
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import IO, Protocol

from methods import registry

STARTING_PATIENCE = 120.0
"""Seconds that the helper may take to answer; it may still be importing on a slow disk."""


LARGEST_REQUEST = 2**20
"""Bytes of an environment as JSON; the kernel refuses a larger one before this does."""


class TrialProcess(Protocol):
    """What the engine needs of a trial's process; `subprocess.Popen` has it too."""

    pid: int

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once it has ended; raises TimeoutExpired after `timeout` seconds."""

    def send_signal(self, sig: int) -> None:
        """Send a signal, unless it has ended."""


class Forked:
    """A trial's process that the helper forked; its exit code comes through a pipe."""

    def __init__(self, pid: int, status: int) -> None:
        self.pid = pid
        self._status = status
        self._code: int | None = None
        self._mutex = threading.Lock()

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._read(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once it has ended; raises TimeoutExpired after `timeout` seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        while (code := self._read(0.5)) is None:
            if end is not None and time.monotonic() > end:
                raise subprocess.TimeoutExpired("a forked trial", timeout or 0.0)
        return code

    def send_signal(self, sig: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, sig)

    def _read(self, timeout: float) -> int | None:
        with self._mutex:
            if self._code is None and select.select([self._status], [], [], timeout)[0]:
                text = os.read(self._status, 32)  # empty: the helper died, and cannot tell
                os.close(self._status)
                self._code = int(text) if text else -signal.SIGKILL
            return self._code


class ForkServer:
    """The helper process, as its parent sees it. It ends when the parent does."""

    def __init__(self) -> None:
        self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.channel.settimeout(STARTING_PATIENCE)
        self._mutex = threading.Lock()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C is for the sweep, which ends its trials
            )

    def fork(self, stdin: int, stdout: int, stderr: int, environment: dict[str, str]) -> Forked:
        """A new trial process on these file descriptors; raises OSError if the helper is gone."""
        status, writing = os.pipe()
        try:
            with self._mutex:
                words = json.dumps(environment).encode()
                socket.send_fds(self.channel, [words], [stdin, stdout, stderr, writing])
                answer = self.channel.recv(32)
            if not answer:
                raise ConnectionResetError("the helper process has ended")
        except OSError:
            os.close(status)
            raise
        finally:
            os.close(writing)
        return Forked(int(answer), status)

    def stop(self) -> None:
        """End the helper; trials that it forked go on."""
        self.channel.close()
        self.process.kill()
        self.process.wait()


_server: ForkServer | None = None


def warm_up() -> None:
    """Start the helper now, so that it imports while this process does something else."""
    global _server
    if _server is None and sys.platform == "linux":
        with contextlib.suppress(OSError):
            _server = ForkServer()
            atexit.register(cool_down)


def cool_down() -> None:
    """End the helper, if there is one."""
    global _server
    if _server is not None:
        _server.stop()
        _server = None


def start_trial(
    environment: dict[str, str], errors: IO[str]
) -> tuple[TrialProcess, IO[str], IO[str]]:
    """A trial's process, and the text streams to its standard input and from its output.

    Forked by the helper where it runs, else a fresh Python. `errors` takes its standard error.
    """
    if _server is not None:
        stdin, to_child = os.pipe()
        from_child, stdout = os.pipe()
        try:
            process = _server.fork(stdin, stdout, errors.fileno(), environment)
            return process, os.fdopen(to_child, "w"), os.fdopen(from_child)
        except OSError:
            os.close(to_child)
            os.close(from_child)
            cool_down()
        finally:
            os.close(stdin)
            os.close(stdout)
    started = subprocess.Popen(
        [sys.executable, "-m", "bench.trial_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        env=environment,
        start_new_session=True,
    )
    assert started.stdin is not None
    assert started.stdout is not None
    return started, started.stdin, started.stdout


# The helper's own side.


def serve(channel: socket.socket) -> None:
    """Fork a trial for each request, and pass on how each ended, until the parent is gone."""
    import_libraries()
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # a handler of any kind makes it wake us
    statuses: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([channel.fileno(), woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            _report_ends(statuses)
        if channel.fileno() in ready:
            words, descriptors, _, _ = socket.recv_fds(channel, LARGEST_REQUEST, 4)
            if not words:
                return
            *streams, status = descriptors
            pid = os.fork()
            if pid == 0:
                channel.close()
                for descriptor in (woken, wake, status, *statuses.values()):
                    os.close(descriptor)
                _become_trial(streams, json.loads(words))
            for descriptor in streams:
                os.close(descriptor)
            statuses[pid] = status
            channel.sendall(str(pid).encode())


def import_libraries() -> None:
    """What every trial imports; whatever fails here fails in the trial again, with its reason."""
    with contextlib.suppress(Exception):
        import open_clip  # noqa: F401

        from bench import trial_process, trial_run  # noqa: F401

        registry()


def _report_ends(statuses: dict[int, int]) -> None:
    for pid in list(statuses):
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            descriptor = statuses.pop(pid)
            with contextlib.suppress(OSError):
                os.write(descriptor, str(os.waitstatus_to_exitcode(status)).encode())
            os.close(descriptor)


def _become_trial(streams: list[int], environment: dict[str, str]) -> None:
    """Turn a forked copy of the helper into a trial; does not return."""
    code = 1
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number, descriptor in enumerate(streams):
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.environ.clear()
        os.environ.update(environment)
        from bench import trial_process

        code = trial_process.main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
