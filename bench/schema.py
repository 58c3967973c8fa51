"""What a record holds, field by field, and whether a JSON document is a record.

Reports and tools take numbers out of records by name, so each record is checked once, when it is
read, and whoever reads one can rely on the types below. Every field but those of `Record` itself
and `TrialFields` may be absent: older records have fewer. Fields that are not listed are let
through, since a newer version may have written them.

Lengths of time are in seconds, memory in bytes, recalls in percent.
"""

import ast
import dataclasses
from functools import cache
from typing import Annotated, Any, NotRequired, get_type_hints

from annotated_types import Ge, Gt, Le
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict  # the one pydantic reads on every Python

from bench.faults import faults, matching
from bench.recipe import Recipe

Number = Annotated[float, Field(ge=-1e30, le=1e30)]
"""Nothing that is measured comes near the limits; beyond them squares overflow."""
Positive = Annotated[Number, Gt(0)]
Whole = Annotated[int, Ge(1)]
Count = Annotated[int, Ge(0)]
Text = Annotated[
    str, matching(r"[^\x00-\x1f]+", "should be a line of text without control characters")
]
"""A name: it stands in tables and in file names, so it is one line."""
Word = Annotated[str, matching(r"[a-z0-9_]+", "should be a word of small letters, digits and _")]


def _parsed(call: str) -> str:
    try:
        ast.parse(call, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise PydanticCustomError("call", "should be a method's call") from None
    return call


Call = Annotated[Text, AfterValidator(_parsed)]
"""A method with settings, which reports read: `lora(rank=16)`."""


class TrialFields(TypedDict):
    """What was asked for: a `bench.trial.Trial` as a dict."""

    dataset: Text
    """The data set, as it was named: a name, or the file of a card."""
    backbone: Text
    """The backbone: a name of `bench backbones`, or an architecture with its weights."""
    method: Text
    """The method's name."""
    call: Call
    """The method with the settings that differ from the defaults: `lora(rank=16)`."""
    settings: dict[str, Any]
    """All settings of the method, by name."""
    recipe: dict[str, Any]
    """The training settings: a `bench.recipe.Recipe` as a dict."""
    seed: int
    """Decides every random draw."""
    lr: NotRequired[Number | None]
    """The learning rate that the call asked for; null: none was asked for."""
    defines: NotRequired[dict[str, str]]
    """Hashes of what else decides the result: card, splits, weights."""
    cached_features: NotRequired[Count]
    """Stored views of each image of which the frozen features are cached; 0: nothing is cached."""


class Data(TypedDict, total=False):
    """The data set as it was found."""

    counts: dict[str, Count]
    """Images of each split."""
    hashes: dict[str, str]
    """Hash of the file names of each split, and of the annotation."""
    queries: str
    """Hash of the test queries: names, captions and scenes, in their order."""
    card: str
    """Hash of the card."""
    scenes: Count
    """How many scenes the images have."""
    notes: list[str]
    """What the user was told about the data."""
    context_length: Whole
    """The most tokens of a text, as batches are cut."""
    captions_cut: dict[str, Count]
    """Captions of each split that are longer than the backbone's context, which cuts their end."""
    batch_size: Whole
    """Images in a training batch (with accumulation: in a micro-batch): the recipe's number, or all
    images if there are fewer."""


class Backbone(TypedDict, total=False):
    """The backbone and its weights."""

    name: str
    """The architecture."""
    weights: str
    """The weights, as they were named."""
    weights_sha256: str
    """Hash of the weights: its first 16 digits."""
    parameters: Count
    """Parameters of both towers."""
    image_size: Whole
    """Side of the square that the image tower takes."""
    preprocess: dict[str, Any]
    """How images are resized and normalised, as open_clip's `preprocess_cfg`."""
    notes: list[str]
    """What the user was told about the backbone."""
    trained_on: list[str]
    """Data sets whose training images the weights are known to have seen."""


class CurvePoint(TypedDict):
    """A point of the learning curve: one evaluation during the training."""

    step: Whole
    """Optimiser steps so far."""
    epoch: Positive
    """Passes over the training pairs so far."""
    loss: NotRequired[Number | None]
    """Mean training loss since the previous evaluation."""
    lr: NotRequired[Number | None]
    """Learning rate of the last step."""
    val_mR: NotRequired[Number | None]
    """Mean recall on validation."""
    train_seconds: NotRequired[Number | None]
    """Seconds of training so far: steps and building cached features, without evaluation."""


class Efficiency(TypedDict, total=False):
    """What the trial took, as far as reports show it."""

    device: str
    """The GPU's name, or `cpu`."""
    precision: str
    """Number format of the computation."""
    attention_kernels: dict[str, Count]
    """Kernels that computed attention in one step, and how often each."""
    warning: str | None
    """Why the figures cannot be trusted; null if they can."""
    jobs_per_device: Whole
    """How many trials used the device at once; absent where it was one."""
    disturbed: bool
    """Other processes took CPU time in too many windows of the speed measurement to leave those
    windows out."""
    gpu_throttle_reasons: list[str]
    """Why the GPU lowered its clock during the training."""
    windows: Count | None
    """Windows of several steps in which the speed was measured."""
    busy_windows: Count | None
    """Windows in which other processes took CPU time."""
    throttled_windows: Count | None
    """Windows in which the GPU had lowered its clock."""
    warmup_steps: Count | None
    """First steps that are left out of the speed."""
    trainable_parameters: Count
    """Parameters that are trained."""
    total_parameters: Count
    """All parameters, the backbone among them."""
    bf16_parameters: Count
    """Frozen parameters that are held in bfloat16 (`frozen=bf16`)."""
    train_images_per_second: Number | None
    """Speed of training, loading included: the median over the windows."""
    train_images_per_second_iqr: Number | None
    """Its interquartile range."""
    step_images_per_second: Number | None
    """Speed of the training step alone, on a batch that is on the device already."""
    eval_images_per_second: Number | None
    """Images encoded in the evaluation."""
    eval_captions_per_second: Number | None
    """Captions encoded in the evaluation."""
    budget_steps: Whole
    """Steps that were taken in the recipe's `time`."""
    budget_planned_steps: Whole
    """Steps that were foreseen before the training."""
    budget_step_seconds: Number
    """One step, as it was measured before the training."""
    budget_corrections: Count
    """How often the number of steps was changed on the way, to end in time."""
    budget_seconds_used: Number
    """Training seconds, as in the curve; to be compared with the recipe's `time`."""
    budget_warning: str | None
    """By how much training missed the recipe's `time`; null if it kept to it."""
    budget_predicted_bytes: Number
    """Predicted for the batch that was chosen to fit the recipe's `memory` (`data.batch_size`): the
    peak on a GPU, the bytes kept for backward on a CPU."""
    train_seconds: Number | None
    """From before the first step to after the last, the evaluations between them included."""
    trial_seconds: Number | None
    """The whole trial, including the parts before it was stopped and resumed."""
    compile_seconds: Number | None
    """Time that the recipe's `compile` took."""
    epoch_seconds: Number | None
    """One epoch of training on cached features, at the speed that was measured."""
    epoch_and_features_seconds: Number | None
    """`epoch_seconds` and the time to build the cached features."""
    peak_memory_train_bytes: Number | None
    """Most bytes allocated on the GPU in training; null on a CPU."""
    peak_memory_reserved_bytes: Number | None
    """Most bytes that PyTorch's allocator held."""
    peak_memory_eval_bytes: Number | None
    """Most bytes allocated in the evaluation."""
    saved_for_backward_bytes: Number | None
    """Bytes that autograd keeps from the forward pass of one step; the memory figure of a CPU."""
    parameter_bytes: Number | None
    """Parameters and buffers."""
    gradient_bytes: Number | None
    """Gradients of the trainable parameters."""
    optimizer_bytes: Number | None
    """The optimiser's state."""
    activation_bytes: Number | None
    """The peak of training without parameters, gradients and the optimiser's state."""
    resident_bytes: Number | None
    """Training images held on the GPU; peaks leave them out."""
    feature_bytes: Number | None
    """Cached features."""
    feature_place: str
    """Where cached features are: `device` or `disk`."""
    feature_images: Count
    """Image features that are cached."""
    feature_captions: Count
    """Caption features that are cached."""
    feature_seconds: Number | None
    """Time to build the cached features."""
    driver_process_bytes: Number | None
    """Memory that the process held, according to the driver."""
    predicted_peak_bytes: Number | None
    """The peak as `bench plan` predicts it."""
    largest_batch_predicted: Count
    """After running out of memory: the batch predicted to fit; 0: not even two images."""
    allocator_retries: Number | None
    """How often the allocator had to free its cache; above 0, the GPU's size limited the peak."""
    forward_flops_per_image: Number | None
    """Floating-point operations of the forward pass."""
    backward_flops_per_image: Number | None
    """Floating-point operations of the backward pass."""
    gpu_hours: Number | None
    """`train_seconds` in hours; null on a CPU."""
    gpu_energy_joules: Number | None
    """Energy of the GPU in training."""
    gpu_clock_mhz_median: Number | None
    """Clock in training."""
    gpu_clock_mhz_min: Number | None
    """Lowest clock in training."""
    gpu_power_watts_mean: Number | None
    """Mean power in training."""
    gpu_temperature_celsius_max: Number | None
    """Highest temperature in training."""


class Environment(TypedDict, total=False):
    """Machine and versions; no host, user or path."""

    cpu: str
    """The CPU's name."""
    gpu: str | None
    """The GPU's name."""
    gpu_memory_bytes: Count | None
    """Its memory."""
    threads: Whole
    """Threads of PyTorch on the CPU."""
    platform: str
    """System and machine type."""
    python: str
    bench: str | None
    """Version of this program."""
    torch: str | None
    torchvision: str | None
    open_clip: str | None
    transformers: str | None
    timm: str | None
    peft: str | None
    numpy: str | None
    cuda: str | None
    """Version of CUDA that PyTorch was built with."""
    cudnn: int | None
    driver: str | None
    """Version of the NVIDIA driver."""
    precision: dict[str, Any]
    """Switches of PyTorch: TF32, deterministic algorithms."""
    allocator: dict[str, str | None]
    """PyTorch's allocator on the GPU, and its settings."""
    git_commit: str | None
    """Commit of the repository that ran."""
    git_dirty: bool | None
    """Whether files of it were changed."""


class Record(TypedDict):
    """One record; `metrics` by split (val, test), then by name (`i2t_R@1`, .., `mR`, `dup_mR`)."""

    schema: NotRequired[int]
    """Version of this form."""
    status: Word
    """How the trial ended: ok, out_of_memory, diverged, failed, timeout or not_applicable."""
    identity: Text
    """Hash of everything that defines the trial, 16 digits."""
    trial: TrialFields
    """What was asked for."""
    message: NotRequired[str | None]
    """Why it did not end well, in a sentence."""
    traceback: NotRequired[str | None]
    """Where it failed."""
    lr: NotRequired[Number | None]
    """The learning rate that was used; null where nothing is trained."""
    metrics: NotRequired[dict[str, dict[str, Number]]]
    """Recalls in percent, by split (val, test), then by name (`i2t_R@1`, `mR`, `dup_mR`)."""
    curve: NotRequired[list[CurvePoint]]
    """The evaluations during the training, in order."""
    best_step: NotRequired[Count | None]
    """The step whose weights were kept."""
    efficiency: NotRequired[Efficiency]
    data: NotRequired[Data]
    backbone: NotRequired[Backbone]
    environment: NotRequired[Environment]
    beside: NotRequired[dict[str, str | None]]
    """Hashes of the files beside the record, by suffix."""
    resumed: NotRequired[Count]
    """How often the training was stopped and resumed from a checkpoint."""
    started: NotRequired[str]
    """When the trial began (ISO 8601, UTC)."""
    finished: NotRequired[str]
    """When it ended."""


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
    """The result on another data set, as `bench.trained.transfer` writes it."""

    schema: int
    identity: Text
    """Identity of the trial that trained the method."""
    trial_finished: str | None
    """When that run of the trial ended; tells it from other runs of the same trial."""
    seed: int
    dataset: Text
    test_images: Whole
    hashes: dict[str, str]
    """Of the test images' names, and of captions and scenes where the card pins none."""
    card: str
    captions_cut: Count
    """Test captions that are longer than the backbone's context."""
    shared: Count | None
    """Test images that share captions with images it was trained or selected on (see
    `bench.data.leaks`); null where that data set was not there to be compared."""
    notes: list[str]
    metrics: dict[str, Number]
    device: str
    environment: Environment
    finished: str


class Winner(TypedDict):
    """What a search found for one call: a row of the file that `bench tune` writes.

    One written by hand for `bench run --tuned` needs no more than the first four fields.
    """

    dataset: Text
    backbone: Text
    call: Call
    """The call without what was searched."""
    lr: Positive
    """The learning rate that won."""
    settings: NotRequired[dict[str, Any]]
    """The values that won of the settings that were searched."""
    settings_none: NotRequired[list[str]]
    """Settings whose value None won, for TOML has no null."""
    tried: NotRequired[dict[str, list[Any]]]
    """The values that were tried, by setting."""
    points: NotRequired[list[str]]
    """The calls that were tried, in the order of `val_mR`."""
    grid: NotRequired[Annotated[list[Number], Field(min_length=1)]]
    """The learning rates that were tried."""
    val_mR: NotRequired[Annotated[list[Number], Field(min_length=1)]]
    """The validation mR of each point; -1 where a trial did not end well."""
    at_edge: NotRequired[bool]
    """Whether `lr` is the last rate that was tried."""
    settings_at_edge: NotRequired[list[str]]
    """The settings of which the same holds."""
    grid_size: NotRequired[int]
    """Points of the whole grid, of which some may have been drawn."""


class TunedFile(TypedDict):
    """The file that `bench tune` writes: the winners, and how much was searched for each."""

    tuned: list[Winner]
    recipe: NotRequired[dict[str, Any]]
    seeds: NotRequired[list[int]]
    points: NotRequired[int]
    """Points of each method at the start."""
    max_points: NotRequired[int]
    """Points that a method may have where the best lies at the edge of its grid."""
    draw_seed: NotRequired[int]
    """The seed with which points were drawn; absent if the whole grid was searched."""


for _form in (Winner, TunedFile):  # in the class mypy would take it for a key
    _form.__pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[union-attr]


def fault(document: Any) -> str | None:
    """The first thing that is wrong with a JSON document as a record; None where nothing is."""
    wrong = faults(Record, document)
    wrong = wrong or faults(_recipe(), document["trial"]["recipe"], "trial", "recipe")
    return next(iter(wrong), None)


def faults_in_tuned_file(document: dict[str, Any]) -> list[str]:
    """All that is wrong with the file of a search; its recipe lists only what applies."""
    recipe = document.get("recipe")
    of_recipe = _recipe(complete=False) if isinstance(recipe, dict) else Any
    return faults(TunedFile, document) + faults(of_recipe, recipe, "recipe")


def fault_under_corruption(document: Any) -> str | None:
    """The first thing that is wrong with a result on corrupted test images."""
    return next(iter(faults(Corrupted, document)), None)


def fault_in_transfer(document: Any) -> str | None:
    """The first thing that is wrong with a result on another data set."""
    wrong = faults(TransferFields, document)
    if not wrong and "mR" not in document["metrics"]:
        return "'metrics.mR' is missing"
    return next(iter(wrong), None)


@cache
def _recipe(complete: bool = True) -> type[BaseModel]:
    """The fields of `bench.recipe.Recipe`; `complete`: those of the first release are required."""
    hints: dict[str, Any] = get_type_hints(Recipe)
    hints |= {"batch_size": Whole, "accumulation": Whole, "epochs": Positive}
    hints |= {"time": Positive | None, "memory": Whole | None}
    later = {field.name for field in dataclasses.fields(Recipe) if field.metadata.get("later")}
    required: Any = ...
    fields: Any = {
        name: (hint, required if complete and name not in later else None)
        for name, hint in hints.items()
    }
    config = ConfigDict(allow_inf_nan=False)
    return create_model("Recipe", __config__=config, **fields)
