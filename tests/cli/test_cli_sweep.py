"""``semiseg sweep`` on the command line: exit codes, JSON, and nothing written by mistake."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.sweeps import tiny_dataset, tiny_spec, write_spec


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    data = tiny_dataset(tmp_path)
    return write_spec(tiny_spec(data, methods=["supervised"], bounds=False), tmp_path / "spec.yaml")


def test_dry_run_lists_cells_and_writes_nothing(cli, spec, tmp_path):
    answer = cli("sweep", spec, "--runs", tmp_path / "runs", "--dry-run", "--json")
    assert answer.code == 0
    cell = answer.json["cells"][0]
    assert (cell["variant"], cell["state"], cell["cost"]) == ("supervised", "waiting", 2.0)
    assert answer.json["folder"] == str(tmp_path / "runs" / "tiny")
    assert not (tmp_path / "runs").exists()
    assert cell["trained"] == 0.0
    assert cell["id"] in cli("sweep", spec, "--dry-run").out


def test_dry_run_sees_a_run_that_would_be_taken_over(cli, spec, tmp_path):
    planned = cli("sweep", spec, "--runs", tmp_path / "runs", "--dry-run", "--json").json
    cli("sweep", spec, "--runs", tmp_path / "elsewhere", "-j", "0", "--devices", "cpu")
    trained = tmp_path / "elsewhere" / "tiny" / planned["cells"][0]["place"]
    place = tmp_path / "runs" / "tiny" / planned["cells"][0]["place"]
    place.parent.mkdir(parents=True)
    trained.rename(place)
    again = cli("sweep", spec, "--runs", tmp_path / "runs", "--dry-run", "--json").json
    assert (again["cells"][0]["trained"], again["cells"][0]["place"]) == (1.0, planned["cells"][0]["place"])
    assert (planned["cost"], again["cost"]) == (2.0, 0.0)
    assert sorted(path.name for path in (tmp_path / "runs" / "tiny").iterdir()) == [place.parent.parent.name]


def test_a_sweep_and_the_same_again(cli, spec, tmp_path):
    flags = ("--runs", tmp_path / "runs", "-j", "0", "--devices", "cpu")
    first = cli("sweep", spec, *flags, "--json")
    assert first.code == 0, first.out
    assert [cell["state"] for cell in first.json["cells"]] == ["done"]
    folder = Path(first.json["folder"])
    assert (folder / first.json["cells"][0]["scores"] / "metrics.csv").is_file()
    again = cli("sweep", folder, *flags[2:])
    assert again.code == 0
    assert f"1 of 1 done: {folder}" in again.out
    assert "0." in again.out


def test_every_mistake_is_told_and_nothing_written(cli, spec, tmp_path):
    spec.write_text(spec.read_text() + "seed: 3\nconventon: uamt\n")
    answer = cli("sweep", spec, "--runs", tmp_path / "runs", "--json")
    assert (answer.code, answer.json["code"]) == (2, "SPEC")
    assert len(answer.json["details"]["problems"]) == 2
    assert "did you mean 'seeds'" in answer.json["message"]
    assert not (tmp_path / "runs").exists()


def test_a_broken_cell_is_exit_5(cli, spec, tmp_path):
    spec.write_text(spec.read_text().replace("bounds: false", "bounds: false\nnetwork: denseunet"))
    answer = cli("sweep", spec, "-o", tmp_path / "sweep", "-j", "0", "--devices", "cpu", "--json")
    assert (answer.code, answer.json["code"]) == (5, "CELLS_FAILED")
    assert answer.json["details"]["cells"][0]["state"] == "failed"


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        (("--on", "slrm"), "Did you mean 'slurm'"),
        (("--set-slurm", "cluster"), "--set-slurm wants key=value"),
        (("--set-ray", "resources={a"), "--set-ray wants key=value, got 'resources={a'"),
        (("--devices", "gpu", "-j", "1"), "unknown device 'gpu'"),
    ],
)
def test_wrong_flags(cli, spec, tmp_path, flags, part):
    answer = cli("sweep", spec, "-o", tmp_path / "sweep", *flags)
    assert answer.code == 2
    assert part in answer.err
    assert not (tmp_path / "sweep").exists()
