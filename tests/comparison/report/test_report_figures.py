"""What is in the figures: as many boxes, points, lines and names as the comparison has."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from tests.compared import CASES, dices, scored_run, trio

from semiseg.comparison.compare import compare
from semiseg.comparison.report.figures import boxes, budget, critical_difference, curves, differences, pairs
from semiseg.comparison.report.figures.style import BETTER, ONE_COLUMN, STYLE, TWO_COLUMNS, color_of, rendered
from semiseg.comparison.result import ArmGroup, Comparison
from semiseg.drawing.palette import COLOR_BLIND_SAFE


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """Supervised, mean_teacher (better) and ua_mt (level) with 8 labels, two seeds, and all labels once."""
    root = tmp_path_factory.mktemp("runs")
    return compare([*trio(root), scored_run(root, "supervised", dices(0.8), labeled=None)])


@pytest.fixture(scope="module")
def group(comparison: Comparison) -> ArmGroup:
    return comparison.groups[0]


def names_at_left(figure: Figure) -> list[str]:
    return [label.get_text() for label in figure.axes[0].get_yticklabels()]


def texts(figure: Figure) -> str:
    found = [text.get_text() for axis in figure.axes for text in axis.texts]
    return " ".join([*found, *(axis.get_xlabel() for axis in figure.axes)])


def test_boxes_have_a_point_per_case_and_a_row_per_arm(comparison: Comparison, group: ArmGroup) -> None:
    figure = boxes.draw(comparison, group, "Dice")
    axis = figure.axes[0]
    assert names_at_left(figure) == ["supervised, baseline", "mean_teacher", "ua_mt", "all 20 labels"]
    assert axis.get_ylim() == (3.5, -0.5)  # the first row on top
    clouds = [np.asarray(points.get_offsets()) for points in axis.collections]
    assert [len(cloud) for cloud in clouds] == [len(CASES)] * 4
    for row, (arm, cloud) in enumerate(zip(group.arms, clouds, strict=True)):
        assert cloud[:, 0] == pytest.approx(arm.per_case("Dice"))
        assert np.abs(cloud[:, 1] - row).max() < 0.31  # inside the box's height
    diamonds = [line for line in axis.lines if line.get_marker() == "D"]
    means = [arm.per_case("Dice").mean() for arm in group.arms]
    assert [line.get_xdata()[0] for line in diamonds] == pytest.approx(means)
    assert axis.get_xlabel() == "Dice, one point per case"
    assert boxes.draw(comparison, group, "HD95").axes[0].get_xlabel() == "HD95 (mm), one point per case"


def test_colors_say_what_the_tests_say(comparison: Comparison, group: ArmGroup) -> None:
    clouds = boxes.draw(comparison, group, "Dice").axes[0].collections
    faces = [tuple(np.round(points.get_facecolor()[0][:3], 3)) for points in clouds]
    blue = tuple(round(int(BETTER[i : i + 2], 16) / 255, 3) for i in (1, 3, 5))
    assert [face == blue for face in faces] == [False, True, False, False]
    assert {color_of("better"), color_of("worse")} <= set(COLOR_BLIND_SAFE)
    legend = [text.get_text() for text in boxes.draw(comparison, group, "Dice").legends[0].get_texts()]
    assert legend[:2] == ["better than supervised in Dice", "no difference in Dice shown"]
    assert "worse than supervised in Dice" not in legend  # nothing is


def test_a_case_without_a_value_is_no_point(tmp_path: Path) -> None:
    holes = dices(0.7)
    holes[3] = np.nan
    found = compare([scored_run(tmp_path, "supervised", holes)])
    arm = found.groups[0].arms[0]
    empty = replace(arm.runs[0], scores={"Dice": np.full((len(CASES), 1), np.nan)})
    group = replace(found.groups[0], arms=(arm, replace(arm, name="all empty", runs=(empty,))))
    figure = boxes.draw(found, group, "Dice")
    assert [len(points.get_offsets()) for points in figure.axes[0].collections] == [len(CASES) - 1]
    assert "not defined in any case" in texts(figure)


def test_points_of_equal_value_do_not_hide_one_another() -> None:
    offsets = boxes.spread_out(np.array([0.5] * 4 + [0.9]))
    assert len(set(offsets[:4])) == 4
    assert np.abs(offsets).max() <= boxes.SPREAD + 1e-9
    assert list(boxes.spread_out(np.array([0.3]))) == [0.0]
    assert (boxes.spread_out(np.array([0.5] * 4 + [0.9])) == offsets).all()
    assert np.abs(boxes.spread_out(np.full(300, 0.5))).max() <= boxes.SPREAD


def test_differences_show_every_test_with_interval_and_p(comparison: Comparison, group: ArmGroup) -> None:
    figure = differences.draw(comparison, group)
    assert names_at_left(figure) == ["mean_teacher", "ua_mt"]
    markers = {line.get_marker(): line for line in figure.axes[0].lines if line.get_marker() in "^o"}
    better, level = (group.test(name) for name in ("mean_teacher", "ua_mt"))
    assert better is not None
    assert level is not None
    assert markers["^"].get_xdata()[0] == pytest.approx(better.difference)
    assert markers["o"].get_xdata()[0] == pytest.approx(level.difference)
    bars = [list(line.get_xdata()) for line in figure.axes[0].lines if line.get_linewidth() == 1.4]
    assert bars[0] == pytest.approx([better.interval.low, better.interval.high])
    assert f"{better.p_holm:.3f}" in texts(figure)
    assert "better to the right" in texts(figure)


def test_ranks_lie_where_they_are_and_bars_join_what_is_level(
    comparison: Comparison, group: ArmGroup
) -> None:
    figure = critical_difference.draw(comparison, group)
    ranks = group.ranking.mean_ranks
    shown = texts(figure)
    for name, rank in ranks.items():
        assert name in shown
        assert f"{rank:.2f}" in shown
    assert f"critical difference {group.ranking.critical_difference:.2f}" in shown
    bars = [line for line in figure.axes[0].lines if line.get_gid() == "clique"]
    assert len(bars) == len(group.ranking.cliques)
    places = [critical_difference._x(len(ranks), rank) for rank in (1, 2, 3)]
    assert places == sorted(set(places))
    assert "all 20" not in shown  # an upper bound takes no part


def test_the_matrix_has_wins_below_and_p_above(comparison: Comparison, group: ArmGroup) -> None:
    figure = pairs.draw(comparison, group)
    assert names_at_left(figure) == ["supervised", "mean_teacher", "ua_mt"]
    cells = {tuple(text.get_position()): text for text in figure.axes[0].texts}
    assert len(cells) == 6
    test = next(t for t in group.pairs if {t.a, t.b} == {"supervised", "mean_teacher"})
    share = test.win_rate if test.a == "mean_teacher" else 1 - test.win_rate
    assert cells[0, 1].get_text() == f"{100 * share:.0f}"  # column supervised, row mean_teacher
    assert cells[1, 0].get_text() == f"{test.p_holm:.3f}"[1:]
    assert cells[1, 0].get_fontweight() == "bold"
    assert cells[2, 0].get_fontweight() == "normal"


def test_curves_have_a_panel_per_arm_and_a_line_per_run(comparison: Comparison, group: ArmGroup) -> None:
    figure = curves.draw(comparison, group, curves.LOSS)
    assert [axis.get_title(loc="left") for axis in figure.axes] == [
        "supervised, baseline", "mean_teacher", "ua_mt", "all 20 labels",
    ]  # fmt: skip
    lines = [[line.get_gid() for line in axis.lines] for axis in figure.axes]
    assert lines == [["run", "run", "mean"]] * 3 + [["run", "mean"]]
    assert figure.axes[0].get_yscale() == "log"
    assert list(figure.axes[0].lines[0].get_xdata()) == list(range(10, 101, 10))
    assert (
        curves.lacking(group, curves.DICE) == "No run had validation cases, so there is no validation curve."
    )


def test_validation_curves_have_the_baseline_behind_them(tmp_path: Path) -> None:
    found = compare(trio(tmp_path, seeds=1, validated=True))
    figure = curves.draw(found, found.groups[0], curves.DICE)
    assert [len(axis.lines) for axis in figure.axes] == [2, 3, 3]
    assert list(figure.axes[1].lines[0].get_ydata()) == list(figure.axes[0].lines[0].get_ydata())


def test_long_logs_are_thinned_to_means(group: ArmGroup) -> None:
    rows = tuple({"event": "stepped", "step": float(i), "loss": float(i)} for i in range(1, 1001))
    steps, values = curves.curve_of(replace(group.arms[0].runs[0], curve=rows), curves.LOSS)
    assert len(steps) == curves.POINTS
    assert values.mean() == pytest.approx(500.5, rel=0.03)
    assert (steps == values).all()


def test_budgets_are_points_on_a_line_between_bounds(tmp_path: Path) -> None:
    runs = [*trio(tmp_path), scored_run(tmp_path, "supervised", dices(0.8), labeled=None)]
    runs += [
        scored_run(tmp_path, name, dices(mean, seed=s), seed=s, labeled=4)
        for name, mean in (("supervised", 0.6), ("mean_teacher", 0.7))
        for s in (0, 1)
    ]
    found = compare(runs)
    figure = budget.draw(found, found.datasets[0], "Dice")
    panels = {axis.get_title(loc="left"): axis for axis in figure.axes}
    assert list(panels) == ["mean_teacher", "ua_mt"]
    line = next(
        line for line in panels["mean_teacher"].lines if line.get_gid() == "line" and line.get_marker() != "s"
    )
    assert list(line.get_xdata()) == [4, 8]
    few, more = (group.summary("mean_teacher", "Dice").mean for group in found.groups)
    assert list(line.get_ydata()) == pytest.approx([few, more])
    upper = next(line for line in panels["ua_mt"].lines if line.get_gid() == "upper")
    assert upper.get_ydata()[0] == pytest.approx(
        found.groups[0].summary("supervised, all labels", "Dice").mean
    )
    verdicts = [line for line in panels["mean_teacher"].lines if line.get_gid() == "arm"]
    assert [line.get_marker() for line in verdicts] == ["^", "^"]
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["4", "8"]


def test_what_cannot_be_drawn_says_why(tmp_path: Path) -> None:
    found = compare([scored_run(tmp_path, "supervised", dices(0.7))])
    group = found.groups[0]
    assert differences.lacking(group) == "There is no other method than the baseline."
    assert pairs.lacking(group) == "There is only one method."
    assert critical_difference.lacking(group)
    assert (
        budget.lacking(found, found.datasets[0]) == "A curve needs runs with at least two numbers of labels."
    )
    assert "no baseline" in differences.lacking(replace(group, baseline=None))
    assert len(boxes.draw(found, group, "Dice").axes[0].collections) == 1


def test_dollars_and_markup_in_names_are_only_text(tmp_path: Path) -> None:
    name = "$\\frac{a}$ <script>&"
    found = compare(
        [scored_run(tmp_path, "supervised", dices(0.7)), scored_run(tmp_path, name, dices(0.8), folder="odd")]
    )
    svg = rendered(boxes.draw(found, found.groups[0], "Dice")).svg.decode()
    assert "$\\frac{a}$ &lt;script&gt;&amp;" in svg
    assert "<script" not in svg


def test_files_are_vectors_with_text_and_embedded_fonts(comparison: Comparison, group: ArmGroup) -> None:
    files = rendered(boxes.draw(comparison, group, "Dice"))
    svg = files.svg.decode()
    assert ">mean_teacher</text>" in svg
    assert "<image" not in svg
    assert b"/FontFile2" in files.pdf
    assert STYLE["pdf.fonttype"] == 42
    again = rendered(boxes.draw(comparison, group, "Dice"))
    assert (files.svg, files.pdf) == (again.svg, again.pdf)  # the same comparison is the same files
    assert files.wide
    assert not rendered(differences.draw(comparison, group)).wide


def test_figures_are_as_wide_as_a_column_or_two(comparison: Comparison, group: ArmGroup) -> None:
    wide = [boxes.draw(comparison, group, "Dice"), critical_difference.draw(comparison, group)]
    assert [figure.get_figwidth() for figure in wide] == [TWO_COLUMNS] * 2
    assert differences.draw(comparison, group).get_figwidth() == ONE_COLUMN
    for figure in (*wide, curves.draw(comparison, group, curves.LOSS), pairs.draw(comparison, group)):
        assert figure.get_figwidth() <= 1.3 * TWO_COLUMNS
        assert math.isfinite(figure.get_figheight())
