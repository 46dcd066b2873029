"""``recommend`` on the command line: text, JSON, exit codes, and nothing heavy."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from semiseg import methods

CPU = ["--device", "cpu", "-j", "0"]


def test_it_ranks_and_prints_the_command(cli: Callable, tiny: Path) -> None:
    answer = cli("recommend", tiny, "--labeled", "2", *CPU)
    assert answer.code == 0, answer.err
    assert f"semiseg train {tiny} --labeled 2 --device cpu --method " in answer.out
    assert "Run both, and compare:" in answer.out
    assert len(re.findall(r"^ *\d+\. ", answer.out, re.MULTILINE)) == 5
    assert f"{len(methods.names()) - 5} more: --all" in answer.out
    assert "2 labeled, 5 unlabeled" in answer.out


def test_json_has_facts_ranking_and_commands(cli: Callable, tiny: Path) -> None:
    answer = cli("recommend", tiny, "--labeled", "2", "--memory", "8", "--minutes", "600", *CPU, "--json")
    found = answer.json
    assert (found["situation"]["labeled"], found["situation"]["memory_gb"]) == (2, 8)
    assert found["first"] == found["ranking"][0]["method"]
    assert all(entry["fits"] and entry["reasons"] for entry in found["ranking"])
    assert "--method supervised" in found["commands"][-1]


def test_the_recommended_command_runs(cli: Callable, tiny: Path, tmp_path: Path) -> None:
    *_, command = cli("recommend", tiny, "--labeled", "2", *CPU, "--json").json["commands"]
    run = [*command.split()[1:], "--iterations", "1", "--run", tmp_path / "run", "-j", "0", "-q"]
    answer = cli(*run)
    assert answer.code == 0, answer.err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--memory", "0"], 2),
        (["--memory", "much"], 2),
        (["--minutes", "-3"], 2),
        (["--labeled", "99"], 2),
        (["--device", "gpu"], 2),
        (["--memory", "0.001"], 2),
    ],
)
def test_wrong_values_are_usage_errors(arguments: list[str], code: int, cli: Callable, tiny: Path) -> None:
    answer = cli("recommend", tiny, *CPU, *arguments)
    assert answer.code == code
    assert len(answer.err.strip().splitlines()) == 2
    assert "Traceback" not in answer.err


def test_a_missing_dataset_is_said_like_everywhere(cli: Callable, tmp_path: Path) -> None:
    gone = [cli(command, tmp_path / "gone", *CPU) for command in ("recommend", "train")]
    assert gone[0].code == gone[1].code != 0
    assert gone[0].err == gone[1].err


def test_no_torch_on_a_cpu(tiny: Path) -> None:
    code = (
        "import sys; from semiseg.cli import main; "
        f"assert main(['recommend', {str(tiny)!r}, '--device', 'cpu', '-j', '0', '--json']) == 0; "
        "sys.stderr.write(str('torch' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.endswith("False")
    assert json.loads(done.stdout)["ok"]
