"""A run that collapses: what the folder, the manifest and the console say, and which weights are exported."""

from __future__ import annotations

import io
import json

import pytest
import torch
from tests.factories import make_dataset

from semiseg.networks import checkpoint
from semiseg.runs.console import Console
from semiseg.settings.resolve import resolve
from semiseg.training import collapse
from semiseg.training import train as experiment

METHOD = """
import torch
from semiseg.core import Update
from semiseg.losses import dice_ce
from semiseg.methods.supervised import Supervised

class Collapsing(Supervised):
    views = ("weak",)

    def step(self, batch, t):
        loss = dice_ce(self.net(batch.x_l).logits, batch.y_l)
        if t.step >= t.total // 2:
            z = self.net(batch.x_u["weak"]).logits
            loss = loss + 50 * dice_ce(z, torch.zeros_like(z[:, 0], dtype=torch.int64))
        yield Update(loss)
"""
SMALL = {
    "method.name": "collapsing_method:Collapsing",
    "plan.patch": (16, 16, 16),
    "plan.features": (4, 8),
    "plan.batch": 4,
    "optimizer.lr": 0.01,
    "train.iterations": 120,
    "train.log_every": 4,
    "train.precision": "32",
}


@pytest.fixture
def train(tmp_path, monkeypatch):
    (tmp_path / "collapsing_method.py").write_text(METHOD)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(collapse, "BUDGET", 1.0)  # 1 % of so few iterations is not a crop
    data = make_dataset(tmp_path, labeled=3, unlabeled=3, test=0)

    def run(**more):
        told = io.StringIO()
        resume = more.pop("resume", False)
        config = resolve(flags=SMALL | more, environment={})
        made = experiment.train(
            data,
            config,
            run=tmp_path / "run",
            device="cpu",
            workers=0,
            listeners=[Console(False, stream=told)],
            resume=resume,
        )
        return made, told.getvalue()

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield run
    torch.set_num_threads(threads)


def weights(run, name):
    return checkpoint.load(run.folder / "checkpoints" / name, checkpoint.MODEL)


def test_a_collapse_is_told_everywhere_and_stop_exports_earlier_weights(train):
    run, told = train(**{"train.on_collapse": "stop"})
    final, healthy = weights(run, "final.ckpt"), weights(run, "healthy.ckpt")
    session = run.manifest["sessions"][-1]
    assert session["reason"] == "collapse"
    assert 60 < session["step"] < 120
    assert 30 <= final["step"] == healthy["step"] == run.manifest["exported_iteration"] < session["step"]
    assert all(torch.equal(value, healthy["predictor"][key]) for key, value in final["predictor"].items())
    (found,) = run.manifest["collapse"]
    assert (found["name"], found["kind"], found["was_healthy"]) == ("structure 1", "vanished", True)
    assert run.manifest["class_shares"]["structure 1"]["labels"] > 0.005
    last = told.strip().splitlines()[-1]
    assert last.startswith("warning: structure 1 has vanished on unlabeled scans")
    assert f"iteration {final['step']}" in last
    assert told.count("has vanished") == 2
    assert "share/" not in told
    assert any(row["share/unlabeled/structure 1"] for row in run.metrics)
    events = [json.loads(line) for line in (run.folder / "events.jsonl").read_text().splitlines()]
    assert any("share/unlabeled/structure 1" in event.get("values", {}) for event in events)
    assert run.finished

    again, told = train(resume=True, **{"train.on_collapse": "stop"})
    assert (again.manifest, told) == (run.manifest, "")
    more, _ = train(resume=True, **{"train.on_collapse": "warn"})
    assert [entry["reason"] for entry in more.manifest["sessions"]] == ["collapse", "finished"]
    assert weights(more, "final.ckpt")["step"] == 120


def test_warn_exports_the_last_weights_and_says_where_the_others_are(train):
    run, told = train()
    assert weights(run, "final.ckpt")["step"] == 120
    assert run.manifest["sessions"][-1]["reason"] == "finished"
    assert str(run.folder / "checkpoints" / "healthy.ckpt") in told.strip().splitlines()[-1]


def test_without_unlabeled_scans_there_is_nothing_to_watch(train, tmp_path):
    for file in (tmp_path / "Dataset001_Tiny" / "imagesUn").iterdir():
        file.unlink()
    run, told = train(**{"method.name": "supervised", "train.iterations": 8})
    assert "class_shares" not in run.manifest
    assert "share/" not in (run.folder / "metrics.csv").read_text()
    assert "warning" not in told
