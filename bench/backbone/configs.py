"""The configs of open_clip's architectures, read without importing it, which takes seconds."""

import importlib.util
import json
from pathlib import Path
from typing import Any


def config_file(name: str) -> Path:
    """Where open_clip keeps the config of an architecture of this name; it may not be there."""
    package = importlib.util.find_spec("open_clip")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / "model_configs" / f"{name}.json"


def architecture(name: str) -> dict[str, Any] | None:
    """The config of an architecture, also of one added to open_clip; None: there is none."""
    path = config_file(name)
    if path.is_file():
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return config
    import open_clip

    found: dict[str, Any] | None = open_clip.get_model_config(name)
    return found
