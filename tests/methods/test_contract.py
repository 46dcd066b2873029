"""What every method must do. A new file in ``semiseg/methods`` is found and tested here without a change."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from semiseg import methods
from semiseg.core import SHIFTED, Clock, Stage
from semiseg.networks import checkpoint
from semiseg.settings.resolve import resolve
from tests.conftest import environment_of_ranks, made_once
from tests.factories import make_dataset
from tests.methods.tiny import SMALL, batches, loop_for, make

NAMES = methods.names()
KINDS = [(2, 4), (3, 2)]
"""Dimensions and numbers of classes: each occurs with every method, not each pair of them."""

pytestmark = pytest.mark.parametrize("name", NAMES)


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize(("dim", "classes"), KINDS)
def test_loss_falls(name, dim, classes):
    events = []
    method = make(name, dim, classes)
    loop = loop_for(method, batches(dim, classes, edge=12 if dim == 2 else 8), 60, log_every=10)
    loop.listeners = [lambda e: events.append(e) if hasattr(e, "values") else None]
    loop.run()
    losses = [e.values["loss"] for e in events if e.stage == method.stages[-1].name]  # each has its own scale
    assert losses[-1] < 0.8 * losses[0]
    assert all(torch.isfinite(p).all() for p in method.parameters())


@pytest.mark.parametrize(("labeled", "unlabeled"), [(1, 3), (3, 1)])
def test_uneven_batches(name, labeled, unlabeled):
    method = make(name, 2, 3)
    before = {key: value.clone() for key, value in method.state_dict().items()}
    loop_for(method, batches(2, 3, labeled=labeled, unlabeled=unlabeled), 3).run()
    assert not equal(before, method.state_dict())
    assert all(torch.isfinite(value.float()).all() for value in method.state_dict().values())


@pytest.mark.parametrize("absent", [0, 1, 3])
def test_one_class_absent(name, absent):
    method = make(name, 2, 4)
    loop = loop_for(method, batches(2, 4, absent=absent), 3)
    loop.run()
    assert loop.skips.total == 0
    assert all(torch.isfinite(p).all() for p in method.parameters())


def test_only_trainable_networks_get_a_gradient(name):
    method = make(name, 2, 3)
    for t in (Clock(0, 10), Clock(9, 10)):
        for update in method.step(batches(2, 3)(t.step), t):
            update.loss.backward()
            assert update.on in method.trainable
            assert all(not value.requires_grad for value in update.logs.values())
    trained = {id(p) for n in method.trainable for p in getattr(method, n).parameters()}
    for key, p in method.named_parameters():
        if id(p) not in trained:
            assert p.grad is None, f"{key} is not trained but got a gradient"
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in method.parameters())


def test_labels_of_unlabeled_images_are_not_in_the_batch(name):
    fields = batches(2, 3)(0)._fields
    # the last is what a network of the run said
    assert fields == ("x_l", "y_l", "x_u", "targets", "views_l", "shifts", "pseudo", "confidence")
    assert set(make(name, 2, 3).views) <= {"weak", "strong", "strong2", SHIFTED}


def test_stages_cover_the_run(name):
    method = make(name, 2, 3)
    assert isinstance(method.stages[0], Stage)
    assert sum(stage.share for stage in method.stages) == pytest.approx(1.0)


@pytest.mark.parametrize(("dim", "precision"), [(2, "bf16"), (3, "32")])
def test_resumed_run_is_bit_exact(name, dim, precision, tmp_path):
    at = batches(dim, 3)
    undisturbed = make(name, dim, 3)
    loop_for(undisturbed, at, 8, precision=precision, ema=0.9).run()

    first = loop_for(make(name, dim, 3), at, 8, folder=tmp_path, precision=precision, ema=0.9)
    first.total = 8
    while first.step < 5:
        first.iterate_once()
    first.save()
    second = loop_for(make(name, dim, 3), at, 8, precision=precision, ema=0.9)
    second.restore(checkpoint.load(tmp_path / "last.ckpt", checkpoint.STATE))
    torch.manual_seed(99)  # whatever the generator did before
    second.run()
    assert equal(undisturbed.state_dict(), second.method.state_dict())


def test_same_seed_twice_is_bit_equal(name):
    results = []
    for _ in range(2):
        method = make(name, 3, 2)
        loop_for(method, batches(3, 2), 3, seed=5).run()
        results.append(method.state_dict())
    assert equal(*results)
    other = make(name, 3, 2)
    loop_for(other, batches(3, 2), 3, seed=6).run()
    assert not equal(results[0], other.state_dict())  # dropout differs


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory):
    """Every method on two gloo ranks, in one launch."""

    def make(path: Path) -> None:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        done = subprocess.run(
            [*command, str(Path(__file__).with_name("ranks.py")), str(path)],
            env=environment_of_ranks(),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]

    return torch.load(made_once(tmp_path_factory, "ranks.pt", make), weights_only=True)


def test_two_ranks_on_the_same_data_equal_one_process(name, two_ranks):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        method = make(name, 2, 3)
        loop_for(method, batches(2, 3), 4).run()
    finally:
        torch.set_num_threads(threads)
    assert equal(method.state_dict(), two_ranks["same"][name])


def test_ranks_stay_together_on_different_data(name, two_ranks):
    first, second = two_ranks["split"][name]
    assert torch.equal(first, second)


def test_the_applied_gradient_is_the_mean_over_ranks(name, two_ranks):
    shared, mean = two_ranks["gradient"]
    torch.testing.assert_close(shared, mean, rtol=1e-6, atol=1e-8)


def test_hidden_labels_change_nothing(name, tmp_path):
    from semiseg.training import train

    def weights(folder: Path, runs: Path) -> dict[str, torch.Tensor]:
        config = resolve(
            flags={
                "method.name": name,
                "data.labeled": 2,
                "train.iterations": 3,
                "plan.patch": (16, 16, 16),
                "plan.features": (4, 8),
                "train.precision": "32",
                **{f"method.options.{key}": value for key, value in SMALL.get(name, {}).items()},
            },
            environment={},
        )
        run = train.train(folder, config, runs=runs, device="cpu", workers=0)
        content = checkpoint.load(run.folder / "checkpoints" / "final.ckpt", checkpoint.MODEL)
        return content["predictor"]

    data = make_dataset(tmp_path, labeled=4, unlabeled=2, test=2)
    normal = weights(data, tmp_path / "normal")
    shown = {"case_00.nii.gz", "case_01.nii.gz"}
    for folder in ("labelsTr", "labelsTs"):
        hidden = sorted(path for path in (data / folder).iterdir() if path.name not in shown)
        assert len(hidden) == 2
        hidden[0].unlink()
        hidden[1].write_bytes(b"not a label")
    assert equal(normal, weights(data, tmp_path / "hidden"))
