"""Training sets: originals, which of them look alike, and the part of them that is held out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from ndec_bench.data.ground_truth import sha256_of_lines
from ndec_bench.data.images import ImageSource, JoinedSource, SelectedSource
from ndec_bench.errors import DataError, UsageError, os_errors
from ndec_bench.randomness import Stream

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

PAIRS_FILE = "training_pairs.csv"
_COLUMNS = ("image_id", "look_alike_of")
_TRAINING_ID = re.compile(r"T\d{6}")


@dataclass(frozen=True)
class TrainingSet:
    """Originals and look-alikes.

    Attributes
    ----------
    source
        Reads every image of ``originals``.
    originals
        Ids, sorted; each is a class of its own.
    pairs
        (original, look-alike) ids, sorted: alike, and no copies of each other.
    """

    source: ImageSource
    originals: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...] = ()

    @property
    def sha256(self) -> str:
        """Return the digest (hex) of the names: originals and pairs, one line each."""
        lines = [*self.originals, *(f"{first} {second}" for first, second in self.pairs)]
        return sha256_of_lines(lines)

    def without_look_alikes(self) -> TrainingSet:
        """Return the set without pairs and without the images that are only there as look-alikes."""
        look_alikes = {second for _, second in self.pairs}
        return TrainingSet(self.source, tuple(i for i in self.originals if i not in look_alikes))

    def parted(self, share: float, seed: int) -> tuple[TrainingSet, TrainingSet]:
        """Return the part to train on and the part held out, about ``share`` of the originals, drawn by ``seed``.

        Images that are tied by pairs, directly or through others, stay on one side.
        """
        held: set[str] = set()
        wanted = round(share * len(self.originals))
        for component in Stream("asl held out", seed).shuffled(_components(self.originals, self.pairs)):
            if len(held) >= wanted:
                break
            held.update(component)
        return self._only(held, inside=False), self._only(held, inside=True)

    def _only(self, chosen: Collection[str], *, inside: bool) -> TrainingSet:
        return TrainingSet(
            self.source,
            tuple(i for i in self.originals if (i in chosen) is inside),
            tuple(pair for pair in self.pairs if (pair[0] in chosen) is inside),
        )


def _components(originals: Sequence[str], pairs: Sequence[tuple[str, str]]) -> list[tuple[str, ...]]:
    of: dict[str, list[str]] = {i: [i] for i in originals}
    for first, second in pairs:
        one, other = of[first], of[second]
        if one is not other:
            one.extend(other)
            of.update(dict.fromkeys(other, one))
    return sorted({id(members): tuple(sorted(members)) for members in of.values()}.values())


def built_set(source: ImageSource, folder: Path, *, every: int = 1) -> TrainingSet:
    """Return the training part of a split that was built: images with ``training_pairs.csv`` in ``folder``.

    ``source`` holds the images. Each ``every``-th original is taken; look-alikes follow their originals.

    Raises
    ------
    DataError
        If the file is missing, has other columns, or names an image that is not there.
    """
    from pandas import DataFrame, read_csv
    from pandas.errors import EmptyDataError, ParserError

    path = folder / PAIRS_FILE
    again = "build the split again"
    try:
        with os_errors(f"{path}: cannot be read", hint=again):
            table = read_csv(path, dtype=str, keep_default_na=False, index_col=False)
    except EmptyDataError:
        table = DataFrame()
    except (UnicodeDecodeError, ParserError) as error:
        raise DataError(f"{path}: cannot be read ({error})", hint=again) from error
    if not {*_COLUMNS}.issubset(table.columns):
        found = ", ".join(map(str, table)) or "none"
        raise DataError(f"{path}: columns {found}; expected {' and '.join(_COLUMNS)}", hint=again)
    known = set(source.ids)
    pairs = list(zip(table["look_alike_of"], table["image_id"], strict=True))
    for line, pair in enumerate(pairs, start=2):
        if missing := [image_id for image_id in pair if image_id not in known]:
            raise DataError(f"{path}: line {line}: no training image {missing[0]!r}", hint=again)
    look_alikes = {second for _, second in pairs}
    chosen = set([i for i in source.ids if i not in look_alikes][::every])
    kept = sorted(pair for pair in pairs if pair[0] in chosen)
    return TrainingSet(source, tuple(sorted(chosen | {second for _, second in kept})), tuple(kept))


def ndec_set(
    training: ImageSource,
    pairs: ImageSource | None,
    *,
    every: int = 1,
    left_out_folders: Collection[str] = (),
    left_out: Collection[str] = (),
) -> TrainingSet:
    """Return NDEC's training set: DISC21 training images, and the pairs in the folders of ``negative_pair``.

    Parameters
    ----------
    training
        Images T000000 to T999999, or some of them.
    pairs
        Images named ``00001/T613143``, two per folder, one of them a training image.
    every
        Take each N-th training image, sorted by id; those of pairs come in addition.
    left_out_folders, left_out
        Pairs and training images that a validation split uses: nothing of them is trained on.

    Raises
    ------
    DataError
        If a folder does not hold two images, just one of them a training image, or nothing is left.
    """
    chosen = {i for i in training.ids[::every] if i not in left_out}
    if pairs is None:
        return _not_empty(TrainingSet(training, tuple(sorted(chosen))))
    folders: dict[str, list[str]] = {}
    for image_id in pairs.ids:
        folder, _, _ = image_id.partition("/")
        if folder not in left_out_folders:
            folders.setdefault(folder, []).append(image_id)
    named: dict[str, str] = {}
    found = []
    for folder, members in sorted(folders.items()):
        first, second = _in_order(folder, members)
        stem = first.partition("/")[2]
        if stem in left_out:
            continue
        # A training image of several pairs, or of a pair and the training set, is one original.
        original = stem if stem in chosen else named.setdefault(stem, first)
        found.append((original, second))
    of_pairs = {i for pair in found for i in pair if "/" in i}
    sources = [SelectedSource(s, ids) for s, ids in ((training, chosen), (pairs, of_pairs)) if ids]
    source = JoinedSource(sources) if len(sources) > 1 else sources[0] if sources else training
    return _not_empty(TrainingSet(source, tuple(sorted(chosen | of_pairs)), tuple(sorted(found))))


def _in_order(folder: str, members: Sequence[str]) -> tuple[str, str]:
    """Return the training image and the look-alike of a folder."""
    originals = [i for i in members if _TRAINING_ID.fullmatch(i.partition("/")[2])]
    if len(members) != 2 or len(originals) != 1:
        raise DataError(
            f"negative_pair/{folder}: {len(members)} images, {len(originals)} of them training images; expected two "
            "and one",
            hint='"ndec-bench verify ndec" checks the download',
        )
    first = originals[0]
    return first, next(i for i in members if i != first)


def _not_empty(found: TrainingSet) -> TrainingSet:
    if not found.originals:
        raise DataError("no training image is left", hint="take more of them: data.every")
    return found


@dataclass(frozen=True)
class HeldOutPlan:
    """Who is whose copy in the part held out.

    Attributes
    ----------
    references
        Ids of originals.
    copies
        (original, number): the query is made from it by the edits of that number.
    hard
        (look-alike, number): the query is a look-alike of a reference; number 0 as it is, else mildly edited.
    """

    references: tuple[str, ...]
    copies: tuple[tuple[str, int], ...]
    hard: tuple[tuple[str, int], ...]


def held_out_plan(part: TrainingSet, copies: int = 2, limit: int = 2000) -> HeldOutPlan:
    """Return the plan for the held-out ``part``: ``copies`` of each of ``limit`` references, two of each look-alike.

    Raises
    ------
    UsageError
        If the part holds no original.
    """
    look_alikes = sorted({second for _, second in part.pairs})
    references = tuple(i for i in part.originals if i not in set(look_alikes))[:limit]
    if not references:
        raise UsageError("the part held out is empty", hint="raise data.held_out, or set it to 0")
    alike = {first for first, _ in part.pairs}.intersection(references)
    hard = list(dict.fromkeys(second for first, second in part.pairs if first in alike))[:limit]
    return HeldOutPlan(
        references,
        tuple((i, n) for i in references for n in range(1, copies + 1)),
        tuple((i, n) for i in hard for n in (0, 1)),
    )


def read_original(source: ImageSource, image_id: str, longest: int) -> Image.Image:
    """Return the image, scaled to a long side of at most ``longest``, from which copies are made.

    The edits work at 256 pixels; a photograph of 12 megapixels need not be cropped at full size first.
    """
    image = source.read(image_id)
    long = max(image.size)
    if long <= longest:
        return image
    width, height = (max(1, round(side * longest / long)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=3.0)
