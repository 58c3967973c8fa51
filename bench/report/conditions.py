"""Sentences under tables: a group's settings, what differs in it, busy or throttled machines."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from bench.console import few
from bench.recipe import batch_in_words
from bench.report.entry import JOULES, SPEED, Entry
from bench.report.group import SEEN, Group
from bench.report.row import Row

PEAK = "efficiency.peak_memory_train_bytes"
TIMED = {
    *(SPEED, "efficiency.step_images_per_second", JOULES),
    *("efficiency.epoch_seconds", "efficiency.epoch_and_features_seconds"),
}
"""Fields whose numbers are wrong if the machine was busy or its clock was lowered."""
SHOWN = 6
"""Trials named in a sentence."""


def _busy(entry: Entry) -> str:
    """How the machine was busy with something else; empty if the numbers can be trusted.

    A few busy windows of the measurement do no harm, because the speed leaves them out. A record
    says whether there were too many (`disturbed`).
    """
    words = []
    efficiency = entry.efficiency
    windows = efficiency.get("busy_windows")
    if windows and efficiency.get("disturbed") is not False:
        words.append(f"{windows} of {efficiency.get('windows') or '?'} windows busy")
    if warning := efficiency.get("warning"):
        words.append(" ".join(warning.split()))
    return "; ".join(words)


def _throttled(entry: Entry) -> str:
    """How the GPU's clock was lowered; empty if it was not."""
    efficiency = entry.efficiency
    windows = efficiency.get("throttled_windows")
    if not windows:
        return ""
    reasons = ", ".join(efficiency.get("gpu_throttle_reasons", [])).replace("_", " ")
    words = f"{windows} of {efficiency.get('windows') or '?'} windows"
    return f"{words} ({reasons})" if reasons else words


@dataclass(frozen=True)
class Mark:
    """A sign behind numbers that cannot be compared because something disturbed the measurement."""

    sign: str
    short: str
    """What happened, for plots."""
    about: str
    """What happened, for tables."""
    describe: Callable[[Entry], str]
    """Tells what happened to a trial; empty if nothing did."""
    spoils: set[str]
    """The fields whose numbers are wrong then."""


MARKS = (
    # Another program on the GPU may have used its memory too, so the peak is doubtful as well.
    Mark("†", "machine busy", "the machine was busy with something else", _busy, {*TIMED, PEAK}),
    Mark("‡", "clock lowered", "the GPU lowered its clock", _throttled, TIMED),
)


def spoilt(row: Row, path: str) -> str:
    """The footnote signs for a row's mean of a field; empty if the number can be trusted."""
    entries = [entry for entry in row.ok if entry.get(path) is not None]
    return "".join(
        mark.sign for mark in MARKS if path in mark.spoils and any(map(mark.describe, entries))
    )


def explained(signs: str) -> list[str]:
    """What the signs in a plot mean, in two words each."""
    return [f"{mark.sign} {mark.short}" for mark in MARKS if mark.sign in signs]


def footnotes(group: Group, *, name_trials: bool = True) -> dict[str, str]:
    """For each sign in the group's tables a sentence on what it means."""
    notes = {SEEN: trained_on(group)} if group.seen else {}
    for mark in MARKS:
        trials: dict[str, list[str]] = {}
        for row in group.every:
            for entry in row.ok:
                if words := mark.describe(entry):
                    trials.setdefault(words, []).append(f"{row.label} seed {entry.seed}")
        if trials:
            listed = "; ".join(f"{words}: {few(names, SHOWN)}" for words, names in trials.items())
            notes[mark.sign] = (
                f"{mark.sign} {mark.about}, so these figures are not comparable and never marked "
                f"as best or second ({listed if name_trials else 'the report names the trials'})."
            )
    return notes


def trained_on(group: Group) -> str:
    """A note on the sign behind a backbone that was trained on the data set of its table."""
    return (
        f"{SEEN} {group.backbone} was trained on the training images and captions of "
        f"{group.dataset} itself, so these figures are not comparable with those of backbones that "
        "were not."
    )


# What all trials of a group had in common.


def conditions(group: Group) -> list[str]:
    """Sentences on what all trials of a group had in common."""
    recipe = group.recipe
    seeds = sorted({entry.seed for entry in group.ok})
    images = next(iter(group.values("data.counts.test")), 0)
    facts = [
        *([f"{images:,} test images"] if images else []),
        f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds)) or 'none'}",
        *([group.budget] if group.budget else []),
        _batch(group),
        _length(group),
        " and ".join(map(str, group.values("efficiency.precision"))) or recipe.precision,
    ]
    sentences = [
        "; ".join(facts) + ".",
        "The step with the best validation mR is tested, once."
        if recipe.track == "train"
        else "Trained on train and val; the last step is tested, and nothing is selected.",
    ]
    if group.scene_at_test == "oracle":
        sentences.append("At test each query is told its true scene: oracle information.")
    if group.scene_at_test == "predicted":
        sentences.append("At test the untrained backbone predicts the scene of each query.")
    if group.cached_features:
        sentences.append("Trained on cached features, which means another augmentation.")
    elif any(entry.cached_features for entry in group.ok):
        sentences.append(
            "Rows with cached features are trained with another augmentation; building the "
            "features counts in their time."
        )
    if group.folded:
        calls = Counter(row.method for row in group.folded)
        more = " and ".join(f"{n} more calls of {name}" for name, n in sorted(calls.items()))
        sentences.append(f"{more} are in the table of settings only.")
    return sentences


def _batch(group: Group) -> str:
    recipe = group.recipe
    sizes = [group.batch_size]
    if recipe.memory is not None:
        sizes = [entry.batch_size for entry in _trained(group)]
    words = f"batch {batch_in_words(sizes, recipe.accumulation) if sizes else 'unknown'}"
    if recipe.memory is None and group.batch_size < recipe.batch_size:
        have = "each has all" if recipe.accumulation > 1 else "all"
        words += f" ({have} training images; the recipe's {recipe.batch_size} are more than those)"
    return words


def _length(group: Group) -> str:
    recipe = group.recipe
    if recipe.time is not None:
        return f"{_range([entry.record['curve'][-1]['step'] for entry in _trained(group)])} steps"
    return f"{recipe.steps} steps" if recipe.steps is not None else f"{recipe.epochs:g} epochs"


def _trained(group: Group) -> list[Entry]:
    return [entry for entry in group.ok if entry.record.get("curve")]


def _range(numbers: list[int]) -> str:
    """`64 to 512`, or `64` if all are the same."""
    ends = sorted({min(numbers), max(numbers)}) if numbers else []
    return " to ".join(f"{number:,}" for number in ends) or "unknown"


def memory_words(group: Group) -> str:
    """A sentence or two on what memory means in a group."""
    if group.cuda:
        return (
            "Memory: the most bytes that tensors took on the GPU during training, without the CUDA "
            "context and library handles."
        )
    return (
        "Memory: the bytes that autograd keeps for the backward pass of one step, since a "
        "CPU has no device peak. Figures of a CPU are for trying out."
    )


def cost_words(group: Group) -> list[str]:
    """Sentences on what memory, images/s and J/image mean in a group."""
    sentences = [memory_words(group)]
    if group.cached_features:
        beside = ", and memory leaves them out" if group.cuda else ""
        sentences.append(f"Images/s: images whose cached features are trained on{beside}.")
    elif group.cuda and any(entry.cached_features for entry in group.ok):
        sentences.append("Memory leaves cached features out.")
    if any(row.values(JOULES) for row in group.rows):
        sentences.append("J/image: the GPU's energy in training, validation included.")
    return sentences


# What differs between rows, and which trials a table does not show.


def letters(group: Group) -> dict[str, str]:
    """A letter for each thing that differs in the group, in the order of its rows."""
    differences = dict.fromkeys(words for row in group.rows for words in row.differs)
    return {words: letter(number) for number, words in enumerate(differences)}


def letter(number: int) -> str:
    """a, b, .. z, aa, ab and so on."""
    return (letter(number // 26 - 1) if number >= 26 else "") + chr(ord("a") + number % 26)


def legend(group: Group) -> str:
    """What the letters of the column `differs` mean, and the usual values; empty without any."""
    meanings = letters(group)
    if not meanings:
        return ""
    names = [n for n in group.usual if any(words.startswith(f"{n} ") for words in meanings)]
    usual = ", ".join(f"{name} {group.usual[name]}" for name in names)
    listed = "; ".join(f"{sign}: {words}" for words, sign in meanings.items())
    return f"Differs from the group{f' ({usual})' if usual else ''}: {listed}."


def off_budget(group: Group) -> str:
    """A sentence on trials that trained for more or less than their time; may be empty."""
    trials = [
        f"{row.label} seed {entry.seed} ({' '.join(warning.split())})"
        for row in group.every
        for entry in row.ok
        if (warning := entry.efficiency.get("budget_warning"))
    ]
    return f"Not within the time budget: {few(trials, SHOWN)}." if trials else ""


def replaced(group: Group) -> str:
    """A sentence on records that are left out for others of the same calls; may be empty."""
    rest = "; ".join(f"{row.label}: {_by_rate(row)}" for row in group.every if row.replaced)
    return (
        f"Left out, because other records of the same calls count instead: {rest}." if rest else ""
    )


def _by_rate(row: Row) -> str:
    """How many records of each learning rate are left out: `3 at lr 0.006, 1 (timeout)`."""
    kinds: Counter[str] = Counter()
    for entry in row.replaced:
        if entry.lr is not None:
            kinds[f" at lr {entry.lr:g}"] += 1
        else:
            kinds["" if entry.ok else f" ({entry.status})"] += 1
    return ", ".join(f"{n}{kind}" for kind, n in kinds.items())


def not_ok(group: Group) -> list[str]:
    """A line for each trial that did not end well."""
    lines = []
    for row in group.every:
        for entry in row.not_ok:
            words = " ".join((entry.record.get("message") or "").split())[:200]
            why = f": {words}" if words else ""
            lines.append(f"{row.label}, seed {entry.seed}: {entry.status}{why}")
    return lines
