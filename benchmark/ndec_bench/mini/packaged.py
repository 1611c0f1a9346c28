"""The plan of ``ndec-mini-1`` and its small form: packaged photographs and drawn scenes, by rule and seed."""

from __future__ import annotations

import hashlib
import importlib.util
import tomllib
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ndec_bench.errors import DataError
from ndec_bench.mini.items import Item, Plan, copies_of, hard_item, numbered, plain_item
from ndec_bench.mini.scenes import Scene
from ndec_bench.mini.sources import Region
from ndec_bench.randomness import Stream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ndec_bench.mini.items import Role
    from ndec_bench.mini.scenes import Change, Family
    from ndec_bench.mini.sources import Source

Size = Literal["small", "full"]
NAMES: dict[Size, str] = {"full": "ndec-mini-1", "small": "ndec-mini-1-small"}
PACKAGES = {"mvtb": ("mvtbdata", "images"), "skimage": ("skimage", "data")}
INSTALL = 'install the pictures, in a clone of the repository: python -m pip install ".[mini]"'

# How often each family is drawn, in the order of drawing.
MIX: tuple[Family, ...] = (
    "landscape", "still", "facade", "leaves", "meadow", "page", "landscape", "still", "facade", "leaves", "still",
    "landscape", "facade", "meadow",
)  # fmt: skip
# Ways in which a scene resembles another, in the order of use.
WAYS: tuple[Change, ...] = ("objects", "camera", "visit", "palette", "time", "visit", "palette")
# A flat page seen from another place or in other light is a copy of it; another page of its template is not.
WAYS_OF_PAGES: tuple[Change, ...] = ("objects", "visit", "palette")
REASONS: dict[str, str] = {
    "objects": "same layout and palette, other objects and textures",
    "camera": "same things from another place",
    "time": "same place at another time, from another place, in other light and weather",
    "visit": "same place at another time, from another place, with other things",
    "palette": "same kind and palette, other layout",
}
DONORS = 64


@dataclass(frozen=True)
class Counts:
    """How many units of each kind a size holds. ``small`` takes the first so many of what ``full`` holds."""

    scenes: int
    second_copies: int
    hard_on_matched: int
    targets: int
    look_alikes: int
    distractors: int
    plain: int
    train: int
    train_look_alikes: int
    background: int


COUNTS: dict[Size, Counts] = {
    "full": Counts(1380, 260, 1000, 1430, 420, 1620, 2450, 1000, 330, 470),
    "small": Counts(165, 0, 105, 130, 70, 565, 260, 120, 60, 90),
}


@dataclass(frozen=True)
class Photo:
    """One packaged photograph of the catalogue ``photos.toml``.

    Attributes
    ----------
    package, file, sha256
        Where it lies and the SHA-256 of its bytes.
    part
        ``test``, ``train`` or ``background``; a photograph serves one part alone.
    series
        Photographs of one scene share it.
    columns, rows, skip
        Grid of regions, and the cells left out because they show next to nothing.
    small
        Whether the small size uses it; the largest files are left out there.
    """

    package: str
    file: str
    sha256: str
    part: str
    series: str
    columns: int = 1
    rows: int = 1
    skip: tuple[int, ...] = ()
    small: bool = True

    def regions(self, path: Path) -> list[Region]:
        """Return the regions of the grid without the skipped cells, row by row."""
        cells = [n for n in range(self.columns * self.rows) if n not in self.skip]
        key = f"{self.package}:{self.file}"
        return [Region(path, key, self.columns, self.rows, n % self.columns, n // self.columns) for n in cells]


def catalogue() -> tuple[Photo, ...]:
    """Return the packaged photographs in the order of ``photos.toml``."""
    return tuple(Photo(**{**entry, "skip": tuple(entry.get("skip", ()))}) for entry in _table("photos.toml")["photo"])


def photo_path(photo: Photo) -> Path:
    """Return the file of a packaged photograph, without importing its package.

    Raises
    ------
    DataError
        If the package is not installed or lacks the file, or the file's SHA-256 is another.
    """
    module, folder = PACKAGES[photo.package]
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise DataError(f"the package {module} with photographs is not installed", hint=INSTALL)
    path = Path(spec.origin).parent / folder / photo.file
    if not path.is_file():
        raise DataError(f"{path}: missing from its package", hint=INSTALL)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != photo.sha256:
        raise DataError(
            f"{path}: SHA-256 {found[:16]}…, expected {photo.sha256[:16]}…",
            hint=f"another version of {photo.package} is installed; {INSTALL}",
        )
    return path


def packaged_plan(size: Size, seed: int = 0) -> Plan:
    """Return the plan of ``ndec-mini-1`` (``full``) or ``ndec-mini-1-small`` (``small``).

    Small is a part of full: the same pictures under the same ids, of each kind the first ones. Another ``seed``
    draws other scenes and edits from the same photographs and has a name of its own.

    Raises
    ------
    DataError
        If the packages with photographs are missing or hold other files.
    """
    full = _items("full", seed)
    ids = numbered(((item.folder, item.key) for item in full), f"ndec-mini-1 {seed}")
    items = full if size == "full" else _items("small", seed)
    name = NAMES[size] if seed == 0 else f"{NAMES[size]}-seed{seed}"
    expected: dict[str, str] = _table("digests.toml").get(name, {})
    return Plan(name, _by_source(items), ids, donors(seed), _provenance(size), expected)


def _items(size: Size, seed: int) -> list[Item]:
    counts, prefix = COUNTS[size], f"{seed}:" if seed else ""
    items = _photo_items(size, seed)
    items += _matched(counts, prefix, seed)
    items += _targets(counts, prefix, seed)
    items += [plain_item(f"plain {i}", _scene(prefix + "plain", i), seed) for i in range(counts.plain)]
    items += _originals("distractor", "distractor", prefix, counts.distractors)
    items += _originals("train", "train", prefix, counts.train)
    items += _originals("background", "background", prefix, counts.background)
    for i in range(counts.train_look_alikes):
        source = _look_alike(_scene(prefix + "train", i), i, 1)
        why = REASONS[source.change]
        items.append(Item(f"train look-alike {i}", "train look-alike", source, (), f"train {i}", why))
    return items


def _scene(part: str, number: int) -> Scene:
    return Scene(MIX[number % len(MIX)], part, number)


def _look_alike(scene: Scene, number: int, turn: int) -> Scene:
    ways = WAYS_OF_PAGES if scene.family == "page" else WAYS
    return replace(scene, change=ways[number % len(ways)], turn=turn)


def _originals(role: Role, part: str, prefix: str, count: int) -> list[Item]:
    return [Item(f"{part} {i}", role, _scene(prefix + part, i)) for i in range(count)]


def _matched(counts: Counts, prefix: str, seed: int) -> list[Item]:
    items: list[Item] = []
    for i in range(counts.scenes):
        key, scene = f"matched {i}", _scene(prefix + "matched", i)
        items.append(Item(key, "matched", scene))
        items += copies_of(items[-1], 1 + (i < counts.second_copies), seed)
        if i < counts.hard_on_matched:
            items.append(_hard_on(key, scene, i, seed))
        if i < counts.look_alikes:
            source = _look_alike(scene, i + 1, 2)
            items.append(Item(f"look-alike of {key}", "look-alike", source, (), key, REASONS[source.change]))
    return items


def _hard_on(reference: str, scene: Scene, number: int, seed: int) -> Item:
    source = _look_alike(scene, number, 1)
    return hard_item(f"hard on {reference}", source, reference, REASONS[source.change], seed)


def _targets(counts: Counts, prefix: str, seed: int) -> list[Item]:
    items: list[Item] = []
    for i in range(counts.targets):
        key, scene = f"target {i}", _scene(prefix + "target", i)
        items.append(Item(key, "target", scene))
        items.append(_hard_on(key, scene, i, seed))
    return items


def _photo_items(size: Size, seed: int) -> list[Item]:
    series: dict[tuple[str, str], list[Region]] = {}
    for photo in catalogue():
        if size == "full" or photo.small:
            regions = photo.regions(photo_path(photo))
            series.setdefault((photo.part, photo.series), []).extend(regions)
    items: list[Item] = []
    for (part, name), regions in series.items():
        if part == "test":
            items += _test_photos(name, regions, seed)
        elif part == "train":
            items += _train_photos(name, regions)
        else:
            items += [Item(f"background {name} {n}", "background", region) for n, region in enumerate(regions)]
    return items


def _test_photos(series: str, regions: Sequence[Region], seed: int) -> list[Item]:
    """Return the items of a series: of three pictures two are references with copies, the third a look-alike query.

    A picture alone in its series is a reference; every eighth of those is a plain distractor instead.
    """
    items: list[Item] = []
    latest = ""
    for n, region in enumerate(regions):
        key = f"photo {series} {_cell(region)}"
        if n % 3 == 1:
            same = "other region of the same photograph" if _one_file(regions) else "other photograph of the same scene"
            items.append(replace(hard_item(key, region, latest, same, seed), key=f"hard {key}"))
            continue
        if len(regions) == 1 and Stream("ndec-mini single", series).integer(0, 8) == 0:
            items.append(plain_item(f"plain {key}", region, seed))
            continue
        latest = key
        items.append(Item(key, "matched", region))
        items += copies_of(items[-1], 3, seed)
    return items


def _train_photos(series: str, regions: Sequence[Region]) -> list[Item]:
    items: list[Item] = []
    latest = ""
    for n, region in enumerate(regions):
        key = f"train photo {series} {_cell(region)}"
        if n % 2:
            items.append(Item(key, "train look-alike", region, (), latest, "same scene or place, other picture"))
        else:
            items.append(Item(key, "train", region))
            latest = key
    return items


def _cell(region: Region) -> str:
    return f"{Path(region.key.partition(':')[2]).stem} {region.column},{region.row}"


def _one_file(regions: Sequence[Region]) -> bool:
    return len({region.key for region in regions}) == 1


def donors(seed: int) -> tuple[Source, ...]:
    """Return the sources of the pictures that edits paste on or blend in: scenes that serve nothing else."""
    return tuple(_scene(f"{seed}:donor" if seed else "donor", i) for i in range(DONORS))


def _by_source(items: list[Item]) -> tuple[Item, ...]:
    groups: dict[object, list[Item]] = {}
    for item in items:
        groups.setdefault(getattr(item.source, "path", item.source), []).append(item)
    return tuple(item for group in groups.values() for item in group)


def _provenance(size: Size) -> dict[str, object]:
    used = [photo for photo in catalogue() if size == "full" or photo.small]
    return {
        "photographs": [f"{photo.package}:{photo.file}" for photo in used],
        "licences": {"mvtb": "MIT (mvtb-data 1.6.1)", "skimage": "BSD-3-Clause and per-file notes (scikit-image)"},
        "scenes": "drawn by ndec_bench.mini.scenes, Apache-2.0",
    }


def _table(name: str) -> dict[str, Any]:
    """Return the content of a TOML file of this package."""
    return tomllib.loads(resources.files("ndec_bench.mini").joinpath(name).read_text(encoding="utf-8"))
