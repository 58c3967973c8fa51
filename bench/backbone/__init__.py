"""The pretrained two-tower model: an open_clip architecture and where its weights come from."""

from bench.backbone.loading import load, state_hash
from bench.backbone.model import Backbone
from bench.backbone.sources import check, image_size, weights_identity
from bench.backbone.spec import folder_name, split_spec
from bench.backbone.starter import STARTER, save_starter, starter_state

__all__ = [
    "STARTER",
    "Backbone",
    "check",
    "folder_name",
    "image_size",
    "load",
    "save_starter",
    "split_spec",
    "starter_state",
    "state_hash",
    "weights_identity",
]
