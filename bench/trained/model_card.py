"""The card of an exported model: what it is, its metrics, how to load it, licences."""

import inspect
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import UserError, __version__, data
from bench.data import SPLITS
from bench.record import learning_rate
from bench.spec import shareable
from bench.trained.example import CLOSE, FEATURES, IMAGE, SENTENCE
from bench.trained.metadata import metadata, title_of
from bench.trained.restore import Restored
from methods.base import Method

if TYPE_CHECKING:
    from bench.backbone import Backbone


class Exported(Enum):
    """In which form a model was exported."""

    ADAPTER = "an adapter"
    PEFT = "an adapter, in peft's own format too, for the plain backbone"
    PEFT_OPENED = "an adapter, in peft's own format too, for a backbone whose attention is opened"
    MERGED = "a plain checkpoint of open_clip"


LIBRARIES = {
    Exported.PEFT: "peft",
    Exported.PEFT_OPENED: "peft",
    Exported.MERGED: "open_clip",
}
"""What the Hub names as the library of a form; of the others it is this project."""


CHECK = f"""\
known = load_file("{FEATURES}")
assert (image * known["image"]).sum() > {CLOSE} and (text * known["text"]).sum() > {CLOSE}
"""

USE = f"""\
import bench
from safetensors.torch import load_file

{{plugin}}model = bench.load("."{{backbone}})
image = model.encode_images(["{IMAGE}"])  # (1, D), unit length; files or Pillow images of any size
text = model.encode_texts(["{SENTENCE}"])  # (1, D), unit length
print(image @ text.T)  # cosine

{CHECK}"""

USE_PEFT = f"""\
import torch
from peft import PeftModel
from PIL import Image
from safetensors.torch import load_file
from bench import backbone
{{imports}}
base = backbone.load("{{backbone}}")
assert base.weights_sha256 == "{{weights}}"
model = PeftModel.from_pretrained({{model}}, ".").eval()
with torch.no_grad():
    pixels = base.transform(Image.open("{IMAGE}"))[None]  # (1, 3, S, S)
    image = model.encode_image(pixels, normalize=True)
    text = model.encode_text(base.tokenizer(["{SENTENCE}"]), normalize=True)

{CHECK}"""

USE_PLAIN = f"""\
import open_clip
import torch
from PIL import Image
from safetensors.torch import load_file

model, _, transform = open_clip.create_model_and_transforms("local-dir:.")
tokenizer = open_clip.get_tokenizer("local-dir:.")
model.eval()
with torch.no_grad():
    pixels = transform(Image.open("{IMAGE}"))[None]  # (1, 3, S, S)
    image = model.encode_image(pixels, normalize=True)  # (1, D), unit length
    text = model.encode_text(tokenizer(["{SENTENCE}"]), normalize=True)
print(image @ text.T)  # cosine

{CHECK}"""


def card_of(restored: Restored, how: Exported, repo: str | None = None) -> str:
    """The README: what it is, metrics, settings, recipe, how to load it, licences.

    `repo`: OWNER/NAME, where it is to be pushed to the Hub. At the top stands what the Hub reads.
    """
    from huggingface_hub import ModelCard

    trial, record, base = restored.trial, restored.record, restored.backbone
    try:
        raw = data.card(trial.dataset).raw
    except UserError:  # the card was a file that is not here
        raw = {}
    title = title_of(restored)
    spec = shareable(trial.backbone)
    recipe = record["trial"]["recipe"] | {"lr": learning_rate(record)}
    parts = [
        f"# {trial.call_today} for {title}",
        f"A model for text-image retrieval in remote sensing, written by cmer-bench {__version__}. "
        + _files(how, base),
        _table(("", ""), _facts(restored, spec, title, how).items()),
        "## Metrics",
        _metrics(restored),
        "## How to load it",
        *_from_hub(how, repo),
        *_loading(restored, spec, how),
        "## Settings",
        _table(("setting", "value"), ((k, f"`{v!r}`") for k, v in trial.settings.items())),
        "## Recipe",
        _table(("recipe", "value"), ((k, f"`{v!r}`") for k, v in recipe.items())),
        "## Licences",
        _licences(spec, base.name, title, raw),
    ]
    name = repo or f"{trial.call} for {title}"
    head = metadata(restored, LIBRARIES.get(how, "cmer-bench"), name).to_yaml()
    return str(ModelCard(f"---\n{head}\n---\n\n" + "\n\n".join(parts) + "\n"))


def _files(how: Exported, base: "Backbone") -> str:
    if how is Exported.MERGED:
        tokenizer = ", the tokenizer's files" if hasattr(base.tokenizer, "save_pretrained") else ""
        return (
            "It is a plain checkpoint of open_clip, backbone and adapter in one: "
            f"`open_clip_model.safetensors`, `open_clip_config.json`{tokenizer}."
        )
    words = "`adapter.safetensors` holds all that was trained."
    if how is not Exported.ADAPTER:
        words += (
            " `adapter_model.safetensors` and `adapter_config.json` hold the same in peft's own "
            "format, without the temperature, which ranks do not depend on."
        )
    return words


def _facts(restored: Restored, spec: str, title: str, how: Exported) -> dict[str, str]:
    trial, record, base = restored.trial, restored.record, restored.backbone
    method, counts, prep = restored.method, record["data"]["counts"], base.preprocess
    trained = sum(p.numel() for p in method.parameters() if p.requires_grad)
    held = "merged into it" if how is Exported.MERGED else "not contained here"
    return {
        "method": f"`{trial.call_today}`" + (f": {_paper(method)}" if method.paper else ""),
        "base weights": f"`{spec}`, {held}; hash `{base.weights_sha256}`",
        "images": f"{base.image_size} x {base.image_size} pixels ({prep.resize}), values from 0 to "
        f"1 less the mean {_three(prep.mean)} and over the deviation {_three(prep.std)}",
        "data set": f"{title}: " + ", ".join(f"{counts[split]} {split}" for split in SPLITS),
        "trained": f"{trained:,} parameters beside or in {base.parameters:,}",
        "temperature": f"{float(method.temperature().detach()):.2f}, a factor on the cosine",
        "seed": str(trial.seed),
        "record": f"`record.json`, identity `{record['identity']}`",
    }


def _three(values: Any) -> str:
    return "(" + ", ".join(f"{value:.4g}" for value in values) + ")"


def _paper(method: Method) -> str:
    assert method.paper is not None
    return f"{method.paper.title} ({method.paper.year}), {method.paper.link}"


def _table(head: tuple[str, ...], rows: Any) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def _metrics(restored: Restored) -> str:
    metrics = restored.record["metrics"]
    if not metrics:
        return "None: the backbone was random, which tells memory and speed alone."
    names = [f"{way}_R@{k}" for way in ("i2t", "t2i") for k in (1, 5, 10)] + ["mR"]
    rows = []
    for split, values in metrics.items():
        for label, prefix in ((split, ""), (f"{split}, equal captions count", "dup_")):
            rows.append((label, *(f"{values[prefix + name]:.2f}" for name in names)))
    track = restored.trial.recipe.track
    chosen = "best on val" if track == "train" else "the last, val trained on too"
    scene = restored.trial.settings.get("scene_at_test", "none")
    told = "" if scene == "none" else f" Test captions were told the {scene} scene."
    return f"In percent, at the step that was {chosen}.{told}\n\n" + _table(
        ("split", *(name.replace("_", " ") for name in names)), rows
    )


# How to load it.


def _from_hub(how: Exported, repo: str | None) -> list[str]:
    """The line that loads it from the Hub, where it is there."""
    if repo is None:
        return []
    code = f'model = bench.load("hf:{repo}")'
    if how is Exported.MERGED:
        code = f'model, _, transform = open_clip.create_model_and_transforms("hf-hub:{repo}")'
    return [f"From the Hub: `{code}`."]


def _loading(restored: Restored, spec: str, how: Exported) -> list[str]:
    """The paragraphs and the code; each piece of code ends with a check of what was loaded."""
    check = (
        f"The last two lines check the model on an image and a sentence whose features are in "
        f"`{FEATURES}`: with other base weights, other preprocessing or a part of the adapter left "
        "out they raise an error."
    )
    if how is Exported.MERGED:
        words = "In a folder with these files, with open_clip alone (`pip install open_clip_torch`)"
        return [f"{words}:", f"```python\n{USE_PLAIN}```", check]
    parts = [
        "In a folder with these files, with cmer-bench installed:",
        f"```python\n{_use(restored, spec)}```",
        check,
    ]
    if how is not Exported.ADAPTER:
        parts += ["With peft:", f"```python\n{_use_peft(restored, spec, how)}```"]
    if how is Exported.PEFT_OPENED:
        parts.append(
            "`Opened` makes the attention's projections layers that peft can wrap. Loaded into a "
            "model without it, peft raises an error that it finds no `opened_attention...`."
        )
    if type(restored.method).merged_state is not Method.merged_state:
        parts.append(
            "Without cmer-bench: `bench export RECORD --merged --out DIR` writes the same model as "
            "a plain checkpoint of open_clip."
        )
    return parts


def _use(restored: Restored, spec: str) -> str:
    made = type(restored.method)
    ours = not made.__module__.startswith("bench_plugin_")
    file = Path(inspect.getfile(made)).name
    plugin = f'from methods import load_plugin\n\nload_plugin(Path("{file}"))\n'
    elsewhere = spec != restored.trial.backbone
    return USE.format(
        plugin="" if ours else f"from pathlib import Path\n{plugin}",
        backbone=f', backbone="{spec}"' if elsewhere else "",
    )


def _use_peft(restored: Restored, spec: str, how: Exported) -> str:
    opened = how is Exported.PEFT_OPENED
    return USE_PEFT.format(
        imports="from methods.surgery import Opened\n" if opened else "",
        backbone=spec,
        weights=restored.backbone.weights_sha256,
        model="Opened(base.model)" if opened else "base.model",
    )


def _licences(spec: str, name: str, title: str, raw: dict[str, Any]) -> str:
    lines = [
        "cmer-bench, its code: MIT. That says nothing about weights and data:",
        f"`{spec}` has terms of its own, which hold for what is fitted to it. Look them up where "
        "you got it.",
        f"{title}: {raw.get('licence') or 'look up its terms'}. {raw.get('citation', '')}".rstrip()
        + ". The model was trained on it; it contains no image and no caption of it.",
    ]
    if name == "starter":
        lines[1] = (
            "`starter` was trained on RSICD, which states no licence: use it to try things out "
            "(bench/starter/README.md)."
        )
    return "\n".join([lines[0], "", *(f"- {line}" for line in lines[1:])])
