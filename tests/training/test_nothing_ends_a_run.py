"""What fails beside the training does not end it; what ends it leaves a state to go on from."""

from __future__ import annotations

import errno
import logging

import pytest
from tests.methods.tiny import batches, loop_for, make

from semiseg.networks import checkpoint
from semiseg.runs.events import Stepped, Stop, Validated

AT = batches(2, 3, edge=8)


def step_of(folder):
    return checkpoint.load(folder / "last.ckpt", checkpoint.STATE)["step"]


@pytest.mark.parametrize(
    "error", [ValueError("a bug"), BrokenPipeError(), SystemExit(1), OSError(28, "full")]
)
def test_a_listener_that_fails_is_told_of_once(error, tmp_path, caplog):
    def fail(event):
        raise error

    loop = loop_for(make("supervised", 2, 3), AT, 4, folder=tmp_path, log_every=1)
    seen = []
    loop.listeners = [fail, seen.append]
    with caplog.at_level(logging.WARNING):
        assert loop.run().reason == "finished"
    assert [event.step for event in seen if isinstance(event, Stepped)] == [1, 2, 3, 4]
    assert len([r for r in caplog.records if "fail" in r.message]) == 1
    assert step_of(tmp_path) == 4


def test_a_listener_can_ask_for_the_end(tmp_path):
    def stop(event):
        if isinstance(event, Stepped) and event.step == 2:
            raise Stop

    loop = loop_for(make("supervised", 2, 3), AT, 4, folder=tmp_path, log_every=1)
    loop.listeners = [stop]
    with pytest.raises(Stop):
        loop.run()
    assert step_of(tmp_path) == 2


@pytest.mark.parametrize("error", [OSError, RuntimeError, KeyboardInterrupt])
def test_an_error_between_two_iterations_saves(error, tmp_path):
    def at(step):
        if step == 3:
            raise error
        return AT(step)

    loop = loop_for(make("mean_teacher", 2, 3), at, 5, folder=tmp_path)
    with pytest.raises(error):
        loop.run()
    assert step_of(tmp_path) == 3


def test_half_an_iteration_is_not_saved(tmp_path, monkeypatch):
    loop = loop_for(make("supervised", 2, 3), AT, 5, folder=tmp_path)
    loop.iterate_once()
    loop.save()
    monkeypatch.setattr("semiseg.training.loop.ema_update", None)
    monkeypatch.setattr("semiseg.training.loop.iterate", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        loop.run()
    assert step_of(tmp_path) == 1
    assert not loop.whole


def test_a_validation_that_failed_is_made_up_for(tmp_path):
    def fail(network):
        raise OSError(errno.EIO, "input/output error")

    def made(validate):
        loop = loop_for(make("supervised", 2, 3), AT, 6, folder=tmp_path)
        loop.validate, loop.validate_every = validate, 3
        return loop

    with pytest.raises(OSError, match="input"):
        made(fail).run()
    assert step_of(tmp_path) == 3
    loop, seen = made(lambda network: {"dice": 0.5}), []
    loop.listeners = [seen.append]
    loop.restore(checkpoint.load(tmp_path / "last.ckpt", checkpoint.STATE))
    loop.run()
    assert [event.step for event in seen if isinstance(event, Validated)] == [3, 6]


def test_a_full_disk_is_told_and_the_training_goes_on(tmp_path, monkeypatch, caplog):
    real, calls = checkpoint.save, []

    def save(path, content):
        calls.append(content["step"])
        if len(calls) < 4:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        real(path, content)

    monkeypatch.setattr(checkpoint, "save", save)
    loop = loop_for(make("supervised", 2, 3), AT, 5, folder=tmp_path, checkpoint_minutes=1e-9)
    with caplog.at_level(logging.WARNING):
        loop.run()
    assert "No space left on device" in caplog.text
    assert step_of(tmp_path) == 5


def test_a_disk_that_stays_full_ends_in_the_system_s_error(tmp_path, monkeypatch):
    def save(path, content):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(checkpoint, "save", save)
    with pytest.raises(OSError, match="No space left"):
        loop_for(make("supervised", 2, 3), AT, 2, folder=tmp_path).run()


def test_best_weights_never_lie_there_without_a_state(tmp_path):
    loop = loop_for(make("supervised", 2, 3), AT, 4, folder=tmp_path)
    loop.validate, loop.validate_every = lambda network: {"dice": 0.5}, 2
    loop.listeners = [lambda event: (tmp_path / "last.ckpt").stat() if isinstance(event, Validated) else None]
    loop.run()
    assert (tmp_path / "best.ckpt").is_file()
