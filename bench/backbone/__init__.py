"""The pretrained two-tower model: an open_clip architecture and where its weights come from."""

from bench.backbone.model import Backbone
from bench.backbone.names import expand
from bench.backbone.preprocess import preprocess_of
from bench.backbone.spec import folder_name, split_spec
from bench.backbone.weights import Absent, check, image_size, weights_identity


def load(spec: str) -> Backbone:
    """Build the model of a backbone spec with its weights, on the CPU, in float32.

    `spec` is a name of `bench backbones` or what else `--backbone` takes. Weights that are not on
    this machine are downloaded. Raises UserError when they cannot be had or do not fit.
    """
    from bench.backbone import loading  # brings torch and open_clip, which take seconds

    return loading.load(spec)


__all__ = [
    "Absent",
    "Backbone",
    "check",
    "expand",
    "folder_name",
    "image_size",
    "load",
    "preprocess_of",
    "split_spec",
    "weights_identity",
]
