"""What a download would fetch, how much it is and what is there already.

Nothing is asked of the network for that, unless estimates would refuse a download: `measured` asks for true sizes.
"""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from ndec_bench.data import layouts
from ndec_bench.data.registry import Licence, RemoteFile, Source, image_sets, licences
from ndec_bench.data.trust import read_trust
from ndec_bench.download.sources import from_first, mirror_of, places, shown
from ndec_bench.errors import DataError, MissingDataError, NetworkError

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence
    from pathlib import Path

    from ndec_bench.download.exchange import Policy
    from ndec_bench.download.links import Links

State = Literal["missing", "partial", "present"]

RESERVE = 1 << 30
"""Bytes of disk that a download leaves free: indexes, the trust file, and whatever else the machine writes."""
_AT_ONCE = 8
_TRIES = 2


@dataclass(frozen=True)
class Planned:
    """One file of a plan.

    Attributes
    ----------
    file
        What the registry says of it.
    path
        Where it will lie.
    state
        ``present`` at its place, ``partial`` where a download was begun, else ``missing``.
    done
        Bytes of it on disk.
    held
        Where its images are instead, unpacked; None where they are not.
    """

    file: RemoteFile
    path: Path
    state: State
    done: int
    held: Path | None = None

    @property
    def left(self) -> int:
        """Return the bytes still to be fetched, by the size the registry gives."""
        return 0 if self.state == "present" or self.held else max(self.file.bytes - self.done, 0)


@dataclass(frozen=True)
class Plan:
    """Files of a download with their sizes and terms, and the disk they go to.

    Attributes
    ----------
    root
        Data root.
    files
        In the order of the registry.
    disk_free
        Bytes free where ``root`` is or will be.
    accepted
        Keys of licences that were accepted before.
    pieces
        What is taken out of remote archives, single pictures or the beginning, each as if it were a file.
    notes
        Why unpacked images are not used in place of archives, one sentence per image set.
    """

    root: Path
    files: tuple[Planned, ...]
    disk_free: int
    accepted: frozenset[str]
    pieces: tuple[Planned, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[Planned, ...]:
        """Return whole files, then pieces."""
        return self.files + self.pieces

    @property
    def bytes_total(self) -> int:
        """Return the size of everything, what is present and estimates included."""
        return sum(planned.file.bytes for planned in self.all)

    @property
    def bytes_left(self) -> int:
        """Return the bytes still to be fetched."""
        return sum(planned.left for planned in self.all)

    @property
    def bytes_exact(self) -> bool:
        """Return whether no size is an estimate."""
        return all(planned.file.bytes_exact for planned in self.all)

    @property
    def missing(self) -> tuple[Planned, ...]:
        """Return what is still to be fetched."""
        return tuple(planned for planned in self.all if planned.state != "present" and planned.held is None)

    @property
    def fits(self) -> bool:
        """Return whether what is left and `RESERVE` fit on the disk."""
        return not self.bytes_left or self.bytes_left + RESERVE <= self.disk_free

    @property
    def licences(self) -> tuple[Licence, ...]:
        """Return the licences of the files, each once, by key."""
        return tuple(licences()[key] for key in sorted({planned.file.licence for planned in self.all}))

    @property
    def to_accept(self) -> tuple[Licence, ...]:
        """Return the licences of files still to be fetched that must be accepted and were not."""
        wanted = {planned.file.licence for planned in self.missing} - self.accepted
        return tuple(licence for licence in self.licences if licence.consent and licence.key in wanted)

    def seconds(self, rate: float) -> float:
        """Return how long the rest takes at ``rate`` bytes per second."""
        return self.bytes_left / rate


def plan(files: Sequence[RemoteFile], root: Path, *, pieces: Sequence[Planned] = ()) -> Plan:
    """Return the plan to have ``files`` under ``root``, and ``pieces`` with them.

    Raises
    ------
    DataError
        If the trust file there, or the list of folders that were taken in, is damaged; or a link to a file leads
        nowhere.
    """
    notes: list[str] = []
    sets = {(file.dataset, file.part) for file in files if file.images is not None or file.unpack != "none"}
    held = {name: _held(name, root, notes) for name in sorted(sets)}
    return Plan(
        root=root,
        pieces=tuple(pieces),
        files=tuple(_planned(file, root, held.get((file.dataset, file.part))) for file in files),
        disk_free=disk_free(root),
        accepted=frozenset(read_trust(root).licences_accepted),
        notes=tuple(notes),
    )


def _planned(file: RemoteFile, root: Path, held: Path | None) -> Planned:
    path = file.path(root)
    if held is not None:
        return Planned(file, path, "missing", 0, held)
    if path.is_symlink() and not path.exists():
        raise MissingDataError(
            f"{path}: leads to {path.readlink()}, which is not there", hint="mount its disk, or remove the link"
        )
    if path.is_file():
        size = path.stat().st_size
        known = {} if file.bytes_exact else {"bytes": max(size, 1), "bytes_exact": True}
        return Planned(file.model_copy(update=known), path, "present", size)
    part = part_of(path)
    if part.is_file():
        return Planned(file, path, "partial", part.stat().st_size)
    return Planned(file, path, "missing", 0)


def _held(name: tuple[str, str], root: Path, notes: list[str]) -> Path | None:
    """Return the folder that has all images of a set unpacked; None if there is none, with a note if it has some."""
    # A file knows the part it was asked for as; NDEC's references are kept as DISC21's, under the same part.
    holding = layouts.find(root, *name)
    if holding is None or holding.kind != "folder" or holding.gone:
        return None
    try:
        found, expected = len(layouts.open_set(root, *name).ids), image_sets()[name].images
    except DataError as error:
        notes.append(f"{error.message}: the archives are used")
        return None
    if found >= expected:
        return holding.paths[0]
    counts = f"{found:,} of {expected:,} images are unpacked in {holding.paths[0]}"
    notes.append(f"{' '.join(name)}: {counts}, which is not all: the archives are used")
    return None


def measured(plan: Plan, *, links: Links | None, policy: Policy, stop: threading.Event) -> Plan:
    """Return ``plan`` with the true size of each file still to be fetched whose size was an estimate.

    One byte of each is asked for. A file whose sources do not answer, or cannot tell, keeps its estimate.

    Raises
    ------
    InterruptedRun
        If ``stop`` is set.
    """

    def one(planned: Planned) -> Planned:
        if planned.file.bytes_exact or planned not in plan.missing:
            return planned
        try:
            size, *_ = from_first(planned.file, lambda source: source.reader(stop).size, policy=patience, links=links)
        except NetworkError:
            return planned
        exact = {"bytes": size, "bytes_exact": True} if size else {}
        return replace(planned, file=planned.file.model_copy(update=exact))

    patience = replace(policy, attempts=min(policy.attempts, _TRIES))
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="measure") as pool:
        return replace(plan, files=tuple(pool.map(one, plan.files)))


def part_of(path: Path) -> Path:
    """Return where the file ``path`` grows while it is fetched."""
    return path.with_name(f"{path.name}.part")


def disk_free(root: Path) -> int:
    """Return the bytes free to this user on the disk where ``root`` lies, or will lie once it is made."""
    place = root.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    return shutil.disk_usage(place).free


def plan_json(plan: Plan, *, rate: float) -> dict[str, object]:
    """Return ``plan`` as JSON is to show it: files with their sources in order, totals, disk, licences, time."""
    return {
        "root": str(plan.root),
        "files": [_file_json(planned) for planned in plan.all],
        "bytes_total": plan.bytes_total,
        "bytes_left": plan.bytes_left,
        "bytes_exact": plan.bytes_exact,
        "disk_needed": plan.bytes_left + RESERVE if plan.bytes_left else 0,
        "disk_free": plan.disk_free,
        "fits": plan.fits,
        "rate_bytes_per_second": rate,
        "seconds": round(plan.seconds(rate)),
        "licences": [licence.model_dump() for licence in plan.licences],
        "licences_to_accept": [licence.key for licence in plan.to_accept],
    }


def _file_json(planned: Planned) -> dict[str, object]:
    file = planned.file
    return {
        "name": file.name,
        "dataset": file.dataset,
        "part": file.part,
        "sources": [_source_json(file, source) for source in file.sources],
        "bytes": file.bytes,
        "bytes_exact": file.bytes_exact,
        "sha256": file.sha256,
        "licence": file.licence,
        "images": file.images,
        "optional": file.optional,
        "path": str(planned.path),
        "state": planned.state,
        "bytes_done": planned.done,
        "held": None if planned.held is None else str(planned.held),
    }


def _source_json(file: RemoteFile, source: Source) -> dict[str, object]:
    mirror = mirror_of(source)
    if mirror is None:
        return {"source": source.kind, "url": source.url}
    return {"source": source.kind, "url": shown(places(mirror, file, source)[0]), "mirror": True}
