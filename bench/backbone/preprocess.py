"""What a backbone wants done to its images: the way of resizing, mean and deviation per channel.

It follows from the weights: a tag's from open_clip's table, a folder's or a repository's from its
config. A file of weights says nothing; it gets what all published weights of its architecture agree
on (SigLIP's 0.5 and squashing, say), and CLIP's own where they do not agree.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from bench import UserError
from bench.backbone.spec import FOREIGN, is_file, split_spec
from bench.data.resize import CLIP, Mode, Resize

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Preprocess:
    """From an image file to what the image tower takes; the defaults are CLIP's."""

    resize: Resize = CLIP
    mean: tuple[float, ...] = CLIP_MEAN
    std: tuple[float, ...] = CLIP_STD

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Preprocess":
        """What open_clip's `preprocess_cfg` says; what it leaves out is CLIP's.

        Raises UserError for a way of resizing that is not known.
        """
        said = {key: value for key, value in config.items() if value is not None}
        mode = said.get("resize_mode", "shortest")
        if mode not in get_args(Mode):
            raise UserError(
                f"the backbone's config wants images resized by {mode!r}; known are "
                f"{', '.join(get_args(Mode))}"
            )
        bilinear = said.get("interpolation") == "bilinear"  # 'random' is for training alone
        resize = Resize(mode, "bilinear" if bilinear else "bicubic", int(said.get("fill_color", 0)))
        return cls(resize, tuple(said.get("mean", CLIP_MEAN)), tuple(said.get("std", CLIP_STD)))

    def config(self) -> dict[str, Any]:
        """The same as open_clip's `preprocess_cfg` (without the size), as records have it."""
        how = self.resize
        named = {"resize_mode": how.mode, "interpolation": how.interpolation}
        return {**named, "fill_color": how.fill, "mean": list(self.mean), "std": list(self.std)}


def preprocess_of(spec: str) -> Preprocess:
    """What a backbone wants, without building it.

    The config of a repository of the Hub is downloaded where it is not on this machine. Raises
    hub.Unreachable.
    """
    name, weights = split_spec(spec)
    if name == "starter":
        return Preprocess()
    if name.startswith(FOREIGN):
        said = json.loads(_config_file(name).read_text(encoding="utf-8"))
        return Preprocess.of(said.get("preprocess_cfg", {}))
    tag = _tag(name, weights)
    return _of_architecture(name) if tag is None else Preprocess.of(tag)


def _of_architecture(name: str) -> Preprocess:
    """What all published weights of an architecture of open_clip agree on, else CLIP's own."""
    from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model

    tags = list_pretrained_tags_by_model(name)
    found = {Preprocess.of(get_pretrained_cfg(name, tag)) for tag in tags}
    return found.pop() if len(found) == 1 else Preprocess()


def _tag(name: str, weights: str) -> Mapping[str, Any] | None:
    """What open_clip knows of a tag; None for weights that are none of its tags."""
    from open_clip.pretrained import get_pretrained_cfg

    said: Mapping[str, Any] = {} if is_file(weights) else get_pretrained_cfg(name, weights)
    return said or None


def _config_file(name: str) -> Path:
    from bench.backbone import hub
    from bench.backbone.sources import CONFIG, hub_files

    if name.startswith("local-dir:"):
        return Path(name.removeprefix("local-dir:")) / CONFIG
    address = hub_files(name)[0][0]
    return hub.cached(address) or hub.download(hub.remote([address]))


# What records say of it, and what of it enters an identity.


def defining(spec: str) -> dict[str, str]:
    """What preprocessing adds to a trial's identity.

    Nothing where the first versions, which resized in CLIP's way always and took CLIP's mean and
    deviation for every file of weights, did the same: their records keep their identity. Nothing
    for random weights either, whose records say nothing about recall.
    """
    wanted = preprocess_of(spec)
    if split_spec(spec)[1] == "none" or wanted == _first(spec, wanted):
        return {}
    return {"preprocess": json.dumps(wanted.config(), sort_keys=True)}


def of_record(spec: str, backbone: Mapping[str, Any], now: Preprocess) -> Preprocess:
    """What a record's trial was made with, from its entry `backbone`; `now`: what holds today."""
    said = backbone.get("preprocess")
    return _first(spec, now) if said is None else Preprocess.of(said)


def _first(spec: str, now: Preprocess) -> Preprocess:
    """What the first versions did, which say nothing of it in their records."""
    name, weights = split_spec(spec)
    if name.startswith(FOREIGN) or _tag(name, weights) is not None:
        return Preprocess(CLIP, now.mean, now.std)
    return Preprocess()
