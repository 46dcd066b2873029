"""A method that asks for distance targets, trained from scans on disk with its batches made ahead."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest
import torch
from tests.factories import make_dataset

from semiseg.batches.batches import Prefetch
from semiseg.core import Batch
from semiseg.errors import Interrupted
from semiseg.networks import checkpoint
from semiseg.runs.events import Event, Stepped, Stop
from semiseg.runs.run import Run
from semiseg.settings.resolve import resolve
from semiseg.training import session
from semiseg.training import train as experiment

FLAGS = {
    "method.name": "dtc",
    "data.labeled": 2,
    "plan.patch": (16, 16, 16),
    "plan.features": (4, 8),
    "train.iterations": 6,
    "train.log_every": 1,
    "train.precision": "32",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data"), labeled=2, unlabeled=2, test=0)


def train(data: Path, run: Path, **options: object) -> Run:
    config = resolve(flags=FLAGS, environment={})
    return experiment.train(data, config, run=run, device="cpu", workers=0, **options)


def weights(run: Run) -> dict[str, torch.Tensor]:
    path = run.folder / "checkpoints" / "final.ckpt"
    predictor: dict[str, torch.Tensor] = checkpoint.load(path, checkpoint.MODEL)["predictor"]
    return predictor


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("batches")]


class Unhurried(Prefetch):
    """Makes each batch when it is asked for."""

    def __call__(self, step: int) -> Batch:
        return self.batches(step)


def test_batches_made_ahead_change_no_weight(data, tmp_path, monkeypatch):
    seen = []
    ahead = train(data, tmp_path / "ahead", listeners=[lambda event: seen.append(threads())])
    assert any(seen)
    assert threads() == []
    monkeypatch.setattr(session, "Prefetch", Unhurried)
    assert equal(weights(ahead), weights(train(data, tmp_path / "unhurried")))


def test_an_interrupted_run_ends_the_thread_and_resumes_to_the_same_weights(data, tmp_path):
    def interrupt(event: Event) -> None:
        if isinstance(event, Stepped) and event.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        train(data, tmp_path / "stopped", listeners=[interrupt])
    assert threads() == []
    resumed = train(data, tmp_path / "stopped", resume=True)
    assert equal(weights(resumed), weights(train(data, tmp_path / "undisturbed")))


@pytest.mark.parametrize("error", [Stop, KeyboardInterrupt])
def test_an_error_ends_the_thread(data, tmp_path, error):
    def fail(event: Event) -> None:
        if isinstance(event, Stepped):
            raise error

    with pytest.raises(error):
        train(data, tmp_path / "failed", listeners=[fail])
    assert threads() == []
