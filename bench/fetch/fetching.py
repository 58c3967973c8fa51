"""`bench data fetch`: say what will be downloaded, get each part from its first good source."""

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bench import UserError, data
from bench.console import say
from bench.data import Card
from bench.data.annotations import Absent
from bench.fetch import Fault, Full, download, place, status
from bench.fetch.sources import Part, Source
from bench.units import DOWNLOADS, format_bytes

if TYPE_CHECKING:
    from rich.console import Console

HIDDEN = ".fetching"
"""Folder beside the data that holds downloads until everything is in place."""


def run(card: Card, root: Path, file: Path | None, console: "Console") -> bool:
    """Fetch what is missing, or take it from `file`; returns whether the data set is complete.

    Raises UserError where something could not be had.
    """

    if card.kind == "synthetic":
        say(console, f"{card.name} is drawn by this package; there is nothing to fetch")
        return True
    before = status.look(card, root)
    for fault in before.faults if file is None else ():
        raise UserError(f"{fault}; nothing there is overwritten: move it away and fetch again")
    if file is not None:
        take(card, root, file, console)
    elif wanted := status.lacking(card, root, before):
        fetch(card, root, wanted, console)
    after = status.look(card, root)
    lines = status.lines(card, root, after)
    if after.complete:
        check = data.fetch_command(card, root).replace("fetch", "check", 1)
        lines.append(f"Next: {check}   (leaks between splits, shared captions)")
    else:
        lines += status.how(card, root, after)
    for line in lines:
        say(console, line)
    return after.complete


def announce(card: Card, root: Path, wanted: Sequence[Part]) -> list[str]:
    """Lines for the user: what will be downloaded, from whom, its licence, the free disk space.

    Raises Full where the known sizes do not fit.
    """
    folder = data.folder_of(card, root)
    licence = card.raw.get("licence") or "none stated"
    said = [f"Fetching {card.title} into {folder}   (licence: {licence})"]
    for part in wanted:
        source = part.sources[0]
        names = ", ".join(file.name for file in source.remotes)
        said.append(f"   {part.to}   {format_total([source])} from {source.owner} ({names})")
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    size, free = total([part.sources[0] for part in wanted]), shutil.disk_usage(there).free
    twice = format_bytes(2 * (size or 0), DOWNLOADS)
    needed = "" if size is None else f"about {twice} needed while unpacking, "
    said.append(f"   {needed}{format_bytes(free, DOWNLOADS)} free")
    download.room(there, 2 * (size or 0))
    return said


def total(sources: Sequence[Source]) -> int | None:
    """Bytes of all files of the sources, each file once; None where a size is not known."""
    sizes = [download.size(file) for file in {file for s in sources for file in s.remotes}]
    return None if None in sizes else sum(size or 0 for size in sizes)


def format_total(sources: Sequence[Source]) -> str:
    """The size of a download as text: `860 MB`."""
    size = total(sources)
    return "unknown size" if size is None else format_bytes(size, DOWNLOADS)


def fetch(card: Card, root: Path, wanted: Sequence[Part], console: "Console") -> None:
    """Get the wanted parts; raises UserError where one that trials need cannot be had."""
    folder = data.folder_of(card, root)
    for line in announce(card, root, wanted):
        say(console, line)
    command = data.fetch_command(card, root)
    with alone(folder, console):
        now = status.look(card, root)
        for part in status.lacking(card, root, now):  # another process may have fetched some
            try:
                say(console, _get(card, root, part, console))
            except Fault as fault:
                if not part.optional:
                    raise UserError(
                        f"{part.to} of {card.title} could not be had: {fault}; try again later "
                        "(it goes on where it stopped), or download it in a browser ("
                        f"{command.replace('data fetch', 'datasets', 1)} says where) and give it: "
                        f"{command} --from FILE"
                    ) from None
                say(console, f"{part.to}: left out ({fault})")
            except KeyboardInterrupt:
                say(console, f"stopped; the same command goes on: {command}")
                raise
        shutil.rmtree(folder / HIDDEN, ignore_errors=True)


def _get(card: Card, root: Path, part: Part, console: "Console") -> str:
    """Get a part from the first source that delivers it; returns a sentence for the user.

    Raises Fault, with the reason of each source, where none does.
    """
    faults = []
    hidden = data.folder_of(card, root) / HIDDEN
    for source in part.sources:
        key = "".join(file.url for file in source.remotes)
        own = hidden / hashlib.sha256(key.encode()).hexdigest()[:12]
        try:
            given = [download.download(file, own) for file in source.remotes]
        except Fault as fault:
            faults.append(f"{source.owner}: {fault}")
            continue
        try:
            checked = _put(card, root, part.to, given, console, source.val)
        except Fault as fault:
            faults.append(f"{source.owner}: {fault}")
            shutil.rmtree(own)
            continue
        exact = "checksum as on the card" if all(file.checked for file in source.remotes) else None
        words = exact or "no checksum is known, so it was checked by content alone"
        passed = f" (not from {'; '.join(faults)})" if faults else ""
        return f"{part.to}: {checked}, from {source.owner}; {words}{passed}"
    raise Fault("; ".join(faults))


def _put(
    card: Card,
    root: Path,
    to: str,
    given: Sequence[Path],
    console: "Console",
    val: int | str | None = None,
) -> str:
    """`place.put` with a progress bar; every error in the files becomes a Fault."""
    from rich.progress import Progress

    aside = data.folder_of(card, root) / HIDDEN / "new"
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"unpacking and checking {to}", total=None)

        def move(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        try:
            return place.put(place.Job(card, root, to, aside, move), given, val)
        except Full:
            raise
        except (UserError, Absent) as error:
            raise Fault(str(error)) from None


def take(card: Card, root: Path, file: Path, console: "Console") -> None:
    """Take the parts of the data set that a user's own file or folder contains."""
    if not file.exists():
        raise UserError(f"there is no {file}; --from is an archive, a file or a folder you have")
    folder = data.folder_of(card, root)
    parquet = sorted(file.rglob("*.parquet")) if file.is_dir() else []
    faults, used = [], False
    with alone(folder, console):
        for to in _layout(card):
            is_images = to == card.raw.get("images")
            complete = is_images and not status.look(card, root).missing
            if complete or (not is_images and (folder / to).exists()):
                continue
            try:
                checked = _put(card, root, to, parquet or [file], console)
                say(console, f"{to}: {checked}, from {file}")
            except Fault as fault:
                faults.append(f"{to}: {fault}")
                continue
            used = True
        shutil.rmtree(folder / HIDDEN, ignore_errors=True)
    if faults and not used:
        raise UserError(f"{file} was not used: {'; '.join(faults)}")


def _layout(card: Card) -> list[str]:
    """The parts of a data set, the annotation first; also of a card without sources."""
    names = [str(card.raw.get("annotation", ""))]
    if card.raw.get("scenes", {}).get("rule") == "files":
        names.append(str(card.raw["scenes"].get("folder", "")))
    names.append(str(card.raw["images"]))
    return [name for name in names if name and "{split}" not in name]


@contextmanager
def alone(folder: Path, console: "Console") -> Iterator[None]:
    """Lock a data set's folder, which is created if needed; waits while another process has it.

    Raises UserError where nothing can be written.
    """
    from filelock import FileLock, Timeout

    path = folder / ".fetching.lock"
    lock = FileLock(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0.5)
        except Timeout:
            say(console, f"another process is putting files into {folder}; waiting for it")
            lock.acquire()
    except OSError as error:
        raise UserError(
            f"nothing can be written to {folder} ({error.strerror or error}); allow it, or choose "
            "another folder with --data-root"
        ) from None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # before the release: a waiting process makes a new one
        lock.release()
        with suppress(OSError):
            folder.rmdir()  # if it is empty, because nothing was fetched
