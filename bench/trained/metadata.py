"""The metadata of a model card, which the Hub reads: tags, base model, recalls as results."""

from pathlib import Path
from typing import TYPE_CHECKING

from bench import UserError, data
from bench.backbone.weights import hub_files
from bench.trained.restore import Restored

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCardData

METRICS = {
    "mR": "mean recall (mR)",
    **{f"i2t_R@{k}": f"image to text R@{k}" for k in (1, 5, 10)},
    **{f"t2i_R@{k}": f"text to image R@{k}" for k in (1, 5, 10)},
}
"""The recalls of a record that the Hub shows, and what it calls them."""
SPLIT = "test"


def metadata(restored: Restored, library: str, name: str) -> "ModelCardData":
    """The metadata of a card. library: the one that loads the model; name: the model's.

    huggingface_hub writes the results as the Hub expects them (`model-index`).
    """
    from huggingface_hub import ModelCardData

    trial = restored.trial
    results = eval_results(restored)
    return ModelCardData(
        language="en",
        license="other",
        license_name="see-licences-below",
        library_name=library,
        base_model=base_model(trial.backbone),
        tags=["remote-sensing", "image-text-retrieval", "clip", "cmer-bench", trial.method],
        metrics=["recall"] if results else None,
        model_name=name,
        eval_results=results or None,
    )


def eval_results(restored: Restored) -> "list[EvalResult]":
    """The strict recalls on the test set in percent; empty if nothing was tested."""
    from huggingface_hub import EvalResult

    recalls = restored.record["metrics"].get(SPLIT, {})
    return [
        EvalResult(
            task_type="image-text-retrieval",
            task_name="Image-text retrieval",
            dataset_type=restored.trial.dataset_name,
            dataset_name=title_of(restored),
            dataset_split=SPLIT,
            metric_type="recall",
            metric_name=label,
            metric_value=round(recalls[key], 2),
        )
        for key, label in METRICS.items()
        if key in recalls
    ]


def title_of(restored: Restored) -> str:
    """The data set's title; if its card is not here, its name."""
    try:
        return str(data.card(restored.trial.dataset).raw["title"])
    except (UserError, KeyError):
        return Path(restored.trial.dataset).stem


def base_model(spec: str) -> str | None:
    """The Hub repository of the backbone's weights; None if they are not from the Hub."""
    try:
        files = hub_files(spec)
    except UserError:  # a file that is not here
        return None
    return files[-1][0].repo if files else None
