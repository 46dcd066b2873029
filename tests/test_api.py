"""The functions of the package are the commands: same defaults, same errors, same results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import semiseg
from semiseg.runs.events import Preparing
from tests.factories import make_dataset


def test_from_dataset_to_scores(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path)
    assert semiseg.check(folder).ok
    events: list[Any] = []
    run = semiseg.train(
        semiseg.Dataset.open(folder),
        method="supervised",
        labeled=2,
        iterations=2,
        settings={"plan.patch": [16, 16, 16]},
        runs=tmp_path / "runs",
        device="cpu",
        workers=0,
        listeners=[events.append],
    )
    assert isinstance(run, semiseg.Run)
    assert (run.config.data.labeled, run.plan.patch) == (2, (16, 16, 16))
    order = list(dict.fromkeys(type(event).__name__ for event in events))
    assert order == ["Preparing", "Started", "Begun", "Stepped", "Ended"]
    told = list(dict.fromkeys(event.what for event in events if isinstance(event, Preparing)))
    assert told == ["reading scans", "preparing scans", "setting up networks and batches"]
    assert semiseg.load_run(run.folder).finished
    report = semiseg.predict(folder / "imagesTs", tmp_path / "out", run.folder, device="cpu")
    assert len(report.done) == 2
    scores = semiseg.evaluate(folder / "labelsTs", tmp_path / "out")
    assert 0 <= scores.mean("Dice") <= 1


def test_flags_win_over_settings_and_both_spellings_agree(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("semiseg.training.train.train", lambda dataset, config, **_: seen.append(config))
    semiseg.train("d", seed=3, settings={"train.seed": 1, "optimizer.lr": 0.5})
    semiseg.train("d", seed=3, settings=["train.seed=1", "optimizer.lr=0.5"])
    assert seen[0] == seen[1]
    assert (seen[0].train.seed, seen[0].optimizer.lr) == (3, 0.5)


def test_errors_are_ours_and_say_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(semiseg.SemisegError, match=r"optimizer\.lr"):
        semiseg.train("d", settings={"optimizer.lrr": 1})
    with pytest.raises(semiseg.SemisegError, match="no dataset folder"):
        semiseg.check(tmp_path / "nothing")
