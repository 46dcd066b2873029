"""Stages: their share of the run, and going on from the best weights of the stage before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.conftest import environment_of_ranks
from tests.methods.tiny import TinyNet
from tests.training.staged import FIRST, SCORES, TOTAL, copy_of, staged_loop

from semiseg.core import PseudoLabels, Stage
from semiseg.machine.stopping import Stopped
from semiseg.networks import checkpoint
from semiseg.runs.events import Notice, Stepped, Validated
from semiseg.settings.config import ScheduleConfig
from semiseg.training.optim import lr_factor
from semiseg.training.stages import clock_at, hands_on_best


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def listen(loop, kind):
    events = []
    loop.listeners = [*loop.listeners, lambda e: events.append(e) if isinstance(e, kind) else None]
    return events


def states_by_step(loop):
    """The method's and the exported network's state after each iteration."""
    found = {}
    validate = loop.validate

    def spy(network):
        found[loop.step] = copy_of(loop.method), copy_of(network)
        return validate(network)

    loop.validate = spy
    return found


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.2, 0.3, 0.5), (0.0, 1.0), (1.0, 0.0), (1.0,)])
@pytest.mark.parametrize("total", [1, 2, 3, 7, 100])
def test_stages_cover_the_run_in_order_without_gaps(shares, total):
    stages = [Stage(str(i), share) for i, share in enumerate(shares)]
    clocks = [clock_at(stages, total, step)[1] for step in range(total)]
    assert [t.stage for t in clocks] == sorted(t.stage for t in clocks)
    for stage in stages:
        mine = [t for t in clocks if t.stage == stage.name]
        assert [t.step for t in mine] == list(range(len(mine)))
        assert {t.total for t in mine} <= {len(mine)}
        assert len(mine) == pytest.approx(total * stage.share, abs=1)


def test_the_second_stage_begins_with_the_best_weights_of_the_first(tmp_path):
    loop = staged_loop(tmp_path)
    seen, notices, validated = states_by_step(loop), listen(loop, Notice), listen(loop, Validated)
    loop.run()
    began = loop.method.began["selftrain"]
    assert equal(began, seen[4][0])
    assert not equal(began, seen[FIRST][0])
    assert began["count"] == 4
    assert loop.method.count == 4 + TOTAL - FIRST
    assert not notices
    assert [(e.step, e.best) for e in validated] == [
        (2, True), (4, True), (6, False), (8, True), (10, True), (12, False)
    ]  # fmt: skip


def test_the_best_of_each_stage_is_kept_apart(tmp_path):
    loop = staged_loop(tmp_path)
    seen = states_by_step(loop)
    loop.run()
    first = checkpoint.load(tmp_path / "best-pretrain.ckpt", checkpoint.MODEL)
    last = checkpoint.load(tmp_path / "best.ckpt", checkpoint.MODEL)
    assert (first["step"], first["score"]) == (4, 0.8)
    assert (last["step"], last["score"]) == (10, 0.4)
    assert equal(first["predictor"], seen[4][1])
    assert equal(last["predictor"], seen[10][1])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "best-pretrain.ckpt",
        "best.ckpt",
        "last.ckpt",
    ]


def test_averaged_weights_go_on_from_what_was_validated(tmp_path):
    loop = staged_loop(tmp_path, ema=0.5)
    seen = states_by_step(loop)
    while loop.step < FIRST:
        loop.iterate_once()
        if loop.step % 2 == 0:
            loop._validate()
    assert not equal(seen[4][0], {**seen[4][0], **{f"net.{k}": v for k, v in seen[4][1].items()}})
    loop._begin(loop.clock(FIRST)[0])
    assert equal(copy_of(loop.method.net), seen[4][1])
    assert equal(copy_of(loop.average), seen[4][1])


@pytest.mark.parametrize("stop", [3, 5, FIRST, FIRST + 1, FIRST + 3, TOTAL - 1])
@pytest.mark.parametrize("ema", [0.0, 0.5])
def test_a_run_resumed_in_any_stage_is_bit_equal(stop, ema, tmp_path):
    whole = staged_loop(tmp_path / "whole", ema=ema)
    whole.run()

    folder = tmp_path / "broken"
    first = staged_loop(folder, ema=ema)
    first.listeners = [lambda e: None]
    while first.step < stop:
        first.iterate_once()
        if first.step % 2 == 0:
            first._validate()
    first.save()
    second = staged_loop(folder, ema=ema)
    second.restore(checkpoint.load(folder / "last.ckpt", checkpoint.STATE))
    torch.manual_seed(99)
    second.run()
    assert equal(copy_of(whole.method), copy_of(second.method))
    assert (second.best, second.stale) == (whole.best, whole.stale) == (0.4, 1)
    for name in ("best-pretrain.ckpt", "best.ckpt"):
        mine, wanted = (checkpoint.load(tmp_path / f / name, checkpoint.MODEL) for f in ("broken", "whole"))
        assert equal(mine["predictor"], wanted["predictor"])
        assert mine["step"] == wanted["step"]


@pytest.mark.parametrize("lacking", ["validation", "folder"])
def test_without_validated_weights_the_last_ones_go_on_and_the_user_is_told(lacking, tmp_path):
    loop = staged_loop(tmp_path if lacking == "validation" else None)
    if lacking == "validation":
        loop.validate = None
    notices = listen(loop, Notice)
    while loop.step < FIRST:
        loop.iterate_once()
    before = copy_of(loop.method)
    loop.run()
    assert equal(loop.method.began["selftrain"], before)
    assert [(e.step, e.text) for e in notices] == [
        (FIRST, "no validated weights of pretrain: selftrain continues from the last ones")
    ]
    assert not (tmp_path / "best.ckpt").exists()


def test_each_stage_is_validated_at_its_end(tmp_path):
    loop = staged_loop(tmp_path)
    loop.validate_every, loop.validate = 1000, lambda network: {"dice": 0.5}
    validated = listen(loop, Validated)
    loop.run()
    assert [e.step for e in validated] == [FIRST, TOTAL]
    assert loop.method.began["selftrain"]["count"] == FIRST


def test_patience_waits_for_the_last_stage(tmp_path):
    loop = staged_loop(tmp_path)
    loop.patience = 1
    ended = loop.run()
    assert (ended.reason, ended.step) == ("patience", 12)  # and not at 6


def test_a_stage_may_keep_its_learning_rate_and_the_schedule_begins_with_the_next():
    loop = staged_loop(None, log_every=1)
    loop.schedule = ScheduleConfig(name="poly", warmup=2)
    stepped, applied = listen(loop, Stepped), []
    while loop.step < TOTAL:
        loop.iterate_once()
        loop.tell(loop._stepped())
        applied.append(loop.optimizers["net"].param_groups[0]["lr"] / 0.01)
    expected = [0.5, *[1.0] * 5, *(lr_factor(loop.schedule, k, TOTAL - FIRST) for k in range(TOTAL - FIRST))]
    assert [e.lr / 0.01 for e in stepped] == pytest.approx(expected)
    assert expected[6] < expected[7] > expected[8]
    assert applied == pytest.approx(expected)


def test_only_stages_before_one_that_wants_it_hand_on_their_best():
    stages = FromLast, FromBest, Last = Stage("a", 0.3), Stage("b", 0.3, "best"), Stage("c", 0.4)
    assert [hands_on_best(stages, stage) for stage in (FromLast, FromBest, Last)] == [True, False, False]


def test_two_ranks_begin_a_stage_with_the_same_weights(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, str(Path(__file__).with_name("stage_ranks.py")), str(tmp_path)],
        env=environment_of_ranks(),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (began, ended), (began_1, ended_1) = (
        torch.load(tmp_path / f"rank-{rank}.pt", weights_only=True) for rank in (0, 1)
    )
    assert began["count"] == 4
    assert equal(began, began_1)
    assert equal(ended, ended_1)
    assert not (tmp_path / "rank-1").exists(), "rank 1 writes nothing and needs no file"


def rivals_loop(folder, scores):
    loop = staged_loop(folder)
    second = Stage("round", 1 / 3, start_from="best", pseudo=PseudoLabels(), rival=True)
    loop.method.stages = (Stage("first", 1 / 3), second, second._replace(name="again"))
    loop.validate = lambda network: {"dice": scores[loop.step]}
    return loop


def test_the_best_of_rivals_is_one_and_each_goes_on_from_it(tmp_path):
    loop = rivals_loop(tmp_path, {2: 0.8, 4: 0.3, 6: 0.5, 8: 0.6, 10: 0.9, 12: 0.1})
    seen, labeled = states_by_step(loop), {}
    loop.label = lambda stage, networks: labeled.setdefault(stage.name, copy_of(*networks))
    loop.run()
    for name in ("round", "again"):  # nothing better than at 2 so far
        assert equal(loop.method.began[name], seen[2][0])
        assert equal(labeled[name], seen[2][1])
    best = checkpoint.load(tmp_path / "best.ckpt", checkpoint.MODEL)
    assert (best["step"], best["score"]) == (10, 0.9)
    assert not (tmp_path / "best-round.ckpt").exists()


def test_labeling_that_is_stopped_is_done_again_from_the_same_weights(tmp_path):
    scores = {2: 0.8, 4: 0.3, 6: 0.5, 8: 0.6, 10: 0.9, 12: 0.1}
    whole = rivals_loop(tmp_path / "whole", scores)
    whole.run()

    def stop(stage, networks):
        raise Stopped

    loop = rivals_loop(tmp_path / "halves", scores)
    loop.label = stop
    assert (loop.run().reason, loop.step) == ("interrupted", 4)
    again, given = rivals_loop(tmp_path / "halves", scores), []
    again.label = lambda stage, networks: given.append(copy_of(*networks))
    again.restore(checkpoint.load(tmp_path / "halves" / "last.ckpt", checkpoint.STATE))
    again.run()
    assert len(given) == 2
    assert equal(copy_of(again.method), copy_of(whole.method))


def test_a_stage_with_a_network_of_its_own_is_validated_and_exported_by_it(tmp_path):
    loop = staged_loop(tmp_path, ema=0.9)
    loop.method.student = TinyNet(2, 3)
    loop.method.stages = (Stage("first", 0.5), Stage("second", 0.5, network="student"))
    loop.describe = lambda name: {"about": name}
    seen = []
    loop.validate = lambda network: seen.append((loop.step, loop.name)) or {"dice": SCORES[loop.step]}
    loop.run()
    assert seen == [(2, "net"), (4, "net"), (6, "net"), (8, "student"), (10, "student"), (12, "student")]
    assert loop.model()["about"] == "student"
    assert checkpoint.load(tmp_path / "best.ckpt", checkpoint.MODEL)["about"] == "student"
    # nothing trains it here, so its average is still its first weights
    assert equal(copy_of(loop.network), copy_of(loop.method.student))
