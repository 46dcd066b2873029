"""How often the files of a dataset are opened: once where that is enough."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import semiseg
from semiseg.settings.resolve import resolve
from tests.factories import make_dataset
from tests.training.test_experiment import SMALL

_watched: list[tuple[str, Counter[str]]] = []


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if _watched and event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
        folder, count = _watched[-1]
        path = os.fsdecode(arguments[0])
        if path.startswith(folder) and path.endswith(".nii.gz"):
            count[path.removeprefix(folder)] += 1


sys.addaudithook(_note)  # one for all tests: Python cannot take it away again


@contextmanager
def opened(folder: Path) -> Iterator[Counter[str]]:
    """File -> how often it was opened in this process."""
    count: Counter[str] = Counter()
    _watched.append((f"{folder}/", count))
    yield count
    _watched.pop()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("opened"), labeled=2, unlabeled=1, test=1)


def test_check_opens_every_file_once(data: Path) -> None:
    with opened(data) as count:
        semiseg.check(data, workers=1)
    assert len(count) == 7
    assert set(count.values()) == {1}


def test_training_opens_a_scan_to_measure_to_hash_and_to_prepare_it_and_then_to_hash_it(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEMISEG_HOME", str(tmp_path / "home"))  # nothing is measured already
    quick = {"train.iterations": 1, "method.name": "supervised", "plan.patch": (8, 8, 8)}
    config = resolve(flags=SMALL | quick, environment={})
    with opened(data) as first:
        semiseg.train(data, config, run=tmp_path / "a", device="cpu", workers=0)
    with opened(data) as again:
        semiseg.train(data, config, run=tmp_path / "b", device="cpu", workers=0)
    assert max(first.values()) == 3
    assert max(again.values()) == 1
    assert not [name for name in {**first, **again} if "Ts/" in name]
