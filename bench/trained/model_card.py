"""The card of an exported adapter: what it is, its metrics, how to load it, licences."""

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import UserError, __version__, data
from bench.data.forms import SPLITS
from bench.record import learning_rate
from bench.spec import shareable
from bench.trained.restore import Restored

if TYPE_CHECKING:
    from methods.base import Method

USE = """\
import json
from pathlib import Path
import torch
from safetensors.torch import load_file
from bench import backbone
from methods import {imports}

{plugin}trial = json.loads(Path("record.json").read_text())["trial"]
base = backbone.load("{backbone}")
assert base.weights_sha256 == "{weights}"
torch.manual_seed(trial["seed"])
method = registry()["{name}"](base.model, **trial["settings"])
method.load_own_state(load_file("adapter.safetensors"))
method.eval()
with torch.no_grad():
    text = method.encode_text(base.tokenizer(["many planes in an airport"]))  # (1, D), unit length
"""

USE_PEFT = """\
import torch
from peft import PeftModel
from bench import backbone
{imports}
base = backbone.load("{backbone}")
assert base.weights_sha256 == "{weights}"
{opening}model = PeftModel.from_pretrained(base.model, ".").eval()
with torch.no_grad():
    text = model.encode_text(base.tokenizer(["many planes in an airport"]), normalize=True)
"""

OPEN_IMPORTS = """\
from methods.surgery import open_attention
from methods.towers import image_tower, text_tower
"""
OPENING = """\
for tower in (image_tower(base.model), text_tower(base.model)):
    open_attention(tower)  # nn.MultiheadAttention never calls its projections, so open it first
"""


def card_of(restored: Restored, peft: bool) -> str:
    """The README: what it is, metrics, settings, recipe, how to load it, licences."""
    trial, record, base = restored.trial, restored.record, restored.backbone
    spec, method = shareable(trial.backbone), restored.method
    counts = record["data"]["counts"]
    trained = sum(p.numel() for p in method.parameters() if p.requires_grad)
    try:
        raw = data.card(trial.dataset).raw
    except UserError:  # the card was a file that is not here
        raw = {}
    title = raw.get("title", Path(trial.dataset).stem)
    facts = {
        "method": f"`{trial.call}`" + (f": {_paper(method)}" if method.paper else ""),
        "base weights": f"`{spec}`, not contained here; hash `{base.weights_sha256}`",
        "data set": f"{title}: " + ", ".join(f"{counts[split]} {split}" for split in SPLITS),
        "trained": f"{trained:,} parameters beside or in {base.parameters:,}",
        "temperature": f"{float(method.temperature().detach()):.2f}, a factor on the cosine",
        "seed": str(trial.seed),
        "record": f"`record.json`, identity `{record['identity']}`",
    }
    files = "`adapter.safetensors` holds all that was trained."
    if peft:
        files += (
            " `adapter_model.safetensors` and `adapter_config.json` hold the same in peft's own "
            "format, without the temperature, which ranks do not depend on."
        )
    parts = [
        f"# {trial.call} for {title}",
        f"An adapter for text-image retrieval in remote sensing, written by cmer-bench "
        f"{__version__}. {files}",
        _table(("", ""), facts.items()),
        "## Metrics",
        _metrics(restored),
        "## How to load it",
        "In a folder with these files, with cmer-bench installed:",
        f"```python\n{_use(restored, spec)}```",
    ]
    if peft:
        parts += ["With peft:", f"```python\n{_use_peft(restored, spec)}```"]
    recipe = record["trial"]["recipe"] | {"lr": learning_rate(record)}
    parts += [
        "## Settings",
        _table(("setting", "value"), ((k, f"`{v!r}`") for k, v in trial.settings.items())),
        "## Recipe",
        _table(("recipe", "value"), ((k, f"`{v!r}`") for k, v in recipe.items())),
        "## Licences",
        _licences(spec, base.name, title, raw),
    ]
    return "\n\n".join(parts) + "\n"


def _paper(method: "Method") -> str:
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


def _use(restored: Restored, spec: str) -> str:
    trial = restored.trial
    made = type(restored.method)
    ours = not made.__module__.startswith("bench_plugin_")
    file = Path(inspect.getfile(made)).name
    return USE.format(
        imports="registry" if ours else "load_plugin, registry",
        plugin="" if ours else f'load_plugin(Path("{file}"))\n',
        backbone=spec,
        weights=restored.backbone.weights_sha256,
        name=trial.method,
    )


def _use_peft(restored: Restored, spec: str) -> str:
    from methods.surgery import OpenAttention

    opened = any(isinstance(m, OpenAttention) for m in restored.method.model.modules())
    return USE_PEFT.format(
        imports=OPEN_IMPORTS if opened else "",
        backbone=spec,
        weights=restored.backbone.weights_sha256,
        opening=OPENING if opened else "",
    )


def _licences(spec: str, name: str, title: str, raw: dict[str, Any]) -> str:
    lines = [
        "cmer-bench, its code: MIT. That says nothing about weights and data:",
        f"`{spec}` has terms of its own, which hold for what is fitted to it. Look them up where "
        "you got it.",
        f"{title}: {raw.get('licence', 'look up its terms')}. {raw.get('citation', '')}".rstrip()
        + ". The adapter was trained on it; it contains no image and no caption of it.",
    ]
    if name == "starter":
        lines[1] = (
            "`starter` was trained on RSICD, which states no licence: use it to try things out "
            "(bench/starter/README.md)."
        )
    return "\n".join([lines[0], "", *(f"- {line}" for line in lines[1:])])
