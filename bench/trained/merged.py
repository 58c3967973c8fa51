"""A trained model as a plain checkpoint of open_clip: nothing of this project is needed to use it.

Its folder is what open_clip loads as `local-dir:FOLDER`: weights, config, and the tokenizer's files
where it is one of Hugging Face's.
"""

import json
from pathlib import Path
from typing import Any

from bench import UserError, backbone
from bench.backbone import Backbone
from bench.trained import example
from methods.base import Method, NotApplicable

WEIGHTS, CONFIG = "open_clip_model.safetensors", "open_clip_config.json"


def save_merged(out: Path, spec: str, name: str, method: Method, base: Backbone) -> None:
    """Write weights and config beside the example; `method` cannot be used afterwards.

    `spec` is the backbone's, `name` the method's. Raises UserError where the method cannot be
    merged.
    """
    import open_clip
    from safetensors.torch import save_file

    try:
        state = method.merged_state()
    except NotApplicable as error:
        raise UserError(
            f"{name} cannot be merged: {error}; leave out --merged, and use the adapter with bench"
        ) from None
    plain: Any = backbone.load(spec).model
    plain.load_state_dict(state, strict=True)
    apart = example.apart(plain, base, out)
    if not apart < example.SAME:
        raise UserError(
            f"{name} cannot be merged: the features of the merged weights differ by {apart:.2g}; "
            "leave out --merged, and use the adapter with bench"
        )
    state = {key: tensor.contiguous().clone() for key, tensor in plain.state_dict().items()}
    save_file(state, out / WEIGHTS, metadata={"format": "pt"})
    config = {
        "model_cfg": open_clip.get_model_config(base.name),
        "preprocess_cfg": {"size": base.image_size, **base.preprocess.config()},
    }
    text = json.dumps(config, indent=2, sort_keys=True)
    (out / CONFIG).write_text(text + "\n", encoding="utf-8")
    if hasattr(base.tokenizer, "save_pretrained"):  # Hugging Face's; open_clip brings its own
        base.tokenizer.save_pretrained(out)
