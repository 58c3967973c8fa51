"""How figures came about: what differs in a group, busy machines, GPUs with a lowered clock."""

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


def letters(one: Group) -> dict[str, str]:
    """A letter for everything that differs in the group, in the order of its rows."""
    parts = list(dict.fromkeys(part for row in one.rows for part in row.odd))
    return {part: letter(number) for number, part in enumerate(parts)}


def letter(number: int) -> str:
    """a, b, .. z, aa, ab and so on."""
    return (letter(number // 26 - 1) if number >= 26 else "") + chr(ord("a") + number % 26)


def legend(one: Group) -> str:
    """What the letters of the column `differs` mean, and what is usual; empty where none is."""
    meant = letters(one)
    if not meant:
        return ""
    names = list(dict.fromkeys(n for n in one.usual if any(p.startswith(f"{n} ") for p in meant)))
    usual = ", ".join(f"{name} {one.usual[name]}" for name in names)
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


def trained_on(one: Group) -> str:
    """What the mark of a backbone means that was trained on the data set of its table."""
    return (
        f"{SEEN} {one.backbone} was trained on the training images and captions of {one.dataset} "
        "itself, so these figures are not comparable with those of backbones that were not."
    )


def short_footnotes(one: Group) -> list[str]:
    """A short sentence for each mark in the group's tables; the report's own names the trials."""
    notes = [trained_on(one)] if one.seen else []
    for kind, of, about in (
        ("busy", busy, "other processes used the machine"),
        ("throttled", throttled, "the GPU lowered its clock"),
    ):
        if any(of(entry) for row in one.every for entry in row.ok):
            why = "so that this figure is not comparable"
            notes.append(f"{MARKS[kind]} {about}, {why}; the report names the trials")
    if any(row.replaced for row in one.every):
        notes.append("Of a call with several learning rates the latest records are shown.")
    return notes


def footnotes(one: Group) -> list[str]:
    """A sentence for each mark that stands in the group's tables, and one on records left out."""
    notes = [trained_on(one)] if one.seen else []
    for kind, of, about in (
        ("busy", busy, "The machine was busy with something else"),
        ("throttled", throttled, "The GPU lowered its clock"),
    ):
        found: dict[str, list[str]] = {}
        for row in one.every:
            for entry in row.ok:
                if words := of(entry):
                    found.setdefault(words, []).append(f"{row.label} seed {entry.seed}")
        listed = "; ".join(f"{words}: {_listed(trials)}" for words, trials in found.items())
        if listed:
            such = "so these figures are not comparable, and never marked as best or second"
            notes.append(f"{MARKS[kind]} {about}, {such}: {listed}.")
    if older := "; ".join(f"{row.label}: {_older(row)}" for row in one.every if row.replaced):
        notes.append(f"Not in the tables, for there are later records of the same calls: {older}.")
    return notes


def _older(row: Row) -> str:
    """How many records of each learning rate a row's records replace: `3 at lr 0.006`."""
    counts = Counter(entry.lr for entry in row.replaced)
    return ", ".join(f"{n}" + ("" if lr is None else f" at lr {lr:g}") for lr, n in counts.items())


def _listed(trials: list[str]) -> str:
    more = len(trials) - SHOWN
    return ", ".join(trials[:SHOWN]) + (f" and {more} more" if more > 0 else "")
