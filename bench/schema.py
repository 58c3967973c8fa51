"""What a record holds, field by field, and whether a JSON document is a record.

Reports and tools take numbers out of records by name, so each record is checked once, when it is
read, and whoever reads one can rely on the types below. Every field but those of `Record` itself
and `TrialFields` may be absent: older records have fewer. Fields that are not listed are let
through, since a newer version may have written them.

Lengths of time are in seconds, memory in bytes, recalls in percent.
"""

import dataclasses
import textwrap
from functools import cache
from typing import Annotated, Any, NotRequired, get_type_hints

from annotated_types import Ge, Gt, Le
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, create_model
from typing_extensions import TypedDict  # the one pydantic reads on every Python

from bench.recipe import Recipe

Number = Annotated[float, Field(ge=-1e30, le=1e30)]
"""Nothing that is measured comes near the limits; beyond them squares overflow."""
Positive = Annotated[Number, Gt(0)]
Whole = Annotated[int, Ge(1)]
Count = Annotated[int, Ge(0)]
Text = Annotated[str, Field(pattern=r"^[^\x00-\x1f]+$")]
"""A name: it stands in tables and in file names, so it is one line."""
Word = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]


class TrialFields(TypedDict):
    """What was asked for: a `bench.trial.Trial` as a dict."""

    dataset: Text
    backbone: Text
    method: Text
    call: Text
    settings: dict[str, Any]
    recipe: dict[str, Any]
    """A `bench.recipe.Recipe` as a dict; checked apart, see `_recipe`."""
    seed: int
    lr: NotRequired[Number | None]
    defines: NotRequired[dict[str, str]]
    cached_features: NotRequired[Count]


class Data(TypedDict, total=False):
    """The data set as it was found."""

    counts: dict[str, Count]
    hashes: dict[str, str]
    queries: str
    card: str
    scenes: Count
    notes: list[str]
    context_length: Whole
    captions_cut: dict[str, Count]
    """Captions of each split that are longer than the backbone's context, which cuts their end."""
    batch_size: Whole
    """Images in a training batch: the recipe's, or all where there are fewer."""


class Backbone(TypedDict, total=False):
    """The backbone and its weights."""

    name: str
    weights: str
    weights_sha256: str
    parameters: Count
    image_size: Whole
    notes: list[str]


class Look(TypedDict):
    """One evaluation during the training."""

    step: Whole
    epoch: Positive
    loss: NotRequired[Number | None]
    lr: NotRequired[Number | None]
    val_mR: NotRequired[Number | None]
    train_seconds: NotRequired[Number | None]
    """Seconds of training until then: steps and building cached features, without evaluation."""


class Efficiency(TypedDict, total=False):
    """What the trial took, as far as reports show it."""

    device: str
    precision: str
    warning: str | None
    disturbed: bool
    gpu_throttle_reasons: list[str]
    windows: Count | None
    busy_windows: Count | None
    throttled_windows: Count | None
    trainable_parameters: Count
    total_parameters: Count
    train_images_per_second: Number | None
    train_images_per_second_iqr: Number | None
    step_images_per_second: Number | None
    eval_images_per_second: Number | None
    eval_captions_per_second: Number | None
    budget_steps: Whole
    """Steps that were taken in the recipe's `time`."""
    budget_planned_steps: Whole
    budget_step_seconds: Number
    """Steps that were foreseen, and the seconds of one, measured before the training."""
    budget_corrections: Count
    """How often the number of steps was changed on the way, to end in time."""
    budget_seconds_used: Number
    """Training seconds, as in the curve; to be compared with the recipe's `time`."""
    budget_warning: str | None
    """Where the training ended too far from its `time`: by how much."""
    budget_predicted_bytes: Number
    """Predicted for the batch that the recipe's `memory` came to (`data.batch_size`): the peak on a
    GPU, what is kept for backward on a CPU."""
    train_seconds: Number | None
    trial_seconds: Number | None
    epoch_seconds: Number | None
    epoch_and_features_seconds: Number | None
    peak_memory_train_bytes: Number | None
    peak_memory_reserved_bytes: Number | None
    peak_memory_eval_bytes: Number | None
    saved_for_backward_bytes: Number | None
    parameter_bytes: Number | None
    gradient_bytes: Number | None
    optimizer_bytes: Number | None
    activation_bytes: Number | None
    resident_bytes: Number | None
    feature_bytes: Number | None
    driver_process_bytes: Number | None
    predicted_peak_bytes: Number | None
    allocator_retries: Number | None
    forward_flops_per_image: Number | None
    backward_flops_per_image: Number | None
    gpu_hours: Number | None
    gpu_energy_joules: Number | None
    gpu_clock_mhz_median: Number | None
    gpu_clock_mhz_min: Number | None
    gpu_power_watts_mean: Number | None
    gpu_temperature_celsius_max: Number | None


class Environment(TypedDict, total=False):
    """Machine and versions."""

    cpu: str
    gpu: str | None
    threads: Whole
    torch: str
    open_clip: str
    peft: str
    timm: str
    cuda: str | None
    driver: str | None
    git_commit: str | None
    git_dirty: bool | None


class Record(TypedDict):
    """One record; `metrics` by split (val, test), then by name (`i2t_R@1`, .., `mR`, `dup_mR`)."""

    status: Word
    identity: Text
    trial: TrialFields
    message: NotRequired[str | None]
    traceback: NotRequired[str | None]
    lr: NotRequired[Number | None]
    metrics: NotRequired[dict[str, dict[str, Number]]]
    curve: NotRequired[list[Look]]
    best_step: NotRequired[Count | None]
    efficiency: NotRequired[Efficiency]
    data: NotRequired[Data]
    backbone: NotRequired[Backbone]
    environment: NotRequired[Environment]
    beside: NotRequired[dict[str, str | None]]
    started: NotRequired[str]
    finished: NotRequired[str]


class Condition(TypedDict):
    """A corruption of the test images."""

    corruption: Text
    severity: Annotated[int, Ge(1), Le(5)]


class Corrupted(TypedDict):
    """The result on corrupted test images, as `bench.trained.under_corruption` writes it."""

    schema: int
    corrupt_version: int
    trial_finished: str | None
    condition: Condition
    clean: dict[str, Number]
    metrics: dict[str, Number]


class TransferFields(TypedDict):
    """The result on another data set: a `bench.trained.transfer.Transfer` as a dict."""

    schema: int
    identity: Text
    trial_finished: str | None
    seed: int
    dataset: Text
    test_images: Whole
    hashes: dict[str, str]
    card: str
    captions_cut: Count
    shared: Count | None
    notes: list[str]
    metrics: dict[str, Number]
    device: str
    environment: dict[str, Any]
    finished: str


class Winner(TypedDict):
    """What a search found for one call (`bench.sweeps.tune`)."""

    dataset: Text
    backbone: Text
    call: Text
    lr: Number
    grid: Annotated[list[Number], Field(min_length=1)]
    val_mR: Annotated[list[Number], Field(min_length=1)]
    at_edge: bool
    settings: NotRequired[dict[str, Any]]
    tried: NotRequired[dict[str, list[Any]]]
    settings_at_edge: NotRequired[list[str]]


class Search(TypedDict):
    """The file that a search writes."""

    recipe: dict[str, Any]
    seeds: list[int]
    tuned: list[Winner]


def fault(document: Any) -> str | None:
    """What is wrong with a JSON document as a record, in a few words; None where nothing is."""
    return _fault(_form(Record), document) or _fault(
        _recipe(), document["trial"]["recipe"], "trial", "recipe"
    )


def fault_in_search(document: Any) -> str | None:
    """The same for the file of a search; its recipe lacks what is None, which TOML has not."""
    return _fault(_form(Search), document) or _fault(
        _recipe(whole=False), document["recipe"], "recipe"
    )


def fault_under_corruption(document: Any) -> str | None:
    """The same for a result on corrupted test images."""
    return _fault(_form(Corrupted), document)


def fault_in_transfer(document: Any) -> str | None:
    """The same for a result on another data set."""
    fault = _fault(_form(TransferFields), document)
    return fault or (None if "mR" in document["metrics"] else "it has no metrics.mR")


def _fault(form: TypeAdapter[Any], document: Any, *place: str) -> str | None:
    """`its efficiency.windows is 'many' and should be a valid integer`; None where it fits."""
    if not isinstance(document, dict):
        what = {list: "a list", str: "a text", type(None): "null"}.get(type(document), "a number")
        return f"it is {what} where named fields, {{...}}, belong"
    try:
        form.validate_python(document, strict=True)
    except ValidationError as invalid:
        error = invalid.errors(include_url=False)[0]
    else:
        return None
    name = ".".join(map(str, (*place, *error["loc"])))
    if error["type"] == "missing":
        return f"it has no {name}"
    value = textwrap.shorten(repr(error["input"]), 60, placeholder=" ...")
    return f"its {name} is {value} and {error['msg'].removeprefix('Input ')}"


@cache
def _form(fields: type) -> TypeAdapter[Any]:
    return TypeAdapter(fields)


@cache
def _recipe(whole: bool = True) -> TypeAdapter[Any]:
    """The fields of `bench.recipe.Recipe`; of a whole one those added later may be absent."""
    hints: dict[str, Any] = get_type_hints(Recipe)
    hints |= {"batch_size": Whole, "accumulation": Whole, "epochs": Positive}
    later = {field.name for field in dataclasses.fields(Recipe) if field.metadata.get("later")}
    required: Any = ...
    fields: Any = {
        name: (hint, required if whole and name not in later else None)
        for name, hint in hints.items()
    }
    config = ConfigDict(allow_inf_nan=False)
    return TypeAdapter(create_model("Recipe", __config__=config, **fields))
