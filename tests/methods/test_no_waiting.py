"""No method makes the processor wait for the device: that would leave a GPU idle in every iteration.

Without a GPU the steps run on tensors that have a shape but no values. Whoever asks for a value (``item``,
``bool`` of a tensor, ``nonzero``, indexing by a mask, NumPy) fails.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from semiseg import methods
from semiseg.core import Batch, Clock, Method, Update
from semiseg.training.optim import skips_by_itself
from tests.methods.tiny import batches, loop_for, make

WAITS = {
    "abd_bcp": "the largest component of a prediction is found on the processor",
    "bcp": "the largest component of a prediction is found on the processor",
    "cml": "the largest component of a prediction is found on the processor",
    "tcseg": "the region in which predictions differ is found on the processor, in every other iteration",
    "sdcl": "the largest component of a prediction is found on the processor",
}
"""Methods that wait, and why. Turned off in the tests, so that nothing else hides behind it."""

TOTAL = 10


@pytest.fixture
def without_components(monkeypatch):
    """The one allowed wait is left out."""
    for module in ("bcp", "cml"):
        monkeypatch.setattr(f"semiseg.methods.{module}.largest_components", lambda labels, *_, **__: labels)
    monkeypatch.setattr("semiseg.methods.tcseg.regions", lambda unreliable, _: unreliable)
    monkeypatch.setattr(
        "semiseg.methods.tcseg.centers", lambda regions: [[4] * (regions.ndim - 1)] * len(regions)
    )


@pytest.fixture
def without_values(monkeypatch):
    """Torch has no autocast and no Dirichlet distribution for tensors without values."""
    real = torch.autocast
    monkeypatch.setattr("semiseg.methods.ict.beta_factors", lambda n, _, like: like.new_empty(n, 1, 1, 1))

    def autocast(device_type: str, **settings: object) -> object:
        return contextlib.nullcontext() if device_type == "meta" else real(device_type, **settings)

    monkeypatch.setattr(torch, "autocast", autocast)


def empty(batch: Batch) -> Batch:
    def move(tensors):
        return {name: tensor.to("meta") for name, tensor in tensors.items()}

    return Batch(
        batch.x_l.to("meta"),
        batch.y_l.to("meta"),
        move(batch.x_u),
        move(batch.targets),
        move(batch.views_l),
        batch.shifts,
        batch.pseudo.to("meta"),
    )


class Blocking(TorchDispatchMode):
    """Refuses copies between devices that wait."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        made = function(*args, **kwargs)
        if function is torch.ops.aten._to_copy.default and made.device != args[0].device:
            assert kwargs.get("non_blocking"), f"{args[0].device} -> {made.device} waits"
        return made


def run_without_values(method: Method) -> None:
    """One iteration at the beginning, in the middle and at the end of each stage."""
    steps = (0, TOTAL // 2, TOTAL - 1)
    made = {step: empty(batches(2, 3)(step)) for step in steps}
    method.to("meta")
    with Blocking():
        for stage in method.stages:
            method.on_stage_start(stage.name)
            for step in steps:
                t = Clock(step, TOTAL, stage.name)
                for update in method.step(made[step], t):
                    update.loss.backward()
                    if update.gradient is not None:
                        trained = getattr(method, update.on).parameters()
                        update.gradient.vector = torch.cat([p.grad.flatten() for p in trained])
                method.after_step(t)


@pytest.mark.parametrize("name", methods.names())
def test_no_step_asks_for_a_value(name, without_components, without_values):
    run_without_values(make(name, 2, 3))


@pytest.mark.parametrize("name", sorted(WAITS))
def test_the_allowed_waits_exist(name, without_values):
    """Else they should be taken off the list."""
    with pytest.raises(NotImplementedError, match="meta"):
        run_without_values(make(name, 2, 3))


class Asking(Method):
    """Does what is forbidden."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.net, self.what = torch.nn.Conv2d(1, 1, 1), what

    def step(self, batch: Batch, t: Clock) -> Iterator[Update]:
        loss = self.net(batch.x_l).mean()
        {
            "item": loss.item,
            "float": lambda: float(loss),
            "bool": lambda: bool(loss > 0),
            "nonzero": lambda: batch.y_l.nonzero(),
            "mask": lambda: batch.x_l[batch.x_l > 0],
            "unique": lambda: batch.y_l.unique(),
            "cpu": loss.cpu,
            "numpy": lambda: batch.y_l.numpy(),
            "copy": lambda: torch.ones(3).to(loss.device),
            "nothing": lambda: torch.ones(3).to(loss.device, non_blocking=True),
        }[self.what]()
        yield Update(loss)


@pytest.mark.parametrize(
    "what", ["item", "float", "bool", "nonzero", "mask", "unique", "cpu", "numpy", "copy"]
)
def test_the_guard_sees(what):
    with pytest.raises((RuntimeError, NotImplementedError, TypeError, AssertionError)):
        run_without_values(Asking(what))


def test_the_guard_lets_other_things_pass():
    run_without_values(Asking("nothing"))


@pytest.mark.parametrize("name", methods.names())
def test_every_optimizer_leaves_bad_updates_out_by_itself(name):
    loop = loop_for(make(name, 2, 3), batches(2, 3), 8)
    loop.iterate_once()
    assert all(map(skips_by_itself, loop.optimizers.values()))


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@needs_gpu
@pytest.mark.parametrize("precision", ["32", "bf16"])
@pytest.mark.parametrize("name", methods.names())
def test_no_iteration_of_the_loop_waits_for_a_gpu(name, precision, without_components):
    from lightning_fabric import Fabric

    fabric = Fabric(accelerator="gpu", devices=1)
    made = [_on_gpu(batches(2, 3)(step)) for step in range(8)]
    method = make(name, 2, 3).to("cuda")
    loop = loop_for(
        method, lambda k: made[k], 8, fabric=fabric, precision=precision, log_every=1000, clip=12.0, ema=0.9
    )
    loop.iterate_once()  # libraries are loaded
    torch.cuda.set_sync_debug_mode("error")
    try:
        while loop.step < 7:
            loop.iterate_once()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(torch.isfinite(p).all() for p in method.parameters())


@needs_gpu
@pytest.mark.parametrize("bad", [0, 2])
def test_a_bad_update_on_a_gpu_changes_nothing(bad):
    from lightning_fabric import Fabric

    made = [_on_gpu(batches(2, 3)(step)) for step in range(4)]
    made[bad] = made[bad]._replace(x_l=made[bad].x_l * torch.nan)
    method = make("supervised", 2, 3).to("cuda")
    loop = loop_for(method, lambda k: made[k], 4, fabric=Fabric(accelerator="gpu", devices=1), clip=12.0)
    for k in range(4):
        before = {key: value.clone() for key, value in method.state_dict().items() if "num_b" not in key}
        loop.iterate_once()
        same = all(torch.equal(before[key], method.state_dict()[key]) for key in before)
        assert same == (k == bad)
    assert loop.skips.total == 1


def _on_gpu(batch: Batch) -> Batch:
    def move(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: tensor.cuda() for name, tensor in tensors.items()}

    return Batch(
        batch.x_l.cuda(),
        batch.y_l.cuda(),
        move(batch.x_u),
        move(batch.targets),
        move(batch.views_l),
        batch.shifts,
        batch.pseudo.cuda(),
    )
