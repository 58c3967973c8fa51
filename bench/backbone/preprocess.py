"""How a backbone's images are prepared: the way of resizing, mean and deviation per channel.

This depends on the weights. For its tags open_clip has a table; folders and repositories have a
config. A plain file of weights gets what all published weights of its architecture have in common
(for SigLIP squashing and a mean of 0.5), or CLIP's own preprocessing if those differ.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from bench import UserError, hub
from bench.backbone.spec import Spec, split_spec
from bench.backbone.weights import CONFIG, absent_if_unreachable, hub_files
from bench.data.resize import CLIP, Mode, Resize

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Preprocess:
    """How an image file becomes the input of the image tower; the defaults are CLIP's.

    Mean and deviation are those of each channel, for values from 0 to 1.
    """

    resize: Resize = CLIP
    mean: tuple[float, ...] = CLIP_MEAN
    std: tuple[float, ...] = CLIP_STD

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Preprocess":
        """From open_clip's `preprocess_cfg`; what it leaves out is CLIP's.

        Raises UserError for a way of resizing that is not known.
        """
        config = {key: value for key, value in config.items() if value is not None}
        mode = config.get("resize_mode", "shortest")
        known = get_args(Mode)
        if mode not in known:
            listed = ", ".join(known)
            raise UserError(f"the backbone has images resized by {mode!r}; known are {listed}")
        # The third interpolation that open_clip knows, 'random', is for training alone.
        is_bilinear = config.get("interpolation") == "bilinear"
        fill = int(config.get("fill_color", 0))
        resize = Resize(mode, "bilinear" if is_bilinear else "bicubic", fill)
        return cls(resize, tuple(config.get("mean", CLIP_MEAN)), tuple(config.get("std", CLIP_STD)))

    def config(self) -> dict[str, Any]:
        """The same as open_clip's `preprocess_cfg` (without the size), as records have it."""
        return {
            "resize_mode": self.resize.mode,
            "interpolation": self.resize.interpolation,
            "fill_color": self.resize.fill,
            "mean": list(self.mean),
            "std": list(self.std),
        }


def preprocess_of(spec: str) -> Preprocess:
    """How a backbone's images are prepared, without building it.

    The config of a repository of the Hub is downloaded if it is not on this machine. Raises
    weights.Absent if it cannot be.
    """
    parts = split_spec(spec)
    if parts.name == "starter":
        return Preprocess()
    if parts.has_config:
        if parts.folder is not None:
            path = parts.folder / CONFIG
        else:
            file = hub_files(spec)[0][0]
            with absent_if_unreachable(spec):
                path = hub.cached(file) or hub.download(hub.find([file]))
        config = json.loads(path.read_text(encoding="utf-8"))
        return Preprocess.of(config.get("preprocess_cfg", {}))
    if (config := _of_tag(parts)) is not None:
        return Preprocess.of(config)
    from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model

    tags = list_pretrained_tags_by_model(parts.name)
    published = {Preprocess.of(get_pretrained_cfg(parts.name, tag)) for tag in tags}
    return published.pop() if len(published) == 1 else Preprocess()


def _of_tag(parts: Spec) -> Mapping[str, Any] | None:
    """open_clip's config of a tag; None for weights that are not one of its tags."""
    from open_clip.pretrained import get_pretrained_cfg

    config: Mapping[str, Any] = {} if parts.file else get_pretrained_cfg(*parts)
    return config or None


# Records and identities.


def defining(spec: str) -> dict[str, str]:
    """What preprocessing adds to a trial's identity.

    The first versions always resized as CLIP does, and used CLIP's mean and deviation for every
    file of weights. If that is still right nothing is added, so old records keep their identity.
    Nothing is added for random weights either, whose recall means nothing.
    """
    now = preprocess_of(spec)
    if split_spec(spec).weights == "none" or now == _of_first_versions(spec, now):
        return {}
    return {"preprocess": json.dumps(now.config(), sort_keys=True)}


def of_record(spec: str, backbone: Mapping[str, Any], now: Preprocess) -> Preprocess:
    """The preprocessing of a record's trial, from its entry `backbone`; `now`: that of today."""
    config = backbone.get("preprocess")
    return _of_first_versions(spec, now) if config is None else Preprocess.of(config)


def _of_first_versions(spec: str, now: Preprocess) -> Preprocess:
    """The preprocessing of the first versions, whose records do not state it."""
    parts = split_spec(spec)
    if parts.has_config or _of_tag(parts) is not None:
        return Preprocess(CLIP, now.mean, now.std)
    return Preprocess()
