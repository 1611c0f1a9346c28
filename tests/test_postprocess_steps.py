"""Each step against its formula written out again here, with every neighbour found by looking at every pair."""

from __future__ import annotations

from typing import TYPE_CHECKING

import faiss
import numpy as np
import pytest

from ndec_bench.descriptors import Descriptors, read_attributes, read_descriptors, write_descriptors
from ndec_bench.errors import SubmissionError
from ndec_bench.postprocess import Workspace, postprocess_file, postprocess_sides, quantised, workspace
from ndec_bench.postprocess.linear import principal
from ndec_bench.progress import silent
from ndec_bench.protocol import ISC2021_NORMALISATION, SSCD_NORMALISATION
from ndec_bench.randomness import Stream
from ndec_bench.scoring.lists import biases
from ndec_bench.search import Wanted, search

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from ndec_bench.protocol import Normalisation

Vectors = dict[str, "NDArray[np.float64]"]


def clustered(letter: str, count: int, dimension: int = 12, seed: int = 0) -> Vectors:
    """Unit vectors around a few common centres, float32 values, by id."""
    centres = np.random.default_rng(99).normal(size=(8, dimension)) + 0.4
    generator = np.random.default_rng([seed, ord(letter), count])
    vectors = centres[generator.integers(0, 8, count)] + 0.7 * generator.normal(size=(count, dimension))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return {f"{letter}{i:04d}": row.astype(np.float32).astype(np.float64) for i, row in enumerate(vectors)}


def write(path: Path, vectors: Vectors) -> Path:
    """The vectors as a descriptor file, in the order they come in."""
    rows = np.array(list(vectors.values())).astype(np.float32)
    write_descriptors(path, Descriptors(tuple(vectors), rows), {"metric": "l2"})
    return path


def read(path: Path) -> Vectors:
    found = read_descriptors(path)
    return dict(zip(found.ids, found.vectors.astype(np.float64), strict=True))


class Split:
    """Both sides and a background, and what is made of them."""

    def __init__(self, folder: Path, queries: Vectors, references: Vectors, background: Vectors) -> None:
        self.folder = folder
        self.queries, self.references, self.background = queries, references, background
        self.q, self.r, self.b = (np.array(list(v.values())) for v in (queries, references, background))

    def after(self, *steps: str, unranked: bool = False) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Queries and references after ``steps``, in the order of ids, which is that of ``q`` and ``r``."""
        outs = self.folder / "out_q.h5", self.folder / "out_r.h5"
        postprocess_sides(
            write(self.folder / "q.h5", self.queries),
            write(self.folder / "r.h5", self.references),
            steps,
            background=write(self.folder / "b.h5", self.background),
            out_query=outs[0],
            out_reference=outs[1],
            unranked=unranked,
        )
        queries, references = (np.array(list(read(out).values())) for out in outs)
        return queries, references


@pytest.fixture
def split(tmp_path: Path) -> Split:
    return Split(tmp_path, clustered("Q", 40), clustered("R", 60), clustered("B", 130))


def nearest(x: NDArray[np.float64], others: NDArray[np.float64], count: int) -> list[int]:
    """Rows of ``others`` by decreasing inner product with ``x``."""
    return sorted(range(len(others)), key=lambda i: (-float(x @ others[i]), i))[:count]


def unit(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def close(found: NDArray[np.float64], expected: NDArray[np.float64], within: float = 2e-7) -> None:
    """Equal up to the rounding to float32 of values of about 1."""
    np.testing.assert_allclose(found, expected, rtol=within, atol=within)


# l2, centre


def test_l2_makes_unit_vectors_of_any_length(tmp_path: Path) -> None:
    lengths = np.array([1e-30, 1e-5, 1.0, 7.0, 1e30])[:, None]
    rows = np.array(list(clustered("Q", 5).values()))
    queries = {f"Q{i}": row for i, row in enumerate((rows * lengths).astype(np.float32).astype(np.float64))}
    out, _ = Split(tmp_path, queries, clustered("R", 3), clustered("B", 3)).after("l2")
    close(out, rows)
    close(np.linalg.norm(out, axis=1), np.ones(5))


def test_centre_subtracts_the_mean_of_the_background(split: Split) -> None:
    q, r = split.after("centre")
    close(q, split.q - split.b.mean(axis=0))
    close(r, split.r - split.b.mean(axis=0))


# pca


def by_svd(split: Split, dim: int, *, whiten: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The projection by another way: the singular vectors of the centred background."""
    mean = split.b.mean(axis=0)
    _, singular, directions = np.linalg.svd(split.b - mean, full_matrices=False)
    scale = singular[:dim] / np.sqrt(len(split.b)) if whiten else np.ones(dim)
    return tuple((x - mean) @ directions[:dim].T / scale for x in (split.q, split.r))  # type: ignore[return-value]


@pytest.mark.parametrize("whiten", ["yes", "no"])
@pytest.mark.parametrize("dim", [1, 5, 12])
def test_pca_is_the_singular_value_decomposition_up_to_signs(split: Split, dim: int, whiten: str) -> None:
    found = split.after(f"pca:dim={dim},whiten={whiten}")
    for ours, theirs in zip(found, by_svd(split, dim, whiten=whiten == "yes"), strict=True):
        signs = np.sign((ours * theirs).sum(axis=0))
        close(ours, theirs * signs, 2e-6)


def test_pca_of_more_dimensions_and_images_than_one_tile_and_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workspace, "_MOST_ROWS", 100)
    # Variances far enough apart that every direction is one and the same for both ways.
    spread = np.r_[np.geomspace(8.0, 1.0, 12), np.full(538, 0.05)]

    def sides(letter: str, count: int) -> Vectors:
        rows = np.random.default_rng([4, ord(letter)]).normal(size=(count, 550)) * spread
        turned = rows[:, np.random.default_rng(6).permutation(550)].astype(np.float32)
        return {f"{letter}{i:04d}": row for i, row in enumerate(turned.astype(np.float64))}

    split = Split(tmp_path, sides("Q", 20), sides("R", 30), sides("B", 1150))
    found = split.after("pca:dim=12,whiten=yes")
    for ours, theirs in zip(found, by_svd(split, 12, whiten=True), strict=True):
        close(ours, theirs * np.sign((ours * theirs).sum(axis=0)), 5e-6)


def test_pca_whitened_then_l2_is_that_of_faiss(split: Split) -> None:
    pca = faiss.PCAMatrix(12, 5, -0.5)
    pca.train(split.b.astype(np.float32))
    theirs = [unit(pca.apply(x.astype(np.float32)).astype(np.float64)) for x in (split.q, split.r)]
    q, r = split.after("pca:dim=5,whiten=yes", "l2")
    # Inner products do not depend on the signs of the components.
    close(q @ r.T, theirs[0] @ theirs[1].T, 5e-6)


def test_pca_whitens_the_background_itself(split: Split, tmp_path: Path) -> None:
    path = write(tmp_path / "b.h5", split.background)
    postprocess_file(path, tmp_path / "out.h5", ["pca:dim=7,whiten=yes"], side="background")
    after = np.array(list(read(tmp_path / "out.h5").values()))
    close(after.mean(axis=0), np.zeros(7), 1e-6)
    close(after.T @ after / len(after), np.eye(7), 2e-6)


def test_pca_without_whitening_and_of_all_dimensions_keeps_distances(split: Split) -> None:
    q, r = split.after("pca:dim=12,whiten=no")
    distances = np.linalg.norm(split.q[:, None] - split.r[None], axis=2)
    close(np.linalg.norm(q[:, None] - r[None], axis=2), distances, 1e-6)


def test_pca_does_not_see_a_constant_added_to_everything(split: Split, tmp_path: Path) -> None:
    before = split.after("pca:dim=6,whiten=yes")
    # 4 and its sums with values of 2**-20 steps are exact in float32, so nothing but the constant changes.
    coarse = [
        {i: np.round(x * 2**20) / 2**20 for i, x in v.items()}
        for v in (split.queries, split.references, split.background)
    ]
    plain = Split(tmp_path, *coarse).after("pca:dim=6,whiten=yes")
    moved = Split(tmp_path, *({i: x + 4.0 for i, x in v.items()} for v in coarse)).after("pca:dim=6,whiten=yes")
    for one, other, third in zip(plain, moved, before, strict=True):
        close(one, other, 1e-6)  # signs included
        close(one, third, 1e-4)


def test_the_largest_entry_of_each_direction_is_positive(tmp_path: Path) -> None:
    # One image that lies along the first direction only: its component tells the sign.
    generator = np.random.default_rng(5)
    rows = generator.normal(size=(50, 4)) * [9.0, 3.0, 1.0, 0.3]
    background = {f"B{i:02d}": row for i, row in enumerate(rows.astype(np.float32).astype(np.float64))}
    axes = {f"Q{i}": row for i, row in enumerate(100.0 * np.eye(4))}
    for turned in (1.0, -1.0):
        turn = {key: turned * row for key, row in background.items()}
        q, _ = Split(tmp_path, axes, clustered("R", 3, 4), turn).after("pca:dim=4,whiten=no")
        assert (np.diag(q) > 0).all()
        assert (np.abs(q).argmax(axis=0) == np.arange(4)).all()


def test_a_sample_is_drawn_from_the_sorted_ids(split: Split, tmp_path: Path) -> None:
    sampled = split.after("pca:dim=5,whiten=yes,sample=50,seed=123")
    rows = sorted(Stream("postprocess pca", 123).sample(range(130), 50))
    ids = sorted(split.background)
    some = Split(tmp_path, split.queries, split.references, {ids[row]: split.background[ids[row]] for row in rows})
    for one, other in zip(sampled, some.after("pca:dim=5,whiten=yes"), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(sampled[0], split.after("pca:dim=5,whiten=yes,sample=50,seed=124")[0])
    assert not np.array_equal(sampled[0], split.after("pca:dim=5,whiten=yes")[0])


def test_a_sample_of_more_than_there_are_takes_all(split: Split) -> None:
    everything = split.after("pca:dim=5,whiten=yes")
    np.testing.assert_array_equal(split.after("pca:dim=5,whiten=yes,sample=131,seed=1")[0], everything[0])


@pytest.mark.parametrize(("on", "unranked"), [("references", False), ("queries", True)])
def test_pca_can_be_fitted_on_a_side(split: Split, tmp_path: Path, on: str, unranked: bool) -> None:
    q, r = split.after(f"pca:dim=5,whiten=yes,on={on}", unranked=unranked)
    assert read_attributes(tmp_path / "out_q.h5").get("query_independent") == ("no" if unranked else None)
    side = split.references if on == "references" else split.queries
    as_background = {f"B{key}": row for key, row in side.items()}
    other = Split(tmp_path, split.queries, split.references, as_background).after("pca:dim=5,whiten=yes")
    np.testing.assert_array_equal(q, other[0])
    np.testing.assert_array_equal(r, other[1])


def test_pca_says_what_it_lacks(split: Split, tmp_path: Path) -> None:
    few = Split(tmp_path, split.queries, split.references, clustered("B", 5))
    with pytest.raises(SubmissionError, match=r"needs 6 background images to fit 5 components, found 5"):
        few.after("pca:dim=5,whiten=yes")
    few.after("pca:dim=4,whiten=yes")
    with pytest.raises(SubmissionError, match=r"dim is 13, the descriptors have 12 dimensions"):
        split.after("pca:dim=13,whiten=yes")
    flat = {key: np.where(np.arange(12) < 3, row, 0.25) for key, row in split.background.items()}
    with pytest.raises(SubmissionError, match=r"vary in 3 directions only, dim is 4.*at most dim=3"):
        Split(tmp_path, split.queries, split.references, flat).after("pca:dim=4,whiten=no")


# score-norm


@pytest.mark.parametrize(("first", "last", "factor"), [(1, 3, 1.0), (10, 10, 2.0), (1, 10, 2.0), (2, 5, 1.0)])
def test_score_norm_subtracts_the_mean_of_the_ranks(split: Split, first: int, last: int, factor: float) -> None:
    q, r = split.after(f"score-norm:first={first},last={last},factor={factor}")
    assert q.shape == (40, 13)
    close(r, np.concatenate([split.r, np.ones((60, 1))], axis=1))
    for x, row in zip(split.q, q, strict=True):
        similarities = sorted((float(x @ t) for t in split.b), reverse=True)
        bias = factor * sum(similarities[first - 1 : last]) / (last - first + 1)
        close(row[:12], x)
        close(row[12], np.array(-bias), 4e-7)
    # The ranking of one query's references is what it was.
    np.testing.assert_array_equal((q @ r.T).argsort(axis=1), (split.q @ split.r.T).argsort(axis=1))


@pytest.mark.parametrize(
    ("rule", "step"),
    [
        (SSCD_NORMALISATION, "score-norm:first=1,last=3,factor=1"),
        (ISC2021_NORMALISATION, "score-norm:first=10,last=10,factor=2"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_score_norm_gives_the_scores_that_the_protocol_card_computes(
    split: Split, rule: Normalisation, step: str
) -> None:
    def described(letter: str, rows: NDArray[np.float64]) -> Descriptors:
        return Descriptors(tuple(f"{letter}{i:04d}" for i in range(len(rows))), rows.astype(np.float32))

    queries, references, background = described("Q", split.q), described("R", split.r), described("B", split.b)
    bias = biases(queries, background, [rule], backend="blas", threads=1, progress=silent)[rule.name]
    theirs = search(queries, references, {"list": Wanted(300, metric="ip", bias=bias)})["list"]
    q, r = split.after(step)
    assert read_attributes(split.folder / "out_q.h5")["metric"] == "ip"
    ours = search(described("Q", q), described("R", r), {"list": Wanted(300, metric="ip")})["list"]
    pairs = [dict(zip(zip(f.query_rows, f.reference_rows, strict=True), f.scores, strict=True)) for f in (ours, theirs)]
    assert pairs[0].keys() == pairs[1].keys()
    for pair, score in pairs[0].items():
        assert abs(score - pairs[1][pair]) < 2e-7


# stretch


def test_stretch_scales_queries_by_their_mean_similarity(split: Split) -> None:
    q, r = split.after("stretch:neighbours=5,factor=2.5")
    np.testing.assert_array_equal(r, split.r)
    for x, row in zip(split.q, q, strict=True):
        mean = np.mean([x @ split.b[i] for i in nearest(x, split.b, 5)])
        close(row, 2.5 * mean * x, 4e-7)
        close(np.linalg.norm(row), np.array(2.5 * mean), 4e-7)
        close(unit(row) @ unit(x), np.array(1.0))
    distances = np.linalg.norm(q[:, None] - r[None], axis=2)
    np.testing.assert_array_equal(distances.argsort(axis=1), (-split.q @ split.r.T).argsort(axis=1))
    assert read_attributes(split.folder / "out_q.h5")["metric"] == "l2"


# subtract


def subtracted(
    x: NDArray[np.float64], background: NDArray[np.float64], neighbours: int, factor: float, smooth: int, power: int
) -> NDArray[np.float64]:
    smoothed = []
    for t in background:
        total = np.zeros_like(t)
        for i in nearest(t, background, smooth):
            total += (t @ background[i]) ** power * background[i]
        smoothed.append(unit(total))
    rows = np.array(smoothed)
    return np.array([unit(one - factor * np.mean(rows[nearest(one, rows, neighbours)], axis=0)) for one in x])


@pytest.mark.parametrize(
    ("neighbours", "factor", "smooth", "power"), [(10, 0.35, 10, 3), (1, 0.9, 4, 0), (130, 0.2, 130, 2)]
)
def test_subtract_takes_both_sides_from_the_smoothed_background(
    split: Split, neighbours: int, factor: float, smooth: int, power: int
) -> None:
    step = f"subtract:neighbours={neighbours},factor={factor},smooth={smooth},power={power}"
    q, r = split.after(step)
    close(q, subtracted(split.q, split.b, neighbours, factor, smooth, power), 5e-7)
    close(r, subtracted(split.r, split.b, neighbours, factor, smooth, power), 5e-7)
    close(np.linalg.norm(q, axis=1), np.ones(40))


def test_the_defaults_of_subtract_are_the_published_ones(split: Split) -> None:
    named = split.after("subtract:neighbours=10,factor=0.35,smooth=10,power=3")
    np.testing.assert_array_equal(split.after("subtract")[0], named[0])
    assert not np.allclose(split.after("subtract:smooth=1")[0], named[0])


def test_subtract_of_a_background_of_one_vector_is_known_by_hand(split: Split, tmp_path: Path) -> None:
    n = unit(np.ones(12)).astype(np.float32).astype(np.float64)
    # All equal is refused as a file, so one row points away; it is nobody's neighbour.
    background = {f"B{i:02d}": n for i in range(20)} | {"B20": -n}
    queries = {key: unit(row + 2.0 * n) for key, row in split.queries.items()}
    q, _ = Split(tmp_path, queries, split.references, background).after("subtract")
    close(q, unit(np.array(list(queries.values())).astype(np.float32).astype(np.float64) - 0.35 * n), 5e-7)


# shift


def shifted(
    x: NDArray[np.float64], background: NDArray[np.float64], neighbours: int, count: int, factor: float
) -> NDArray[np.float64]:
    squares = [float(((x - t) ** 2).sum()) for t in background]
    near = sorted(range(len(background)), key=squares.__getitem__)[:neighbours]
    mean = np.zeros_like(x)
    for j in range(len(x)):
        away = [x[j] - background[k][j] for k in near]
        norm = sum(a * a for a in away) ** 0.5
        mean[j] = sum(a / norm for a in away) / neighbours if norm > 0.0 else 0.0
    cosine = sum(1.0 - squares[k] / 2.0 for k in near[:count]) / count
    return x + factor * cosine**0.5 * unit(mean)


@pytest.mark.parametrize(("neighbours", "count", "factor"), [(100, 3, 1.8), (7, 7, 0.5), (1, 1, 2.0)])
def test_shift_moves_queries_away_from_the_background(split: Split, neighbours: int, count: int, factor: float) -> None:
    q, r = split.after(f"shift:neighbours={neighbours},nearest={count},factor={factor}")
    np.testing.assert_array_equal(r, split.r)
    close(q, np.array([shifted(x, split.b, neighbours, count, factor) for x in split.q]), 2e-6)


def test_shift_goes_as_far_as_published_and_not_along_the_plain_mean(split: Split) -> None:
    q, _ = split.after("shift")
    for x, row in zip(split.q, q, strict=True):
        squares = np.sort(((split.b - x) ** 2).sum(axis=1))
        close(np.linalg.norm(row - x), np.array(1.8 * np.mean(1.0 - squares[:3] / 2.0) ** 0.5), 1e-6)
        near = split.b[((split.b - x) ** 2).sum(axis=1).argsort()[:100]]
        plain = unit(unit(x - near).mean(axis=0))  # each difference scaled to length 1: what one would expect
        assert 0.8 < plain @ unit(row - x) < 0.9999


def test_a_coordinate_without_differences_does_not_move(split: Split, tmp_path: Path) -> None:
    def constant(vectors: Vectors) -> Vectors:
        return {key: np.r_[row[:11], 0.25] for key, row in vectors.items()}

    q, _ = Split(tmp_path, constant(split.queries), split.references, constant(split.background)).after("shift")
    np.testing.assert_array_equal(q[:, 11], np.full(40, 0.25))


def test_shift_refuses_a_root_of_a_negative_number(split: Split, tmp_path: Path) -> None:
    long = {key: 3.0 * row for key, row in split.queries.items()}
    with pytest.raises(SubmissionError, match=r"mean cosine of Q0000 with its 3 nearest.*put l2 before shift"):
        Split(tmp_path, long, split.references, split.background).after("shift")


@pytest.mark.parametrize(
    ("step", "needed"),
    [
        ("score-norm:first=2,last=9,factor=1", 9),
        ("stretch:neighbours=9", 9),
        ("subtract:neighbours=9,smooth=3", 9),
        ("subtract:neighbours=3,smooth=9", 9),
        ("shift:neighbours=9", 9),
    ],
)
def test_too_few_background_images_are_told(split: Split, tmp_path: Path, step: str, needed: int) -> None:
    few = Split(tmp_path, split.queries, split.references, clustered("B", needed - 1))
    with pytest.raises(SubmissionError, match=rf"needs {needed} background images, found {needed - 1}"):
        few.after(step)
    Split(tmp_path, split.queries, split.references, clustered("B", needed)).after(step)


# mean, concat


def test_mean_and_concat_of_several_files(tmp_path: Path) -> None:
    several = [clustered("Q", 30, seed=seed) for seed in range(3)]
    files = [write(tmp_path / f"{i}.h5", vectors) for i, vectors in enumerate(several)]
    rows = [np.array(list(vectors.values())) for vectors in several]
    postprocess_file(files[0], tmp_path / "mean.h5", ["mean"], others=files[1:])
    close(np.array(list(read(tmp_path / "mean.h5").values())), (rows[0] + rows[1] + rows[2]) / 3)
    postprocess_file(files[0], tmp_path / "concat.h5", ["concat"], others=files[1:])
    np.testing.assert_array_equal(np.array(list(read(tmp_path / "concat.h5").values())), np.concatenate(rows, axis=1))


def test_the_mean_of_equal_unit_vectors_is_the_vector(tmp_path: Path) -> None:
    vectors = clustered("Q", 30)
    files = [write(tmp_path / f"{i}.h5", vectors) for i in range(4)]
    postprocess_file(files[0], tmp_path / "out.h5", ["l2", "mean", "l2"], others=files[1:])
    after = np.array(list(read(tmp_path / "out.h5").values()))
    close(after, np.array(list(vectors.values())))
    close(np.linalg.norm(after, axis=1), np.ones(30))


def test_steps_before_the_fusion_go_on_every_file(tmp_path: Path) -> None:
    one, other = clustered("Q", 20, seed=1), {key: 5.0 * row for key, row in clustered("Q", 20, 7, seed=2).items()}
    files = write(tmp_path / "1.h5", one), write(tmp_path / "2.h5", other)
    postprocess_file(files[0], tmp_path / "out.h5", ["l2", "concat"], others=files[1:])
    after = np.array(list(read(tmp_path / "out.h5").values()))
    assert after.shape == (20, 19)
    close(after[:, 12:], np.array(list(other.values())) / 5.0)


def test_files_that_do_not_fuse_are_told_apart(tmp_path: Path) -> None:
    one = write(tmp_path / "1.h5", clustered("Q", 20))
    shorter = write(tmp_path / "2.h5", clustered("Q", 20, 7))
    with pytest.raises(SubmissionError, match=r"12 dimensions in the first file, 7 in file 2"):
        postprocess_file(one, tmp_path / "out.h5", ["mean"], others=[shorter])
    fewer = write(tmp_path / "3.h5", {k: v for k, v in clustered("Q", 20).items() if k != "Q0007"})
    with pytest.raises(SubmissionError, match=r"3\.h5: no row of image Q0007, which .*1\.h5 has \(1 images"):
        postprocess_file(one, tmp_path / "out.h5", ["mean"], others=[fewer])
    with pytest.raises(SubmissionError, match=r"3\.h5: no row of image Q0007"):
        postprocess_file(fewer, tmp_path / "out.h5", ["concat"], others=[one])


@pytest.mark.parametrize("rows", [9, 12])
def test_principal_directions_of_few_vectors_are_those_of_their_covariance(tmp_path: Path, rows: int) -> None:
    vectors = np.random.default_rng(3).normal(size=(rows, 12)).astype(np.float32)
    source = Descriptors(tuple(f"B{row:02}" for row in range(rows)), vectors)
    with Workspace(tmp_path / "x", threads=1) as work:
        mean, values, directions = principal(source, 6, work)
    centred = vectors.astype(np.float64) - vectors.astype(np.float64).mean(axis=0)
    covariance = centred.T @ centred / rows
    assert np.allclose(mean, vectors.mean(axis=0))
    assert np.allclose(values, np.linalg.eigvalsh(covariance)[::-1][:6])
    assert np.allclose(covariance @ directions, directions * values, atol=1e-10)
    assert np.allclose(directions.T @ directions, np.eye(6), atol=1e-10)
    assert (directions[np.abs(directions).argmax(axis=0), np.arange(6)] > 0).all()


# sign, int8, pq


def test_sign_makes_bits_whose_squared_distance_is_four_times_the_hamming_distance(split: Split) -> None:
    split.queries["Q0000"][:2] = 0.0, -0.0
    q, r = split.after("sign")
    sides = (split.queries, split.references)
    bits = [np.array([[value >= 0 for value in row] for row in side.values()]) for side in sides]
    np.testing.assert_array_equal(q, np.where(bits[0], 1.0, -1.0))
    np.testing.assert_array_equal(r, np.where(bits[1], 1.0, -1.0))
    assert ((q[0] - r[0]) ** 2).sum() == 4 * (bits[0][0] != bits[1][0]).sum()


@pytest.mark.parametrize("scale", ["dimension", "global"])
@pytest.mark.parametrize("on", ["background", "references"])
def test_int8_rounds_to_whole_multiples_of_the_largest_value(split: Split, scale: str, on: str) -> None:
    for side in (split.background, split.references):
        for row in side.values():
            row[3] = 0.0  # no scale by itself, and no division by it
    fitted = np.array(list((split.background if on == "background" else split.references).values()))
    largest = [np.abs(column).max() for column in fitted.T] if scale == "dimension" else [np.abs(fitted).max()] * 12
    after = split.after(f"int8:scale={scale},on={on}")
    for found, vectors in zip(after, (split.queries, split.references), strict=True):
        for ours, row in zip(found, vectors.values(), strict=True):
            for value, x, top in zip(ours, row, largest, strict=True):
                whole = max(-127, min(127, round(127 * x / top))) if top else 0
                assert value == pytest.approx(whole * top / 127, abs=1e-7)


def test_pq_is_that_of_faiss(tmp_path: Path) -> None:
    split = Split(tmp_path, clustered("Q", 40), clustered("R", 60), clustered("B", 300))
    quantiser = faiss.ProductQuantizer(12, 4, 8)
    quantiser.cp.seed = 5
    quantiser.train(split.b.astype(np.float32))
    found = split.after("pq:bytes=4,seed=5")
    first = [(tmp_path / name).read_bytes() for name in ("out_q.h5", "out_r.h5")]
    for ours, side in zip(found, (split.q, split.r), strict=True):
        np.testing.assert_array_equal(ours, quantiser.decode(quantiser.compute_codes(side.astype(np.float32))))
    assert not np.array_equal(split.after("pq:bytes=4,seed=6")[0], found[0])
    for threads in (1, 4):
        faiss.omp_set_num_threads(threads)
        split.after("pq:bytes=4,seed=5")
        assert [(tmp_path / name).read_bytes() for name in ("out_q.h5", "out_r.h5")] == first
    assert read_attributes(tmp_path / "out_q.h5")["steps"] == "pq:bytes=4,seed=5,on=background"


def test_pq_is_fitted_on_a_sample_of_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantised, "_FITTED_ON", 280)
    split = Split(tmp_path, clustered("Q", 4), clustered("R", 4), clustered("B", 300))
    rows = sorted(Stream("postprocess pq", 5).sample(range(300), 280))
    quantiser = faiss.ProductQuantizer(12, 2, 8)
    quantiser.cp.seed = 5
    quantiser.train(split.b[rows].astype(np.float32))
    q, _ = split.after("pq:bytes=2,seed=5")
    np.testing.assert_array_equal(q, quantiser.decode(quantiser.compute_codes(split.q.astype(np.float32))))


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("pq:bytes=5", "step pq: 12 dimensions cannot be cut into 5 equal parts"),
        ("pq:bytes=4", "step pq needs 256 background images to fit 256 centroids, found 130"),
        ("pq:bytes=4,on=references", "step pq needs 256 references images to fit 256 centroids, found 60"),
    ],
)
def test_vectors_that_pq_cannot_be_fitted_on_are_refused(split: Split, step: str, message: str) -> None:
    with pytest.raises(SubmissionError, match=message):
        split.after(step)
