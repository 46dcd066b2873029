"""``--fold`` and ``--fold all``: held-out scores, one ensemble, gone on with after an interruption."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.factories import make_dataset
from tests.training.test_experiment import SMALL

import semiseg
from semiseg.errors import Interrupted, SemisegError, UsageError
from semiseg.evaluation.tables import read_evaluation
from semiseg.prediction.model import Model
from semiseg.runs.events import Begun
from semiseg.settings.resolve import resolve

QUICK = SMALL | {"plan.patch": (8, 8, 8), "train.iterations": 2, "method.name": "supervised"}
GIVEN: dict[str, Any] = {"device": "cpu", "workers": 0}


def config(**flags: object) -> Any:
    return resolve(flags=QUICK | {"data.folds": 2} | flags, environment={})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("folds"), labeled=4, unlabeled=1, test=1, shape=(10, 9, 8))


def test_all_folds_interrupted_gone_on_with_scored_and_predicting(data: Path, tmp_path: Path) -> None:
    begun: list[int] = []

    def stop_in_the_second(event: object) -> None:
        if isinstance(event, Begun):
            begun.append(event.step)
            if len(begun) == 2:
                signal.raise_signal(signal.SIGINT)

    runs = tmp_path / "runs"
    with pytest.raises(Interrupted, match="fold 1 of 2: stopped at iteration") as caught:
        semiseg.cross_validate(data, config(), runs=runs, listeners=[stop_in_the_second], **GIVEN)
    assert "--resume" in caught.value.hint
    lists = json.loads((data / "splits.json").read_text())
    assert len(lists["cross_validation"]) == 2
    assert lists["order"] == [f"case_{i:02d}" for i in range(4)]
    with pytest.raises(UsageError, match="is not empty"):
        semiseg.cross_validate(data, config(), runs=runs, **GIVEN)

    made = semiseg.cross_validate(data, config(), runs=runs, resume=True, **GIVEN)
    names = [run.folder.name for run in made.runs]
    assert names == [f"labeled-all_fold-{number}of2_seed-0" for number in (0, 1)]
    assert len(made.runs[0].manifest["sessions"]) == 1
    assert made.folder.name == "labeled-all_folds-2_seed-0"
    scored = [case.case for case in made.evaluation.cases]
    assert sorted(scored) == [f"case_{i:02d}" for i in range(4)]
    for run in made.runs:
        assert set(run.split["held_out"]) == {c.case for c in read_evaluation(run.folder / "held_out").cases}
        assert not set(run.split["held_out"]) & set(run.split["labeled"])
        assert run.score.folder == "held_out"
    assert "4 labeled cases, each scored by the fold that has not seen it" in made.score.lines()[0]
    summary = json.loads((made.folder / "summary.json").read_text())
    assert summary["foreground_mean"]["Dice"] == pytest.approx(made.score.dice)

    ensemble = Model.load(made.folder, "cpu")
    assert len(ensemble.members) == 2
    report = semiseg.predict(data / "imagesTs", tmp_path / "out", made.folder, device="cpu")
    assert len(report.done) == 1

    comparison = semiseg.compare([made.folder])
    (group,) = comparison.groups
    assert (group.source, len(group.cases), len(group.arms[0].runs)) == ("held-out", 4, 2)


@pytest.mark.parametrize(
    ("flags", "given"),
    [
        ({"method.options": {"wieght": 1}}, GIVEN),
        ({"augment.name": "defualt"}, GIVEN),
        ({}, {"device": "cuda:9"}),
    ],
)
def test_what_is_refused_leaves_no_folds(
    flags: dict[str, Any], given: dict[str, Any], tmp_path: Path
) -> None:
    data = make_dataset(tmp_path, labeled=4, unlabeled=1, test=1, shape=(10, 9, 8))
    before = (data / "splits.json").read_text()
    with pytest.raises(SemisegError):
        semiseg.cross_validate(data, config(**flags), runs=tmp_path / "runs", **given)
    assert (data / "splits.json").read_text() == before


def test_a_fold_is_planned_like_the_others_on_gray_values_of_its_own(data: Path) -> None:
    plans = [
        semiseg.plan(data, config(**{"data.fold": number}), device="cpu", workers=0)[1] for number in (0, 1)
    ]
    whole = semiseg.plan(data, resolve(flags=QUICK, environment={}), device="cpu", workers=0)[1]
    for plan in plans:
        assert plan.model_dump(exclude={"channels", "seen", "reasons"}) == whole.model_dump(
            exclude={"channels", "seen", "reasons"}
        )
        assert "2 labeled" in plan.reasons["dataset"]
    assert plans[0].seen != plans[1].seen


def test_without_a_fold_all_are_trained_on_and_the_reason_for_no_score_is_told(
    data: Path, tmp_path: Path
) -> None:
    run = semiseg.train(data, resolve(flags=QUICK, environment={}), run=tmp_path / "run", **GIVEN)
    assert len(run.split["labeled"]) == 4
    assert run.config.data.folds is None
    lines = run.score.lines()
    assert lines[0].startswith("no score: the 4 labeled cases were all trained on")
    assert any("--fold all" in line for line in lines)
    assert any("semiseg evaluate" in line and "labelsTs" in line for line in lines)


def test_a_folder_that_cannot_be_written_has_the_same_folds_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from semiseg.dataset import write_split
    from semiseg.dataset.dataset import Dataset

    opened = Dataset.open(make_dataset(tmp_path, labeled=4, shape=(6, 6, 6), order=False))

    def refuse(*_: object) -> None:
        raise UsageError("cannot write", code="NOT_WRITABLE")

    monkeypatch.setattr(write_split, "_write", refuse)
    kept = write_split.keep_folds(opened, 2)
    assert kept.splits.cross_validation == opened.with_folds(2).splits.cross_validation
    assert not (opened.root / "splits.json").exists()
