"""The embedded benchmark: plan, scenes, duplicate check, and a small build from a user's photographs."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from ndec_bench.data.split import Split
from ndec_bench.edits import EditStep, apply_chain
from ndec_bench.errors import DataError, UsageError
from ndec_bench.mini import build, own_photos
from ndec_bench.mini.dedup import compared
from ndec_bench.mini.items import described
from ndec_bench.mini.likeness import TURNS, shared_parts, signature, small_grey, turned
from ndec_bench.mini.making import PARTS, pixels_sha256
from ndec_bench.mini.packaged import NAMES, WAYS, WAYS_OF_PAGES, catalogue, packaged_plan, photo_path
from ndec_bench.mini.scenes import FAMILIES, Scene, drawn
from ndec_bench.mini.sources import Region, fitted, read_photo
from ndec_bench.randomness import Stream

if TYPE_CHECKING:
    from pathlib import Path

PRIVATE = "holiday-in-private-place"


@pytest.fixture(scope="module")
def plans() -> dict:
    return {size: packaged_plan(size) for size in NAMES}


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def pixels_of(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def photo(number: int, width: int = 320, height: int = 240) -> Image.Image:
    """A scene enlarged to a photograph's size."""
    family = FAMILIES[number % len(FAMILIES)]
    return Image.fromarray(drawn(Scene(family, "test photos", number))).resize((width, height))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs with private names, two groups, and what people have lying around with them."""
    folder = tmp_path_factory.mktemp("photos") / PRIVATE
    folder.mkdir()
    for n in range(18):
        photo(n).save(folder / f"{PRIVATE}-{n}.jpg", quality=95)
    for group in ("wedding-of-anna", "product-x"):
        (folder / group).mkdir()
        for n in range(4):
            scene = Scene("still", f"group {group}", 1, "visit" if n else "none", n)
            Image.fromarray(drawn(scene)).resize((320, 240)).save(folder / group / f"{PRIVATE}-{n}.png")
    photo(3, 640, 480).save(folder / f"{PRIVATE}-larger.png")
    (folder / "notes.txt").write_text("no picture")
    (folder / "a\nb\x1b[31m.txt").write_text("no picture")
    (folder / "cut.jpg").write_bytes((folder / f"{PRIVATE}-1.jpg").read_bytes()[:4000])
    Image.new("RGB", (300, 200), (9, 9, 9)).save(folder / "plain.png")
    Image.new("RGB", (30, 20)).save(folder / "icon.png")
    bomb = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(bomb, "PNG")
    (folder / "bomb.png").write_bytes(bomb.getvalue())
    (folder / "link.jpg").symlink_to("/etc/hostname")
    return folder


@pytest.fixture(scope="module")
def built(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("built") / "split"
    build(out, photos=photos, jobs=1)
    return out


# --- the plan of ndec-mini-1


# The items of ndec-mini-1 with sources, edits, ids and roles; pictures follow from them.
GOLDEN_PLANS = {"full": "94086523f38a26d8", "small": "edc66bc2ef0a3355"}


@pytest.mark.parametrize("size", NAMES)
def test_the_plan_is_the_published_one(plans: dict, size: str) -> None:
    assert plans[size].sha256()[:16] == GOLDEN_PLANS[size]
    full = {item.key: item for item in plans["full"].items}
    for item in plans[size].items:  # small is a part of full
        assert full[item.key] == item
        assert plans[size].ids[item.key] == plans["full"].ids[item.key]


@pytest.mark.parametrize("size", NAMES)
def test_a_source_serves_one_purpose(plans: dict, size: str) -> None:
    """No undeclared copy by construction: only a reference and its own copies share a source."""
    by_source: dict[str, list] = {}
    for item in plans[size].items:
        by_source.setdefault(described(item.source), []).append(item)
    for items in by_source.values():
        originals = [item for item in items if item.role != "copy"]
        assert len(originals) == 1
        assert all(item.partner == originals[0].key for item in items if item.role == "copy")
        if len(items) > 1:
            assert originals[0].role == "matched"
    donors = {described(source) for source in plans[size].donors}
    assert not donors & set(by_source)


def test_parts_share_no_photograph_and_no_scene_number(plans: dict) -> None:
    part = {"queries": "test", "references": "test", "train": "train", "background": "background"}
    owner: dict[tuple, str] = {}
    for item in plans["full"].items:
        source = item.source
        name = (source.key,) if isinstance(source, Region) else (source.part, source.family, source.number)
        assert owner.setdefault(name, part[item.folder]) == part[item.folder]


def test_every_look_alike_has_its_partner_in_the_same_part(plans: dict) -> None:
    for plan in plans.values():
        items = {item.key: item for item in plan.items}
        for item in plan.items:
            if item.role in ("hard", "look-alike", "copy"):
                assert items[item.partner].folder == "references"
            if item.role == "train look-alike":
                assert items[item.partner].folder == "train"
            assert bool(item.why) == (item.role in ("hard", "look-alike", "train look-alike"))


def test_copies_and_plain_distractors_are_edited_alike(plans: dict) -> None:
    """Whether a query is edited must not tell whether it is a copy."""

    def share(role: str, of: str) -> float:
        chains = [item.chain for item in plans["full"].items if item.role == role]
        return sum(any(step.kind == of for step in chain) for chain in chains) / len(chains)

    for kind in ("crop", "paste", "text", "jpeg", "flip"):
        # Two shares of about 2,000 draws each: five standard errors of a share near 0.3.
        assert share("copy", kind) == pytest.approx(share("plain", kind), abs=0.07)
    chains = [item.chain for item in plans["full"].items if item.role == "hard"]
    assert 0.4 < sum(not chain for chain in chains) / len(chains) < 0.6
    assert all(len(chain) <= 1 and all(step.strength <= 0.3 for step in chain) for chain in chains)


def test_ids_tell_nothing(plans: dict) -> None:
    plan = plans["full"]
    queries = [item for item in plan.items if item.folder == "queries"]
    ordered = sorted(queries, key=lambda item: plan.ids[item.key])
    half = len(ordered) // 2
    first, second = (sum(item.role == "copy" for item in part) for part in (ordered[:half], ordered[half:]))
    assert abs(first - second) < 200  # five standard deviations of 2,009 coin tosses are 112
    assert sorted(plan.ids[item.key] for item in queries) == [f"Q{n:05d}" for n in range(len(queries))]


def test_another_seed_is_another_benchmark_with_another_name(plans: dict) -> None:
    other = packaged_plan("small", seed=3)
    assert other.name == "ndec-mini-1-small-seed3"
    assert other.expected == {}
    scenes = {i.source for i in other.items if isinstance(i.source, Scene)}
    assert not scenes & {i.source for i in plans["small"].items}


def test_missing_packages_are_named_with_the_command_that_installs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = ("no_such", "images")
    monkeypatch.setattr("ndec_bench.mini.packaged.PACKAGES", {"mvtb": nowhere, "skimage": nowhere})
    with pytest.raises(DataError, match=r'no_such.* is not installed; .*pip install "\.\[mini\]"'):
        packaged_plan("small")


# --- scenes

# Decoded pixels of one scene of each family, as drawn with Pillow 11.0 to 13.0 and numpy 2.1 to 2.4 alike.
GOLDEN_SCENES: dict[str, str] = {
    "landscape": "8aad696bff1840bb",
    "still": "5a3cf473586f13fe",
    "leaves": "061395354d3f2005",
    "facade": "b9122e24a68c642f",
    "meadow": "6109c5e40470cb25",
    "page": "37a7b47d36ddae58",
}


@pytest.mark.parametrize("family", FAMILIES)
def test_scenes_have_the_same_pixels_everywhere(family: str) -> None:
    assert pixels_sha256(drawn(Scene(family, "golden", 1)))[:16] == GOLDEN_SCENES[family]


# A page in another light is a copy; pages have ways of their own.
WAYS_OF = {family: sorted(set(WAYS_OF_PAGES if family == "page" else WAYS)) for family in FAMILIES}


@pytest.mark.parametrize(("family", "change"), [(family, way) for family in FAMILIES for way in WAYS_OF[family]])
def test_look_alikes_are_other_pictures(family: str, change: str) -> None:
    for number in range(4):
        scene = Scene(family, "golden", number)
        first, second = drawn(scene), drawn(replace(scene, change=change, turn=1))
        assert first.shape == second.shape
        # No row of pixels is the same, and neither is the picture up to brightness and contrast.
        assert not (first == second).all(axis=(1, 2)).any()
        low, high = first.astype(float).ravel(), second.astype(float).ravel()
        assert np.corrcoef(low, high)[0, 1] < 0.999


def test_scenes_have_the_spectrum_of_photographs() -> None:
    """The amplitude of natural pictures falls like 1/f^a with a near 1 (Field 1987); flat or white pictures do not."""
    slopes = []
    for number in range(8):
        for family in ("landscape", "still", "leaves", "facade", "meadow"):
            grey = drawn(Scene(family, "spectrum", number)).mean(axis=2)[:120, :120]
            window = np.outer(np.hanning(grey.shape[0]), np.hanning(grey.shape[1]))
            power = np.abs(np.fft.fft2((grey - grey.mean()) * window))
            radius = np.hypot(*np.meshgrid(np.fft.fftfreq(grey.shape[1]), np.fft.fftfreq(grey.shape[0])))
            bands = [(r, power[(radius >= r) & (radius < 1.3 * r)].mean()) for r in np.geomspace(0.03, 0.35, 9)]
            slopes.append(np.polyfit(np.log([r for r, _ in bands]), np.log([p for _, p in bands]), 1)[0])
    assert -1.7 < np.median(slopes) < -0.6


# --- duplicate check


@pytest.mark.parametrize("turn", TURNS)
def test_the_check_finds_a_picture_under_another_name_size_and_turn(turn: str) -> None:
    original, smaller = np.asarray(photo(5)), np.asarray(photo(5, 150, 112))
    seen = np.ascontiguousarray(TURNS[turn](smaller.transpose(2, 0, 1)).transpose(1, 2, 0))
    # Turning what was seen four times, or mirroring it twice, gives the original again.
    back = {"turned by 90": "turned by 270", "turned by 270": "turned by 90"}.get(turn, turn)
    tone = turned(np.array([signature(seen)]), back)[0]
    assert int(tone.astype(int) @ signature(original)) > 985_000


def test_block_matching_finds_a_shared_part_and_not_a_shared_horizon() -> None:
    astronaut = next(photo for photo in catalogue() if photo.file == "astronaut.png")
    original = read_photo(photo_path(astronaut))
    left, right = fitted(original[:, :-32]), fitted(original[:, 32:])
    assert shared_parts([small_grey(left), small_grey(right)]) == [(0, 1)]
    table = [np.zeros((150, 200, 3), np.uint8) for _ in range(2)]
    for n, picture in enumerate(table):
        noise = Stream("table", n).u64(150 * 200).astype(np.uint8).reshape(150, 200, 1) // 16
        picture[:] = noise + 60
        picture[70:] += 120
    assert shared_parts([small_grey(picture) for picture in table]) == []


def test_comparison_leaves_out_what_is_to_be_skipped() -> None:
    rows = np.array([[3, 0], [0, 3], [2, 2]], np.int16)
    found = compared(rows, rows, 5, {(0, 0), (1, 1), (2, 2)})
    assert (found.closest, found.value, found.pairs) == ((0, 2), 6, 6)
    assert found.suspects == ((0, 2), (1, 2), (2, 0), (2, 1))


@pytest.mark.slow
def test_the_small_benchmark_has_the_published_pixels(tmp_path: Path) -> None:
    report = build(tmp_path / "small", size="small")
    assert report.verified
    assert report.counts["queries: copy"] == 360
    split = json.loads((tmp_path / "small" / "split.json").read_text())
    assert split["name"] == "ndec-mini-1-small"
    assert split["dedup"]["undeclared_copies"] == []
    again = build(tmp_path / "small", size="small")
    assert again.reused
    assert again.digest == report.digest


# --- a build from photographs


def test_a_build_is_a_split_and_its_files_agree(built: Path) -> None:
    split = Split.from_folder(built)
    content = json.loads((built / "split.json").read_text())
    assert split.name == content["name"]
    assert split.hard_negatives
    assert content["counts"]["queries"] == len(split.query_ids)
    for part in ("queries", "references", "train", "background"):
        assert content["counts"][part] == len(list((built / "images" / part).glob("*.png")))
    for row in rows_of(built / "pixels.csv")[::7]:
        pixels = pixels_of(built / row["path"])
        assert pixels_sha256(pixels) == row["sha256"]
        assert pixels.shape == (int(row["height"]), int(row["width"]), 3)
    alike = {row["image_id"]: row["reference_id"] for row in rows_of(built / "look_alikes.csv")}
    assert set(split.hard_negatives) <= set(alike)
    assert set(alike.values()) <= set(split.reference_ids or ())
    assert content["dedup"]["undeclared_copies"] == []


def test_the_record_of_edits_remakes_a_query(built: Path, photos: Path) -> None:
    truth = dict(Split.from_folder(built).truth.pairs)
    steps: dict[str, list] = {}
    for row in rows_of(built / "edits.csv"):
        if row["reference_id"]:
            assert truth[row["query_id"]] == row["reference_id"]
        entry = {"kind": row["kind"], "strength": float(row["strength"]), "parameters": json.loads(row["parameters"])}
        steps.setdefault(row["query_id"], []).append(EditStep.from_json(entry))
    donors = [pixels_of(path) for path in sorted((built / "images" / "background").glob("*.png"))]
    made = 0
    for query, reference in sorted(truth.items()):
        if any(step.kind in ("paste", "inset", "collage", "blend") for step in steps[query]):
            continue  # donors are taken in another order than their ids
        original = pixels_of(built / "images" / "references" / f"{reference}.png")
        pixels = pixels_of(built / "images" / "queries" / f"{query}.png")
        assert np.array_equal(apply_chain(original, steps[query], donors).pixels, pixels)
        made += 1
    assert made > 20


def test_private_names_stay_outside_the_split(built: Path) -> None:
    words = (PRIVATE, "wedding", "product-x")
    for path in built.rglob("*"):
        assert not any(word in path.name for word in words)
        if path.is_file():
            content = path.read_bytes()
            assert not any(word.encode() in content for word in words)
    private = built.with_name("split.private_names.csv").read_text()
    assert PRIVATE in private
    assert "bomb.png" in private


def test_hostile_and_useless_files_are_left_out_with_a_reason(photos: Path, built: Path) -> None:
    reasons = dict(build(built, photos=photos).skipped)
    assert reasons["notes.txt"] == reasons[r'"a\nb\x1b[31m.txt"'] == "no picture of a known format"
    assert "truncated" in reasons["cut.jpg"]
    assert reasons["plain.png"] == "one plain colour"
    assert reasons["icon.png"].startswith("30 x 20 pixels; at least 96")
    assert reasons["bomb.png"] == "more than 89 million pixels"
    assert reasons["link.jpg"] == "a link or no regular file"
    assert reasons[f"{PRIVATE}-3.jpg"].startswith(f"repeats {PRIVATE}-larger.png")


def test_a_finished_build_is_recognised_and_a_changed_one_refused(photos: Path, built: Path, tmp_path: Path) -> None:
    assert build(built, photos=photos).reused
    names = built.with_name("split.private_names.csv").read_bytes()
    with pytest.raises(DataError, match="of another plan"):
        build(built, photos=photos, seed=5)
    assert built.with_name("split.private_names.csv").read_bytes() == names
    assert build(built, photos=photos).reused
    victim = next((built / "images" / "train").glob("*.png"))
    content = victim.read_bytes()
    victim.write_bytes(content[:-1])
    try:
        with pytest.raises(DataError, match=rf"{victim.name} has {len(content) - 1} bytes, {len(content)} expected"):
            build(built, photos=photos)
    finally:
        victim.write_bytes(content)


def test_names_and_order_of_files_do_not_matter(photos: Path, built: Path, tmp_path: Path) -> None:
    other = tmp_path / "renamed"
    files = [path for path in photos.rglob("*") if path.is_file() and not path.is_symlink()]
    groups = {"wedding-of-anna": "zz", "product-x": "aa"}
    for n, path in enumerate(Stream("test", "other order").shuffled(files)):
        group = groups.get(path.parent.name, "")
        (other / group).mkdir(parents=True, exist_ok=True)
        (other / group / f"{n}{path.suffix}").write_bytes(path.read_bytes())
    (other / "another-link.jpg").symlink_to("/etc/hostname")
    build(tmp_path / "out", photos=other, jobs=1)
    for name in ("split.json", "ground_truth.csv", "edits.csv", "pixels.csv", "look_alikes.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (built / name).read_bytes()


class Stop(BaseException):
    """Stands for a kill signal."""


def test_a_stopped_build_goes_on_and_ends_the_same(
    photos: Path, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ndec_bench.mini.making.CHUNK", 8)
    out = tmp_path / "out"

    def stop_midway(stage: str, done: int, total: int) -> None:
        if stage == "making pictures" and done > total // 3:
            raise Stop

    with pytest.raises(Stop):
        build(out, photos=photos, jobs=1, progress=stop_midway)
    partial = tmp_path / "out.partial"
    assert not out.exists()
    kept = [json.loads(path.read_bytes()) for path in sorted((partial / PARTS).glob("part-*"))]
    # A picture of the first part was damaged, and the file of the last one cut: both parts are made again.
    (partial / next(iter(kept[0].values()))["path"]).write_bytes(b"damaged")
    last = max((partial / PARTS).glob("part-*"))
    last.write_bytes(last.read_bytes()[:-20])
    started: list[int] = []
    build(out, photos=photos, jobs=1, progress=lambda s, d, t: started.append(d) if s == "making pictures" else None)
    assert started[0] == sum(map(len, kept[1:-1]))
    assert len(kept) > 2
    assert not partial.exists()
    for name in ("split.json", "pixels.csv", "ground_truth.csv"):
        assert (out / name).read_bytes() == (built / name).read_bytes()


def test_two_processes_make_the_same_as_one(photos: Path, built: Path, tmp_path: Path) -> None:
    build(tmp_path / "out", photos=photos, jobs=2)
    assert (tmp_path / "out" / "pixels.csv").read_bytes() == (built / "pixels.csv").read_bytes()


def test_what_is_not_ours_is_never_overwritten(photos: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "thesis" / "chapter1.txt", tmp_path / "new.partial" / "mine"
    for path, message in zip(theirs, ("not a built split; nothing was", "not an unfinished build"), strict=True):
        path.parent.mkdir()
        path.write_text("years of work")
        with pytest.raises(DataError, match=message):
            build(path.parent.with_suffix(""), photos=photos)
        assert path.read_text() == "years of work"


def test_wrong_use_and_too_few_photographs_are_one_clear_error(photos: Path, tmp_path: Path) -> None:
    few, out = tmp_path / "few", tmp_path / "out"
    few.mkdir()
    for n in range(3):
        photo(n).save(few / f"{n}.png")
    (few / "notes.txt").write_text("none")
    with pytest.raises(DataError, match=r"3 distinct .*, 20 expected .*1 files left out, for example notes.txt: no"):
        build(out, photos=few)
    with pytest.raises(DataError, match="is not a folder"):
        build(out, photos=tmp_path / "nowhere")
    with pytest.raises(UsageError, match="lies within"):
        build(photos / "out", photos=photos)
    with pytest.raises(UsageError, match="size is small or full"):
        build(out, size="medium")  # type: ignore[arg-type]


def test_photographs_are_turned_upright(tmp_path: Path) -> None:
    image = photo(1, 300, 200)
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.png", exif=exif)
    assert read_photo(tmp_path / "turned.png").shape == (300, 200, 3)


def test_other_pixels_than_the_published_ones_are_refused(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = own_photos.own_plan

    def with_expectation(*arguments: object) -> object:
        plan, register = real(*arguments)  # type: ignore[arg-type]
        return replace(plan, expected={"edits": "0" * 64, "photos": "1" * 64}), register

    monkeypatch.setattr("ndec_bench.mini.building.own_plan", with_expectation)
    with pytest.raises(DataError, match=r"pixels differ in photos .*, edits .* Pillow .*, numpy"):
        build(tmp_path / "out", photos=photos, jobs=1)
    assert not (tmp_path / "out").exists()
