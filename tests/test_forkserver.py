"""Trials forked from a helper process: streams, exit codes, signals, and a helper that dies."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.messages import Job
from bench.recipe import Recipe
from bench.sweeps import forkserver
from bench.trial import Trial
from tests.helpers.until import until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the helper runs on Linux alone")


@pytest.fixture
def server() -> Iterator[forkserver.ForkServer]:
    forkserver.warm_up()
    assert forkserver._server is not None
    yield forkserver._server
    forkserver.cool_down()


def job(dataset: str = "nowhere.toml") -> str:
    """A job that ends with an error of the user's, in a folder with a faulty card `here.toml`."""
    folder = Path(tempfile.mkdtemp())
    (folder / "here.toml").write_text("")
    one = Trial(dataset, "starter", "zeroshot", "zeroshot", {}, None, Recipe(), 0, {})
    return Job(one, folder, folder, folder=folder).to_json()


def test_forked_trials(server: forkserver.ForkServer) -> None:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    with tempfile.TemporaryFile("w+") as errors:
        process, stdin, stdout = forkserver.start_trial(environment, errors)
        assert isinstance(process, forkserver.Forked)
        assert process.poll() is None
        stdin.write(job() + "\n")
        stdin.flush()
        lines = [json.loads(line) for line in stdout]
        assert lines[-1]["status"] == "user_error"
        assert "no card at nowhere.toml" in lines[-1]["message"]
        assert process.wait() == 2

        # A card is looked for in the folder of the job, not in that of the helper.
        process, stdin, stdout = forkserver.start_trial(environment, errors)
        stdin.write(job("here.toml") + "\n")
        stdin.flush()
        assert "the card 'here' cannot be used" in json.loads(list(stdout)[-1])["message"]

        # It ends when its input closes, as a trial does whose sweep was killed.
        process, stdin, stdout = forkserver.start_trial(environment, errors)
        stdin.close()
        assert process.wait() != 0

        # A signal is told as subprocess tells it.
        process, stdin, stdout = forkserver.start_trial(environment, errors)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.1)
        until(lambda: os.getsid(process.pid) == process.pid)  # a Ctrl-C in the terminal misses it
        process.send_signal(signal.SIGKILL)
        assert process.wait() == process.poll() == -signal.SIGKILL
        process.send_signal(signal.SIGKILL)  # of one that has ended: nothing

        # Without the helper a trial gets a Python of its own.
        server.process.kill()
        server.process.wait()
        process, stdin, stdout = forkserver.start_trial(environment, errors)
        assert isinstance(process, subprocess.Popen)
        stdin.close()
        assert process.wait() != 0


def test_the_helper_ends_with_its_parent() -> None:
    code = (
        "import os; from bench.sweeps import forkserver; forkserver.warm_up();"
        "print(forkserver._server.process.pid, flush=True); os._exit(0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    state = Path(f"/proc/{int(done.stdout)}/stat")

    def has_ended() -> bool:
        try:
            return state.read_text().split()[2] == "Z"  # nobody has noticed yet
        except OSError:
            return True

    until(has_ended)
