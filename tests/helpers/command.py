"""Run a command of `bench` in this process, as the command line would."""

from dataclasses import dataclass

from typer.testing import CliRunner

from bench import UserError, cli
from bench.sweeps import forkserver


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


def bench(*words: str) -> Done:
    """Run `bench WORDS`; an error that the user can mend becomes exit code 2, as in `cli.main`."""
    done = CliRunner().invoke(cli.app, list(words))
    forkserver.cool_down()  # a helper for trials ends with its command, and is in its folder
    if isinstance(done.exception, UserError):
        return Done(2, done.stdout, f"{done.stderr}bench: {done.exception}\n")
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Done(done.exit_code, done.stdout, done.stderr)
