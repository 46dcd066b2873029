"""Every mistake is answered with its exit code, one line of cause and one of fix, and nothing left behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from semiseg.cli import main
from tests.bad_input import commands, configs, dataset_lists, datasets, predictions, runs
from tests.bad_input.datasets import Broken
from tests.bad_input.ground import TRAIN, Bad, make_ground, snapshot
from tests.images import damage

Cli = Callable[[Sequence[str]], "tuple[int, str, str]"]

REFUSED = [
    *predictions.PREDICTIONS,
    *commands.EVALUATIONS,
    *commands.FLAGS,
    *configs.FILES,
    *configs.SETTINGS,
    *configs.TRAINING,
    *runs.RUNS,
]
PARTIAL = [*predictions.PARTIAL, *commands.PARTIAL_EVALUATIONS]
BROKEN = [*datasets.FILES, *datasets.VOXELS, *dataset_lists.LISTS, *dataset_lists.DESCRIPTIONS]


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_ground(tmp_path_factory.mktemp("ground"))


@pytest.fixture
def ground(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    shutil.copytree(template, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    def call(argv: Sequence[str]) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(list(argv))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def named(cases: Sequence[Any]) -> Any:
    """Parametrize over cases that have a name."""
    return pytest.mark.parametrize("case", cases, ids=[case.name.replace(" ", "-") for case in cases])


def require_told(err: str) -> None:
    """One line of cause (several problems: an indented line each), then one line of fix, and no more."""
    lines = err[err.index("error: ") :].splitlines()
    assert len(lines) >= 2, err
    assert len(lines[0]) > len("error: ")
    assert all(line.startswith("  ") for line in lines[1:-1]), err
    assert lines[-1].startswith("hint: "), err
    assert len(lines[-1]) > len("hint: ")
    assert err.count("error: ") == 1
    assert "Traceback" not in err


def require_json(out: str, word: str = "") -> dict[str, Any]:
    """One object, with the same cause and fix for machines."""
    told: dict[str, Any] = json.loads(out)
    assert told["ok"] is False
    assert told["message"]
    assert told["hint"]
    assert told["code"] == told["code"].upper()
    assert not word or told["code"] == word
    return told


@named(REFUSED)
def test_refused(case: Bad, ground: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    if case.name == "log level":
        monkeypatch.setenv("SEMISEG_LOG_LEVEL", "LOUD")
    if case.spoil:
        case.spoil(ground)
    before = snapshot(ground)
    code, out, err = cli(case.argv)
    assert (code, out) == (case.code, ""), err
    require_told(err)
    assert [text for text in case.says if text not in err] == [], err
    machine, out, err = cli([*case.argv, "--json"])
    assert machine == case.code
    told = require_json(out, case.word)
    assert "error: " not in err
    assert [text for text in case.says if text not in told["message"] + told["hint"]] == []
    assert snapshot(ground) == before


@named(PARTIAL)
def test_good_cases_survive_bad_ones(case: Bad, ground: Path, cli: Cli) -> None:
    if case.spoil:
        case.spoil(ground)
    before = snapshot(ground)
    code, _, err = cli(case.argv)
    assert code == case.code == 5, err
    require_told(err)
    assert [text for text in case.says if text not in err] == [], err
    after = snapshot(ground)
    made = sorted(set(after) - set(before))
    assert {name: after[name] for name in before} == before
    assert not [name for name in made if "tmp" in name or Path(name).name.startswith(".")]
    if case.argv[0] == "predict":
        good = not any(text.startswith("2 of 2") for text in case.says)
        one = ["out/scan_1.json", "out/scan_1.nii.gz"]
        assert made == ["out", "out/prediction_report.json", *(one if good else [])]
        failed = [
            c for c in json.loads(Path("out/prediction_report.json").read_text())["cases"] if c["error"]
        ]
        assert "scan_0" in [c["id"] for c in failed]
    else:
        assert made == ["predictions/metrics.csv", "predictions/summary.json"]
        rows = Path("predictions/metrics.csv").read_text()
        assert "case_01" in rows
    machine, out, _ = cli([*case.argv, "--overwrite", "--json"])
    assert machine == 5
    require_json(out, case.word)


@named(BROKEN)
def test_check_names_it(case: Broken, ground: Path, cli: Cli) -> None:
    case.spoil(ground / "data")
    before = snapshot(ground)
    code, out, err = cli(["check", "data", "-j", "1"])
    if case.severity == "warning":
        assert (code, err) == (0, "")
        lines = [line for line in out.splitlines() if line.startswith(f"warning {case.word}")]
    else:
        assert code == 3, out
        require_told(err)
        lines = [line for line in out.splitlines() if line.startswith(f"error {case.word}")] or [err]
    assert any(all(text in line for text in case.says) for line in lines), out + err
    assert all("fix: " in line or "hint: " in line for line in lines)
    machine, out, _ = cli(["check", "data", "-j", "1", "--json"])
    assert machine == code
    if code:
        told = require_json(out)
        problems = told["details"].get("problems", [told])
        assert case.word in [problem["code"] for problem in problems]
        assert all(problem.get("fix", told["hint"]) for problem in problems)
    assert snapshot(ground) == before


@named([case for case in BROKEN if case.train is not None])
def test_training_refuses_it_before_it_begins(case: Broken, ground: Path, cli: Cli) -> None:
    case.spoil(ground / "data")
    before = snapshot(ground)
    code, out, err = cli(TRAIN)
    assert (code, out) == (3, ""), err
    require_told(err)
    assert [text for text in case.train or () if text not in err] == [], err
    machine, out, _ = cli([*TRAIN, "--json"])
    assert machine == 3
    require_json(out)
    assert snapshot(ground) == before


def test_every_problem_at_once(ground: Path, cli: Cli) -> None:
    data = ground / "data"
    damage.cut(data)
    damage.change(damage.label(data, "case_01"), (0, 0, 0), 9)
    damage.change(damage.image(data, "case_02"), (0, 0, 0), float("nan"))
    damage.mixed(data)
    damage.number(data)
    code, out, err = cli(["check", "data", "-j", "1"])
    assert code == 3
    for word in ("TRUNCATED", "LABEL_VALUES", "NAN", "MIXED_ENDINGS", "NUM_TRAINING"):
        assert f"error {word} " in out
    assert "5 errors" in err


def test_there_are_many() -> None:
    """Distinct ones: a mistake is counted once, however many commands answer it."""
    names = {case.name for case in (*REFUSED, *PARTIAL, *BROKEN)}
    assert len(names) == len(REFUSED) + len(PARTIAL) + len(BROKEN)
    assert len(names) > 150
