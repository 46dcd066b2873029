"""The cells of a specification: which there are, in what order, and what makes one another cell."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.sweeps import tiny_dataset, tiny_spec

from semiseg.errors import UsageError
from semiseg.sweeping.grid import SweepCell, grid
from semiseg.sweeping.spec import as_spec


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return tiny_dataset(tmp_path_factory.mktemp("data"), labeled=3)


def cells(data: Path, **more) -> list[SweepCell]:
    return grid(as_spec(tiny_spec(data, **more)))


def named(found: list[SweepCell]) -> list[tuple[str, str, int, str | None]]:
    return [(cell.variant, cell.budget, cell.seed, cell.bound) for cell in found]


def test_bounds_are_added_around_the_methods(data):
    assert named(cells(data, labeled=[1, 2], seeds=[0, 1])) == [
        (variant, budget, seed, bound)
        for seed in (0, 1)
        for variant, budget, bound in (
            ("supervised", "1", "lower"),
            ("mean_teacher", "1", None),
            ("supervised", "2", "lower"),
            ("mean_teacher", "2", None),
            ("supervised", "all", "upper"),
        )
    ]


@pytest.mark.parametrize(
    ("bounds", "wanted"),
    [(False, [None]), ("lower", ["lower", None]), ("upper", [None, "upper"])],
)
def test_bounds_can_be_left_out(bounds, wanted, data):
    assert [cell.bound for cell in cells(data, bounds=bounds)] == wanted


def test_a_supervised_variant_is_the_bound_and_is_there_once(data):
    own = {"method": "supervised", "name": "baseline", "set": {"optimizer.lr": 0.01}}
    found = cells(data, methods=["mean_teacher", own], labeled=[1, "all"])
    assert named(found) == [
        ("baseline", "1", 0, "lower"),
        ("mean_teacher", "1", 0, None),
        ("baseline", "all", 0, "upper"),
        ("mean_teacher", "all", 0, None),
    ]
    assert {cell.config["optimizer"]["lr"] for cell in found if cell.bound} == {0.01}
    assert [cell.labeled for cell in found] == [1, 1, 3, 3]


def test_folds_of_the_labeled_cases_are_cells_scored_on_what_they_hold_out(data):
    found = cells(data, methods="supervised", labeled="all", folds=[0, 1, 2], score="held_out")
    assert [cell.config["data"]["folds"] for cell in found] == [3, 3, 3]
    places = [cell.place.rpartition("/")[2] for cell in found]
    assert places == [f"labeled-all_fold-{fold}of3_seed-0" for fold in range(3)]
    assert sorted(case for cell in found for case in cell.scoring.cases) == ["case_00", "case_01", "case_02"]
    assert {cell.scores.rpartition("/")[2] for cell in found} == {"held_out"}
    (whole,) = cells(data, methods="supervised", labeled="all", folds=0)
    assert (whole.config["data"]["folds"], whole.labeled) == (None, 3)
    with pytest.raises(UsageError, match="no held_out case"):
        cells(data, score="held_out")


def test_every_place_is_another(data):
    weak = {"method": "mean_teacher", "name": "weak", "set": {"method.options.weight": 0.1}}
    found = cells(data, methods=["mean_teacher", weak], labeled=[1, 2], seeds=[0, 1])
    assert len({cell.place for cell in found}) == len({cell.id for cell in found}) == len(found) == 14
    assert found[2].place == "Dataset001_Tiny/weak__unet__default/labeled-1_fold-0_seed-0"


def test_the_last_to_speak_is_heard(data):
    own = {
        "dataset": str(data),
        "iterations": 7,
        "network": "vnet",
        "labeled": 2,
        "set": {"optimizer.lr": 0.1},
    }
    variant = {"method": "bcp", "iterations": 9, "set": {"optimizer": {"lr": 0.2}}}
    found = {c.variant: c for c in cells(data, datasets=[own], methods=["supervised", variant])}
    assert (found["supervised"].iterations, found["bcp"].iterations) == (7, 9)
    assert [found[v].config["optimizer"]["lr"] for v in ("supervised", "bcp")] == [0.1, 0.2]
    assert {cell.network for cell in found.values()} == {"vnet"}
    assert found["bcp"].labeled == 2


def ids(found: list[SweepCell]) -> list[str]:
    return [cell.id for cell in found]


def test_the_same_specification_has_the_same_cells(data):
    again = cells(data, name="other", retries=7, slurm={"mem_gb": 3})
    assert ids(cells(data)) == ids(again)


@pytest.mark.parametrize(
    "more",
    [
        {"iterations": 3},
        {"set": {"optimizer.lr": 0.1}},
        {"network": "vnet"},
        {"convention": "uamt"},
        {"nsd_tolerance": 2.0},
    ],
)
def test_what_decides_the_result_makes_other_cells(more, data):
    before, after = cells(data), cells(data, **more)
    assert not set(ids(before)) & set(ids(after))
    shared = set(more) <= {"convention", "nsd_tolerance"}
    assert [a.training == b.training for a, b in zip(before, after, strict=True)] == [shared] * 3


def test_what_does_not_decide_it_makes_the_same(data):
    assert ids(cells(data)) == ids(cells(data, set={"train.checkpoint_minutes": 1, "train.log_every": 3}))


def test_data_decide_and_where_they_lie_does_not(data, tmp_path):
    copy = shutil.copytree(data, tmp_path / data.name)
    assert ids(cells(data)) == ids(cells(copy))
    labels = sorted((copy / "labelsTr").iterdir())
    labels[0].write_bytes(labels[1].read_bytes())
    changed = [a != b for a, b in zip(ids(cells(data)), ids(cells(copy)), strict=True)]
    assert changed == [True, True, True], "a label of the one labeled case, which all have"


def test_labels_that_nobody_reads_decide_nothing(data, tmp_path):
    copy = shutil.copytree(data, tmp_path / data.name)
    (copy / "labelsTr" / "case_02.nii.gz").write_bytes(b"")
    before, after = cells(data), cells(copy)
    assert [a.id == b.id for a, b in zip(before, after, strict=True)] == [True, True, False]


def test_validation_cases_of_each_fold(tmp_path):
    data = tiny_dataset(tmp_path, labeled=3)
    names = ["case_00", "case_01", "case_02"]
    folds = [{"labeled": [n for n in names if n != val], "val": [val]} for val in names]
    (data / "splits.json").write_text(json.dumps({"folds": folds}))
    found = cells(data, folds=[0, 2], score="validation", bounds=False)
    assert [cell.scoring.cases for cell in found] == [("case_00",), ("case_02",)]
    assert [Path(cell.scoring.labels).name for cell in found] == ["labelsTr"] * 2
    assert [cell.scores.rpartition("/")[2] for cell in found] == ["validation"] * 2


def test_a_published_list_of_test_cases_is_kept(tmp_path):
    data = tiny_dataset(tmp_path, labeled=3)
    (data / "splits.json").write_text(json.dumps({"order": ["case_00"], "test": ["case_02"]}))
    found = cells(data, bounds=False)
    assert found[0].scoring.cases == ("case_02",)
    assert Path(found[0].scoring.images).name == "imagesTr"


@pytest.mark.parametrize(
    ("methods", "networks"),
    [(["mean_teacher"], 1.25), (["mean_teacher", "cps"], 2), (["supervised"], 1)],
)
def test_all_train_on_the_patches_of_the_most_demanding_method(methods, networks, data):
    def planned(**more):
        found = cells(data, methods=methods, bounds=False, **more)
        return found, [cell.config["plan"]["networks"] for cell in found]

    _, shared = planned(set={"plan.patch": None})
    assert shared == [networks] * len(methods)
    _, own = planned(set={"plan.networks": 3})
    assert own == [3] * len(methods)
    _, fixed = planned(set={"plan.patch": [16, 16, 16]})
    assert fixed == [None] * len(methods)


def test_another_method_trains_no_cell_again(data):
    free = {"bounds": False, "set": {"plan.patch": None}}
    alone = cells(data, methods=["mean_teacher"], **free)
    both = cells(data, methods=["mean_teacher", "cps"], **free)
    assert alone[0].config != both[0].config
    assert alone[0].training == both[0].training
