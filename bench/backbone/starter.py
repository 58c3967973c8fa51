"""The small backbone in the repository: its files, and how its weights are stored."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

STARTER = Path(__file__).resolve().parent.parent / "starter"


def register() -> None:
    """Tell open_clip the starter's architecture."""
    import open_clip

    if "starter" not in open_clip.list_models():
        open_clip.add_model_config(STARTER / "starter.json")


def starter_state(path: Path = STARTER / "starter.safetensors") -> "dict[str, Tensor]":
    """The starter's weights in float32; the embeddings of tokens never seen are zero."""
    import torch
    from safetensors.torch import load_file

    state = {k: v.float() for k, v in load_file(path).items()}
    rows, seen = state.pop("token_rows").long(), state["token_embedding.weight"]
    table = torch.zeros(49408, seen.shape[1])
    table[rows] = seen
    state["token_embedding.weight"] = table
    return state


def save_starter(state: "dict[str, Tensor]", seen: "Tensor", path: Path) -> None:
    """Write a starter checkpoint: float16, of the token embeddings only the rows `seen`."""
    import torch
    from safetensors.torch import save_file

    kept = {k: v.half().contiguous() for k, v in state.items() if k != "attn_mask"}
    kept["token_embedding.weight"] = state["token_embedding.weight"][seen].half().contiguous()
    save_file({**kept, "token_rows": seen.to(torch.int32)}, path)
