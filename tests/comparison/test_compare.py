"""The numbers of a comparison, what is refused, and what a reader is told."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from tests.comparison.runs import NAN, make_run, spread

from semiseg.comparison.compare import compare
from semiseg.comparison.result import ArmGroup
from semiseg.comparison.statistics import bootstrap
from semiseg.errors import UsageError
from semiseg.evaluation.results import statistics

RNG = np.random.default_rng(0)
BASE = RNG.uniform(0.6, 0.9, 12)
BETTER = BASE + RNG.uniform(-0.01, 0.05, 12)
WORSE = BASE - RNG.uniform(0.0, 0.1, 12)


def group(*paths: Path, **options) -> ArmGroup:
    (found,) = compare(paths, **options).groups
    return found


def three_arms(folder: Path) -> Path:
    for seed in (0, 1):
        noise = 0.004 * seed
        make_run(folder / f"base{seed}", spread(BASE + noise), seed=seed)
        make_run(folder / f"better{seed}", spread(BETTER - noise), method="mean_teacher", seed=seed)
        make_run(folder / f"worse{seed}", spread(WORSE), method="ua_mt", seed=seed)
    return folder


def test_means_sds_and_tests_are_those_of_numpy_and_scipy(tmp_path: Path) -> None:
    found = group(three_arms(tmp_path))
    assert [arm.name for arm in found.arms] == ["supervised", "mean_teacher", "ua_mt"]
    assert found.baseline == "supervised"
    summary = found.summary("supervised", "Dice")
    assert summary.mean == pytest.approx(BASE.mean() + 0.002)
    assert summary.sd == pytest.approx(np.std([0, 0.004], ddof=1))
    assert summary.interval.low < summary.mean < summary.interval.high
    test = found.test("mean_teacher")
    differences = (BETTER - 0.002) - (BASE + 0.002)
    assert (test.n, test.excluded, test.exact) == (12, 0, True)
    assert test.difference == pytest.approx(differences.mean())
    assert test.p == pytest.approx(stats.wilcoxon(differences, method="exact").pvalue)
    other = found.test("ua_mt")
    smaller, larger = sorted([test.p, other.p])
    corrected = sorted([test.p_holm, other.p_holm])
    assert corrected == pytest.approx([2 * smaller, max(larger, 2 * smaller)])
    assert test.wins == np.count_nonzero(differences > 0)
    assert len(found.pairs) == 3
    assert all(pair.difference >= 0 for pair in found.pairs)  # the better first
    scores = np.stack([found.arm(name).per_case("Dice") for name in found.ranking.mean_ranks], axis=1)
    assert found.ranking.p == pytest.approx(stats.friedmanchisquare(*scores.T).pvalue)
    assert next(iter(found.ranking.mean_ranks)) == "mean_teacher"


def test_a_notebook_shows_the_tables(tmp_path: Path) -> None:
    assert "mean_teacher" in compare(three_arms(tmp_path))._repr_html_()


def test_the_interval_of_seeds_is_that_of_their_average_per_case(tmp_path: Path) -> None:
    """Cases are drawn, seeds are not: with nothing undefined, averaging seeds per case first is the same."""
    found = group(three_arms(tmp_path))
    interval = found.summary("mean_teacher", "Dice").interval
    per_case = found.arm("mean_teacher").per_case("Dice")
    theirs = stats.bootstrap((per_case,), np.mean, rng=np.random.default_rng(0)).confidence_interval
    assert (interval.low, interval.high) == pytest.approx((theirs.low, theirs.high), rel=1e-3)


def test_means_are_those_of_evaluate_when_masks_are_empty(tmp_path: Path) -> None:
    """Class means first, whatever the number of cases that define each class.

    The reference of c0 is empty: who predicts nothing there is left out, who predicts something has 0.
    """
    scores = {"c0": [0.0, NAN], "c1": [0.7, NAN], "c2": [0.8, 0.4], **spread([0.8] * 5, classes=2)}
    scores |= {f"c{i:02d}": [0.8, NAN] for i in range(5)}
    make_run(tmp_path / "a", scores)
    make_run(tmp_path / "b", {**scores, "c0": [NAN, NAN]}, method="mean_teacher")
    found = group(tmp_path)
    summary = found.summary("supervised", "Dice")
    assert summary.mean == pytest.approx(((0 + 0.7 + 0.8 + 5 * 0.8) / 8 + 0.4) / 2)
    assert (summary.cases, summary.undefined) == (8, 7)
    by_class = found.summary("supervised", "Dice", "structure 2")
    assert (by_class.mean, by_class.cases) == (pytest.approx(0.4), 1)
    test = found.test("mean_teacher")
    assert (test.n, test.excluded) == (7, 1)
    assert found.ranking.excluded == 1
    assert found.ranking.n == 7


def test_one_seed_has_no_sd_and_a_notice(tmp_path: Path) -> None:
    make_run(tmp_path / "a", spread(BASE))
    make_run(tmp_path / "b", spread(BETTER), method="mean_teacher")
    found = group(tmp_path)
    assert math.isnan(found.summary("supervised", "Dice").sd)
    assert not math.isnan(found.test("mean_teacher").p)
    assert any(line.startswith("one run of mean_teacher, supervised") for line in found.notices)


def test_one_case_says_what_cannot_be_computed(tmp_path: Path) -> None:
    for i, method in enumerate(("supervised", "mean_teacher", "ua_mt")):
        make_run(tmp_path / method, spread([0.5 + 0.1 * i]), method=method)
    found = group(tmp_path)
    test = found.test("mean_teacher")
    assert (test.why_not, test.difference) == ("a single case", pytest.approx(0.1))
    assert math.isnan(test.p)
    assert math.isnan(test.p_holm)
    assert found.summary("supervised", "Dice").interval.why_not == "1 case; an interval needs 5"
    assert found.ranking.why_not == "a single case"
    assert "no signed-rank test of 1 can reach p < 0.05: the smallest is 1" in found.notices


def test_too_few_cases_for_the_correction_are_told(tmp_path: Path) -> None:
    """Six cases give at best 2 / 2**6; with two arms against the baseline, Holm's smallest is twice that."""
    for i, method in enumerate(("supervised", "mean_teacher", "ua_mt")):
        make_run(tmp_path / method, spread([0.5 + 0.1 * i] * 6), method=method)
    found = group(tmp_path)
    assert [test.p_holm for test in found.against_baseline] == [pytest.approx(0.0625)] * 2
    said = "no signed-rank test of 6 can reach p < 0.05 after the correction for 2 tests"
    assert f"{said}: the smallest is 0.0625" in found.notices
    assert not any("signed-rank" in line for line in group(tmp_path, baseline="ua_mt", alpha=0.1).notices)


def test_all_ties_are_no_difference(tmp_path: Path) -> None:
    for method in ("supervised", "mean_teacher", "ua_mt"):
        make_run(tmp_path / method, spread(BASE), method=method)
    found = group(tmp_path)
    test = found.test("ua_mt")
    assert (test.wins, test.ties, test.losses, test.win_rate) == (0, 12, 0, 0.5)
    assert (test.why_not, test.difference) == ("the two are equal in every case", 0)
    assert set(found.ranking.mean_ranks.values()) == {2.0}
    assert (
        found.ranking.cliques == (("supervised", "mean_teacher", "ua_mt"),) or len(found.ranking.cliques) == 1
    )


def test_a_smaller_distance_is_better(tmp_path: Path) -> None:
    make_run(tmp_path / "a", spread(BASE), hd95=5.0)
    make_run(tmp_path / "b", spread(BASE), hd95=3.0, method="mean_teacher")
    found = compare([tmp_path], metric="HD95")
    assert found.metrics == ("HD95", "Dice", "ASSD")
    test = found.groups[0].test("mean_teacher")
    assert (test.difference, test.wins, test.effect) == (-2.0, 12, 1.0)
    assert list(found.groups[0].ranking.mean_ranks) == ["mean_teacher", "supervised"]
    assert found.groups[0].pairs[0].a == "mean_teacher"


def test_infinite_distances_are_ranked_and_have_no_interval(tmp_path: Path) -> None:
    make_run(tmp_path / "a", spread(BASE), hd95=float("inf"), convention="monai")
    make_run(tmp_path / "b", spread(BASE), hd95=3.0, method="mean_teacher", convention="monai")
    found = group(tmp_path, metric="HD95")
    assert found.summary("supervised", "HD95").interval.why_not == "a resample has no finite value"
    assert found.test("mean_teacher").wins == 12


def test_a_case_that_one_run_lacks_is_left_out_everywhere_and_said(tmp_path: Path) -> None:
    make_run(tmp_path / "a", spread(BASE))
    lacking = {case: row for case, row in spread(BETTER).items() if case not in ("c03", "c05")}
    make_run(tmp_path / "b", lacking, method="mean_teacher", failed={"c03": "no prediction"})
    found = group(tmp_path)
    assert len(found.cases) == 10
    assert found.summary("supervised", "Dice").mean == pytest.approx(np.delete(BASE, [3, 5]).mean())
    assert found.notices[0] == (
        "compared on the 10 cases that all runs scored; left out everywhere: c03, c05, which some run lacks"
    )
    assert "mean_teacher, fold 0, seed 0: c03: no prediction" in found.notices


def test_runs_without_a_common_case_are_refused(tmp_path: Path) -> None:
    make_run(tmp_path / "a", {"c0": [0.5]})
    make_run(tmp_path / "b", {"d0": [0.5]}, method="mean_teacher")
    with pytest.raises(UsageError, match=r"no case was scored by all.*c0.*d0") as caught:
        compare([tmp_path])
    assert caught.value.code == "NO_COMMON_CASES"


@pytest.mark.parametrize(
    ("classes", "other", "what", "code"),
    [
        (1, {"convention": "uamt"}, "2 conventions: semiseg in .*; uamt in ", "SCORES_DIFFER"),
        (1, {"nsd_tolerance_mm": 2.0}, "2 tolerances of NSD: 1 mm in .*; 2 mm in ", "SCORES_DIFFER"),
        (1, {"voxels": 101.0}, "c00 was scored against .* has 100 voxels .* 101", "REFERENCES_DIFFER"),
        (2, {}, "2 lists of classes of Dataset001_Tiny", "SCORES_DIFFER"),
    ],
)
def test_scores_counted_otherwise_are_refused(
    tmp_path: Path, classes: int, other: dict, what: str, code: str
) -> None:
    make_run(tmp_path / "a", spread(BASE))
    make_run(tmp_path / "b", spread(BASE, classes=classes), method="mean_teacher", **other)
    with pytest.raises(UsageError, match=what) as caught:
        compare([tmp_path])
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("told", "line"),
    [
        (
            {"split_sha256": "x"},
            "fold 0, seed 0: trained with different lists of cases: supervised | mean_teacher",
        ),
        ({"data_sha256": "x"}, "fold 0, seed 0: trained with different image or label files: "),
        ({"selection": "best-val"}, "how the weights were chosen differ (last: supervised; best-val: mean_"),
        ({"protocol": "paper"}, "protocols differ (strict: supervised; paper: mean_teacher)"),
        ({"deviations": ["labels leak"]}, "mean_teacher deviates: labels leak"),
        (
            {"sessions": [{"step": 9, "reason": "max-time", "seconds": 1}]},
            "mean_teacher, seed 0: ended early at iteration 9 (max-time)",
        ),
    ],
)
def test_what_weakens_a_comparison_is_said(tmp_path: Path, told: dict, line: str) -> None:
    make_run(tmp_path / "a", spread(BASE))
    make_run(tmp_path / "b", spread(BETTER), method="mean_teacher", told=told)
    assert any(notice.startswith(line) for notice in group(tmp_path).notices), group(tmp_path).notices


def test_other_seeds_and_scored_training_cases_are_said(tmp_path: Path) -> None:
    scores = {"a": [0.9], **spread(BASE)}  # the factory's labeled case is "a"
    for seed in (0, 1):
        make_run(tmp_path / f"a{seed}", scores, seed=seed)
    make_run(tmp_path / "b", scores, method="mean_teacher", seed=0)
    found = group(tmp_path).notices
    assert "not all have the same seeds (0: mean_teacher; 0 1: supervised)" in found
    assert "supervised, seed 1: scored cases that were labeled in training: a" in found


def test_cases_that_another_fold_was_trained_on_are_no_training_cases(tmp_path: Path) -> None:
    folds = {0: spread(BASE), 1: {f"other {case}": dice for case, dice in spread(BASE).items()}}
    for method in ("supervised", "mean_teacher"):
        for fold, scores in folds.items():
            labeled = list(folds[1 - fold])
            make_run(
                tmp_path / f"{method} {fold}",
                scores,
                method=method,
                settings={"data.fold": fold},
                labeled_cases=labeled,
            )
    assert not [line for line in group(tmp_path).notices if "labeled in training" in line]


def test_scores_of_validation_cases_are_said_to_be_that(tmp_path: Path) -> None:
    for method in ("supervised", "mean_teacher"):
        make_run(
            tmp_path / method,
            spread(BASE),
            method=method,
            place="validation",
            told={"selection": "best-val"},
        )
    found = group(tmp_path)
    assert found.source == "validation"
    assert "scores of validation cases: there are no test scores" in found.notices
    assert "the scored validation cases also chose the weights of mean_teacher, supervised" in found.notices


def test_settings_that_differ_are_listed_by_arm(tmp_path: Path) -> None:
    make_run(tmp_path / "a", spread(BASE))
    make_run(tmp_path / "b", spread(BASE), method="ua_mt", settings={"optimizer.lr": 0.5})
    make_run(tmp_path / "c", spread(BASE), method="ua_mt", seed=1, settings={"optimizer.lr": 0.5})
    found = {d.key: d.values for d in group(tmp_path).differences}
    assert found["config.optimizer.lr"] == {"supervised": (0.002,), "ua_mt": (0.5,)}
    assert "config.train.seed" not in found
    assert not any(key.startswith("config.method.name") for key in found)


def test_missing_cells_stand_in_their_group_or_are_told(tmp_path: Path) -> None:
    make_run(tmp_path / "a", spread(BASE))
    make_run(tmp_path / "b", None, method="ua_mt")
    make_run(tmp_path / "c", None, method="ua_mt", labeled=7)
    found = compare([tmp_path])
    assert [cell.name for cell in found.groups[0].missing] == ["ua_mt"]
    assert len(found.missing) == 2
    assert "missing in Dataset001_Tiny: ua_mt, 7 labeled, fold 0, seed 0" in found.notices[0]


def test_nothing_but_unscored_runs_is_an_error_that_helps(tmp_path: Path) -> None:
    make_run(tmp_path / "a", None, told={"sessions": []})
    with pytest.raises(UsageError, match="none of 1 run has scores; supervised, 2 labeled") as caught:
        compare([tmp_path])
    assert "--resume" in caught.value.hint
    (make_run(tmp_path / "b c", None) / "checkpoints").mkdir()
    (tmp_path / "b c" / "checkpoints" / "final.ckpt").touch()
    with pytest.raises(UsageError, match="none of 1 run") as caught:
        compare([tmp_path / "b c"])
    assert caught.value.hint.startswith(
        "for the first one, where the folder Dataset001_Tiny lies: semiseg predict -i "
    )
    assert f"-o '{tmp_path / 'b c' / 'test'}'" in caught.value.hint
    assert "semiseg predict" not in caught.value.message


def test_the_baseline_is_chosen_refused_or_told_to_be_lacking(tmp_path: Path) -> None:
    make_run(tmp_path / "a", spread(BASE), method="mean_teacher")
    make_run(tmp_path / "b", spread(BETTER), method="ua_mt")
    without = group(tmp_path)
    assert (without.baseline, without.against_baseline) == (None, ())
    assert without.notices[0].startswith("no supervised run")
    assert len(without.pairs) == 1
    chosen = group(tmp_path, baseline="ua_mt")
    assert [test.a for test in chosen.against_baseline] == ["mean_teacher"]
    with pytest.raises(UsageError, match=r"unknown baseline 'ua_mtt'. Did you mean 'ua_mt'?"):
        compare([tmp_path], baseline="ua_mtt")


def test_several_supervised_arms_leave_the_choice_to_the_user(tmp_path: Path) -> None:
    make_run(tmp_path / "a", spread(BASE))
    make_run(tmp_path / "b", spread(BASE), settings={"optimizer.lr": 0.1})
    found = group(tmp_path)
    assert found.baseline is None
    assert "choose one with --baseline" in found.notices[0]


def test_the_plain_arm_of_a_sweep_is_the_baseline_beside_variants_with_names(tmp_path: Path) -> None:
    names = {"supervised": None, "supervised_half": {"batch.labeled": 1}}
    for variant, other in names.items():
        make_run(tmp_path / variant, spread(BASE), settings=other)
    facts = {"dataset": "Dataset001_Tiny", "labeled": 2, "fold": 0, "seed": 0, "state": "done"}
    cells = [{**facts, "variant": name, "run": name, "scores": f"{name}/test"} for name in names]
    (tmp_path / "sweep.json").write_text(json.dumps({"cells": cells}))
    found = group(tmp_path)
    assert found.baseline == "supervised"
    assert [test.a for test in found.against_baseline] == ["supervised_half"]


@pytest.mark.parametrize(
    ("options", "what"), [({"metric": "dice"}, "metric 'dice'"), ({"alpha": 5}, "alpha is 5")]
)
def test_wrong_options_are_refused(tmp_path: Path, options: dict, what: str) -> None:
    make_run(tmp_path / "a", spread(BASE))
    with pytest.raises(UsageError, match=what):
        compare([tmp_path], **options)


@settings(max_examples=3, deadline=None)
@given(st.permutations(range(12)), st.permutations([0, 1]))
def test_order_of_cases_seeds_and_folders_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, cases: list[int], seeds: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("order")

    def made(where: Path, order: list[int], names: list[int]) -> ArmGroup:
        for place, seed in enumerate(names):
            ours, theirs = ({f"c{i:02d}": [float(v[i]) + 0.01 * seed] for i in order} for v in (BASE, BETTER))
            make_run(where / f"{place}a", ours, seed=seed)
            make_run(where / f"{place}b", theirs, seed=seed, method="mean_teacher")
        return group(where)

    first, other = made(folder / "x", list(range(12)), [0, 1]), made(folder / "y", cases, seeds)
    for numbers in ("summaries", "against_baseline", "pairs", "ranking"):
        assert str(getattr(other, numbers)) == str(getattr(first, numbers))  # NaN equals NaN as text


def test_swapping_a_and_b_mirrors_the_test(tmp_path: Path) -> None:
    three_arms(tmp_path)
    one = group(tmp_path, baseline="supervised").test("mean_teacher")
    two = group(tmp_path, baseline="mean_teacher").test("supervised")
    assert two.difference == pytest.approx(-one.difference)
    assert (two.interval.low, two.interval.high) == pytest.approx(
        (-one.interval.high, -one.interval.low), abs=2e-3
    )
    assert (two.p, two.wins, two.losses) == (pytest.approx(one.p), one.losses, one.wins)
    assert two.effect == pytest.approx(-one.effect)


def test_a_patient_counts_once_however_many_scans(tmp_path: Path) -> None:
    """Twelve scans of six patients are tested and drawn as six; the means stay those of the scans."""
    whose = {f"c{i:02d}": f"patient {i // 2}" for i in range(12)}
    for method, values in (("supervised", BASE), ("mean_teacher", BETTER), ("ua_mt", WORSE)):
        make_run(tmp_path / method, spread(values), method=method, patients=whose)
    found = group(tmp_path)
    told = "12 cases of 6 patients: each patient counts once in intervals, tests and ranks"
    assert found.notices[0] == told
    test = found.test("mean_teacher")
    per_patient = (BETTER - BASE).reshape(6, 2).mean(1)
    assert test.n == found.ranking.n == 6
    assert test.p == pytest.approx(stats.wilcoxon(per_patient, method="exact").pvalue)
    drawn = bootstrap(lambda w: w @ per_patient / 6, 6)
    assert (test.interval.low, test.interval.high) == pytest.approx((drawn.low, drawn.high))
    summary = found.summary("supervised", "Dice")
    assert summary.mean == pytest.approx(BASE.mean())
    means = BASE.reshape(6, 2).mean(1)
    drawn = bootstrap(lambda w: w @ means / 6, 6)
    assert (summary.interval.low, summary.interval.high) == pytest.approx((drawn.low, drawn.high))


def test_cases_that_are_patients_of_their_own_change_nothing(tmp_path: Path) -> None:
    whose = {f"c{i:02d}": f"patient {i}" for i in range(12)}
    for method, values in (("supervised", BASE), ("mean_teacher", BETTER)):
        make_run(tmp_path / "x" / method, spread(values), method=method, patients=whose)
        make_run(tmp_path / "y" / method, spread(values), method=method)
    assert group(tmp_path / "x").against_baseline == group(tmp_path / "y").against_baseline


def test_means_agree_with_the_evaluation_of_each_run(tmp_path: Path) -> None:
    found = group(three_arms(tmp_path))
    for arm in found.arms:
        own = [statistics(run.scores["Dice"][:, 0]).mean for run in arm.runs]
        assert found.summary(arm.name, "Dice").mean == pytest.approx(statistics(own).mean)


def without_column(path: Path, column: str) -> None:
    """Make of a table what an older version wrote."""
    rows = [line.split(",") for line in path.read_text().splitlines()]
    at = rows[0].index(column)
    path.write_text("".join(",".join(row[:at] + row[at + 1 :]) + "\n" for row in rows))


@pytest.mark.parametrize("column", ["kept", "missing"])
def test_a_run_scored_before_there_was_hd95max_beside_a_new_one(tmp_path: Path, column: str) -> None:
    old = make_run(tmp_path / "old", spread(BASE))
    new = make_run(tmp_path / "new", spread(BETTER), method="mean_teacher", hd95_max=3.0)
    if column == "missing":
        without_column(old / "test" / "metrics.csv", "HD95Max")
    found = compare([old, new])
    assert found.metrics == ("Dice", "HD95", "ASSD")
    (told,) = [line for line in found.notices if "HD95Max" in line]
    assert told.startswith(f"HD95Max is not shown: 1 of 2 runs were scored without it, such as {old}")
    assert found.boards[0].summary("mean_teacher", "HD95").mean == 2.0
    with pytest.raises(UsageError, match=r"old.test has no HD95Max"):
        compare([old, new], metric="HD95Max")


def test_runs_that_all_have_hd95max_show_it_beside_hd95(tmp_path: Path) -> None:
    make_run(tmp_path / "a", spread(BASE), hd95_max=4.0)
    make_run(tmp_path / "b", spread(BETTER), method="mean_teacher", hd95_max=3.0)
    found = compare([tmp_path])
    assert found.metrics == ("Dice", "HD95", "HD95Max", "ASSD")
    assert not [line for line in found.notices if "HD95Max" in line]
    assert found.boards[0].summary("supervised", "HD95Max").mean == 4.0
    tested = compare([tmp_path], metric="HD95Max").boards[0]
    assert [arm.name for arm in tested.arms] == ["supervised", "mean_teacher"]
    assert tested.test("mean_teacher").difference == -1.0
