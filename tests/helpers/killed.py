"""Trials that are killed, without a process of their own."""

from bench.messages import Event, Progress, Step


class Killed(BaseException):
    """What stands for SIGKILL in one process: nothing catches it."""


def killed_after(step: int) -> Progress:
    """Kills a trial once it has taken this step."""

    def progress(event: Event) -> None:
        if isinstance(event, Step) and event.step > step:
            raise Killed

    return progress
