"""The sweeps behind our own tables: they load, and name methods, settings and labels that exist."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conftest import REPOSITORY

from semiseg import methods
from semiseg.sweeping.grid import grid
from semiseg.sweeping.spec import config_of, name_problems, read_spec

SPECS = sorted((REPOSITORY / "benchmarks" / "specs").glob("*.yaml"))


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_names_and_settings_exist(path: Path) -> None:
    spec = read_spec(path)
    assert list(name_problems(spec)) == []
    for data in spec.datasets:
        for variant in spec.methods:
            assert config_of(spec, data, variant).method.name == variant.method


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_the_cells_exist_where_the_data_do(path: Path, shared_data: Path, monkeypatch) -> None:
    monkeypatch.setenv("SEMISEG_DATA", str(shared_data))
    spec = read_spec(path)
    found = grid(spec, str(path))
    seeds, budgets = len(spec.seeds), len(spec.labeled or spec.labeled_patients or ())
    bounds = 1 if spec.bounds in (True, "upper") else 0
    assert len(found) == seeds * (budgets * len(spec.methods) + bounds)


def test_every_method_is_on_the_hippocampus() -> None:
    spec = read_spec(REPOSITORY / "benchmarks" / "specs" / "hippocampus_all_methods.yaml")
    assert sorted(variant.method for variant in spec.methods) == methods.names()


def test_the_published_protocol_is_followed() -> None:
    spec = read_spec(REPOSITORY / "benchmarks" / "specs" / "left_atrium_paper.yaml")
    configs = {variant.method: config_of(spec, spec.datasets[0], variant) for variant in spec.methods}
    teacher = configs["mean_teacher"]
    assert (teacher.network.name, teacher.train.iterations, spec.labeled) == ("vnet", 6000, (16,))
    assert (teacher.protocol, spec.convention, spec.score) == ("paper", "uamt", "test")
    assert {config.plan.patch for config in configs.values()} == {(112, 112, 80)}
