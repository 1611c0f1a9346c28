"""What the attributes of descriptor files say: which files belong together, and what is written after the steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ndec_bench.errors import SubmissionError
from ndec_bench.postprocess.registry import STEPS, looks_at_queries
from ndec_bench.postprocess.step import SEPARATOR

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ndec_bench.postprocess.files import Opened
    from ndec_bench.postprocess.step import Step
    from ndec_bench.protocol import Metric

STEPS_ATTRIBUTE = "steps"
BACKGROUND_ATTRIBUTE = "background_sha256"
INDEPENDENT_ATTRIBUTE = "query_independent"
# What tells of the images rather than of the recipe may differ between files that belong together.
_OF_THE_IMAGES = frozenset({"images_sha256", "split"})
_JOINT = " + "


def check_going_on(path: Path, attributes: Mapping[str, str]) -> None:
    """Raise SubmissionError if the file ``path`` has gone through a step after which none may follow."""
    name = attributes.get(STEPS_ATTRIBUTE, "").rpartition(SEPARATOR)[2].partition(":")[0]
    if name in STEPS and STEPS[name].final:
        raise SubmissionError(
            f"{path}: its steps end in {name}, after which no step may follow", hint="go on from the file before it"
        )


def check_same_recipe(path: Path, attributes: Mapping[str, str], other: Opened) -> None:
    """Raise SubmissionError if ``other`` was made by another model, or has gone through other steps, than ``path``.

    What only one of the files says is passed over, ``steps`` excepted.
    """
    found = other.attributes
    keys = (attributes.keys() & found.keys()) - _OF_THE_IMAGES - {"metric"}
    for key in sorted({*keys, STEPS_ATTRIBUTE}):
        if attributes.get(key, "") != found.get(key, ""):
            hint = "describe all images with the same baseline, weights and settings"
            if key == STEPS_ATTRIBUTE:
                hint = "take its images through the same steps first; those of a background with --side background"
            raise SubmissionError(
                f"{other.path}: {key} is {found.get(key, '')!r}, expected {attributes.get(key, '')!r} as for {path}",
                hint=hint,
            )


def joint(files: Sequence[Opened]) -> dict[str, str]:
    """Return the attributes of files of the same images: where they differ, one after the other, joined by ``" + "``.

    Raises
    ------
    SubmissionError
        If the files say that they hold other images, have gone through other steps or have another metric.
    """
    attributes: dict[str, str] = {}
    for key in sorted({key for file in files for key in file.attributes}):
        said = [(file.path, file.attributes.get(key, "")) for file in files]
        if key not in _OF_THE_IMAGES | {"metric", STEPS_ATTRIBUTE}:
            texts = [value or "none" for _, value in said]
            attributes[key] = texts[0] if len(set(texts)) == 1 else _JOINT.join(texts)
            continue
        # A file that says nothing of its images may hold the same ones; of steps it says that there were none.
        telling = said if key == STEPS_ATTRIBUTE else [one for one in said if one[1]] or said
        for path, value in telling:
            if value != telling[0][1]:
                raise SubmissionError(
                    f"{path}: {key} is {value!r}, but {telling[0][1]!r} in {telling[0][0]}",
                    hint="fuse files of the same images that have gone through the same steps",
                )
        attributes[key] = telling[0][1]
    return attributes


def with_steps(attributes: Mapping[str, str], steps: Sequence[Step]) -> dict[str, str]:
    """Return ``attributes`` with ``steps`` added to those that stand in it."""
    before = attributes.get(STEPS_ATTRIBUTE)
    texts = SEPARATOR.join([*([before] if before else []), *map(str, steps)])
    return {**attributes, STEPS_ATTRIBUTE: texts} if texts else dict(attributes)


def after(
    attributes: Mapping[str, str], steps: Sequence[Step], *, metric: Metric, fitted: str | None
) -> dict[str, str]:
    """Return the attributes to write after ``steps``.

    ``fitted`` is the digest of the file whose background steps were fitted on, None if none was; the digests of
    several commands are joined by ``" | "``, each once.
    """
    texts = {**with_steps(attributes, steps), "metric": metric}
    if fitted is not None:
        known = attributes.get(BACKGROUND_ATTRIBUTE, "").split(SEPARATOR)
        texts[BACKGROUND_ATTRIBUTE] = SEPARATOR.join(dict.fromkeys([*filter(None, known), fitted]))
    if looks_at_queries(steps):
        texts[INDEPENDENT_ATTRIBUTE] = "no"
    return texts
