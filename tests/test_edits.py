"""Edits: the same record gives the same pixels, and the remaining area is what is left to see."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ndec_bench.edits import EDITS, STAGES, EditStep, apply_chain, as_pixels, sample_chain
from ndec_bench.edits.raster import SIGNS, UNIT, blurred, gamma_table, lettering, resized, sampled, sine, sines
from ndec_bench.randomness import Stream

WITHOUT_LOSS = ("flip", "aspect", "tone", "saturation", "hue", "gamma", "grey", "posterise", "blend", "pad", "paste",
                "collage", "screenshot", "jpeg", "blur", "noise", "pixelise", "shrink", "perspective")  # fmt: skip


def picture(width: int, height: int, name: str = "picture") -> np.ndarray:
    """A picture with detail everywhere, so that every edit changes it."""
    stream = Stream("test edits", name, width, height)
    rows, columns = -(-height // 7), -(-width // 7)
    coarse = stream.u64(rows * columns * 3).astype(np.uint8).reshape(rows, columns, 3)
    return np.ascontiguousarray(coarse.repeat(7, axis=0).repeat(7, axis=1)[:height, :width])


DONORS = [picture(120, 90, "donor one"), picture(80, 100, "donor two"), picture(64, 64, "donor three")]


def step_of(kind: str, strength: int, seed: int = 0) -> EditStep:
    stream = Stream("test step", kind, seed)
    return EditStep(kind, strength / 1000, EDITS[kind].draw(strength, stream))


chains = st.builds(
    lambda seed, most: sample_chain(Stream("test chains", seed), most), st.integers(0, 10**6), st.integers(1, 5)
)
sides = st.integers(1, 300)


@settings(max_examples=60, deadline=None)
@given(chain=chains, width=sides, height=sides)
def test_a_record_reproduces_its_pixels(chain: tuple[EditStep, ...], width: int, height: int) -> None:
    original = picture(width, height)
    before = original.copy()
    edited = apply_chain(original, chain, DONORS)
    record = json.loads(json.dumps([step.as_json() for step in edited.steps]))
    again = apply_chain(original, [EditStep.from_json(entry) for entry in record], DONORS)

    assert np.array_equal(edited.pixels, again.pixels)
    assert edited.remaining_area == again.remaining_area
    assert np.array_equal(original, before), "the original is left as it is"
    assert edited.pixels.dtype == np.uint8
    assert edited.pixels.ndim == 3
    assert edited.pixels.shape[2] == 3
    assert max(edited.pixels.shape[:2]) <= 256
    assert edited.mask.shape == edited.pixels.shape[:2]
    assert 0 < edited.remaining_area <= 1
    assert edited.image.mode == "RGB"


@settings(max_examples=100, deadline=None)
@given(chain=chains)
def test_a_chain_follows_the_stages(chain: tuple[EditStep, ...]) -> None:
    kinds = [EDITS[step.kind] for step in chain]
    assert len({kind.name for kind in kinds}) == len(kinds) >= 1
    places = [STAGES.index(kind.stage) for kind in kinds]
    assert places == sorted(places)
    assert all(places.count(STAGES.index(stage)) <= 1 for stage in ("context", "colour"))
    assert all(0 <= step.strength <= 1 for step in chain)


@pytest.mark.parametrize("kind", EDITS)
@pytest.mark.parametrize("strength", [0, 500, 1000])
def test_every_kind_changes_the_picture_and_none_is_too_small_for_it(kind: str, strength: int) -> None:
    edited = apply_chain(picture(160, 120), [step_of(kind, strength)], DONORS)
    assert edited.pixels.shape != (120, 160, 3) or not np.array_equal(edited.pixels, picture(160, 120))
    for width, height in ((1, 1), (3, 200), (33, 2)):
        assert apply_chain(picture(width, height), [step_of(kind, strength)], DONORS).pixels.size > 0


@pytest.mark.parametrize("kind", WITHOUT_LOSS)
def test_edits_that_hide_nothing_keep_all_of_the_area(kind: str) -> None:
    for strength in (0, 300, 700, 1000):
        assert apply_chain(picture(160, 120), [step_of(kind, strength)], DONORS).remaining_area == 1.0


HALF = EditStep("crop", 0.5, {"left": 0, "top": 0, "width": 500, "height": 1000})
RIGHT_HALF = EditStep("crop", 0.5, {"left": 500, "top": 0, "width": 500, "height": 1000})
QUARTER = EditStep("crop", 0.5, {"left": 500, "top": 500, "width": 500, "height": 500})
INSET = EditStep("inset", 0.5, {"donor": 0, "size": 500, "x": 0, "y": 0, "shape": "box"})


@pytest.mark.parametrize(
    ("chain", "area"),
    # What was hidden is not hidden twice: the last crop takes away the very quarter that the inset covers.
    [([HALF], 0.5), ([QUARTER], 0.25), ([HALF, QUARTER], 0.125), ([INSET], 0.75), ([INSET, RIGHT_HALF], 0.5)],
)
def test_remaining_area_by_pencil(chain: list[EditStep], area: float) -> None:
    edited = apply_chain(picture(200, 200), chain, [picture(64, 64)])
    assert edited.remaining_area == area
    assert np.count_nonzero(edited.mask) == (30_000 if chain == [INSET] else edited.mask.size)


@pytest.mark.parametrize(
    ("step", "times"),
    [
        (EditStep("flip", 0.1, {"axis": "horizontal"}), 2),
        (EditStep("rotate", 1.0, {"degrees": 90, "canvas": "same", "fill": "black"}), 4),
    ],
)
def test_turns_keep_everything_and_come_round(step: EditStep, times: int) -> None:
    original = picture(96, 64)
    once = apply_chain(original, [step])
    assert once.remaining_area == 1.0
    assert once.pixels.shape != original.shape or not np.array_equal(once.pixels, original)
    assert np.array_equal(apply_chain(original, [step] * times).pixels, original)


def test_a_larger_canvas_keeps_what_a_same_canvas_cuts_off() -> None:
    at = {"degrees": 30, "fill": "black"}
    same = apply_chain(picture(160, 160), [EditStep("rotate", 0.5, {**at, "canvas": "same"})])
    larger = apply_chain(picture(160, 160), [EditStep("rotate", 0.5, {**at, "canvas": "larger"})])
    assert larger.remaining_area == 1.0
    # Two equal squares turned by t about their centre share 2 / (1 + sin t + cos t): 0.8453 at 30 degrees.
    assert same.remaining_area == pytest.approx(2 / (1 + math.sin(math.pi / 6) + math.cos(math.pi / 6)), abs=0.01)


def test_stronger_crops_leave_less() -> None:
    left = [apply_chain(picture(200, 200), [step_of("crop", s)]).remaining_area for s in range(0, 1001, 100)]
    assert left == sorted(left, reverse=True)
    assert left[0] > 0.85
    assert left[-1] < 0.25


def test_stronger_recompression_loses_more() -> None:
    original = np.asarray(Image.fromarray(picture(160, 120)).resize((160, 120), Image.Resampling.BOX))
    errors = []
    for quality in (90, 50, 20, 5):
        edited = apply_chain(original, [EditStep("jpeg", 0.5, {"quality": quality})])
        errors.append(float(np.abs(edited.pixels.astype(int) - original).mean()))
    assert errors == sorted(errors)


def test_sampling_obeys_its_limits() -> None:
    stream = Stream("limits")
    chain = sample_chain(stream, 3, min_edits=3, kinds=("crop", "jpeg", "text"), strength=(0.2, 0.3), lowest_of=2)
    assert [step.kind for step in chain] == ["crop", "text", "jpeg"]
    assert all(0.2 <= step.strength <= 0.3 for step in chain)
    for seed in range(40):
        assert not any(EDITS[s.kind].donors for s in sample_chain(Stream("no donors", seed), 4, donors=False))
    mild = [sample_chain(Stream("mild", n), 1, lowest_of=4)[0].strength for n in range(200)]
    assert sum(mild) / len(mild) < 0.3  # the mean of the lowest of four uniform draws is 1/5


def test_wrong_use_is_an_error() -> None:
    with pytest.raises(ValueError, match="unknown edits \\['melt'\\]; known: crop, "):
        sample_chain(Stream("x"), kinds=("melt",))
    with pytest.raises(ValueError, match="3 to 2 edits"):
        sample_chain(Stream("x"), 2, min_edits=3)
    with pytest.raises(ValueError, match="no kind of edit"):
        sample_chain(Stream("x"), kinds=("paste",), donors=False)
    with pytest.raises(ValueError, match="unknown edit 'melt'"):
        apply_chain(picture(8, 8), [EditStep("melt", 0.1)])
    with pytest.raises(ValueError, match="edit paste needs other pictures"):
        apply_chain(picture(8, 8), [step_of("paste", 500)])
    with pytest.raises(ValueError, match="edit jpeg: parameter 'quality' is None, a whole number"):
        apply_chain(picture(8, 8), [EditStep("jpeg", 0.1)])
    with pytest.raises(ValueError, match=r"\(height, width, 3\) uint8 expected"):
        as_pixels(np.zeros((4, 4), np.uint8))
    with pytest.raises(ValueError, match="not an edit step"):
        EditStep.from_json({"kind": "crop"})


def test_pillow_images_of_any_mode_become_rgb() -> None:
    for mode in ("L", "RGBA", "P", "1", "CMYK"):
        edited = apply_chain(Image.new(mode, (60, 40)), [step_of("flip", 0)])
        assert edited.pixels.shape == (40, 60, 3)


def test_no_table_entry_depends_on_the_math_library() -> None:
    # A libm errs by at most a few units in the 16th place; an entry changes only if the exact value is that near to
    # a rounding border.
    exact = [math.sin(math.radians(d)) * UNIT + 0.5 for d in range(360)]
    exact += [255 * (v / 255) ** (t / 10) + 0.5 for t in range(1, 41) for v in range(1, 255)]
    near = [value for value in exact if abs(value - round(value)) < 1e-9 and abs(value % 1 - 0.5) > 1e-6]
    # sin 30 = 1/2 and its like are whole multiples of 2**-14: far from a border after adding 0.5.
    assert near == []
    assert sines()[90] == UNIT
    assert sine(210) == -UNIT // 2
    assert gamma_table(10) == tuple(range(256))


def test_blur_of_a_constant_is_the_constant_and_keeps_the_mean_of_a_dot() -> None:
    assert np.array_equal(blurred(np.full((9, 7, 3), 77, np.uint8), 3), np.full((9, 7, 3), 77, np.uint8))
    dot = np.zeros((11, 11, 3), np.uint8)
    dot[5, 5] = 225
    assert blurred(dot, 1, passes=1)[4:7, 4:7, 0].tolist() == [[25] * 3] * 3  # 225 over nine pixels, by pencil


def test_sampling_between_two_pixels_is_their_mean() -> None:
    row = np.array([[[0, 0, 0], [100, 200, 50]]], np.uint8)
    values, inside = sampled(row, np.array([[0, 128, 256, 999]]), np.zeros((1, 4), np.int64), (9, 9, 9))
    assert values[0].tolist() == [[0, 0, 0], [50, 100, 25], [100, 200, 50], [9, 9, 9]]
    assert inside[0].tolist() == [255, 255, 255, 0]


def test_resizing_down_is_the_mean_of_the_area() -> None:
    checks = np.zeros((4, 4, 3), np.uint8)
    checks[::2, ::2] = 200
    assert resized(checks, 2, 2).reshape(-1).tolist() == [50] * 12


def test_letters_are_all_different() -> None:
    shapes = {lettering(sign, 1).tobytes() for sign in SIGNS}
    assert len(shapes) == len(SIGNS)
    assert lettering("AB", 3).shape == (21, 36)
    assert np.array_equal(lettering("€", 1), lettering("?", 1))


LATER = sorted(name for name, kind in EDITS.items() if not kind.in_mini)


def test_chains_of_ndec_mini_know_no_later_kinds() -> None:
    def drawn(kinds: tuple[str, ...] | None) -> set[str]:
        return {step.kind for n in range(600) for step in sample_chain(Stream("later", n), kinds=kinds)}

    assert LATER == ["dither", "scatter", "sharpen", "stripes"]
    assert drawn(None) == set(EDITS) - set(LATER)
    assert drawn(tuple(EDITS)) == set(EDITS)


def test_dithering_keeps_the_mean_in_dots_of_few_levels() -> None:
    grey = np.full((64, 64, 3), 96, np.uint8)
    dots = apply_chain(grey, [EditStep("dither", 1.0, {"levels": 2})]).pixels
    assert set(np.unique(dots)) == {0, 255}
    assert dots.mean() == pytest.approx(96, abs=8)  # a sixteenth of 255 is 16


def test_scattered_pixels_come_from_their_neighbourhood() -> None:
    ramp = np.broadcast_to(np.arange(120, dtype=np.uint8)[None, :, None], (80, 120, 3)).copy()
    moved = apply_chain(ramp, [EditStep("scatter", 0.5, {"reach": 4, "seed": 1})]).pixels
    assert np.abs(moved.astype(int) - ramp).max() == 4
    assert np.array_equal(moved[..., 0], moved[..., 2])


def test_sharpening_leaves_flat_pictures_and_overshoots_at_a_step() -> None:
    flat = np.full((40, 40, 3), 90, np.uint8)
    sharpen = EditStep("sharpen", 0.5, {"tenths": 20})
    assert np.array_equal(apply_chain(flat, [sharpen]).pixels, flat)
    step = np.repeat(np.array([60, 180], np.uint8), 20)[None, :, None].repeat(40, 0).repeat(3, 2)
    sharp = apply_chain(step, [sharpen]).pixels
    assert sharp.min() < 60
    assert sharp.max() > 180


def test_stripes_take_the_area_that_they_cover() -> None:
    blue = np.full((100, 100, 3), (10, 20, 200), np.uint8)
    for seed in range(5):
        edited = apply_chain(blue, [EditStep("stripes", 1.0, {"seed": seed, "level": 1000})])
        untouched = (edited.pixels == (10, 20, 200)).all(axis=2).mean()
        assert edited.remaining_area == pytest.approx(untouched, abs=1e-6)
        assert 0.5 < untouched < 0.75
