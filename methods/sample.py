"""An image with its captions, in a module that needs no torch, so that reading data stays quick."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sample:
    """One image with its captions and scene, as the annotation has it."""

    filename: str
    captions: tuple[str, ...]
    split: str
    scene: str | None = None
