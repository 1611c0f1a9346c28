"""The plan of a benchmark from anyone's photographs: reading a folder, leaving out duplicates, giving out roles."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ndec_bench.atomic import write_text
from ndec_bench.errors import DataError, UsageError, os_errors
from ndec_bench.mini.dedup import TONE_LIMIT, compared, ways
from ndec_bench.mini.items import Item, Plan, copies_of, hard_item, numbered, plain_item, table
from ndec_bench.mini.likeness import TURNS, shared_parts, signature, small_grey
from ndec_bench.mini.sources import LONG_SIDE, Region, fitted, read_photo
from ndec_bench.printable import escaped
from ndec_bench.randomness import Stream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ndec_bench.progress import Progress

STAGE = "reading photographs"
FEWEST = 20
SHORTEST = 96
MOST_BYTES = 256 << 20
WANTED_COPIES, MOST_COPIES = 200, 8
# Block matching compares each with each; beyond this number the two signatures alone decide.
MOST_BLOCKS = 600
GROUP_ROLES = ("matched", "hard", "look-alike", "hard")
SINGLE_ROLES = ("matched", "plain", "halves", "matched", "distractor", "plain", "matched", "halves")


@dataclass(frozen=True)
class OwnPhoto:
    """One readable photograph of the user.

    Attributes
    ----------
    path, name
        The file, and its name relative to the folder: private.
    group
        First sub-folder, private; empty for files at the top.
    sha256
        Of the file.
    width, height
        Upright, in pixels.
    print, grey
        For the duplicate check.
    number
        Place among the photographs that are used; it stands for the name.
    """

    path: Path
    name: str
    group: str
    sha256: str
    width: int
    height: int
    print: NDArray[np.int16]
    grey: NDArray[np.uint8]
    number: int = -1

    def region(self, *grid: int) -> Region:
        """Return the cell of ``grid`` (columns, rows, column, row), or the whole."""
        return Region(self.path, f"photo {self.number}", *grid)


@dataclass(frozen=True)
class Register:
    """The pictures made of each file, and the files left out with the reason: private, for the user alone."""

    used: dict[str, str]
    skipped: tuple[tuple[str, str], ...]


def own_plan(folder: Path, out: Path, seed: int, progress: Progress) -> tuple[Plan, Register]:
    """Return the plan of a benchmark from the photographs in ``folder``, and what became of every file.

    The order and names of files do not matter, their content and sub-folders do. A sub-folder is a group of
    look-alikes and serves one part (test, training, background) alone.

    Raises
    ------
    DataError
        If the folder is missing or holds fewer than 20 distinct readable photographs.
    UsageError
        If ``out`` lies within ``folder``.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: is not a folder", hint="--photos takes a folder of pictures")
    if out.resolve().is_relative_to(folder.resolve()):
        raise UsageError(
            f"{out} lies within {folder}", hint="choose an --out elsewhere: the result would be read as photographs"
        )
    photos, skipped = _read_all(folder, progress)
    photos, repeated = _distinct(photos)
    skipped = sorted(skipped + repeated)
    if len(photos) < FEWEST:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in skipped[:3])
        raise DataError(
            f"{folder}: {len(photos)} distinct readable photographs found, {FEWEST} expected at least"
            f" ({len(skipped)} files left out{reasons and f', for example {reasons}'})",
            hint="add photographs, at best several of the same thing in a sub-folder",
        )
    items = _items(photos, seed)
    digest = hashlib.sha256("".join(sorted(photo.sha256 for photo in photos)).encode()).hexdigest()
    name = f"mini-photos-{digest[:8]}" + (f"-seed{seed}" if seed else "")
    ids = numbered(((item.folder, item.key) for item in items), f"own {digest} {seed}")
    donors = tuple(item.source for item in items if item.role == "background")
    register = Register(
        {
            photo.name: " ".join(ids[i.key] for i in items if getattr(i.source, "path", None) == photo.path)
            for photo in photos
        },
        tuple(skipped),
    )
    provenance: dict[str, object] = {
        "photographs": f"{len(photos)} of the user's own, {len(skipped)} files left out",
        "roles": "by SHA-256 of the files and the seed",
    }
    return Plan(name, items, ids, donors, provenance), register


def write_private_names(out: Path, register: Register) -> Path:
    """Write which file became which pictures to ``<out>.private_names.csv``, next to the split; return its path.

    It names private files: it must not be shared, and lies outside the split's folder for that reason.
    """
    rows = [(name, "used", ids) for name, ids in register.used.items()]
    rows += [(name, "left out", reason) for name, reason in register.skipped]
    target = out.with_name(out.name + ".private_names.csv")
    write_text(target, table(("file", "state", "ids_or_reason"), sorted(rows)))
    return target


def _read_all(folder: Path, progress: Progress) -> tuple[list[OwnPhoto], list[tuple[str, str]]]:
    # Links are not followed: a link to / would read the whole disk.
    names = sorted(
        os.path.relpath(Path(root, file), folder)
        for root, _, files in os.walk(folder, followlinks=False)
        for file in files
    )
    photos: list[OwnPhoto] = []
    skipped: list[tuple[str, str]] = []
    for n, name in enumerate(names):
        shown = name if name.isprintable() else escaped(name, len(name))
        try:
            photos.append(_read(folder / name, shown))
        except DataError as error:
            skipped.append((shown, error.message.removeprefix(f"{(folder / name).name}: ")))
        progress(STAGE, n + 1, len(names))
    return photos, skipped


def _read(path: Path, name: str) -> OwnPhoto:
    if path.is_symlink() or not path.is_file():
        raise DataError("a link or no regular file")
    with os_errors("cannot be read"):
        if path.stat().st_size > MOST_BYTES:
            raise DataError(f"more than {MOST_BYTES >> 20} MiB")
        content = hashlib.sha256(path.read_bytes()).hexdigest()
    pixels = read_photo(path, small=True)
    height, width = pixels.shape[:2]
    if min(height, width) < SHORTEST or max(height, width) > 4 * min(height, width):
        raise DataError(
            f"{width} x {height} pixels; at least {SHORTEST} on each side and no longer than 4 : 1 expected"
        )
    small = fitted(pixels)
    if int(small.max()) - int(small.min()) < 24:
        raise DataError("one plain colour")
    parts = Path(name).parts
    group = parts[0] if len(parts) > 1 else ""
    return OwnPhoto(path, name, group, content, width, height, signature(small), small_grey(small))


def _distinct(photos: list[OwnPhoto]) -> tuple[list[OwnPhoto], list[tuple[str, str]]]:
    """Return the photographs without repetitions, by SHA-256; of alike ones the largest stays."""
    ranked = sorted(photos, key=lambda photo: (-photo.width * photo.height, photo.sha256, photo.name))
    alike = _alike(ranked)
    kept: list[int] = []
    dropped: list[tuple[str, str]] = []
    for n, photo in enumerate(ranked):
        twin = next((k for k in kept if (k, n) in alike), None)
        if twin is None:
            kept.append(n)
        else:
            dropped.append((photo.name, f"repeats {ranked[twin].name} ({alike[twin, n]})"))
    by_content = sorted((ranked[n] for n in kept), key=lambda photo: photo.sha256)
    return [replace(photo, number=n) for n, photo in enumerate(by_content)], dropped


def _alike(photos: Sequence[OwnPhoto]) -> dict[tuple[int, int], str]:
    """Return the pairs of photographs, lower place first, that show the same, each with the first reason found."""
    if not photos:
        return {}
    tones = np.array([photo.print for photo in photos])
    found: dict[tuple[int, int], str] = {}
    for way in ways(tones, tones, TURNS):
        reason = f"same luma, {way.turn}" if way.limit == TONE_LIMIT else "same difference hash"
        for i, j in compared(way.first, way.second, way.limit, set()).suspects:
            if i < j:
                found.setdefault((i, j), reason)
    if len(photos) <= MOST_BLOCKS:
        for pair in shared_parts([photo.grey for photo in photos]):
            found.setdefault(pair, "shares a part")
    return found


def _items(photos: Sequence[OwnPhoto], seed: int) -> tuple[Item, ...]:
    units: dict[str, list[OwnPhoto]] = {}
    for photo in photos:
        units.setdefault(photo.group or photo.sha256, []).append(photo)
    # The order must not depend on names: a group is known by its first photograph.
    ordered = sorted(units.values(), key=lambda unit: unit[0].sha256)
    shuffled = Stream("ndec-mini own parts 1", seed).shuffled(ordered)
    background = _take(shuffled, max(3, len(photos) // 10))
    train = _take(shuffled, len(photos) * 15 // 100)
    items = [Item(f"background {p.number}", "background", p.region()) for unit in background for p in unit]
    for first, *others in train:
        key = f"train {first.number}"
        items.append(Item(key, "train", first.region()))
        items += [Item(f"train {p.number}", "train look-alike", p.region(), (), key, "same group") for p in others]
    return (*items, *_test_items(shuffled, seed))


def _take(units: list[list[OwnPhoto]], wanted: int) -> list[list[OwnPhoto]]:
    """Remove and return units until ``wanted`` photographs are together; small units first go to no one else."""
    taken: list[list[OwnPhoto]] = []
    # Singles before groups: groups are worth more in the test part.
    units.sort(key=lambda unit: len(unit) > 1)
    while units and sum(map(len, taken)) < wanted:
        taken.append(units.pop(0))
    return taken


def _test_items(units: Sequence[Sequence[OwnPhoto]], seed: int) -> list[Item]:
    singles = [unit[0] for unit in units if len(unit) == 1]
    roles: list[tuple[OwnPhoto, str, str]] = []
    for n, photo in enumerate(singles):
        role = SINGLE_ROLES[n % len(SINGLE_ROLES)]
        if role == "halves" and max(photo.width, photo.height) < 2 * LONG_SIDE * 2 // 3:
            role = "distractor"
        roles.append((photo, role, ""))
    for unit in units:
        if len(unit) > 1:
            for n, photo in enumerate(unit):
                partner = unit[n - n % len(GROUP_ROLES)]
                roles.append((photo, GROUP_ROLES[n % len(GROUP_ROLES)], f"matched {partner.number}"))
    matched = sum(role in ("matched", "halves") for _, role, _ in roles)
    copies = max(1, min(MOST_COPIES, -(-WANTED_COPIES // max(1, matched))))
    return [item for photo, role, partner in roles for item in _test_photo(photo, role, partner, copies, seed)]


def _test_photo(photo: OwnPhoto, role: str, partner: str, copies: int, seed: int) -> list[Item]:
    key, region = f"{role} {photo.number}", photo.region()
    why = "other photograph of the same group"
    match role:
        case "halves":
            return _halves(photo, copies, seed)
        case "matched":
            return _matched(key, region, copies, seed)
        case "hard":
            return [hard_item(key, region, partner, why, seed, "own ")]
        case "look-alike":
            return [Item(key, "look-alike", region, (), partner, why)]
        case "plain":
            return [plain_item(key, region, seed, "own ")]
        case _:
            return [Item(key, "distractor", region)]


def _matched(key: str, region: Region, copies: int, seed: int) -> list[Item]:
    reference = Item(key, "matched", region)
    return [reference, *copies_of(reference, copies, seed, "own ")]


def _halves(photo: OwnPhoto, copies: int, seed: int) -> list[Item]:
    """Return the items of a photograph cut in two that do not touch: a reference and a look-alike of it."""
    grid = (2, 1) if photo.width >= photo.height else (1, 2)
    items = _matched(f"matched {photo.number}", photo.region(*grid), copies, seed)
    second, why = photo.region(*grid, grid[0] - 1, grid[1] - 1), "other half of the same photograph"
    return [*items, hard_item(f"hard {photo.number}", second, f"matched {photo.number}", why, seed, "own ")]
