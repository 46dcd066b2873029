"""Wrong usage: exit 2, one line of cause with the nearest name, one line of hint, on stderr."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

import semiseg
from semiseg.cli.help import ALIASES, COMMANDS, LINES, SECTIONS


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["metods"], "unknown command 'metods'. Did you mean 'methods'?", "see `semiseg --help`"),
        (
            ["methods", "--jsn"],
            "unknown flag '--jsn'. Did you mean '--json'?",
            "see `semiseg methods --help`",
        ),
        (
            ["train", "d", "-device", "cpu"],
            "unknown flag '-d'. Did you mean '--device'?",
            "see `semiseg train",
        ),
        (["train", "d", "--labeld=3"], "unknown flag '--labeld'. Did you mean '--labeled'?", "see "),
        (
            ["methods", "mean_techer"],
            "unknown method 'mean_techer'. Did you mean 'mean_teacher'?",
            "see `semiseg methods`",
        ),
        (["methods", "bpc"], "Did you mean 'bcp'?", "nearest: bcp, upc, urpc; see `semiseg methods`"),
        (["methods", "--family", "adversary"], "Did you mean 'Adversarial'?", "known: Adversarial, "),
        (["methods", "--sort", "costs"], "Did you mean 'cost'?", "known: cost, "),
        (["networks", "vnett"], "unknown network 'vnett'. Did you mean 'vnet'?", "known: "),
        (["recipes", "defualt"], "unknown recipe 'defualt'. Did you mean 'default'?", "known: "),
        (["train"], "missing argument 'DATASET'", "see `semiseg train --help`"),
        (["train", "d", "--labeled", "0"], "invalid value for '--labeled'", "see `semiseg train --help`"),
        (["train", "d", "--labeled", "two"], "invalid value for '--labeled'", "see `semiseg train --help`"),
        (["train", "d", "e"], "got unexpected extra argument", "see `semiseg train --help`"),
        (["train", "d", "--method", "mean_techer"], "Did you mean 'mean_teacher'?", "nearest: "),
        (["train", "d", "--recipe", "lla"], "unknown recipe 'lla'. Did you mean 'la'?", "known: "),
        (
            ["train", "d", "--resume", "--overwrite"],
            "--resume and --overwrite exclude each other",
            "give one",
        ),
        (
            ["train", "d", "--device", "gpu"],
            "--device: unknown device 'gpu'",
            "auto, cpu, cuda, cuda:N or mps",
        ),
        (["train", "d", "--set", "optimizer.lrr=1"], "did you mean 'optimizer.lr'?", "--help"),
        (["train", "d", "-c", "none.yaml"], "cannot read none.yaml", ""),
        (["predict", "-i", "a", "-o", "b"], "missing option '-m'", "see `semiseg predict --help`"),
        (
            ["check", "no_such_folder"],
            "no dataset folder 'no_such_folder'",
            "semiseg init SCANS -o no_such_folder",
        ),
        (["init", "no_such_folder"], "no folder 'no_such_folder'", "check the path"),
        (["init", ".", "--label", "atrium"], "--label wants NUMBER=NAME, got 'atrium'", "1=atrium"),
    ],
)
def test_two_lines_and_exit_2(cli: Callable, arguments: list[str], message: str, hint: str) -> None:
    answer = cli(*arguments)
    first, *rest = answer.err.splitlines()
    assert answer.code == 2
    assert answer.out == ""
    assert first.startswith("error: ")
    assert message in first
    assert [line[:6] for line in rest] in ([], ["hint: "])
    assert hint in "".join(rest)
    assert "Traceback" not in answer.err


def test_wrong_usage_as_json(cli: Callable) -> None:
    answer = cli("methods", "--jsn", "--json")
    assert answer.code == 2
    assert answer.err == ""
    assert answer.json["ok"] is False
    assert set(answer.json) == {"ok", "code", "message", "hint", "details"}
    assert (answer.json["code"], "--json" in answer.json["message"]) == ("USAGE", True)


def test_unknown_name_as_json_lists_what_is_known(cli: Callable) -> None:
    answer = cli("methods", "nothing_like_it", "--json")
    assert answer.json["code"] == "UNKNOWN_METHOD"
    assert "mean_teacher" in answer.json["details"]["known"]


def test_no_arguments_show_help_and_exit_2(cli: Callable) -> None:
    answer = cli()
    assert answer.code == 2
    assert answer.out == ""
    assert "Start here:" in answer.err


@pytest.mark.parametrize("flags", [["--version"], ["--version", "train"]])
def test_version(cli: Callable, flags: list[str]) -> None:
    answer = cli(*flags)
    assert (answer.code, answer.out) == (0, f"semiseg {semiseg.__version__}\n")


@pytest.mark.parametrize("command", LINES)
def test_help_of_every_command_has_an_example(cli: Callable, command: str) -> None:
    for flag in ("--help", "-h"):
        answer = cli(command, flag)
        assert answer.code == 0
        assert re.search(rf"Example:\n +semiseg {command}\b", answer.out)
        for shared in ("-q, --quiet", "-v, --verbose", "--json", "--no-progress"):
            assert shared in answer.out


def test_help_lists_every_command_whole_and_by_group(cli: Callable) -> None:
    shown = cli("--help").out
    assert re.findall(r"^([A-Z][\w ]+):$", shown, re.MULTILINE) == ["Options", *COMMANDS]
    listed = re.findall(r"^  ([a-z]+) {2,}(\S.*)$", shown, re.MULTILINE)
    assert dict(listed) == LINES
    assert max(map(len, LINES.values())) <= 60
    assert max(map(len, shown.splitlines())) <= 80


def test_options_are_in_sections_and_spelled_once(cli: Callable) -> None:
    shown = cli("train", "--help").out
    heads = re.findall(r"^([A-Z][a-z]+):$", shown, re.MULTILINE)
    assert heads == ["Arguments", "Data", "Method", "Length", "Output", "Machine", "Messages"]
    assert set(heads[1:]) < set(SECTIONS)
    assert not any(alias in shown + cli("evaluate", "--help").out for alias in ALIASES)
    told = cli("train", "nowhere", "--labelled", "0").err
    assert "'--labelled'" in told or "'--labeled'" in told


@pytest.mark.parametrize(
    ("command", "flags"),
    [
        ("train", "--method --network --recipe --labeled --labeled-patients --fold"),
        ("train", "--seed --iterations --max-time --devices --device --runs --run --resume --overwrite"),
        ("train", "--dry-run -c --config --set -j --workers --plan"),
        (
            "predict",
            "-i --input -o --output -m --model -c --config --set --device -j --workers --uncertainty",
        ),
        ("predict", "--overwrite --resume --dry-run"),
        ("plan", "-o --output -c --config --set --device -j --workers --seed --overwrite --dry-run"),
        ("check", "--fix -j --workers"),
        ("evaluate", "--dataset --convention -o --output"),
    ],
)
def test_flags_are_as_documented(cli: Callable, command: str, flags: str) -> None:
    shown = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", cli(command, "--help").out))
    assert set(flags.split()) <= shown
