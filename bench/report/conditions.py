"""Sentences under tables: a group's settings, what differs in it, busy or throttled machines."""

from collections import Counter

from bench.report.groups import JOULES, SEEN, Entry, Group, Row

MARKS = {"busy": "†", "throttled": "‡"}
SHORT = {"busy": "machine busy", "throttled": "clock lowered"}
TIMED = (
    *("efficiency.train_images_per_second", "efficiency.step_images_per_second", JOULES),
    *("efficiency.epoch_seconds", "efficiency.epoch_and_features_seconds"),
)
"""Figures that a busy machine or a lowered clock spoils."""
SHOWN = 6
"""Trials named in a sentence."""


def conditions(group: Group) -> list[str]:
    """Sentences on what all trials of a group had in common."""
    recipe = group.recipe
    seeds = sorted({entry.seed for entry in group.ok})
    counts: dict[str, int] = next((found for e in group.ok if (found := e.get("data.counts"))), {})
    precision = " and ".join(map(str, group.values("efficiency.precision")))
    facts = [
        *([f"{counts['test']:,} test images"] if counts.get("test") else []),
        f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds)) or 'none'}",
        *([group.budget] if group.budget else []),
        _batch(group),
        _length(group),
        precision or recipe["precision"],
    ]
    sentences = [
        "; ".join(facts) + ".",
        "The step with the best validation mR is tested, once."
        if recipe["track"] == "train"
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
        sentences.append(f"{more}: in the table of settings alone.")
    return sentences


def _batch(group: Group) -> str:
    """How many images a training batch had."""
    parts = group.recipe.get("accumulation", 1)
    if group.recipe.get("memory") is not None:
        return f"batch {_range([entry.batch_size * parts for entry in _trained(group)])}"
    words = f"batch {group.batch_size * parts}"
    if group.batch_size < (asked := group.recipe["batch_size"]):
        words += f" (all training images; the recipe's {asked} are more than those)"
    return words


def _length(group: Group) -> str:
    """How long the trainings were."""
    steps = group.recipe.get("steps")
    if group.recipe.get("time") is not None:
        return f"{_range([entry.record['curve'][-1]['step'] for entry in _trained(group)])} steps"
    return f"{steps} steps" if steps is not None else f"{group.recipe['epochs']:g} epochs"


def _trained(group: Group) -> list[Entry]:
    return [entry for entry in group.ok if entry.record["curve"]]


def _range(numbers: list[int]) -> str:
    """`64 to 512`, `64` where all are the same."""
    ends = sorted({min(numbers), max(numbers)}) if numbers else []
    return " to ".join(f"{number:,}" for number in ends) or "unknown"


def off_budget(group: Group) -> str:
    """A sentence on trials whose training took more or less than the budget; empty without any."""
    trials = [
        f"{row.label} seed {entry.seed} ({' '.join(str(warning).split())})"
        for row in group.every
        for entry in row.ok
        if (warning := entry.get("efficiency.budget_warning"))
    ]
    return f"Not within the time budget: {_listed(trials)}." if trials else ""


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
    if any(row.values(JOULES) for row in group.rows):
        sentences.append("J/image: the GPU's energy in training, validation included.")
    return sentences


def machine_words(group: Group) -> str:
    """On what machine the trials ran."""
    cpu = (group.values("environment.cpu") or ["unknown"])[0]
    return group.device if group.cuda else f"CPU ({cpu})"


def letters(group: Group) -> dict[str, str]:
    """A letter for everything that differs in the group, in the order of its rows."""
    parts = list(dict.fromkeys(part for row in group.rows for part in row.odd))
    return {part: letter(number) for number, part in enumerate(parts)}


def letter(number: int) -> str:
    """a, b, .. z, aa, ab and so on."""
    return (letter(number // 26 - 1) if number >= 26 else "") + chr(ord("a") + number % 26)


def legend(group: Group) -> str:
    """What the letters of the column `differs` mean, and what is usual; empty where none is."""
    meant = letters(group)
    if not meant:
        return ""
    names = [n for n in group.usual if any(part.startswith(f"{n} ") for part in meant)]
    usual = ", ".join(f"{name} {group.usual[name]}" for name in names)
    listed = "; ".join(f"{sign}: {part}" for part, sign in meant.items())
    return f"Differs from the group{f' ({usual})' if usual else ''}: {listed}."


def spoilt(row: Row, path: str) -> str:
    """The marks that a row's mean of a number needs: † busy machine, ‡ lowered GPU clock.

    Times are spoilt by both, a peak of CUDA memory by whoever else used the GPU.
    """
    timed, peak = path in TIMED, path == "efficiency.peak_memory_train_bytes"
    if not timed and not peak:
        return ""
    found = [e for e in row.ok if e.get(path) is not None]
    marks = [("busy", timed or peak, busy), ("throttled", timed, throttled)]
    return "".join(MARKS[k] for k, counts, of in marks if counts and any(of(e) for e in found))


def busy(entry: Entry) -> str:
    """In what way the machine was busy with something else; empty where its figures are sound.

    Busy windows that were left out of the rate spoil nothing.
    """
    words = []
    windows = entry.get("efficiency.busy_windows")
    if windows and entry.get("efficiency.disturbed") is not False:
        words.append(f"{windows} of {entry.get('efficiency.windows') or '?'} windows busy")
    if entry.get("efficiency.warning"):
        words.append(" ".join(str(entry.get("efficiency.warning")).split()))
    return "; ".join(words)


def throttled(entry: Entry) -> str:
    """In what way the GPU's clock was lowered; empty where it was not."""
    windows = entry.get("efficiency.throttled_windows")
    if not windows:
        return ""
    reasons = ", ".join(entry.get("efficiency.gpu_throttle_reasons") or ()).replace("_", " ")
    words = f"{windows} of {entry.get('efficiency.windows') or '?'} windows"
    return f"{words} ({reasons})" if reasons else words


def trained_on(group: Group) -> str:
    """What the mark of a backbone means that was trained on the data set of its table."""
    return (
        f"{SEEN} {group.backbone} was trained on the training images and captions of "
        f"{group.dataset} itself, so these figures are not comparable with those of backbones that "
        "were not."
    )


def footnotes(group: Group) -> dict[str, str]:
    """For each mark that stands in the group's tables, a sentence on what it means."""
    notes = {SEEN: trained_on(group)} if group.seen else {}
    for kind, of, about in (
        ("busy", busy, "the machine was busy with something else"),
        ("throttled", throttled, "the GPU lowered its clock"),
    ):
        trials: dict[str, list[str]] = {}
        for row in group.every:
            for entry in row.ok:
                if words := of(entry):
                    trials.setdefault(words, []).append(f"{row.label} seed {entry.seed}")
        if trials:
            listed = "; ".join(f"{words}: {_listed(named)}" for words, named in trials.items())
            notes[MARKS[kind]] = (
                f"{MARKS[kind]} {about}, so these figures are not comparable and never marked as "
                f"best or second ({listed})."
            )
    return notes


def short_footnotes(group: Group) -> list[str]:
    """A short sentence for each mark in the group's tables; the report's own names the trials."""
    notes = [trained_on(group)] if group.seen else []
    for kind, of, about in (
        ("busy", busy, "other processes used the machine"),
        ("throttled", throttled, "the GPU lowered its clock"),
    ):
        if any(of(entry) for row in group.every for entry in row.ok):
            why = "so that this figure is not comparable"
            notes.append(f"{MARKS[kind]} {about}, {why}; the report names the trials")
    if any(row.replaced for row in group.every):
        notes.append("Of a call with several learning rates the latest records are shown.")
    return notes


def replaced(group: Group) -> str:
    """A sentence on records that later ones of the same calls replace; empty without any."""
    older = "; ".join(f"{row.label}: {_older(row)}" for row in group.every if row.replaced)
    return f"Left out, because later records of the same calls exist: {older}." if older else ""


def _older(row: Row) -> str:
    """How many records of each learning rate a row's records replace: `3 at lr 0.006`."""
    counts = Counter(entry.lr for entry in row.replaced)
    return ", ".join(f"{n}" + ("" if lr is None else f" at lr {lr:g}") for lr, n in counts.items())


def _listed(trials: list[str]) -> str:
    more = len(trials) - SHOWN
    return ", ".join(trials[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def not_ok(group: Group) -> list[str]:
    """One line for each trial that did not end well."""
    lines = []
    for row in group.every:
        for entry in row.others:
            words = " ".join(str(entry.record.get("message") or "").split())[:200]
            status = entry.record["status"].replace("_", " ")
            lines.append(f"{row.label}, seed {entry.seed}: {status}{f': {words}' if words else ''}")
    return lines
