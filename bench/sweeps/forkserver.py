"""Start a trial's process quickly: a helper process imports torch and open_clip once, then forks.

A fresh Python needs several seconds to import what a trial needs, which is longer than a short
trial. So a sweep on this machine starts one helper process early, while it still plans. The helper
imports the libraries, touches no GPU and computes nothing (forking is safe only before CUDA and
thread pools start), and forks itself once for each trial. Where there is no fork, or if the helper
is gone, a trial gets a fresh Python: slower, and otherwise the same.
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
import traceback
from typing import IO, NoReturn

from methods import registry

STARTING_PATIENCE = 120.0
"""Seconds that the helper may take to fork; it may still be importing on a slow disk."""
LARGEST_REQUEST = 2**20
"""Bytes of an environment as JSON; the kernel refuses a larger one before this does."""


class Forked:
    """A trial's process that the helper forked: as much of `subprocess.Popen` as engines need.

    Its id and its exit code come through a pipe.
    """

    def __init__(self, status: int) -> None:
        self._status = os.fdopen(status)
        if not select.select([status], [], [], STARTING_PATIENCE)[0]:
            raise TimeoutError("the helper process does not answer")
        pid = self._status.readline()
        if not pid:
            raise ConnectionResetError("the helper process has ended")
        self.pid = int(pid)
        self._code: int | None = None
        self._ended = threading.Event()
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        with self._status:
            code = self._status.read()
        self._code = int(code) if code else -signal.SIGKILL  # its keeper was killed too
        self._ended.set()

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._code

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once it has ended; raises TimeoutExpired after `timeout` seconds."""
        self._ended.wait(timeout)
        if self._code is None:
            raise subprocess.TimeoutExpired("a forked trial", timeout or 0.0)
        return self._code

    def send_signal(self, sig: int) -> None:
        """Send a signal, unless it has ended."""
        if self._code is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, sig)


TrialProcess = Forked | subprocess.Popen[str]


class ForkServer:
    """The helper process, as its parent sees it. It ends when the parent does."""

    def __init__(self) -> None:
        self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
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
        status, to_status = os.pipe()
        try:
            request = json.dumps(environment).encode()
            socket.send_fds(self.channel, [request], [stdin, stdout, stderr, to_status])
        except OSError:
            os.close(status)
            raise
        finally:
            os.close(to_status)
        return Forked(status)

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
    """Start a trial for each request, until the parent is gone."""
    with contextlib.suppress(Exception):  # what fails here fails in the trial too, which says so
        import open_clip  # noqa: F401

        from bench import trial_process, trial_run  # noqa: F401

        registry()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for a keeper
    while True:
        request, descriptors, _, _ = socket.recv_fds(channel, LARGEST_REQUEST, 4)
        if not request:
            return
        if os.fork() == 0:
            channel.close()
            _keep_trial(descriptors, json.loads(request))
        for descriptor in descriptors:
            os.close(descriptor)


def _keep_trial(descriptors: list[int], environment: dict[str, str]) -> NoReturn:
    """In a fork of the helper, the keeper: fork once more, and report that fork's id and end."""
    *streams, status = descriptors
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        os.close(status)
        _become_trial(streams, environment)
    for stream in streams:
        os.close(stream)
    with contextlib.suppress(OSError):  # the sweep may be gone
        os.write(status, f"{pid}\n".encode())
        _, code = os.waitpid(pid, 0)
        os.write(status, str(os.waitstatus_to_exitcode(code)).encode())
    os._exit(0)


def _become_trial(streams: list[int], environment: dict[str, str]) -> NoReturn:
    code = 1
    try:
        os.setsid()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os.environ.clear()
        os.environ.update(environment)
        from bench import trial_process

        code = trial_process.main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
