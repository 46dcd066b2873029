"""The environment variables of a user, read in one place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from semiseg.errors import UsageError
from semiseg.settings import environment


def test_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEMISEG_HOME")
    read = environment.read()
    assert read.home == Path.home() / ".semiseg"
    assert read.cache == read.home / "cache"
    assert (read.data, read.runs, read.device, read.workers) == ((), (Path("runs"),), "auto", None)


def test_every_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "HOME": "/h",
        "DATA": os.pathsep.join(("/a", "/b")),
        "RUNS": "/r",
        "DEVICE": "cuda:1",
        "WORKERS": "3",
        "LOG_LEVEL": "DEBUG",
        "NO_PROGRESS": "1",
        "KEEP_MEMORY": "0",
    }
    for name, value in values.items():
        monkeypatch.setenv(f"SEMISEG_{name}", value)
    assert environment.read().model_dump() == {
        "home": Path("/h"),
        "data": (Path("/a"), Path("/b")),
        "runs": (Path("/r"),),
        "device": "cuda:1",
        "workers": 3,
        "log_level": "DEBUG",
        "no_progress": True,
        "keep_memory": False,
    }
    assert set(values) == {name.upper() for name in environment.Settings.model_fields}


def test_empty_means_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORKERS", "DATA", "RUNS", "NO_PROGRESS"):
        monkeypatch.setenv(f"SEMISEG_{name}", "")
    read = environment.read()
    assert (read.workers, read.data, read.runs, read.no_progress) == (None, (), (Path("runs"),), False)


def test_all_wrong_values_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMISEG_WORKERS", "many")
    monkeypatch.setenv("SEMISEG_NO_PROGRESS", "perhaps")
    with pytest.raises(UsageError) as caught:
        environment.read()
    assert "SEMISEG_WORKERS" in caught.value.message
    assert "SEMISEG_NO_PROGRESS" in caught.value.message


def test_misspelled_variables_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMISEG_WORKER", "2")
    monkeypatch.setenv("SEMISEG__TRAIN__SEED", "2")
    assert "SEMISEG_WORKER" in environment.unknown_variables()
    assert "SEMISEG_HOME" not in environment.unknown_variables()
    assert "SEMISEG__TRAIN__SEED" not in environment.unknown_variables()
