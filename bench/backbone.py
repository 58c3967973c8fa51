"""The pretrained two-tower model: an open_clip architecture and where its weights come from."""

import hashlib
import json
import logging
import pickle
import warnings
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench import UserError, brief
from bench.measure.attention import use_sdpa
from bench.spec import portable

STARTER = Path(__file__).resolve().parent / "starter"


@dataclass
class Backbone:
    """A model with what belongs to it: tokenizer, image size, normalisation, weights' hash."""

    name: str
    weights: str
    model: nn.Module
    tokenizer: Callable[[list[str]], Tensor]
    image_size: int
    mean: Sequence[float]
    std: Sequence[float]
    pad_id: int | None
    weights_sha256: str
    parameters: int
    notes: tuple[str, ...] = ()
    """What open_clip warns of: an activation (QuickGELU) that is not the weights' own."""


def split_spec(spec: str) -> tuple[str, str]:
    """`ViT-B-32:openai` -> name, weights; weights is a tag, a file, or `none` for random ones."""
    if spec == "starter":
        return "starter", "rsicd"
    if spec.startswith(("hf-hub:", "local-dir:")):
        return spec, ""
    name, colon, weights = spec.partition(":")
    if not colon or not weights:
        raise UserError(
            f"the backbone {spec!r} names no weights; write NAME:TAG (ViT-B-32-quickgelu:openai), "
            "NAME:FILE (ViT-B-32:RemoteCLIP-ViT-B-32.pt) or NAME:none for random weights"
        )
    return name, weights


def folder_name(spec: str) -> str:
    """A backbone's name as a folder: `ViT-B-32:openai` -> `ViT-B-32_openai`."""
    if spec == "starter":
        return "starter"
    name, weights = split_spec(portable(spec))
    if Path(weights).suffix in (".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".npz"):
        weights = Path(weights).stem
    return "".join(c if c.isalnum() or c in "-._" else "_" for c in f"{name}_{weights}".rstrip("_"))


def check(spec: str) -> None:
    """Raise UserError when a backbone cannot exist: no such architecture, tag or file."""
    name, weights = split_spec(spec)
    if spec == "starter" or name.startswith(("hf-hub:", "local-dir:")):
        return
    import open_clip  # takes seconds

    _register_starter()
    if name not in open_clip.list_models():
        from bench.spec import nearest

        raise UserError(f"open_clip has no model {name!r}{nearest(name, open_clip.list_models())}")
    tags = open_clip.list_pretrained_tags_by_model(name)
    looks_like_a_file = "/" in weights or Path(weights).suffix != ""
    if weights == "none" or weights in tags or Path(weights).is_file():
        return
    if looks_like_a_file:
        raise UserError(f"there is no checkpoint file at {weights!r}; give the path of a file")
    raise UserError(
        f"{name} has no weights tagged {weights!r}; give a file, `none`, or one of: "
        f"{', '.join(tags) or '(no tags)'}"
    )


def _register_starter() -> None:
    import open_clip

    if "starter" not in open_clip.list_models():
        open_clip.add_model_config(STARTER / "starter.json")


def load(spec: str) -> Backbone:
    """Build the model of a backbone spec with its weights, on the CPU, in float32.

    Raises UserError when the weights cannot be had or do not fit the architecture.
    """
    import open_clip

    _register_starter()
    use_sdpa()
    name, weights = split_spec(spec)
    logging.getLogger().setLevel(logging.ERROR)
    torch.manual_seed(0)  # random weights are the same for every method and seed
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model = _build(open_clip, name, weights)
    model.eval()
    text = getattr(model, "text", model)
    preprocess = open_clip.get_model_preprocess_cfg(model)
    size = model.visual.image_size
    try:
        tokenizer = open_clip.get_tokenizer(name)
    except (OSError, ValueError) as error:
        why = brief(error)
        raise UserError(
            f"the tokenizer of {name} cannot be had ({why}); check the network, or that its files "
            "lie in the folder"
        ) from None
    return Backbone(
        name=name,
        weights=weights,
        model=model,
        tokenizer=tokenizer,
        image_size=size[0] if isinstance(size, tuple | list) else size,
        mean=preprocess["mean"],
        std=preprocess["std"],
        pad_id=_pad_id(text, tokenizer),
        weights_sha256=state_hash(model),
        parameters=sum(p.numel() for p in model.parameters()),
        notes=tuple(str(w.message) for w in said if "QuickGELU" in str(w.message)),
    )


def _build(open_clip: Any, name: str, weights: str) -> Any:
    if (name, weights) == ("starter", "rsicd"):
        model = open_clip.create_model(name, load_weights=False)
        model.load_state_dict(starter_state(), strict=True)
        return model
    try:
        if weights == "none":
            return open_clip.create_model(name, load_weights=False, pretrained_text=False)
        if _is_torchscript(weights):
            model = open_clip.create_model(name, load_weights=False, pretrained_text=False)
            model.load_state_dict(_torchscript_state(weights))
            return model
        return open_clip.create_model(name, pretrained=weights or None, require_pretrained=True)
    except pickle.UnpicklingError:
        raise UserError(
            f"the file {weights!r} is damaged, or holds more than tensors, and only those are "
            "read; fetch it again, or save its state_dict alone where you trust it"
        ) from None
    except Exception as error:  # somebody's file can lead to anything
        why = brief(error) or type(error).__name__
        raise UserError(
            f"the weights {weights!r} of {name} cannot be loaded ({why}); check the network, the "
            "tag or the file, and that the file is of this architecture"
        ) from None


def _is_torchscript(weights: str) -> bool:
    """Whether a file is an archive of TorchScript, as OpenAI gives its own."""
    if not (Path(weights).is_file() and zipfile.is_zipfile(weights)):
        return False
    with zipfile.ZipFile(weights) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _torchscript_state(weights: str) -> dict[str, Tensor]:
    """The tensors of an archive of TorchScript but those that are no weights; no Python is run."""
    state: dict[str, Tensor] = torch.jit.load(weights, map_location="cpu").state_dict()
    for name in ("input_resolution", "context_length", "vocab_size", "attn_mask"):
        state.pop(name, None)
    return state


def starter_state(path: Path = STARTER / "starter.safetensors") -> dict[str, Tensor]:
    """The starter's weights in float32; the embeddings of tokens never seen are zero."""
    from safetensors.torch import load_file

    state = {k: v.float() for k, v in load_file(path).items()}
    rows, seen = state.pop("token_rows").long(), state["token_embedding.weight"]
    table = torch.zeros(49408, seen.shape[1])
    table[rows] = seen
    state["token_embedding.weight"] = table
    return state


def save_starter(state: dict[str, Tensor], seen: Tensor, path: Path) -> None:
    """Write a starter checkpoint: float16, of the token embeddings only the rows `seen`."""
    from safetensors.torch import save_file

    kept = {k: v.half().contiguous() for k, v in state.items() if k != "attn_mask"}
    kept["token_embedding.weight"] = state["token_embedding.weight"][seen].half().contiguous()
    save_file({**kept, "token_rows": seen.to(torch.int32)}, path)


def _pad_id(text: Any, tokenizer: Any) -> int | None:
    """The padding token where text may be trimmed exactly, else None."""
    from methods.towers import text_tower

    tower = text_tower(text)
    if not getattr(tower, "trimmable", False):
        return None
    hf = getattr(tokenizer, "tokenizer", None)
    return 0 if hf is None else int(hf.pad_token_id)


def state_hash(model: nn.Module) -> str:
    """SHA-256 over names, shapes and bytes of all parameters and saved buffers: 16 hex digits."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def weights_identity(spec: str) -> str:
    """What the weights are, without building the model: hash of a file, or the tag."""
    name, weights = split_spec(spec)
    path = STARTER / "starter.safetensors" if name == "starter" else Path(weights)
    if name.startswith("local-dir:"):
        files = sorted(p for p in Path(name.removeprefix("local-dir:")).glob("*") if p.is_file())
        whole = "".join(f"{p.name} {_file_hash(p)}\n" for p in files)
        return "sha256:" + hashlib.sha256(whole.encode()).hexdigest()[:16]
    if weights != "none" and path.is_file():
        return "sha256:" + _file_hash(path)[:16]
    return f"open_clip:{weights}"


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def image_size(spec: str) -> int | None:
    """Side of the images a backbone takes, without building it; None where only loading tells."""
    name, _ = split_spec(spec)
    if name == "starter":
        config = json.loads((STARTER / "starter.json").read_text(encoding="utf-8"))
    else:
        import open_clip  # takes seconds

        config = open_clip.get_model_config(name)
    size = None if config is None else config["vision_cfg"].get("image_size")
    return size if isinstance(size, int) else None
