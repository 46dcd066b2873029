"""The collapse monitor: what it finds, what it leaves alone, and that no run is changed by it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import pytest
import torch
from tests.methods.tiny import TinyNet, batches, loop_for, make

from semiseg.core import Batch, Clock, Head, Method, Update
from semiseg.losses import dice_ce
from semiseg.networks import checkpoint
from semiseg.runs.events import Notice, Stepped
from semiseg.training.collapse import (
    BUDGET,
    POOLED,
    Cadence,
    CollapseMonitor,
    Judge,
    Shares,
    cadence,
    share_spread,
)

AT = batches(2, 3, labeled=4, unlabeled=4)
NAMES = ("shell", "core")


class Collapsing(Method):
    """Learns from labels, and from half of the run on that everything unlabeled is background."""

    def __init__(self) -> None:
        super().__init__()
        self.net = TinyNet(2, 3)

    def step(self, batch: Batch, t: Clock) -> Iterator[Update]:
        loss = dice_ce(self.net(batch.x_l).logits, batch.y_l)
        if t.step >= t.total // 2:
            z = self.net(batch.x_u["weak"]).logits
            loss = loss + 50 * dice_ce(z, torch.zeros_like(z[:, 0], dtype=torch.int64))
        yield Update(loss)


def monitored(method, total, *, folder=None, watched=True, **train):
    loop = loop_for(method, AT, total, folder=folder, log_every=5, **train)
    if watched:
        plan = Cadence(every=5, labeled=4, probes=2)
        probe = batches(2, 3, labeled=4, unlabeled=8)
        loop.monitor = CollapseMonitor(probe, NAMES, [0.1, 0.1], plan, total, nullcontext)
    events = []
    loop.listeners = [events.append]
    return loop, events


def warnings(events):
    return [event for event in events if isinstance(event, Notice) and event.warning]


def seeded(kind):
    torch.manual_seed(0)
    return kind()


def healthy():
    return make("mean_teacher", 2, 3)


def test_a_made_collapse_is_seen_once_per_class():
    loop, events = monitored(seeded(Collapsing), 120)
    loop.run()
    found = loop.monitor.judge.findings
    assert found
    assert all(f.kind == "vanished" and f.was_healthy and 60 < f.step <= 100 for f in found)
    assert len(warnings(events)) == len(found) == len({f.name for f in found})
    assert "vanished on unlabeled scans" in warnings(events)[0].text
    told = [
        event for event in events if isinstance(event, Stepped) and "share/unlabeled/core" in event.values
    ]
    assert [event.step for event in told] == list(range(5, 121, 5))
    assert set(loop.monitor.report()["class_shares"]) == set(NAMES)


def test_a_healthy_run_is_silent(tmp_path):
    loop, events = monitored(seeded(healthy), 120, folder=tmp_path)
    loop.run()
    assert warnings(events) == []
    assert loop.monitor.judge.healthy
    assert checkpoint.load(tmp_path / "healthy.ckpt", checkpoint.MODEL)["step"] == 120


def test_stop_ends_the_run_and_keeps_earlier_weights(tmp_path):
    loop, _ = monitored(seeded(Collapsing), 120, folder=tmp_path, on_collapse="stop")
    ended = loop.run()
    kept = checkpoint.load(tmp_path / "healthy.ckpt", checkpoint.MODEL)
    assert ended.reason == "collapse"
    assert 60 < ended.step < 120
    assert 30 <= kept["step"] < ended.step
    before, _ = monitored(seeded(Collapsing), 120)
    while before.step < kept["step"]:
        before.iterate_once()
    assert all(torch.equal(v, kept["predictor"][k]) for k, v in before.network.state_dict().items())


@pytest.mark.parametrize("kind", [Collapsing, healthy])
def test_watching_changes_nothing(kind):
    runs = []
    for watched in (True, False):
        loop, _ = monitored(seeded(kind), 20, watched=watched)
        loop.run()
        runs.append(loop.method.state_dict())
    assert all(torch.equal(value, runs[1][key]) for key, value in runs[0].items())


@pytest.mark.parametrize("stop", [37, 65, 72])
def test_a_resumed_run_sees_what_an_undisturbed_one_does(stop):
    whole, events = monitored(seeded(Collapsing), 80)
    whole.run()
    first, before = monitored(seeded(Collapsing), 80)
    while first.step < stop:
        first.iterate_once()
        if first.step % 5 == 0:
            first.tell(first._stepped())
    state = first.state()
    torch.manual_seed(99)
    second, after = monitored(Collapsing(), 80)
    second.restore(state)
    second.run()
    assert all(torch.equal(v, second.method.state_dict()[k]) for k, v in whole.method.state_dict().items())
    assert second.monitor.judge.state_dict() == whole.monitor.judge.state_dict()
    rows = [[e.values for e in told if isinstance(e, Stepped)] for told in (events, [*before, *after])]
    assert rows[0] == rows[1]
    assert warnings(events) == warnings([*before, *after])


def crops(n, labels, labeled, unlabeled, *, seen=1.0, dice=0.9, known=1.0):
    """Shares of one class; of ``n`` unlabeled crops (half as many labeled ones) a part ``seen`` shows it."""
    few, many = torch.zeros(n // 2, 1), torch.zeros(n, 1)
    few[: round(seen * n / 2)], many[: round(seen * n)] = 1 / seen, 1 / seen
    overlap = dice * (labels + labeled) / 2
    return Shares(few * labels, few * labeled, many * unlabeled, few * overlap, known)


GOOD = (0.10, 0.10, 0.10)


@pytest.mark.parametrize(
    ("checks", "found", "collapsed"),
    [
        ([GOOD] * 6, None, False),
        ([GOOD] * 4 + [(0.10, 0.10, 0.001)] * 2, "vanished", True),
        ([GOOD] * 4 + [(0.10, 0.0, 0.0)] * 2, "vanished", True),  # on labeled scans, too
        ([GOOD] * 4 + [(0.10, 0.10, 0.35)] * 2, "doubled", True),
        ([GOOD] * 4 + [(0.10, 0.10, 0.001)] + [GOOD], None, False),  # one check alone may be chance
        ([GOOD] * 5 + [(0.10, 0.10, 0.001)], "vanished", True),  # but the last one has no second
        ([GOOD] * 4 + [(0.10, 0.10, 0.06)] * 2, None, False),
        ([(0.10, 0.10, 0.001)] * 2 + [GOOD] * 4, None, False),  # late, but it came
        ([(0.10, 0.10, 0.001)] * 6, "vanished", False),  # never there: told, but the scans may differ
        ([(0.10, 0.0, 0.0)] * 3 + [GOOD] * 3, None, False),
    ],
)
def test_judgement(checks, found, collapsed):
    judge = Judge(["x"], [0.05], 1, settled=3, last=len(checks))
    for step, shares in enumerate(checks, 1):
        judge.add(crops(16, *shares, dice=0.9 if shares[1] else 0.0), step, "train")
    assert [f.kind for f in judge.findings] == ([found] if found else [])
    assert judge.collapsed == collapsed


@pytest.mark.parametrize(
    ("more", "spread"),
    [
        ({"seen": 0.25}, 0.05),  # in 4 of 16 crops: too rare to be judged
        ({"dice": 0.1}, 0.05),  # not learned yet: an agreement of shares is chance
        ({}, 3.0),  # labeled scans of very unlike sizes
    ],
)
def test_what_may_be_chance_is_not_told(more, spread):
    judge = Judge(["x"], [spread], 1, settled=3, last=99)
    for step in range(1, 9):
        gone = step > 4 or "dice" in more
        judge.add(crops(16, 0.1, 0.1, 0.01 if gone else 0.1, **more), step, "train")
    assert judge.findings == []


def test_a_new_stage_may_begin_with_fresh_weights():
    judge = Judge(["x"], [0.05], 1, settled=3, last=99)
    for step in range(1, 9):
        fresh = step > 4
        shares = (0.1, 0.0, 0.0) if fresh else GOOD
        judge.add(crops(16, *shares, dice=0.0 if fresh else 0.9), step, "two" if fresh else "one")
    assert judge.findings == []
    assert not judge.healthy


def test_scribbles_are_compared_with_predictions_on_labeled_scans():
    judge = Judge(["x"], [0.05], 1, settled=3, last=99)
    for step in range(1, 9):
        judge.add(crops(16, 0.5, 0.1, 0.1 if step <= 6 else 0.001, known=0.02), step, "train")
    assert [(f.kind, f.step) for f in judge.findings] == [("vanished", 8)]


@pytest.mark.parametrize(
    ("total", "patches"), [(1000, 2), (1000, 4), (3000, 8), (30_000, 24), (10, 2), (200, 2)]
)
def test_looking_takes_about_one_percent(total, patches):
    plan = cadence(total, patches, 10)
    crops_per_iteration = 3 * plan.labeled * plan.probes / plan.every
    assert crops_per_iteration / patches <= BUDGET
    assert plan.every % 10 == 0
    assert 2 * plan.labeled * plan.probes * plan.pooled >= POOLED


def test_spread_of_shares_among_labeled_scans():
    alike = [torch.tensor([[0, 1], [0, 2]])] * 3
    assert share_spread(alike, Head(3)) == [0.0, 0.0]
    assert share_spread(alike[:1], Head(3)) == [0.5, 0.5]
    labels = [torch.tensor([[0, 1], [1, 1]]), torch.tensor([[0, 1], [255, 0]])]
    first, second = share_spread(labels, Head(3))
    assert first == pytest.approx(0.3846, abs=1e-3)  # shares 3/4 and 1/3
    assert second == 0.0
