"""Runs into arms and groups: alike is pooled, unlike is kept apart and the difference named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.comparison.runs import make_run, spread

from semiseg.comparison.compare import compare
from semiseg.comparison.differences import differences, told_apart
from semiseg.comparison.group import UncomputedGroup, group_runs
from semiseg.comparison.read import collect
from semiseg.errors import UsageError
from semiseg.methods import all_options
from semiseg.methods.mean_teacher import MeanTeacher
from semiseg.runs.run import load_run
from semiseg.settings.options import declared

DICE = spread([0.9, 0.8, 0.7])


def groups(folder: Path) -> list[UncomputedGroup]:
    return group_runs(collect([folder]).runs)[0]


def names(folder: Path) -> list[list[str]]:
    return [[arm.name for arm in part.arms] for part in groups(folder)]


def test_seeds_of_the_same_settings_are_one_arm(tmp_path: Path) -> None:
    for seed in (2, 0, 1):
        make_run(tmp_path / f"s{seed}", DICE, seed=seed)
    ((arm,),) = (part.arms for part in groups(tmp_path))
    assert (arm.name, arm.seeds, arm.replicates, arm.bound) == ("supervised", (0, 1, 2), 3, "lower")


def test_other_settings_of_one_method_are_never_pooled(tmp_path: Path) -> None:
    make_run(tmp_path / "a", DICE, method="mean_teacher", settings={"method.options": {"weight": 1.0}})
    make_run(tmp_path / "b", DICE, method="mean_teacher", settings={"method.options": {"weight": 5.0}})
    make_run(
        tmp_path / "c", DICE, seed=1, method="mean_teacher", settings={"method.options": {"weight": 5.0}}
    )
    make_run(tmp_path / "d", DICE)
    assert sorted(names(tmp_path)[0]) == [
        "mean_teacher (weight=1.0)",
        "mean_teacher (weight=5.0)",
        "supervised",
    ]


def test_a_default_that_is_written_out_is_the_default(tmp_path: Path) -> None:
    usual = declared(MeanTeacher)["decay"].default
    make_run(tmp_path / "a", DICE, method="mean_teacher")
    make_run(
        tmp_path / "b", DICE, seed=1, method="mean_teacher", settings={"method.options": {"decay": usual}}
    )
    make_run(tmp_path / "c", DICE)
    assert sorted(names(tmp_path)[0]) == ["mean_teacher", "supervised"]


def test_a_default_of_earlier_is_told_from_that_of_today(tmp_path: Path) -> None:
    make_run(tmp_path / "a", DICE, method="mean_teacher")
    old = make_run(tmp_path / "b", DICE, method="mean_teacher")
    content = json.loads((old / "manifest.json").read_text())
    then = all_options(MeanTeacher, {**load_run(old).config.method.options, "decay": 0.5})
    (old / "manifest.json").write_text(json.dumps({**content, "method_options": then}))
    usual = declared(MeanTeacher)["decay"].default
    assert sorted(names(tmp_path)[0]) == ["mean_teacher (decay=0.5)", f"mean_teacher (decay={usual})"]


def test_methods_differ_in_the_options_that_were_set(tmp_path: Path) -> None:
    make_run(tmp_path / "a", DICE)
    make_run(tmp_path / "b", DICE, method="mean_teacher", settings={"method.options": {"weight": 7.0}})
    keys = {one.key.removeprefix("config.method.options.") for one in differences(groups(tmp_path)[0].arms)}
    assert "weight" in keys
    assert not {"decay", "noise"} & keys


@pytest.mark.parametrize(
    ("settings", "suffix"),
    [
        ({"train.iterations": 40}, "train.iterations=40"),
        ({"network.name": "vnet"}, "network.name=vnet"),
        ({"inference.mirror": True}, "inference.mirror=true"),
        ({"optimizer.lr": 0.5, "network.name": "vnet"}, "network.name=vnet"),  # one is enough to tell apart
    ],
)
def test_whatever_differs_is_named(tmp_path: Path, settings: dict, suffix: str) -> None:
    make_run(tmp_path / "a", DICE)
    make_run(tmp_path / "b", DICE, settings=settings)
    assert f"supervised ({suffix})" in names(tmp_path)[0]


def test_what_may_change_in_between_makes_no_difference(tmp_path: Path) -> None:
    make_run(tmp_path / "a", DICE)
    make_run(tmp_path / "b", DICE, seed=1, settings={"train.max_time": 5.0, "train.log_every": 3})
    assert names(tmp_path) == [["supervised"]]


def test_what_fits_a_run_to_its_machine_makes_no_difference_and_is_told(tmp_path: Path) -> None:
    machine = {
        "plan.networks": 2.25,
        "plan.memory_gb": 6.0,
        "data.memory_gb": 1.0,
        "network.checkpointing": True,
    }
    make_run(tmp_path / "a", DICE)
    make_run(tmp_path / "b", DICE, seed=1, settings=machine)
    (group,) = groups(tmp_path)
    assert [arm.name for arm in group.arms] == ["supervised"]
    told = {one.key for one in differences(group.arms)}
    assert {f"config.{key}" for key in machine} <= told


def test_names_are_made_of_as_few_settings_as_tell_all_apart() -> None:
    one = {"config.recipe": "la", "config.optimizer.lr": 1, "config.train.clip": 5}
    two = {"config.recipe": "la", "config.optimizer.lr": 2, "config.train.clip": 6}
    three = {"config.recipe": "default", "config.optimizer.lr": 1, "config.train.clip": None}
    assert told_apart([one, two, three]) == [
        "recipe=la, optimizer.lr=1",
        "recipe=la, optimizer.lr=2",
        "recipe=default, optimizer.lr=1",
    ]
    assert told_apart([one]) == [""]


@pytest.mark.parametrize("every", [{"labeled": None}, {"labeled": 8, "unlabeled_cases": ()}])
def test_each_number_of_labels_has_a_group_with_the_upper_bound_below(every: Any, tmp_path: Path) -> None:
    for labeled in (4, 2):
        make_run(tmp_path / f"s{labeled}", DICE, labeled=labeled)
        make_run(tmp_path / f"m{labeled}", DICE, labeled=labeled, method="mean_teacher")
    make_run(tmp_path / "all", DICE, **every)
    found = groups(tmp_path)
    assert [part.budget for part in found] == ["2 labeled", "4 labeled"]
    for part in found:
        assert [(arm.name, arm.bound) for arm in part.arms[-1:]] == [("supervised, all labels", "upper")]
        assert sorted(arm.name for arm in part.arms[:-1]) == ["mean_teacher", "supervised"]


def test_all_labels_are_a_group_when_a_method_used_them(tmp_path: Path) -> None:
    make_run(tmp_path / "few", DICE, labeled=2)
    make_run(tmp_path / "all", DICE, labeled=None)
    make_run(tmp_path / "mt", DICE, labeled=None, method="mean_teacher")
    found = groups(tmp_path)
    assert [part.budget for part in found] == ["2 labeled", "all labeled"]
    assert [arm.bound for arm in found[1].arms] == ["lower", None]


def test_only_supervised_with_all_labels_is_still_a_group(tmp_path: Path) -> None:
    make_run(tmp_path / "all", DICE, labeled=None)
    assert names(tmp_path) == [["supervised"]]


def test_the_same_run_twice_is_not_two_seeds(tmp_path: Path) -> None:
    make_run(tmp_path / "a", DICE, seed=5)
    make_run(tmp_path / "b", DICE, seed=5)
    with pytest.raises(
        UsageError, match=r"two runs of supervised have fold 0 and seed 5: .*/a and .*/b"
    ) as found:
        groups(tmp_path)
    assert found.value.code == "SAME_RUN_TWICE"


def test_a_run_with_validation_scores_only_is_missing_beside_test_scores(tmp_path: Path) -> None:
    make_run(tmp_path / "a", DICE)
    make_run(tmp_path / "b", DICE, method="mean_teacher", place="validation")
    parts, missing = group_runs(collect([tmp_path]).runs)
    assert [arm.name for arm in parts[0].arms] == ["supervised"]
    assert (missing[0].name, missing[0].reason) == (
        "mean_teacher",
        "scored on its validation cases only, the others on test cases",
    )


def test_folds_that_score_their_own_cases_are_put_together(tmp_path: Path) -> None:
    """Cross-validation: two seeds of two folds score every case twice, not four times."""
    for seed in (0, 1):
        for fold in (0, 1):
            cases = {f"c{fold}{i}": [0.5 + 0.1 * fold + 0.01 * seed] for i in range(3)}
            folder = tmp_path / f"s{seed}f{fold}"
            make_run(folder, cases, seed=seed, settings={"data.fold": fold}, place="validation")
    (part,) = groups(tmp_path)
    (arm,) = part.arms
    assert arm.replicates == 2
    assert len(arm.cases) == 6
    assert not np.isnan(arm.values("Dice")).any()
    assert arm.per_replicate("Dice") == pytest.approx([0.55, 0.56])


def test_folds_that_score_the_same_cases_are_replicates(tmp_path: Path) -> None:
    for fold in (0, 1):
        make_run(tmp_path / f"f{fold}", DICE, settings={"data.fold": fold})
    (part,) = groups(tmp_path)
    assert part.arms[0].replicates == 2


def test_two_datasets_are_two_groups(tmp_path: Path) -> None:
    make_run(tmp_path / "a", DICE)
    make_run(tmp_path / "b", spread([0.1, 0.2]), told={"dataset": "Dataset002_Other"})
    found = compare([tmp_path])
    assert found.datasets == ("Dataset001_Tiny", "Dataset002_Other")
    assert [len(group.cases) for group in found.groups] == [3, 2]
