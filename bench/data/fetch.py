"""`bench data fetch`: what a card has stable addresses for, downloaded, verified, unpacked.

Nothing is overwritten and nothing half-done gets a final name: a download grows in a hidden file
that the next call goes on with, an archive is unpacked into a hidden folder beside its place. One
process at a time works on a folder; the next one waits and finds what is there.
"""

import hashlib
import http.client
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from bench import UserError, data
from bench.data import Card, files, unpack

Progress = Callable[[str, int, int], None]
"""What is being fetched, bytes there, bytes in all."""
Say = Callable[[str], None]

BLOCK = 2**18
TIMEOUT = 30
"""Seconds without a byte after which a mirror is given up."""
TRIES = 4
"""Connections to one mirror in a row that may bring nothing new."""


class Fault(Exception):
    """Why a mirror did not serve a file."""


@dataclass(frozen=True)
class Part:
    """A file of a data set: where it goes below the set's folder, its mirrors and its hash."""

    to: str
    urls: tuple[str, ...]
    sha256: str
    bytes: int
    unpack: bool

    @property
    def unfinished(self) -> str:
        """The name of the download before it is whole; another version has another name."""
        return f".{self.sha256[:16]}.part"


def parts(card: Card) -> list[Part]:
    """The `[[fetch]]` tables of a card; raises UserError where one cannot be used."""
    found = []
    given = card.raw.get("fetch", [])
    for raw in given if isinstance(given, list) else [given]:
        part = raw if isinstance(raw, dict) else {}
        to, urls, pinned = part.get("to"), part.get("urls"), part.get("sha256")
        path = PurePosixPath(to) if isinstance(to, str) and to else PurePosixPath("..")
        fits = {
            "to": not path.is_absolute() and ".." not in path.parts and path.name != "",
            "urls": isinstance(urls, list)
            and bool(urls)
            and all(isinstance(url, str) and re.match("https?://", url) for url in urls),
            "sha256": isinstance(pinned, str) and bool(re.fullmatch("[0-9a-f]{64}", pinned)),
            "bytes": type(part.get("bytes")) is int and part["bytes"] > 0,
            "unpack": isinstance(part.get("unpack", False), bool),
        }
        for key, fit in fits.items():
            if not fit:
                raise UserError(
                    f"the card {card.name!r} has a [[fetch]] whose {key!r} cannot be used; "
                    "datasets/README.md says what belongs there"
                )
        assert isinstance(urls, list)
        found.append(
            Part(str(to), tuple(urls), str(pinned), part["bytes"], part.get("unpack", False))
        )
    return found


def fetch(
    card: Card, root: Path, progress: Progress = lambda *_: None, say: Say = lambda _: None
) -> list[str]:
    """Fetch what is not there yet; returns what was done, a line each. Raises UserError."""
    folder, told = data.folder_of(card, root), []
    for part in parts(card):
        place = folder / part.to
        if _there(place, part):
            told.append(f"{place} is there already and was left as it is")
            continue
        with _alone(folder, say):
            if _there(place, part):
                told.append(f"{place} was put there by another process")
                continue
            partial = folder / part.unfinished
            left = part.bytes - (partial.stat().st_size if partial.exists() else 0)
            free = shutil.disk_usage(folder).free
            if left > free:
                raise UserError(
                    f"{part.to} needs {left:,} more bytes, {free:,} are free in {folder}; make "
                    "room or choose another --data-root"
                )
            source = download(part, partial, progress)
            _settle(partial, place, part)
        told.append(f"{place} from {source}")
    return told


@contextmanager
def _alone(folder: Path, say: Say) -> Iterator[None]:
    """Hold the lock of a data set's folder, made if need be; waits for another process.

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
            say(f"another process is putting files into {folder}; waiting for it")
            lock.acquire()
    except OSError as error:
        raise UserError(
            f"nothing can be written to {folder} ({error.strerror or error}); allow it, or choose "
            "another --data-root"
        ) from None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is held: who waits notices
        lock.release()


def take(card: Card, root: Path, file: Path, say: Say = lambda _: None) -> list[str]:
    """Use a file that the user has: one that the card names by its hash, else what it looks like.

    Returns what was done, a line each. Raises UserError; nothing is overwritten.
    """
    if not file.is_file():
        raise UserError(f"there is no file {file}; --from is an archive or a file you downloaded")
    folder, known = data.folder_of(card, root), parts(card)
    if not known:
        with _alone(folder, say):
            return _place(card, folder, file)
    found = sha256(file)
    for part in known:
        if part.sha256 == found:
            place = folder / part.to
            if _there(place, part):
                return [f"{place} is there already and was left as it is"]
            with _alone(folder, say):
                if part.unpack:
                    _unpack(file, place)
                else:
                    _copy(file, place)
            return [f"{place} from {file}"]
    names = "; ".join(f"{part.to} ({part.bytes:,} bytes, sha256 {part.sha256})" for part in known)
    raise UserError(
        f"{file} ({file.stat().st_size:,} bytes, sha256 {found}) is none of the files of "
        f"{card.name}: {names}; fetch it again"
    )


def _there(place: Path, part: Part) -> bool:
    """Whether a part is in its place; raises UserError where something else is."""
    if not place.exists() and not place.is_symlink():
        return False
    if part.unpack:
        if place.is_dir() and any(place.iterdir()):
            return True
        raise UserError(f"{place} is no folder with files; move it away and fetch again")
    if place.is_file() and sha256(place) == part.sha256:
        return True
    raise UserError(
        f"{place} is another file than the card names, and is not overwritten; move it away and "
        "fetch again"
    )


# Downloading.


def download(part: Part, partial: Path, progress: Progress) -> str:
    """Bring `partial` to the whole file, mirror after mirror; returns the mirror that ended it.

    What a mirror has brought is kept for the next one and for the next call. Raises UserError
    where none brings the file that the card names.
    """
    faults = []
    for url in part.urls:
        for fresh in (False, True):
            resumed = partial.exists() and partial.stat().st_size > 0
            try:
                _from(url, part, partial, progress)
            except Fault as fault:
                faults.append(f"{url}: {fault}")
                break
            found = sha256(partial)
            if found == part.sha256:
                return url
            partial.unlink()
            if fresh or not resumed:  # else the wrong bytes may be an earlier mirror's
                faults.append(f"{url}: another file (sha256 {found}, card {part.sha256})")
                break
    raise UserError(
        f"{part.to} could not be fetched: {'; '.join(faults)}; try again later (what is there is "
        "kept), or get it elsewhere and give it with --from FILE"
    )


def _from(url: str, part: Part, partial: Path, progress: Progress) -> None:
    """Read on from where `partial` ends until it has its size; raises Fault."""
    idle = best = 0
    while True:
        start = partial.stat().st_size if partial.exists() else 0
        if start > part.bytes:
            partial.unlink()
            start = 0
        if start == part.bytes:
            return
        said = "the connection ended early"
        try:
            _read(url, part, partial, start, progress)
        except urllib.error.HTTPError as error:
            if error.code != 416:  # not of a range: nothing that another try mends
                raise Fault(f"HTTP {error.code} {error.reason}") from None
            partial.unlink(missing_ok=True)
            said = "it refuses to go on from where the download stopped"
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            said = str(getattr(error, "reason", error)) or type(error).__name__
        now = partial.stat().st_size if partial.exists() else 0
        best, idle = (now, 0) if now > max(best, start) else (max(best, start), idle + 1)
        if idle >= TRIES:
            raise Fault(f"{said}, after {now:,} of {part.bytes:,} bytes")


def _read(url: str, part: Part, partial: Path, start: int, progress: Progress) -> None:
    headers = {"User-Agent": "cmer-bench", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        place = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range") or "")
        if answer.status == 206 and place and int(place[1]) == start:
            mode = "ab"
        else:  # the server sends it from the beginning
            mode, start = "wb", 0
        with partial.open(mode) as file:
            done = start
            while block := answer.read(BLOCK):
                done += len(block)
                if done > part.bytes:
                    raise Fault(f"it sends more than the {part.bytes:,} bytes of the card")
                file.write(block)
                progress(part.to, done, part.bytes)


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# Putting in place.


def _settle(whole: Path, place: Path, part: Part) -> None:
    if part.unpack:
        _unpack(whole, place)
        whole.unlink()
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        whole.rename(place)


def _unpack(archive: Path, place: Path) -> None:
    """Unpack beside `place` and rename; an only folder at the top of the archive is taken off."""
    beside = _beside(place)
    try:
        unpack.unpack(archive, beside)
        inner = list(beside.iterdir())
        only = inner[0] if len(inner) == 1 and inner[0].is_dir() else beside
        only.rename(place)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _beside(place: Path) -> Path:
    """A hidden folder in the same file system; one that a killed call left is removed."""
    beside = place.with_name(f".{place.name}.unpacking")
    shutil.rmtree(beside, ignore_errors=True)
    beside.parent.mkdir(parents=True, exist_ok=True)
    return beside


def _copy(file: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.exists():
        raise UserError(f"{place} is there already and is not overwritten; move it away first")
    beside = place.with_name(f".{place.name}.copying")
    try:
        shutil.copyfile(file, beside)
        beside.rename(place)
    finally:
        beside.unlink(missing_ok=True)


def _place(card: Card, folder: Path, file: Path) -> list[str]:
    """Without a hash to go by: an annotation by its name, an archive by what is in it."""
    annotation, images = card.raw.get("annotation"), card.raw.get("images")
    unsure = "the card knows no checksum of it"
    if not unpack.is_archive(file):
        if file.name != annotation:
            raise UserError(
                f"{file} is neither an archive nor called {annotation!r}; {where(card, folder)}"
            )
        _copy(file, folder / str(annotation))
        return [f"{folder / str(annotation)} from {file}; {unsure}"]
    beside = _beside(folder / "archive")
    try:
        unpack.unpack(file, beside)
        wanted = {PurePosixPath(str(name)).parts[0] for name in (annotation, images) if name}
        wanted |= {str(card.raw.get("scenes", {}).get("folder", images))}
        base = _base(beside, wanted)
        if base is None:
            found = {path.parent for path in files.scan(beside)}
            if len(found) != 1:
                raise UserError(
                    f"{file} holds neither {' nor '.join(sorted(wanted))} nor one folder of "
                    f"images; {where(card, folder)}"
                )
            moves = {found.pop(): folder / str(images)}
        else:
            moves = {path: folder / path.name for path in base.iterdir() if path.name in wanted}
        for target in moves.values():
            if target.exists():
                raise UserError(
                    f"{target} is there already and is not overwritten; move it away first"
                )
        for source, target in sorted(moves.items()):
            source.rename(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return [f"{target} from {file}; {unsure}" for target in sorted(moves.values())]


def _base(beside: Path, wanted: set[str]) -> Path | None:
    """The folder nearest the top that holds one of the wanted names."""
    folders = [beside, *sorted((p for p in beside.rglob("*") if p.is_dir()), key=_depth)]
    return next((f for f in folders if any((f / name).exists() for name in wanted)), None)


def _depth(path: Path) -> tuple[int, str]:
    return len(path.parts), str(path)


# What a user is told.


def where(card: Card, folder: Path) -> str:
    """Where to get a data set and where to put it, as its card says."""
    put = str(card.raw.get("put", "")).replace(f"<data root>/{folder.name}", str(folder))
    return f"get it from {card.raw.get('source', 'its authors')}, {put}".rstrip(", ")


def steps(card: Card, root: Path) -> list[str]:
    """What to do by hand where a card has no address."""
    folder = data.folder_of(card, root)
    layout = [folder / str(card.raw[key]) for key in ("annotation", "images") if card.raw.get(key)]
    return [
        f"{card.raw.get('title', card.name)}: no stable address with a checksum is known, so it is "
        "fetched by hand:",
        f"1. {where(card, folder)[:1].upper()}{where(card, folder)[1:]}",
        f"2. so that these are there: {', '.join(map(str, layout))}",
        f"   (an archive you downloaded is unpacked by: bench data fetch {card.name} --from FILE)",
        f"3. bench data fetch {card.name} again says whether all is there; bench data check "
        f"{card.name} looks at every image",
    ]


def brief(card: Card, root: Path) -> tuple[bool, list[str]]:
    """Whether the published data is there, without a look into the images, and what to tell."""
    try:
        samples, notes = data.read(card, root)
        faults = data.faults(card, samples)
        found = data.find_images(card, root, samples)
    except UserError as error:
        return False, [f"not yet there: {error}"]
    said = [*faults, *notes, *found.notes]
    there = len(samples) - len(found.missing)
    said.append(f"{len(samples)} annotated images, {there} of them there")
    if found.missing:
        said.append(f"missing: {', '.join(found.missing[:3])}{', ...' * (len(found.missing) > 3)}")
    if card.test_hash is None:
        said.append(data.UNPINNED)
    complete = not faults and not found.missing
    said.append("complete" if complete else "not complete")
    return complete, said


def run(card: Card, root: Path, file: Path | None, console: Any) -> bool:
    """Fetch, or say how it is done by hand, with a progress bar; then check briefly."""
    from rich import progress

    if card.kind == "synthetic":
        console.print(f"{card.name} is drawn by this package; there is nothing to fetch")
        return True
    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(bar_width=20),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
    )
    told: list[str] = []
    with progress.Progress(*columns, console=console, transient=True) as bar:
        tasks: dict[str, progress.TaskID] = {}

        def move(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total, completed=done)
            bar.update(tasks[what], completed=done)

        def say(text: str) -> None:
            console.print(text, highlight=False, markup=False, soft_wrap=True)

        if file is not None:
            told = take(card, root, file, say)
        elif parts(card):
            told = fetch(card, root, move, say)
    complete, said = brief(card, root)
    if not told and not complete:
        told = steps(card, root)
    for line in [*told, *said]:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    return complete
