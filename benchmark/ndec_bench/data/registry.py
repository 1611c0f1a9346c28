"""The files of NDEC, DISC21 and the baselines as data: names, sources, sizes, digests, licences, content.

``registry.toml`` next to this module is the one place for these facts; here they become checked records.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files as resources
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from ndec_bench.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

META_HOST = "https://dl.fbaipublicfiles.com/"
HUGGINGFACE_HOST = "https://huggingface.co/"
DRIVE_HOST = "https://drive.google.com/"

SourceKind = Literal["huggingface", "gdrive", "meta", "web"]
Unpack = Literal["none", "zip", "tar", "tar-chunk"]
_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

_DISC21 = ("dev-queries", "final-queries", "references", "training")

PARTS: Mapping[str, Mapping[str, tuple[tuple[str, str], ...]]] = {
    "ndec": {
        "ground-truth": (("ndec", "ground-truth"), ("disc21", "dev-ground-truth")),
        "queries": (("ndec", "queries"),),
        "references": (("disc21", "references"),),
        "negative-pairs": (("ndec", "negative-pairs"),),
        "training": (("disc21", "training"),),
    },
    "disc21": {
        "ground-truth": (("disc21", "dev-ground-truth"), ("disc21", "final-ground-truth")),
        **{part: (("disc21", part),) for part in _DISC21},
    },
}
"""What users ask for: data set and part to the (data set, part) of the files that make it up. NDEC's references and
training images are DISC21's, and from the ground truth of DISC21 dev that of NDEC can be derived."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Record):
    """One place a file can be had from.

    Attributes
    ----------
    kind
        ``huggingface``, ``gdrive``, ``meta`` or ``web``.
    url
        Address as a person would open it; of Hugging Face with the pinned revision.
    address
        What the registry says after the kind: ``datasets/OWNER/NAME@REVISION/PATH``, a Drive id, a path on Meta's
        host, or a URL.
    """

    kind: SourceKind
    url: str
    address: str


class Licence(_Record):
    """Terms of files: name, where they can be read, what they come to, and whether one must agree before a download."""

    key: str
    title: str
    url: str
    summary: str
    consent: bool = False


class ImageSet(_Record):
    """The images of one part: where they lie when unpacked, how their ids look, how many there are.

    ``id`` is a pattern for the whole id; None where names follow no rule. ``first`` is the number of the first id where
    the numbers run without a gap, else None.
    """

    dataset: str
    part: str
    folder: str
    id: str | None = None
    first: int | None = None
    images: int


class RemoteFile(_Record):
    """One file that can be downloaded.

    Attributes
    ----------
    name, dataset, part
        Name on disk; the data set and part it belongs to. Of weights, ``part`` is the name users give.
    baselines
        Of weights, names of the baselines that need them, which users may give as well.
    bytes, bytes_exact
        Size, and whether it is known or estimated.
    sha256
        Published digest (hex); None where nobody publishes one.
    licence
        Key into `licences`.
    unpack
        What it is: ``zip``, ``tar``, ``tar-chunk`` (part of a tar that was split into raw pieces) or ``none``.
    images
        Images in it; None where it holds none, or as a chunk no whole number.
    ground_truth
        Known split whose ground truth it must be; None for other files.
    optional
        Whether a run goes on without it, with a note.
    aliases
        Other names under which it is published, compared with `same_name`.
    sources
        Where to get it, in order of preference.
    """

    name: str
    dataset: Literal["ndec", "disc21", "weights"]
    part: str
    baselines: tuple[str, ...] = ()
    bytes: Annotated[int, Field(gt=0)]
    bytes_exact: bool = True
    sha256: _Sha256 | None = None
    licence: str
    unpack: Unpack = "none"
    images: int | None = None
    ground_truth: str | None = None
    optional: bool = False
    aliases: tuple[str, ...] = ()
    sources: Annotated[tuple[Source, ...], Field(min_length=1)]

    @property
    def key(self) -> str:
        """Return the path under a data root, with slashes; in records it names the file."""
        return f"{self.dataset}/{self.name}"

    def path(self, root: Path) -> Path:
        """Return where the file lies under the data root ``root``."""
        return root / self.dataset / self.name


def remote_files() -> tuple[RemoteFile, ...]:
    """Return all files of the registry, in its order."""
    return _registry().files


def shards(dataset: str, part: str) -> tuple[RemoteFile, ...]:
    """Return the files that make up the part of a data set, in the order of the registry."""
    return tuple(file for file in remote_files() if (file.dataset, file.part) == (dataset, part))


def image_sets() -> Mapping[tuple[str, str], ImageSet]:
    """Return the image sets by (dataset, part)."""
    return _registry().image_sets


def licences() -> Mapping[str, Licence]:
    """Return the licences by key."""
    return _registry().licences


def pictures() -> Mapping[str, str]:
    """Return the known SHA-256 (hex) of single pictures of DISC21 by id."""
    return _registry().pictures


def select(dataset: str, parts: Sequence[str] = ()) -> tuple[RemoteFile, ...]:
    """Return the files of ``parts`` of ``dataset``, of all if none is named, each with the part it was asked for as.

    Of weights, a name must be given.

    Raises
    ------
    UsageError
        If the data set or a part is not known; the message lists what is.
    """
    if dataset == "weights":
        parts = [part.replace(":", "-", 1) for part in parts]  # SYSTEM:VARIANT, as baselines are called
        known: Mapping[str, tuple[tuple[str, str], ...]] = {
            name: (("weights", file.part),)
            for file in remote_files()
            if file.dataset == "weights"
            for name in dict.fromkeys((file.part, *file.baselines))
        }
        if not parts:
            raise UsageError("download weights: no name given", hint=f"known: {', '.join(sorted(known))}")
    elif dataset in PARTS:
        known = PARTS[dataset]
    else:
        raise UsageError(
            f"no data set is called {dataset[:80]!r}", hint=f"known: {', '.join((*PARTS, 'ndec-val', 'weights'))}"
        )
    for part in parts:
        if part not in known:
            raise UsageError(f"{dataset} has no part {part[:80]!r}", hint=f"known: {', '.join(known)}")
    chosen = [
        file.model_copy(update={"part": part})
        for part, homes in known.items()
        if not parts or part in parts
        for home in homes
        for file in shards(*home)
    ]
    once: dict[str, RemoteFile] = {}
    for file in chosen:  # two baselines may need the same file
        once.setdefault(file.key, file)
    return tuple(once.values())


def find(name: str, files: Iterable[RemoteFile] | None = None) -> RemoteFile | None:
    """Return the file that is published as ``name``, under its own name or an alias; None if there is none."""
    for file in remote_files() if files is None else files:
        if any(same_name(name, known) for known in (file.name, *file.aliases)):
            return file
    return None


def same_name(first: str, second: str) -> bool:
    """Return whether two names are the same but for case and zeros before a number (``refs_50k_01``, ``_1``)."""
    return _plain(first) == _plain(second)


def _plain(name: str) -> str:
    stem, dot, rest = name.lower().partition(".")
    head, underscore, number = stem.rpartition("_")
    if not (underscore and number.isascii() and number.isdigit()):
        return name.lower()
    return f"{head}_{number.lstrip('0') or '0'}{dot}{rest}"


class _Registry(NamedTuple):
    files: tuple[RemoteFile, ...]
    image_sets: Mapping[tuple[str, str], ImageSet]
    licences: Mapping[str, Licence]
    pictures: Mapping[str, str]


@cache
def _registry() -> _Registry:
    content = tomllib.loads(resources("ndec_bench.data").joinpath("registry.toml").read_text(encoding="utf-8"))
    return _Registry(
        tuple(RemoteFile.model_validate(entry) for table in content["files"] for entry in _expanded(table)),
        {(table["dataset"], table["part"]): ImageSet(**table) for table in content["image_sets"]},
        {key: Licence(key=key, **table) for key, table in content["licences"].items()},
        content["pictures"],
    )


def _expanded(table: dict[str, object]) -> Iterable[dict[str, object]]:
    """Yield one entry per shard, ``{}`` in its texts replaced by the shard's name; the entry itself if it has none."""
    shards = table.pop("shards", None)
    sizes = table.pop("shard_bytes", None)
    names = [str(n) for n in range(shards)] if isinstance(shards, int) else shards if isinstance(shards, list) else [""]
    for number, shard in enumerate(names):
        entry = {key: _filled(value, str(shard)) for key, value in table.items()}
        entry["sources"] = [_source(text) for text in entry["sources"]]  # type: ignore[attr-defined]
        if isinstance(sizes, list):
            entry["bytes"] = sizes[number]
        yield entry


def _filled(value: object, shard: str) -> object:
    if isinstance(value, list):
        return [_filled(item, shard) for item in value]
    return value.replace("{}", shard) if isinstance(value, str) else value


def _source(text: str) -> dict[str, str]:
    kind, _, address = text.partition(":")
    if kind == "huggingface":
        repository, _, rest = address.partition("@")
        revision, _, path = rest.partition("/")
        url = f"{HUGGINGFACE_HOST}{repository}/resolve/{revision}/{path}"
    elif kind == "gdrive":
        url = f"{DRIVE_HOST}uc?id={address}"
    else:
        url = f"{META_HOST}{address}" if kind == "meta" else address
    return {"kind": kind, "url": url, "address": address}
