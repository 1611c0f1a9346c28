"""The card of a submission, ``submission.toml``: who made the descriptors, how, and from what.

Everything a person wrote is untrusted text: lengths are bounded, control characters refused, links limited to http(s).
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Literal

import tomli_w
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from ndec_bench.errors import SubmissionError

CARD_FILE = "submission.toml"
NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,62}$"


def _clean(text: str) -> str:
    if any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 for c in text):
        raise ValueError("holds control characters; write one line of plain text")
    return text.strip()


def _link(text: str) -> str:
    if not re.match(r"^https?://[^\s<>\"']+$", text):
        raise ValueError("is no http(s) address")
    return text


Line = Annotated[str, Field(min_length=1, max_length=300), AfterValidator(_clean)]
Text = Annotated[str, Field(max_length=4000), AfterValidator(_clean)]
Link = Annotated[str, Field(max_length=500), AfterValidator(_link)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=NAME_PATTERN)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Method(_Record):
    """What the method is and where to read about it."""

    title: Line = Field(description="Name of the method as it stands in the table")
    description: Text = Field(
        default="", description="One paragraph: how an image becomes a descriptor or a pair a score"
    )
    paper: Link | None = Field(default=None, description="Address of the paper")
    code: Link | None = Field(default=None, description="Address of the code")
    code_licence: Line | None = Field(default=None, description="SPDX name of the code's licence")
    weights_licence: Line | None = Field(
        default=None, description="SPDX name of the weights' licence; none without weights"
    )
    commercial_use: Literal["yes", "no", "unclear"] = Field(
        default="unclear", description="May code and weights be used commercially"
    )


class Declarations(_Record):
    """What the method has seen. Each is a column and a filter of the leaderboard."""

    labels_used: list[Literal["none", "dev1", "dev2", "final", "ndec"]] = Field(
        default=["none"], description="Ground truth used for training, tuning or selection"
    )
    train_images: Text = Field(default="none", description="Images the weights were trained on")
    reference_images_in_training: Literal["none", "plain", "augmented"] = "none"
    ndec_pairs: bool = Field(default=False, description="NDEC's 100,000 training pairs were used")
    background: Literal["none", "disc21-train", "other"] = "none"
    external_data: bool = Field(default=False, description="Data from outside DISC21 and NDEC was used")
    query_independent: bool = Field(default=True, description="Every score holds for its query and reference alone")
    selected_on: Text = Field(default="none", description="Data on which weights or settings were selected")


class Files(_Record):
    """The descriptors or pairs that were scored; they stay outside the repository."""

    name: Line = Field(description="File name")
    sha256: Sha256 = Field(description="SHA-256 of the file")
    url: Link | None = Field(default=None, description="Public address of the file")


class SubmissionCard(_Record):
    """The content of ``submission.toml``."""

    schema_version: Literal[1] = 1
    name: Name = Field(description="Short name; the folder's name and part of the page's address")
    split: Line = Field(description="Split that was described, for example ndec")
    track: Literal["descriptor", "matching"] = "descriptor"
    authors: list[Line] = Field(min_length=1, max_length=100)
    date: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")] | None = Field(
        default=None, description="Day of submission, YYYY-MM-DD"
    )
    method: Method
    declarations: Declarations = Declarations()
    descriptors: Files | None = None
    threshold: float | None = Field(
        default=None, description="The authors' own operating threshold, on the score's scale"
    )


def read_card(path: Path) -> SubmissionCard:
    """Return the card in the TOML file ``path``.

    Raises
    ------
    SubmissionError
        If the file is missing, no TOML, or breaks the schema; every broken field is named.
    """
    try:
        if path.stat().st_size > 1 << 20:
            raise SubmissionError(f"{path}: larger than 1 MiB", hint="a card is a page of text")
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SubmissionError(f"{path}: cannot be read ({error.strerror or error})", hint="check the path") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SubmissionError(f"{path}: no TOML ({error})", hint="compare with an existing submission.toml") from error
    try:
        return SubmissionCard.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:10])
        raise SubmissionError(f"{path}: {problems}", hint="compare with an existing submission.toml") from error


def write_card(card: SubmissionCard) -> str:
    """Return ``card`` as TOML text: fields in the order of the schema, those without a value left out."""
    return tomli_w.dumps(card.model_dump(exclude_none=True))
