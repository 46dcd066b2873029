"""The loop: stages, learning rate, events, stopping, bad gradients, averaged weights, validation."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest
import torch
from tests.methods.tiny import TinyNet, batches, loop_for, make

from semiseg.core import Batch, Clock, Method, Stage, Update
from semiseg.errors import SemisegError
from semiseg.networks import checkpoint
from semiseg.runs.events import Ended, Notice, Started, Stepped, Validated
from semiseg.training.optim import lr_factor

AT = batches(2, 3, edge=8)


class Staged(Method):
    """Two stages; notes what the engine calls."""

    stages = (Stage("pretrain", 0.25), Stage("selftrain", 0.75))

    def __init__(self) -> None:
        super().__init__()
        self.net = TinyNet(2, 3)
        self.calls: list[tuple[str, int, int]] = []

    def step(self, batch: Batch, t: Clock) -> Iterator[Update]:
        self.calls.append((t.stage, t.step, t.total))
        yield Update(self.net(batch.x_l).logits.square().mean())

    def on_stage_start(self, name: str) -> None:
        self.calls.append((f"start {name}", -1, int(torch.randint(2**40, ()))))


class Spoiled:
    """Batches whose images are NaN at the given iterations."""

    def __init__(self, *steps: int) -> None:
        self.steps = steps

    def __call__(self, step: int) -> Batch:
        batch = AT(step)
        return batch._replace(x_l=batch.x_l * torch.nan) if step in self.steps else batch


def listen(loop):
    events = []
    loop.listeners = [events.append]
    return events


def of(events, kind):
    return [event for event in events if isinstance(event, kind)]


def test_stages_start_with_fresh_optimizers():
    torch.manual_seed(0)
    method = Staged()
    loop = loop_for(method, AT, 8)
    optimizers = []
    while loop.step < 8:
        loop.iterate_once()
        optimizers.append(loop.optimizers["net"])
    stages = [call for call in method.calls if not call[0].startswith("start")]
    assert stages == [("pretrain", k, 2) for k in range(2)] + [("selftrain", k, 6) for k in range(6)]
    assert [call[0] for call in method.calls if call[0].startswith("start")] == [
        "start pretrain",
        "start selftrain",
    ]
    assert optimizers[0] is optimizers[1]
    assert all(optimizer is optimizers[2] for optimizer in optimizers[3:])
    assert optimizers[0] is not optimizers[2]
    assert loop.optimizers["net"].state_dict()["state"][0]["step"] == 6


@pytest.mark.parametrize("rank", [0, 1])
def test_what_a_stage_draws_depends_on_the_seed_alone(rank):
    drawn = []
    for noise in (1, 2):
        torch.manual_seed(noise)
        method = Staged()
        loop = loop_for(method, AT, 8, seed=3)
        loop.rank_seed = rank * noise
        loop.run()
        drawn.append([call for call in method.calls if call[0].startswith("start")])
    assert drawn[0] == drawn[1]
    assert drawn[0][0][2] != drawn[0][1][2]


@pytest.mark.parametrize("total", [1, 2, 3, 7, 10])
def test_every_iteration_belongs_to_one_stage(total):
    loop = loop_for(Staged(), AT, total)
    clocks = [loop.clock(k)[1] for k in range(total)]
    assert len({(t.stage, t.step) for t in clocks}) == total
    assert all(0 <= t.step < t.total for t in clocks)
    assert clocks[-1].stage == "selftrain"


@pytest.mark.parametrize("seed", [0, 1337, 2**31, 2**63 - 1])
def test_any_seed_that_a_run_accepts_is_usable(seed):
    loop = loop_for(make("supervised", 2, 3), AT, 1, seed=seed)
    assert loop.run().step == 1


def test_learning_rate_of_each_step_is_applied_and_told():
    loop = loop_for(make("supervised", 2, 3), AT, 5, log_every=1)
    events, applied = listen(loop), []
    loop.listeners.append(
        lambda e: (
            applied.append(loop.optimizers["net"].param_groups[0]["lr"]) if isinstance(e, Stepped) else None
        )
    )
    loop.run()
    expected = [0.01 * lr_factor(loop.schedule, k, 5) for k in range(5)]
    assert applied == pytest.approx(expected)
    assert [event.lr for event in of(events, Stepped)] == pytest.approx(expected)


def test_listeners_hear_everything_in_order():
    loop = loop_for(make("mean_teacher", 2, 3), AT, 7, log_every=3)
    events = listen(loop)
    loop.run()
    assert isinstance(events[0], Started)
    assert isinstance(events[-1], Ended)
    assert [event.step for event in of(events, Stepped)] == [3, 6, 7]
    assert {"loss", "supervised", "consistency", "weight"} <= set(of(events, Stepped)[0].values)
    assert events[-1].reason == "finished"


def test_max_time_saves_and_ends(tmp_path):
    loop = loop_for(make("supervised", 2, 3), AT, 10_000, folder=tmp_path, max_time=1e-6)
    ended = loop.run()
    assert ended.reason == "max-time"
    assert checkpoint.load(tmp_path / "last.ckpt", checkpoint.STATE)["step"] == ended.step == 1


def test_patience_ends_and_the_best_is_kept(tmp_path):
    scores = iter([0.1, 0.5, 0.4, 0.5, 0.9])
    loop = loop_for(make("supervised", 2, 3), AT, 100, folder=tmp_path)
    loop.validate, loop.validate_every, loop.patience = lambda network: {"dice": next(scores)}, 2, 2
    events = listen(loop)
    ended = loop.run()
    assert (ended.reason, ended.step) == ("patience", 8)
    assert [event.best for event in of(events, Validated)] == [True, True, False, False]
    best = checkpoint.load(tmp_path / "best.ckpt", checkpoint.MODEL)
    assert (best["step"], best["score"]) == (4, 0.5)


def test_validation_sees_the_exported_network_in_eval_mode():
    loop = loop_for(make("supervised", 2, 3), AT, 2, ema=0.5)
    seen = []
    loop.validate_every = 1
    loop.validate = lambda network: seen.append((network is loop.average, network.training)) or {"dice": 0.0}
    loop.run()
    assert seen == [(True, False)] * 2
    assert loop.method.net.training


def test_averaged_weights_are_the_mean_while_they_warm_up():
    method = make("supervised", 2, 3)
    loop = loop_for(method, AT, 4, ema=0.99)
    history = []
    while loop.step < 4:
        loop.iterate_once()
        history.append([p.detach().clone() for p in method.net.parameters()])
    for mine, snapshots in zip(loop.average.parameters(), zip(*history, strict=True), strict=True):
        torch.testing.assert_close(mine, torch.stack(snapshots).mean(0), rtol=1e-4, atol=1e-6)
    for mine, theirs in zip(loop.average.buffers(), method.net.buffers(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_bad_step_is_skipped_and_leaves_no_trace():
    method = make("supervised", 2, 3)
    loop = loop_for(method, Spoiled(2), 3)
    events = listen(loop)
    while loop.step < 2:
        loop.iterate_once()
    before = {key: value.clone() for key, value in method.state_dict().items() if "num_batches" not in key}
    loop.iterate_once()
    after = method.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert (loop.skips.total, loop.skips.in_a_row) == (1, 1)
    assert [event.warning for event in of(events, Notice)] == [True]


def test_bad_steps_in_a_row_end_the_run_and_others_do_not():
    loop = loop_for(make("supervised", 2, 3), Spoiled(1, 2, 4, 5), 8, max_bad_steps=3)
    events = listen(loop)
    assert loop.run().reason == "finished"
    assert loop.skips.total == 4
    assert of(events, Stepped)[-1].values["skipped_updates"] == 4
    loop = loop_for(make("supervised", 2, 3), Spoiled(2, 3, 4), 8, max_bad_steps=3)
    with pytest.raises(SemisegError, match="3 updates in a row") as caught:
        loop.run()
    assert caught.value.code == "NOT_FINITE"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_ends(number, tmp_path):
    def at(step: int) -> Batch:
        if step == 3:
            os.kill(os.getpid(), number)
        return AT(step)

    before = signal.getsignal(number)
    loop = loop_for(make("supervised", 2, 3), at, 100, folder=tmp_path)
    ended = loop.run()
    assert (ended.reason, ended.step) == ("interrupted", 4)
    assert checkpoint.load(tmp_path / "last.ckpt", checkpoint.STATE)["step"] == 4
    assert signal.getsignal(number) is before


def test_a_second_interrupt_stops_at_once():
    def at(step: int) -> Batch:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        return AT(step)

    with pytest.raises(KeyboardInterrupt):
        loop_for(make("supervised", 2, 3), at, 2).run()


def test_a_loop_runs_outside_the_main_thread():
    ended = []
    thread = threading.Thread(target=lambda: ended.append(loop_for(make("supervised", 2, 3), AT, 2).run()))
    thread.start()
    thread.join()
    assert ended[0].reason == "finished"


def test_logged_means_survive_a_resume(tmp_path):
    def rows(loop):
        events = listen(loop)
        loop.run()
        return [dict(event.values) for event in of(events, Stepped)]

    whole = rows(loop_for(make("mean_teacher", 2, 3), AT, 6, log_every=6))
    first = loop_for(make("mean_teacher", 2, 3), AT, 6, folder=tmp_path, log_every=6)
    while first.step < 4:
        first.iterate_once()
    first.save()
    second = loop_for(make("mean_teacher", 2, 3), AT, 6, log_every=6)
    second.restore(checkpoint.load(tmp_path / "last.ckpt", checkpoint.STATE))
    assert rows(second) == whole
