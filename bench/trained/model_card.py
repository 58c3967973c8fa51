"""The card (README) of an exported model: what it is, its metrics, how to load it.

The text comes from the template `card.md`; above it stands the metadata that the Hugging Face Hub
reads: tags, base model, and recalls as results.
"""

import inspect
from pathlib import Path
from typing import Any, Literal

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from bench import UserError, __version__, data
from bench.backbone.weights import hub_files
from bench.data import SPLITS
from bench.recalls import METRICS
from bench.record import learning_rate
from bench.schema import Record
from bench.spec import shareable
from bench.trained import example
from bench.trained.restore import Restored
from methods.base import Method

Form = Literal["adapter", "peft", "peft_opened", "merged"]
"""How a model was exported: the adapter alone; also in the format of peft, for the plain backbone
(`peft`) or for one whose attention is replaced by `methods.surgery.Opened` (`peft_opened`); or as a
plain open_clip checkpoint (`merged`)."""
LIBRARY = {"peft": "peft", "peft_opened": "peft", "merged": "open_clip", "adapter": "cmer-bench"}
"""What the Hub names as the library of a model."""
TEMPLATE = Path(__file__).with_name("card.md")
CHECK = f"""\
known = load_file("{example.FEATURES}")
assert (image * known["image"]).sum() > {example.CLOSE}
assert (text * known["text"]).sum() > {example.CLOSE}"""
"""The last lines of each code example on the card."""
WAYS = {"i2t": "image to text", "t2i": "text to image"}


def card_of(restored: Restored, form: Form, repo: str | None = None) -> str:
    """The README of an export. `repo`: OWNER/NAME, if it is to be pushed to the Hub."""
    trial, record = restored.trial, restored.record
    try:
        dataset = data.card(trial.dataset).raw
    except UserError:  # the card was a file that is not here
        dataset = {}
    title = dataset.get("title", Path(trial.dataset).stem)
    trained = [p.numel() for p in restored.method.parameters() if p.requires_grad]
    counts = record["data"]["counts"]
    card = ModelCard.from_template(
        _for_the_hub(restored, form, repo or f"{trial.call_today} for {title}", title),
        str(TEMPLATE),
        backbone=restored.backbone,
        check=CHECK,
        counts=", ".join(f"{counts[split]} {split}" for split in SPLITS),
        dataset=dataset,
        example=example,
        form=form,
        mergeable=type(restored.method).merged_state is not Method.merged_state,
        method=restored.method,
        plugin=_plugin(type(restored.method)),
        recalls=METRICS,
        recipe=_recipe(record),
        record=record,
        repo=repo,
        spec=shareable(trial.backbone),
        temperature=float(restored.method.temperature().detach()),
        title=title,
        trained=sum(trained),
        trial=trial,
        version=__version__,
    )
    return f"{card}\n"


def _recipe(record: Record) -> dict[str, Any]:
    """The recipe as it was used: without fields that were not set, without epochs if the length of
    the training was given as steps or time, and with the batch that was chosen to fit a memory."""
    recipe = record["trial"]["recipe"] | {"lr": learning_rate(record)}
    if recipe.get("steps") or recipe.get("time"):
        del recipe["epochs"]
    if recipe.get("memory"):
        recipe["batch_size"] = record.get("data", {}).get("batch_size")
    return {name: value for name, value in recipe.items() if value is not None}


def _plugin(method_class: type[Method]) -> str | None:
    """The file name of a method of the user's own; None for one of this project."""
    own = method_class.__module__.startswith("bench_plugin_")
    return Path(inspect.getfile(method_class)).name if own else None


def _for_the_hub(restored: Restored, form: Form, name: str, title: str) -> ModelCardData:
    """The metadata of a card, with the recalls as results in the form that the Hub expects."""
    trial, recalls = restored.trial, restored.record["metrics"].get("test", {})
    results = []
    for metric in METRICS:
        way, _, rank = metric.partition("_")
        if metric in recalls:
            result: dict[str, Any] = {
                "task_type": "image-text-retrieval",
                "task_name": "Image-text retrieval",
                "dataset_type": trial.dataset_name,
                "dataset_name": title,
                "dataset_split": "test",
                "metric_type": "recall",
                "metric_name": f"{WAYS[way]} {rank}" if rank else "mean recall (mR)",
                "metric_value": round(recalls[metric], 2),
            }
            results.append(EvalResult(**result))
    return ModelCardData(
        language="en",
        license="other",
        license_name="see-licences-below",
        library_name=LIBRARY[form],
        base_model=base_model(trial.backbone),
        tags=["remote-sensing", "image-text-retrieval", "clip", "cmer-bench", trial.method],
        metrics=["recall"] if results else None,
        model_name=name,
        eval_results=results or None,
    )


def base_model(spec: str) -> str | None:
    """The Hub repository of the backbone's weights; None if they are not from the Hub."""
    try:
        files = hub_files(spec)
    except UserError:  # a file that is not here
        return None
    return files[-1][0].repo if files else None
