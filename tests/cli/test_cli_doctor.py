"""What ``semiseg doctor`` says, and what it calls a problem."""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest

from semiseg.cli.commands.doctor import rows
from semiseg.machine import doctor, hardware


def test_report_covers_what_a_bug_report_needs(cli: Any) -> None:
    answer = cli("doctor", "--json")
    report = answer.json
    assert answer.code == 0
    assert (report["network use"], report["telemetry"]) == ("none", "none")
    assert report["python"] == ".".join(map(str, sys.version_info[:3]))
    assert report["packages"]["torch"]
    assert "edt" in report["extras"]["fast"]
    assert report["devices"]["cpu"]["threads"] >= 1
    assert report["cpu"]["cores"] == hardware.cores()
    assert report["folders"]["cache"]["path"].startswith(os.environ["SEMISEG_HOME"])
    assert report["problems"] == []


def test_text_says_that_nothing_is_sent(cli: Any) -> None:
    lines = {line.partition("  ")[0]: line for line in cli("doctor").out.splitlines()}
    assert lines["network use"].endswith("none")
    assert lines["telemetry"].endswith("none")
    assert {"semiseg", "cpu", "memory", "packages", "cache folder", "extra fast"} <= set(lines)


def test_missing_package_is_exit_1(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = doctor.version_of
    monkeypatch.setattr(doctor, "version_of", lambda name: None if name == "nibabel" else found(name))
    answer = cli("doctor")
    assert answer.code == 1
    assert "nibabel MISSING" in answer.out
    assert "nibabel is not installed" in answer.err


def test_broken_torch_is_an_answer(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    answer = cli("doctor")
    assert answer.code == 1
    assert "torch cannot be imported" in answer.err
    assert "Traceback" not in answer.err


def test_misspelled_variable_is_told(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMISEG_DEVISE", "cpu")
    assert "SEMISEG_DEVISE" in cli("doctor").err


def test_gpus_are_listed_with_memory() -> None:
    report = doctor.examine()
    report["devices"]["cuda"] = [{"name": "Card", "memory_gb": 24.0, "bf16": True}]
    assert ("cuda:0", "Card, 24 GB, bf16 yes") in list(rows(report))
