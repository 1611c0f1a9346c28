"""The items of a benchmark before any pixel is drawn: source, edits, role, partner and id of each picture."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from ndec_bench.edits import EditStep, sample_chain
from ndec_bench.mini.scenes import Scene
from ndec_bench.randomness import Stream, key_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ndec_bench.mini.sources import Source

Folder = Literal["queries", "references", "train", "background"]
Role = Literal[
    "copy", "plain", "hard", "matched", "target", "look-alike", "distractor", "train", "train look-alike", "background"
]

LETTERS: dict[Folder, tuple[str, int]] = {
    "queries": ("Q", 5), "references": ("R", 6), "train": ("T", 6), "background": ("B", 6),
}  # fmt: skip

# One mild edit, as a shared picture has met one: for every second hard negative and every twelfth copy and distractor.
MILD_KINDS = ("crop", "aspect", "tone", "saturation", "gamma", "jpeg", "shrink")
MILD_STRENGTH = (0.0, 0.3)
# Numbers of edits in a chain, each as likely as it is frequent here; a strength is the lower of two uniform draws.
LENGTHS = (1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 4)


@dataclass(frozen=True)
class Item:
    """One picture of the benchmark.

    Attributes
    ----------
    key
        Name within the plan; ids follow from it.
    role
        What it is for.
    source
        What it shows.
    chain
        Edits; empty for an original.
    partner
        Key of the reference that a copy was made from or a look-alike resembles; empty for others.
    why
        For look-alikes: in what way it resembles its partner.
    """

    key: str
    role: Role
    source: Source
    chain: tuple[EditStep, ...] = ()
    partner: str = ""
    why: str = ""

    @property
    def folder(self) -> Folder:
        """Return the folder of images it belongs to."""
        if self.role in ("copy", "plain", "hard"):
            return "queries"
        if self.role in ("train", "train look-alike"):
            return "train"
        return "background" if self.role == "background" else "references"


@dataclass(frozen=True)
class Plan:
    """All items of a benchmark with their ids.

    Attributes
    ----------
    name
        Name of the split.
    items
        In the order of making: items of one source follow one another.
    ids
        Key to id.
    donors
        Sources of the pictures that edits need, for the test part.
    provenance
        What the pictures are, for ``split.json``.
    expected
        Digest per group that the build must reach; empty where none is known.
    """

    name: str
    items: tuple[Item, ...]
    ids: dict[str, str]
    donors: tuple[Source, ...]
    provenance: dict[str, object] = field(default_factory=dict)
    expected: dict[str, str] = field(default_factory=dict)

    def path(self, item: Item) -> str:
        """Return the path of an item's picture, relative to the split's folder."""
        return f"images/{item.folder}/{self.ids[item.key]}.png"

    def sha256(self) -> str:
        """Return the SHA-256 (hex) over all items: what decides about the pixels, without private file names."""
        digest = hashlib.sha256(self.name.encode())
        for item in self.items:
            steps = [step.as_json() for step in item.chain]
            row = [self.ids[item.key], item.role, described(item.source), steps, item.partner, item.why]
            digest.update(json.dumps(row, sort_keys=True).encode() + b"\n")
        return digest.hexdigest()


def described(source: Source) -> str:
    """Return one line that names a source and nothing private."""
    if isinstance(source, Scene):
        return f"scene {source.part} {source.family} {source.number} {source.change} {source.turn}"
    return f"{source.key} {source.columns}x{source.rows} {source.column},{source.row}"


def numbered(keys: Iterable[tuple[Folder, str]], salt: str) -> dict[str, str]:
    """Return key to id. Numbers follow a hash of the keys, so that an id tells nothing about a picture."""
    ids: dict[str, str] = {}
    count: dict[Folder, int] = {}
    for folder, key in sorted(keys, key=lambda entry: (key_of(salt, entry[1]), entry[1])):
        letter, digits = LETTERS[folder]
        ids[key] = f"{letter}{count.get(folder, 0):0{digits}d}"
        count[folder] = count.get(folder, 0) + 1
    return ids


def query_chain(seed: int, key: str) -> tuple[EditStep, ...]:
    """Return the edits of a copy or plain distractor: the same distribution for both, so that edits tell nothing."""
    stream = Stream("ndec-mini edits 1", seed, key)
    if stream.unit() < 1 / 12:
        return _mild(stream)
    length = stream.choice(LENGTHS)
    return sample_chain(stream, length, min_edits=length, lowest_of=2)


def hard_chain(seed: int, key: str) -> tuple[EditStep, ...]:
    """Return the edits of a hard negative: none for every second, one mild edit for the others."""
    stream = Stream("ndec-mini edits 1", seed, key)
    return () if stream.unit() < 0.5 else _mild(stream)


def _mild(stream: Stream) -> tuple[EditStep, ...]:
    return sample_chain(stream, 1, kinds=MILD_KINDS, strength=MILD_STRENGTH)


def plain_item(key: str, source: Source, seed: int, salt: str = "") -> Item:
    """Return a plain distractor: edited as copies are, of no reference."""
    return Item(key, "plain", source, query_chain(seed, salt + key))


def hard_item(key: str, source: Source, partner: str, why: str, seed: int, salt: str = "") -> Item:
    """Return a hard negative that resembles ``partner``, in the way that ``why`` says."""
    return Item(key, "hard", source, hard_chain(seed, salt + key), partner, why)


def copies_of(reference: Item, count: int, seed: int, salt: str = "") -> list[Item]:
    """Return ``count`` edited copies of ``reference``; ``salt`` keeps their edits apart from those of other plans."""
    keys = [f"copy {n} of {reference.key}" for n in range(count)]
    return [Item(key, "copy", reference.source, query_chain(seed, salt + key), reference.key) for key in keys]


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a CSV text with LF line ends."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return file.getvalue()
