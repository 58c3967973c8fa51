"""`bench data fetch`: say what will be downloaded, get each part from its first good source.

`bench run` and `bench tune` use `with_data` to offer the same for a data set that is missing.
"""

import hashlib
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import typer
from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import Progress

from bench import UserError, at_home, data, disk
from bench.console import say
from bench.data import Card
from bench.data.annotations import Absent
from bench.fetch import Fault, download, place, status
from bench.fetch.sources import Part, Source
from bench.units import DOWNLOADS, format_bytes

HIDDEN = ".fetching"
"""Folder beside the data that holds downloads until everything is in place."""
Result = TypeVar("Result")


def run(card: Card, root: Path, file: Path | None, console: Console) -> bool:
    """Fetch what is missing, or take it from `file`; returns whether the data set is complete.

    Raises UserError if something cannot be had.
    """
    if card.kind == "synthetic":
        say(console, f"{card.name} is drawn by this package; there is nothing to fetch")
        return True
    fetcher = _Fetcher(card, root, console)
    before = status.read(card, root)
    if file is not None:
        fetcher.take(at_home(file))
    elif before.faults:
        raise UserError(f"{before.faults[0]}; move away what is there, then fetch again")
    elif parts := status.missing_parts(card, root, before):
        fetcher.fetch(parts)
    after = status.read(card, root)
    lines = status.lines(card, root, after)
    if after.complete:
        check = data.fetch_command(card, root, "check")
        lines.append(f"Next: {check}   (leaks between splits, shared captions)")
    else:
        lines += status.instructions(card, root, after)
    for line in lines:
        say(console, line)
    return after.complete


def with_data(make: Callable[[], Result], yes: bool, console: Console) -> Result:
    """Call `make`; if it raises data.Missing, fetch that data set and call it again.

    It is fetched if `yes` is set, or if the user at a terminal agrees; else data.Missing is raised.
    Raises UserError if it cannot be fetched.
    """
    tried = set[str]()
    while True:
        try:
            return make()
        except data.Missing as missing:
            card, root = missing.card, missing.root
            parts = status.missing_parts(card, root, status.read(card, root))
            if card.name in tried or not parts:  # it did not help, or the card has no sources
                raise
            if not yes:
                if not (sys.stdin.isatty() and sys.stdout.isatty()):
                    raise
                sources = [part.sources[0] for part in parts]
                owners = ", ".join(dict.fromkeys(source.owner for source in sources))
                size = _format_size(_size(sources))
                question = f"{card.title} ({size} from {owners}) is not in {root}. Fetch it now?"
                if not typer.confirm(question, default=True):
                    raise
            tried.add(card.name)
            run(card, root, None, console)


def _size(sources: Sequence[Source]) -> int | None:
    """Bytes of all files of the sources, each file once; None if a size is not known."""
    sizes = [download.size(file) for file in {file for s in sources for file in s.remotes}]
    return None if None in sizes else sum(size or 0 for size in sizes)


def _format_size(size: int | None) -> str:
    return "unknown size" if size is None else format_bytes(size, DOWNLOADS)


@dataclass(frozen=True)
class _Fetcher:
    """Bring the parts of a data set to its folder below `root`, and say so on the console."""

    card: Card
    root: Path
    console: Console

    @property
    def folder(self) -> Path:
        return data.folder_of(self.card, self.root)

    @property
    def command(self) -> str:
        return data.fetch_command(self.card, self.root)

    def fetch(self, parts: Sequence[Part]) -> None:
        """Get the parts; raises UserError if one that trials need cannot be had."""
        self._announce(parts)
        with _locked(self.folder, self.console):
            # While this process waited, another one may have fetched them.
            now = status.read(self.card, self.root)
            for part in status.missing_parts(self.card, self.root, now):
                try:
                    say(self.console, self._get(part))
                except Fault as fault:
                    if not part.optional:
                        where = self.command.replace("data fetch", "datasets", 1)
                        raise UserError(
                            f"{part.to} of {self.card.title} could not be fetched: {fault}; the "
                            f"same command goes on where it stopped, or download it yourself "
                            f"({where} says where): {self.command} --from FILE"
                        ) from None
                    say(self.console, f"{part.to}: left out ({fault})")
                except KeyboardInterrupt:
                    say(self.console, f"stopped; the same command goes on: {self.command}")
                    raise
            shutil.rmtree(self.folder / HIDDEN, ignore_errors=True)

    def take(self, file: Path) -> None:
        """Take the parts of the data set that a user's own file or folder contains."""
        if not file.exists():
            raise UserError(f"there is no {file}; give --from an archive, file or folder")
        files = (sorted(file.rglob("*.parquet")) if file.is_dir() else []) or [file]
        faults, used = [], False
        with _locked(self.folder, self.console):
            for to in self._missing():
                try:
                    say(self.console, f"{to}: {self._put(to, files)}, from {file}")
                    used = True
                except Fault as fault:
                    faults.append(f"{to}: {fault}")
            shutil.rmtree(self.folder / HIDDEN, ignore_errors=True)
        if faults and not used:
            raise UserError(f"{file} was not used: {'; '.join(faults)}")

    def _announce(self, parts: Sequence[Part]) -> None:
        """Say what will be downloaded, from whom, its licence, and the free disk space.

        Raises disk.NoRoom if the known sizes do not fit.
        """
        folder = self.folder
        licence = self.card.raw.get("licence") or "none stated"
        say(self.console, f"Fetching {self.card.title} into {folder}   (licence: {licence})")
        sources = [part.sources[0] for part in parts]
        for part, source in zip(parts, sources, strict=True):
            names = ", ".join(file.name for file in source.remotes)
            size = _format_size(_size([source]))
            say(self.console, f"   {part.to}   {size} from {source.owner} ({names})")
        needed = 2 * (_size(sources) or 0)  # the archive and its content
        unpacking = f"about {_format_size(needed)} needed while unpacking, " if needed else ""
        say(self.console, f"   {unpacking}{_format_size(disk.free_bytes(folder))} free")
        disk.demand_room(folder, needed, download.ELSEWHERE)

    def _get(self, part: Part) -> str:
        """Get a part from the first source that delivers it; returns a sentence for the user.

        Raises Fault, with the reason of each source, if none does.
        """
        faults = []
        for source in part.sources:
            key = "".join(file.url for file in source.remotes)
            folder = self.folder / HIDDEN / hashlib.sha256(key.encode()).hexdigest()[:12]
            files = None
            try:
                files = [download.download(file, folder) for file in source.remotes]
                checked = self._put(part.to, files, source.val)
            except Fault as fault:
                faults.append(f"{source.owner}: {fault}")
                if files is not None:  # downloaded completely, but wrong: resuming cannot help
                    shutil.rmtree(folder)
                continue
            comparison = "no checksum is known, so it was checked by content alone"
            if all(file.sha256 or file.git_blob for file in source.remotes):
                comparison = "checksum as on the card"
            failed = f" (not from {'; '.join(faults)})" if faults else ""
            return f"{part.to}: {checked}, from {source.owner}; {comparison}{failed}"
        raise Fault("; ".join(faults))

    def _put(self, to: str, files: Sequence[Path], val: int | str | None = None) -> str:
        """`place.put` with a progress bar; every error in the files becomes a Fault."""
        hide = not self.console.is_terminal
        with Progress(console=self.console, transient=True, disable=hide) as bar:
            task = bar.add_task(f"unpacking and checking {to}", total=None)
            move = lambda done, of: bar.update(task, completed=done, total=of)  # noqa: E731
            job = place.Job(self.card, self.root, to, self.folder / HIDDEN / "new", move)
            try:
                return place.put(job, files, val)
            except disk.NoRoom:  # no other source would help
                raise
            except (UserError, Absent) as error:
                raise Fault(str(error)) from None

    def _missing(self) -> Iterator[str]:
        """The parts that are not there, the annotation first; also of a card without sources."""
        raw, scenes = self.card.raw, self.card.raw.get("scenes", {})
        lists = scenes.get("folder") if scenes.get("rule") == "files" else None
        for name in filter(None, (raw.get("annotation"), lists)):
            if "{split}" not in name and not (self.folder / name).exists():
                yield name
        if status.read(self.card, self.root).missing:  # now that the annotation may be there
            yield str(raw["images"])


@contextmanager
def _locked(folder: Path, console: Console) -> Iterator[None]:
    """Lock a data set's folder, which is created if needed; waits while another process has it.

    Raises UserError if nothing can be written.
    """
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
        raise disk.NoRoom(folder, error, download.ELSEWHERE) from None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # before the release: a waiting process makes a new one
        lock.release()
        with suppress(OSError):
            folder.rmdir()  # if it is empty, because nothing was fetched
