"""Reading a specification: short forms, and every mistake at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.sweeps import tiny_dataset, tiny_spec

from semiseg.errors import UsageError
from semiseg.sweeping.grid import grid
from semiseg.sweeping.spec import as_spec, read_spec


def problems(call, *arguments) -> list[str]:
    with pytest.raises(UsageError) as caught:
        call(*arguments)
    assert caught.value.exit_code == 2
    return caught.value.details["problems"]


def test_short_forms():
    spec = as_spec({"datasets": 104, "methods": "bcp", "labeled": "all", "seeds": 3})
    assert spec.datasets[0].dataset == "104"
    assert [variant.title for variant in spec.methods] == ["bcp"]
    assert (spec.labeled, spec.seeds, spec.folds, spec.name) == (("all",), (3,), (0,), "sweep")


def test_the_name_is_that_of_the_file(tmp_path: Path):
    (tmp_path / "few.yaml").write_text("datasets: 104\nmethods: [supervised]\n")
    assert read_spec(tmp_path / "few.yaml").name == "few"


def test_every_wrong_key_and_value_at_once():
    found = problems(
        as_spec,
        {
            "datasets": [{"datset": "a"}],
            "methods": ["supervised", {"method": "bcp", "nam": "x"}, {"method": "a", "name": "a/b"}],
            "labeled": [0, "most"],
            "seeds": [-1],
            "folds": [],
            "bonds": False,
            "score": "training",
        },
    )
    wanted = (
        "unknown key 'datasets.0.datset', did you mean 'datasets.0.dataset'?",
        "unknown key 'methods.1.nam', did you mean 'methods.1.name'?",
        "unknown key 'bonds', did you mean 'bounds'?",
    )
    assert set(wanted) <= set(found)
    for start in ("datasets.0.dataset: is missing", "methods.2: a name", "labeled.0", "labeled.1: wanted"):
        assert any(line.startswith(start) for line in found), start
    for start in ("seeds.0", "folds", "score"):
        assert any(line.startswith(start) for line in found), start


def test_every_wrong_name_at_once(tmp_path: Path):
    more = {
        "methods": [
            "men_teacher",
            {"method": "mean_teacher", "set": {"method.options.wight": 1, "train.seed": 3}},
            {"method": "mean_teacher", "network": "vnett"},
            {"method": "bcp", "name": "supervised"},
        ],
        "convention": "medpi",
    }
    found = problems(grid, as_spec(tiny_spec(tiny_dataset(tmp_path), **more)))
    assert [line.partition(".")[0] for line in found if line.startswith("unknown metric")]
    wanted = (
        "methods: 'mean_teacher' is given 2 times; tell variants apart by `name`",
        "methods: the name 'supervised' belongs to the bounds, bcp cannot have it",
        "methods.2.unknown network 'vnett'. Did you mean 'vnet'?",
        "methods.1.set.train.seed: belongs to `seeds`",
        "methods.0.method: unknown method 'men_teacher'. Did you mean 'mean_teacher'?",
        "unknown key 'methods.1.set.method.options.wight', did you mean "
        "'methods.1.set.method.options.weight'?",
    )
    assert set(wanted) <= set(found)


def test_every_wrong_setting_and_dataset_at_once(tmp_path: Path):
    more = {
        "datasets": [str(tiny_dataset(tmp_path)), str(tmp_path / "Dataset002_Absent")],
        "labeled": [2, 50],
        "folds": [0, 4],
        "set": {"optimizer.lrr": 1, "plan": {"dim": 7}, "train.max_time": 3},
    }
    found = problems(grid, as_spec(tiny_spec(tmp_path, **more)))
    for part in ("no dataset folder", "got fold 4", "labeled = 50", "optimizer.lrr", "plan.dim"):
        assert any(part in line for line in found), part


@pytest.mark.parametrize(
    ("more", "part"),
    [
        ({"iterations": None}, "iterations: a sweep needs a number"),
        ({"set": {"train.max_time": 3}}, "cells of a sweep train to the end"),
        ({"score": "validation"}, "has no validation case with a label"),
        ({"labeled_patients": 2}, "exclude each other"),
        ({"recipe": "lla"}, "unknown recipe 'lla'. Did you mean 'la'?"),
    ],
)
def test_what_cannot_be_swept(more, part, tmp_path: Path):
    found = problems(grid, as_spec(tiny_spec(tiny_dataset(tmp_path), **more)))
    assert any(part in line for line in found), found


def test_test_cases_without_a_label_cannot_be_scored(tmp_path: Path):
    data = tiny_dataset(tmp_path)
    for label in (data / "labelsTs").iterdir():
        label.unlink()
    found = problems(grid, as_spec(tiny_spec(data)))
    assert found == ["Dataset001_Tiny has no test case with a label; `score: validation`?"]


@pytest.mark.parametrize("name", ["../elsewhere", "/tmp/x", "..", "a\x1b[2J"])
def test_a_name_leads_to_no_other_folder(name, tmp_path: Path):
    with pytest.raises(UsageError, match="name: wanted the name of one folder"):
        as_spec(tiny_spec(tmp_path) | {"name": name})


@pytest.mark.parametrize("text", ["a: [", "- a", "", "a: 1\na: 2"])
def test_not_a_specification(text, tmp_path: Path):
    (tmp_path / "spec.yaml").write_text(text)
    with pytest.raises(UsageError) as caught:
        read_spec(tmp_path / "spec.yaml")
    assert "docs/sweeps.md" in caught.value.hint


def test_no_file(tmp_path: Path):
    with pytest.raises(UsageError, match=r"absent\.yaml"):
        read_spec(tmp_path / "absent.yaml")
