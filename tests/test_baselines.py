"""The list of baselines, their cards, entry points of other packages, and the command that shows them."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from dataclasses import fields
from importlib.metadata import EntryPoint, EntryPoints
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

import ndec_baselines
from ndec_baselines import registry
from ndec_baselines.base import Described, ModelCard, Preprocessing, Registration, recipe
from ndec_baselines.submitting import declarations_of
from ndec_bench.cli import run
from ndec_bench.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from ndec_baselines.base import ModelInput

NEEDS_PDQHASH = pytest.mark.skipif(find_spec("pdqhash") is None, reason="pdqhash is not installed")
WITHOUT_WEIGHTS = ["phash", "scattering", "thumbnail"]


CARDS = {name: ndec_baselines.card(name) for name in ndec_baselines.names()}


@pytest.mark.parametrize("name", CARDS)
def test_every_card_is_complete(name: str) -> None:
    card = CARDS[name]
    assert card.name == name
    assert (card.dimension > 0) is (card.track == "descriptor")
    assert all(getattr(card.preprocessing, field.name) for field in fields(Preprocessing))
    assert all([card.version, card.title, card.description, card.postprocessing, card.input, card.code_licence])
    if card.weights is not None:
        assert card.weights.files
        assert len({file.name for file in card.weights.files}) == len(card.weights.files)
        for file in card.weights.files:
            assert file.sha256 is None or len(file.sha256) == 64
            assert file.size is None or file.size > 0
            assert file.source.startswith(("https://", "gdrive:")) is card.weights.published
        assert all([card.weights.instruction, card.weights.licence, card.weights.trained_on, card.weights.container])
    assert "{" not in str(card)  # every text is filled in
    declared = declarations_of(card)
    assert declared.background == "none"
    assert (declared.train_images == ["none"]) is (card.weights is None)
    assert (declared.query_independent == "no") is (name in ("d2lv", "d2lv-baseline-cc"))
    if card.weights is not None:
        assert declared.details.startswith(f"Trained on: {card.weights.trained_on}.")
    if declared.selected_on != ["none"]:
        assert card.selection
        assert declared.details.endswith(f"Selected on: {card.selection}.")


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("cnncl", "labels_used", ["dev1"]),
        ("cnncl", "reference_images_in_training", "plain"),
        ("cnncl", "selected_on", ["dev1"]),
        ("copynce", "train_images", ["disc21-train", "imagenet"]),
        ("efnet", "train_images", ["disc21-train", "imagenet", "ndec-queries", "other"]),
        ("esvitp", "labels_used", ["dev1"]),
        ("mobilenetv2", "selected_on", ["none"]),
        ("rdcd-256", "selected_on", ["unknown"]),
        ("scattering", "selected_on", ["other"]),
        ("sscd-disc-mixup", "external_data", "no"),
        ("sscd-imagenet-mixup", "external_data", "yes"),
        ("thumbnail", "external_data", "no"),
    ],
)
def test_declarations_that_decide_what_ranks(name: str, field: str, value: object) -> None:
    assert getattr(declarations_of(ndec_baselines.card(name)), field) == value


@pytest.mark.parametrize("name", WITHOUT_WEIGHTS)
@pytest.mark.parametrize("size", [(1, 1), (3, 200), (640, 480)])
@pytest.mark.parametrize("kind", ["noise", "flat black", "flat white"])
def test_every_image_has_a_finite_descriptor_that_is_not_zero(name: str, size: tuple[int, int], kind: str) -> None:
    baseline = ndec_baselines.load(name)
    if kind == "noise":
        pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        image = Image.fromarray(pixels)
    else:
        image = Image.new("RGB", size, kind.split()[1])
    described = baseline.describe(np.asarray(baseline.preprocess(image))[None])
    assert described.vectors.shape == (1, baseline.card.dimension)
    assert described.vectors.dtype == np.float32
    assert described.vectors.flags["C_CONTIGUOUS"]
    assert described.norms is None
    assert np.isfinite(described.vectors).all()
    assert np.abs(described.vectors).max() > 0


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("sscd", "sscd-disc-mixup"),
        ("sscd:disc-blur-320", "sscd-disc-blur-320"),
        ("dinov2:s", "dinov2-s"),
        ("asl:small", "asl-small"),
        ("esvitp:sift", "esvitp-sift"),
        ("d2lv", "d2lv"),
        ("d2lv:baseline-cc", "d2lv-baseline-cc"),
        ("d2lv:face-bw-ibn-320", "d2lv-face-bw-ibn-320"),
        ("d2lv-face-bw-ibn-320", "d2lv-face-bw-ibn-320"),
    ],
)
def test_a_variant_is_a_parameter_of_its_system(name: str, full: str) -> None:
    assert ndec_baselines.card(name).name == full


@pytest.mark.parametrize("name", ["d2lv:face-dark-50", "thumbnail:", "sscd:mixup:320", "sscd-", ":"])
def test_an_unknown_variant_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"baseline '{name}' is unknown"):
        ndec_baselines.card(name)


def test_an_unknown_name_lists_those_like_it() -> None:
    with pytest.raises(UsageError, match="'thumbnial' is unknown; like it: thumbnail"):
        ndec_baselines.load("thumbnial")


def test_a_missing_package_is_named_with_the_command_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r'needs torch, not installed here; pip install "\.\[baselines\]"'):
        ndec_baselines.load("scattering")
    rows = {row.name: row for row in ndec_baselines.listed()}
    assert rows["thumbnail"].available
    assert not rows["phash"].available
    assert "imagehash" in rows["phash"].missing


def test_weights_for_a_baseline_without_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="thumbnail takes no weights"):
        ndec_baselines.load("thumbnail", weights=tmp_path / "file")


@pytest.mark.parametrize(
    ("name", "device"),
    [
        ("gist", "cuda"),
        pytest.param("pdq", "cuda", marks=NEEDS_PDQHASH),
        pytest.param("pdq-8", "cuda", marks=NEEDS_PDQHASH),
        ("phash", "tpu"),
        ("scattering", "tpu"),
        ("sift", "cuda"),
        ("thumbnail", "cuda"),
    ],
)
def test_a_device_that_is_not_there_is_refused(name: str, device: str) -> None:
    load = ndec_baselines.load_matcher if CARDS[name].track == "matching" else ndec_baselines.load
    with pytest.raises(UsageError, match=device):
        load(name, device=device)


def test_the_recipe_is_text_without_machine_or_clock() -> None:
    texts = recipe(ndec_baselines.load("thumbnail"))
    assert texts == {
        "baseline": "thumbnail",
        "baseline_version": "1",
        "metric": "l2",
        "preprocessing": (
            "RGB to L (Pillow, ITU-R 601); 16 x 16, aspect ratio not kept, Pillow BOX (area average); uint8; "
            "EXIF orientation not applied"
        ),
        "postprocessing": "minus mean, plus 1 grey level, L2",
    }


# Baselines of other packages


class _Mean:
    """The mean colour."""

    device = "cpu"
    weights_sha256 = None

    def __init__(self, card: ModelCard) -> None:
        self.card = card

    def preprocess(self, image: Image.Image) -> NDArray[np.float32]:
        return np.asarray(image.resize((1, 1), Image.Resampling.BOX), dtype=np.float32).reshape(3)

    def describe(self, batch: ModelInput) -> Described:
        return Described(np.asarray(batch) + np.float32(1))


def _card(name: str) -> ModelCard:
    return ModelCard(
        name=name,
        version="1",
        title="Mean colour",
        description="Three numbers.",
        dimension=3,
        metric="l2",
        preprocessing=Preprocessing("any", "none", "RGB", "mean"),
        postprocessing="plus one",
        input="RGB",
        code_licence="MIT",
    )


@pytest.fixture
def offer(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that installs an imaginary package with entry points."""

    def install(**targets: object) -> None:
        module = ModuleType("their_package")
        points = []
        for number, (name, value) in enumerate(targets.items()):
            setattr(module, f"OBJECT_{number}", value)
            points.append(EntryPoint(name, f"their_package:OBJECT_{number}", registry.ENTRY_POINT_GROUP))
        monkeypatch.setitem(sys.modules, "their_package", module)

        monkeypatch.setattr(registry, "entry_points", EntryPoints(points).select)

    return install


def test_an_entry_point_adds_a_baseline(offer: Callable[..., None]) -> None:
    card = _card("mean")
    offer(mean=Registration(card, lambda weights, device: _Mean(card)))
    assert "mean" in ndec_baselines.names()
    assert {row.name: row.available for row in ndec_baselines.listed()}["mean"]
    baseline = ndec_baselines.load("mean")
    vectors = baseline.describe(
        np.stack([np.asarray(baseline.preprocess(Image.new("RGB", (4, 4), (9, 19, 29))))])
    ).vectors
    assert vectors.tolist() == [[10.0, 20.0, 30.0]]


def test_the_worked_example_of_the_documentation_runs(offer: Callable[..., None]) -> None:
    page = (Path(__file__).parent.parent / "docs" / "baselines.md").read_text(encoding="utf-8")
    code = page.partition("```python\n# my_baselines.py\n")[2].partition("```")[0]
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 -- our own page
    offer(**{"mean-colour": names["BASELINE"]})
    baseline = ndec_baselines.load("mean-colour")
    image = Image.new("RGB", (8, 6), (1, 2, 3))
    assert baseline.describe(np.asarray(baseline.preprocess(image))[None]).vectors.tolist() == [[2.0, 3.0, 4.0]]


def test_a_name_that_is_taken_is_refused_and_the_others_still_run(offer: Callable[..., None]) -> None:
    offer(thumbnail=Registration(_card("thumbnail"), lambda weights, device: _Mean(_card("thumbnail"))))
    with pytest.raises(UsageError, match=r"offered by ndec_baselines\.methods\.thumbnail\S+ and by their_package:"):
        ndec_baselines.load("thumbnail")
    assert ndec_baselines.load("phash").card.name == "phash"


@pytest.mark.parametrize(
    ("value", "message"),
    [("a string", "is str, expected"), (Registration(_card("other"), lambda weights, device: None), "calls itself")],  # type: ignore[arg-type]
)
def test_a_broken_entry_point_says_so_and_is_listed(offer: Callable[..., None], value: object, message: str) -> None:
    offer(mean=value)
    with pytest.raises(UsageError, match=message):
        ndec_baselines.load("mean")
    row = {row.name: row for row in ndec_baselines.listed()}["mean"]
    assert row.card is None
    assert message in row.missing


def test_an_entry_point_that_cannot_be_imported_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.BASELINES, "gone", "no_such_module:BASELINE")
    row = {row.name: row for row in ndec_baselines.listed()}["gone"]
    assert "no_such_module:BASELINE cannot be imported (ModuleNotFoundError" in row.missing


# The command


def test_the_command_lists_baselines_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["baselines", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows.keys() == CARDS.keys()
    assert rows["thumbnail"]["dimension"] == 256
    assert rows["thumbnail"]["weights"] is None
    assert rows["thumbnail"]["available"] is True
    assert rows["thumbnail"]["expected"] == []
    assert rows["mobilenetv2"]["weights"]["licence"] == "BSD-3-Clause"


def test_the_command_lists_a_row_per_system_and_with_all_one_per_variant(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["baselines", "--all"]) == 0
    out = capsys.readouterr().out
    listed = {line.split()[0] for line in out.splitlines() if line.rstrip().endswith(("yes", "no"))}
    assert listed == {name for name, card in CARDS.items() if not card.hidden}
    assert "d2lv (+99)" in out
    assert run(["baselines"]) == 0
    out = capsys.readouterr().out
    rows = {line.split()[0]: line for line in out.splitlines() if line.rstrip().endswith(("yes", "no"))}
    assert rows.keys() == {card.family or name for name, card in CARDS.items()}
    assert rows["cnncl"].split()[1] == "(+1)"
    assert "0.774 dev2" in rows["cnncl"]  # with the published steps, and before other sets
    assert "0.900 dev2*" in rows["d2lv"]
    assert "* d2lv, d2lv-baseline-cc, esvitp-sift: never run with published weights." in out


@pytest.mark.parametrize(("width", "lines"), [(100, 45), (80, 60)])
def test_the_list_fits_a_terminal(width: int, lines: int, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(shown, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdout", shown)
    monkeypatch.setenv("COLUMNS", str(width))
    assert run(["baselines"]) == 0
    out = re.sub(r"\x1b\[\d+m", "", shown.getvalue()).splitlines()
    assert len(out) <= lines
    assert max(map(len, out)) <= width
    for number in ("200", "400", "8192", "0.900 dev2*"):
        assert any(number in line for line in out)


def test_listing_imports_no_model_library() -> None:
    code = (
        "import sys, ndec_baselines; ndec_baselines.listed(); "
        "print([m for m in ('torch', 'torchvision', 'imagehash', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
