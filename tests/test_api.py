"""The functions of the package are the commands: same defaults, same errors, same results."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import semiseg
from semiseg.preparation.prepare import prepare
from semiseg.runs.events import Preparing
from semiseg.settings.flags import configured
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


def test_flags_win_over_settings_and_both_spellings_agree() -> None:
    one = configured(seed=3, settings={"train.seed": 1, "optimizer.lr": 0.5})
    assert one == configured(seed=3, settings=["train.seed=1", "optimizer.lr=0.5"])
    assert (one.train.seed, one.optimizer.lr) == (3, 0.5)


def test_a_whole_configuration_stands_as_it_is() -> None:
    whole = configured(method="supervised", seed=3)
    assert configured(whole) is whole
    with pytest.raises(semiseg.SemisegError, match="takes no recipe, flag or setting"):
        semiseg.train("d", whole, seed=4)


COMMANDS = {
    "accept": semiseg.accept,
    "check": semiseg.check,
    "compare": semiseg.compare,
    "convert": semiseg.convert,
    "evaluate": semiseg.evaluate,
    "export": semiseg.export,
    "init": semiseg.init,
    "next": semiseg.next_cases,
    "plan": semiseg.plan,
    "predict": semiseg.predict,
    "recommend": semiseg.recommend,
    "split": semiseg.split,
    "studio": semiseg.open_studio,
    "sweep": semiseg.sweep,
    "train": semiseg.train,
    "tune": semiseg.tune,
}
NAMED = {"dataset", "labeled", "labeled_patients", "fold", "seed", "method", "network", "recipe", "config"}
NAMED |= {"settings", "device", "workers", "iterations", "max_time", "resume", "trials", "minutes", "metric"}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_flag_of_a_command_is_a_keyword_of_its_function(name: str) -> None:
    flags = inspect.signature(import_module(f"semiseg.cli.commands.{name}").run).parameters
    keywords = inspect.signature(COMMANDS[name]).parameters
    overridden = {"config", "settings"}  # they become `overrides`
    not_here = {"predict": overridden, "export": overridden}.get(name, set())
    assert NAMED & set(flags) - not_here <= set(keywords)
    documented = re.findall(r"^ {4}(\w+): ", inspect.getdoc(COMMANDS[name]) or "", re.MULTILINE)
    assert set(keywords) <= set(documented)


CHOICES = ("dataset", "config", "method", "network", "recipe", "labeled", "labeled_patients", "fold", "seed")
CHOICES += ("iterations", "max_time", "start_from", "settings", "runs")


@pytest.mark.parametrize("keyword", CHOICES)
def test_a_keyword_has_one_type_and_default_in_all_functions_that_train_or_plan(keyword: str) -> None:
    functions = (
        semiseg.train,
        semiseg.cross_validate,
        semiseg.tune,
        semiseg.plan,
        semiseg.recommend,
        prepare,
    )
    found = [inspect.signature(function).parameters.get(keyword) for function in [*functions, prepare]]
    assert len({(str(told.annotation), told.default) for told in found if told is not None}) == 1


def test_errors_are_ours_and_say_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(semiseg.SemisegError, match=r"optimizer\.lr"):
        semiseg.train("d", settings={"optimizer.lrr": 1})
    with pytest.raises(semiseg.SemisegError, match="no dataset folder"):
        semiseg.check(tmp_path / "nothing")
