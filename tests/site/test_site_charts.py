"""Scatter charts: their geometry by pencil and paper, and what the template makes of it."""

from __future__ import annotations

import random
import re
from itertools import combinations, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import html5lib
import pytest

from ndec_bench.progress import silent
from ndec_bench.site import scatter
from ndec_bench.site.boards import tables
from ndec_bench.site.pages import _environment
from ndec_bench.site.scatter import scatter_charts
from ndec_bench.submissions.entries import Entry, read_entries

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.site.conftest import Folders

    from ndec_bench.site.scatter import Label, Point, ScatterChart
    from ndec_bench.submissions.ranking import Board

ROOT = Path(__file__).parents[2]


@pytest.fixture
def make_board(folders: Folders) -> Callable[..., Board]:
    """Return the maker of a board from (µAP, bytes, milliseconds, µAP of the ISC part); None is not recorded."""

    def made(
        rows: Sequence[tuple[float, float | None, float | None, float | None]],
        split: str = "ndec",
        titles: Sequence[str] = (),
        reach: float | None = None,
    ) -> Board:
        entries = []
        for number, (micro_ap, size, took, isc) in enumerate(rows):
            name = f"method-{number}"
            result = folders.result(name, 0.5, split, replicates=0)
            interval = None if reach is None else (micro_ap - reach, micro_ap + reach)
            scores = {"micro_ap": micro_ap, "micro_ap_interval": interval}
            parts = {"all": result.parts["all"].model_copy(update=scores)}
            if isc is not None:
                parts["isc"] = result.parts["isc"].model_copy(update={"micro_ap": isc})
            describing = result.describing.model_copy(update={"milliseconds_per_image": took})
            changes = {"parts": parts, "bytes_per_reference": size, "describing": describing}
            card = folders.card(name, split, title=titles[number] if titles else f"M{number}")
            entries.append(Entry(result.model_copy(update=changes), card, Path(name), "0" * 64, name, private=True))
        ((board,),) = [table.boards for table in tables(entries)]
        return board

    return made


def of_kind(board: Board, kind: str) -> ScatterChart:
    return next(chart for chart in scatter_charts(board) if chart.kind == kind)


def by_title(chart: ScatterChart) -> dict[str, Point]:
    return {point.row.title: point for point in chart.points}


def drawn(board: Board) -> str:
    html = str(_environment().get_template("scatter.html.j2").module.scatter_figures(board, scatter_charts(board), str))
    html5lib.HTMLParser(strict=True).parseFragment(html)
    return html


def many(count: int, seed: int = 5) -> list[tuple[float, float, float, float]]:
    chance = random.Random(seed)  # noqa: S311 - no secret
    return [
        (round(chance.uniform(0.1, 0.9), 3), 2 ** chance.randrange(5, 13), chance.uniform(0.5, 200), chance.random())
        for _ in range(count)
    ]


# --- Geometry ---


def test_coordinates_by_pencil_and_paper(make_board: Callable[..., Board]) -> None:
    chart = of_kind(make_board([(0.4, 100, None, None), (0.6, 1000, None, None)]), "bytes")
    # Logarithms 2 and 3 with 0.12 of room on either side, over 304 units from 38; µAP 0.4 to 0.6 over 234 from 260 up.
    points = by_title(chart)
    assert (points["M0"].x, points["M0"].y) == (67.4, 260)
    assert (points["M1"].x, points["M1"].y) == (312.6, 26)
    assert chart.line == "M67.4 260L312.6 260L312.6 26L342 26"
    assert [tick.label for tick in chart.y_ticks] == ["0.40", "0.45", "0.50", "0.55", "0.60"]
    assert [(tick.position, tick.label) for tick in chart.x_ticks] == [
        (67.4, "100"),
        (141.2, "200"),
        (238.8, "500"),
        (312.6, "1,000"),
    ]


def test_without_hard_negatives_the_diagonal_is_no_loss(make_board: Callable[..., Board]) -> None:
    chart = of_kind(make_board([(0.4, None, None, 0.4), (0.6, None, None, 0.8), (0.2, None, None, 0.3)]), "isc")
    assert chart.line == "M38 260L342 26"
    assert [tick.label for tick in chart.x_ticks] == [tick.label for tick in chart.y_ticks]
    for point in chart.points:
        on_diagonal = 260 - (point.x - 38) * 234 / 304
        assert point.whisker is not None
        assert point.whisker == (pytest.approx(on_diagonal, abs=0.1), point.y)
    assert by_title(chart)["M0"].whisker == (by_title(chart)["M0"].y,) * 2


@pytest.mark.parametrize("kind", ["bytes", "ms", "isc"])
def test_front_is_what_no_other_row_dominates(make_board: Callable[..., Board], kind: str) -> None:
    for seed in range(20):
        rows = [(round(a, 1), size, round(took, -1) + 1, round(isc, 1)) for a, size, took, isc in many(25, seed)]
        chart = of_kind(make_board(rows), kind)
        values = {
            f"M{number}": (-isc if kind == "isc" else size if kind == "bytes" else took, -a)
            for number, (a, size, took, isc) in enumerate(rows)
        }
        for point in chart.points:
            cost, loss = values[point.row.title]
            beaten = any(c <= cost and w <= loss and (c, w) != (cost, loss) for c, w in values.values())
            assert point.front is not beaten


def test_the_line_passes_every_point_of_the_front_and_none_lies_above(make_board: Callable[..., Board]) -> None:
    chart = of_kind(make_board(many(60)), "ms")
    corners = [tuple(map(float, corner.split())) for corner in chart.line[1:].split("L")]
    assert all((point.x, point.y) in corners for point in chart.points if point.front)
    assert all(x0 == x1 or y0 == y1 for (x0, y0), (x1, y1) in pairwise(corners))
    for point in chart.points:
        reached = min(y for x, y in corners if x <= point.x)
        assert reached <= point.y


@pytest.mark.parametrize(
    ("sizes", "labels"),
    [
        ((512, 512), "200 500 1,000"),
        ((128, 2048), "100 200 500 1,000 2,000"),
        ((32, 8192), "100 1,000 10k"),
        ((8, 4_000_000), "10 100 1,000 10k 100k 1M"),
        ((1, 10**14), "10 1,000 100k 10M 1G 100G 10,000G"),
    ],
)
def test_ticks_of_sizes_are_round(make_board: Callable[..., Board], sizes: tuple[int, int], labels: str) -> None:
    chart = of_kind(make_board([(0.4, sizes[0], None, None), (0.5, sizes[1], None, None)]), "bytes")
    assert " ".join(tick.label for tick in chart.x_ticks) == labels
    assert all(38 <= tick.position <= 342 for tick in chart.x_ticks)


@pytest.mark.parametrize("scores", [(0.0, 0.0), (1.0, 1.0), (0.5, 0.5), (0.0, 1.0), (0.7301, 0.7302)])
def test_any_scores_have_a_scale(make_board: Callable[..., Board], scores: tuple[float, float]) -> None:
    chart = of_kind(make_board([(score, 512, 1, score) for score in scores]), "bytes")
    assert 3 <= len(chart.y_ticks) <= 8
    assert all(26 <= point.y <= 260 for point in chart.points)
    assert all(0 <= float(tick.label) <= 1 for tick in chart.y_ticks)


# --- Labels ---


def test_labels_lie_on_no_dot_and_on_no_other_label(make_board: Callable[..., Board]) -> None:
    def box(label: Label) -> tuple[float, float, float, float]:
        width = 0.5 * scatter.FONT * len(label.text)  # at least
        start = label.x - {"start": 0, "middle": width / 2, "end": width}[label.anchor]
        return start, label.y - 8, start + width, label.y

    for seed in range(8):
        rows = many(scatter.CROWD - 1, seed)
        for chart in scatter_charts(make_board(rows, titles=[f"Method number {n}" for n in range(len(rows))])):
            boxes = [(point, box(point.label)) for point in chart.points if point.label]
            assert len(boxes) > 5
            for (_, a), (_, b) in combinations(boxes, 2):
                assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
            for point, a in boxes:
                for other in chart.points:
                    inside = a[0] < other.x < a[2] and a[1] < other.y < a[3]
                    assert not inside or (other.x, other.y) == (point.x, point.y)


def test_of_a_crowd_only_the_front_is_named(make_board: Callable[..., Board]) -> None:
    board = make_board(many(100), reach=0.02)
    for chart in scatter_charts(board):
        assert chart.crowded
        front = {point.row.title for point in chart.points if point.front}
        named = {point.row.title for point in chart.points if point.label}
        assert named
        assert named <= front | {board.rows[0].title}
        assert {point.row.title for point in chart.points if point.whisker} == named
        assert {point.row.title for point in chart.table} == front


def test_long_names_are_cut_and_short_ones_are_not(make_board: Callable[..., Board]) -> None:
    titles = ["Short", "A rather long name of a method that nobody could print", "W" * 300, "漢字" * 60]
    chart = of_kind(make_board([(0.2 + n / 10, 10**n, 1, None) for n in range(4)], titles=titles), "bytes")
    points = by_title(chart)
    labels = [points[title].label for title in titles]
    shown = [label.text for label in labels if label]
    assert shown[:2] == ["Short", "A rather long name…"]
    assert all(5 < len(cut) < 30 and cut.endswith("…") for cut in shown[2:])
    assert [len(points[title].name) for title in titles] == [5, 54, scatter.NAME_LENGTH, scatter.NAME_LENGTH]


def test_names_that_begin_alike_are_cut_in_the_middle(make_board: Callable[..., Board]) -> None:
    titles = ["Network of many layers, whitened on the background", "Network of many layers, not whitened at all"]
    chart = of_kind(make_board([(0.3, 10, 1, None), (0.6, 1000, 1, None)], titles=titles), "bytes")
    shown = [point.label.text for point in chart.points if point.label]
    assert len(set(shown)) == 2
    assert shown[0].startswith("Network")
    assert [text.rpartition("…")[2][-6:] for text in shown] == ["ground", "at all"]


# --- Which charts there are ---


def test_a_chart_needs_two_points(make_board: Callable[..., Board]) -> None:
    assert scatter_charts(make_board([(0.5, 512, 4.0, 0.6)])) == []
    charts = scatter_charts(make_board([(0.5, 512, 4.0, None), (0.6, None, 5.0, 0.7)]))
    assert [chart.kind for chart in charts] == ["ms"]


@pytest.mark.parametrize("nonsense", [0.0, -4.0, 1e-9, 1e300, None])
def test_rows_without_a_usable_value_are_listed(make_board: Callable[..., Board], nonsense: float | None) -> None:
    board = make_board([(0.5, 512, 4.0, None), (0.6, 512, 5.0, None), (0.7, 512, nonsense, None)])
    chart = of_kind(board, "ms")
    assert [row.title for row in chart.missing] == ["M2"]
    assert len(chart.points) == 2
    assert 'Not shown, without a recorded value: <a href="s/method-2/index.html">' in drawn(board)


def test_runs_of_one_method_are_one_point(folders: Folders) -> None:
    entries = []
    for seed, quality in enumerate((0.5, 0.6, 0.9)):
        name = f"run-{seed}"
        family = {"runs_of": "Family", "seed": seed} if seed < 2 else {}
        card = folders.card(name).model_copy(update=family)
        entries.append(Entry(folders.result(name, quality), card, Path(name), "0" * 64, name, private=True))
    ((board,),) = [table.boards for table in tables(entries)]
    (family,) = [row for row in board.rows if len(row.entries) > 1]
    chart = of_kind(board, "bytes")
    assert sorted(point.row.result.parts["all"].micro_ap for point in chart.points) == [pytest.approx(0.55), 0.9]
    assert f'{family.page}"' in drawn(board)


def test_rows_of_the_repository() -> None:
    entries = read_entries(ROOT / "results", ROOT / "submissions", silent, private=True)
    boards = {board.track: board for table in tables(entries) for board in table.boards}
    assert [chart.kind for chart in scatter_charts(boards["descriptor"])] == ["bytes", "ms", "isc"]
    assert [chart.kind for chart in scatter_charts(boards["matching"])] == ["ms", "isc"]
    sizes = by_title(of_kind(boards["descriptor"], "bytes"))
    assert sizes["Wavelet scattering"].front
    assert not sizes["Thumbnail 16 x 16"].front
    assert "without hard negatives" in drawn(boards["descriptor"])


# --- The page ---


def test_points_are_links_that_say_what_they_show(make_board: Callable[..., Board]) -> None:
    html = drawn(make_board([(0.4567, 512, 4.0, 0.5123), (0.6, 2048, 12.5, 0.7)]))
    for said in ("M0: µAP 0.457, 512 bytes", "M0: µAP 0.457, 4.00 ms", "M0: µAP 0.457, 0.512 of the ISC part"):
        assert re.search(rf'<a href="s/method-0/index.html"[^>]*><title>{said}</title>', html)
    assert html.count("<svg") - html.count('aria-hidden="true" focusable="false"') == 3


def test_the_table_says_what_the_chart_says(make_board: Callable[..., Board]) -> None:
    html = drawn(make_board([(0.4567, 512, 4.0, 0.5123), (0.6, 2048, 12.5, 0.7)], reach=0.01))
    row = '<tr><th scope="row"><bdi class="user">M0</bdi></th>'
    assert f"{row}<td>512</td><td>0.457</td><td>0.447–0.467</td><td>yes</td></tr>" in html
    assert f"{row}<td>0.512</td><td>0.457</td><td>0.056</td><td>no</td></tr>" in html
    ids = re.findall(r' id="([^"]+)"', html)
    assert len(ids) == len(set(ids)) == 6
    assert set(re.findall(r'aria-labelledby="([^"]+)"', html)) <= set(ids)


def test_hostile_titles_are_shown_harmlessly(make_board: Callable[..., Board]) -> None:
    title = '<script>alert(1)</script>"\u202egnp.exe {{ 7*7 }}'
    html = drawn(make_board([(0.4, 512, 4.0, 0.5), (0.6, 2048, 12.5, 0.7)], titles=[title, "</text></svg><b>"]))
    assert "<script" not in html
    assert "<b>" not in html.replace('<b id="', "")
    assert "\u202e" not in html
    assert "49" not in re.sub(r"[\d.]+", "", html)
