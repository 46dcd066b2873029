"""The original training loops, stored as vectors, run again with our methods."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from semiseg.core import Batch, Clock, Method, SegOutput
from semiseg.settings.config import OptimizerConfig
from semiseg.training.optim import build_optimizer
from semiseg.training.update import Precision, iterate

Vector = dict[str, np.ndarray]


class Tiny(nn.Module):
    """The vectors' test network: conv3 - batch norm - ReLU - conv1."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        first, last = weights["conv1.weight"], weights["conv2.weight"]
        dim = first.ndim - 2
        conv, norm = (nn.Conv2d, nn.BatchNorm2d) if dim == 2 else (nn.Conv3d, nn.BatchNorm3d)
        self.conv1 = conv(first.shape[1], first.shape[0], 3, padding=1)
        self.bn1 = norm(first.shape[0])
        self.conv2 = conv(last.shape[1], last.shape[0], 1)

    encoder_parts = ("conv1", "bn1")

    def encode(self, x: Tensor) -> list[Tensor]:
        return [torch.relu(self.bn1(self.conv1(x)))]

    def decode(self, maps: list[Tensor]) -> list[Tensor]:
        return maps

    def classify(self, features: Tensor) -> Tensor:
        return self.conv2(features)

    def forward(self, x: Tensor) -> SegOutput:
        return SegOutput(self.classify(self.encode(x)[-1]))


class Answers(nn.Module):
    """A network that gives stored logits, one after the other, and keeps what it was asked."""

    def __init__(self, *logits: np.ndarray) -> None:
        super().__init__()
        self.logits = nn.ParameterList([torch.from_numpy(z) for z in logits])
        self.asked: list[Tensor] = []

    def forward(self, x: Tensor) -> SegOutput:
        logits = self.logits[len(self.asked) % len(self.logits)]
        assert logits.shape[0] == x.shape[0]
        self.asked.append(x)
        return SegOutput(logits * 1.0)


def state(vector: Vector, prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): torch.as_tensor(a) for k, a in vector.items() if k.startswith(prefix)}


def draws(monkeypatch, stored: Sequence[np.ndarray]) -> None:
    """Let the next calls of ``torch.randn_like`` give the stored draws."""
    left = iter(stored)

    def randn_like(x: Tensor) -> Tensor:
        noise = torch.from_numpy(next(left))
        assert noise.shape == x.shape
        return noise

    monkeypatch.setattr(torch, "randn_like", randn_like)


def replay(
    method: Method, v: Vector, before: Callable[[int], None]
) -> Iterator[tuple[int, Clock, dict[str, Tensor]]]:
    """Run the vector's batches with its learning rates; ``before(s)`` sets the random draws of step s."""
    images, labels = torch.from_numpy(v["images"]), torch.from_numpy(v["labels"])
    n = int(v["labeled_bs"])
    method.net.load_state_dict(state(v, "student_init__"))
    method.teacher.load_state_dict(state(v, "teacher_init__"))
    optimizer = build_optimizer(
        method.net, OptimizerConfig(name="sgd", lr=0.01, momentum=0.9, weight_decay=1e-4)
    )
    fabric = Fabric(accelerator="cpu", devices=1)
    for s in range(len(images)):
        t = Clock(int(v["iter0"]) + s, int(v["max_iterations"]))
        before(s)
        optimizer.param_groups[0]["lr"] = float(v["lr"][s])
        batch = Batch(images[s, :n], labels[s, :n], {"weak": images[s, n:]})
        logs, finite = iterate(fabric, method, batch, {"net": optimizer}, t, Precision("32", fabric.device))
        assert finite
        yield s, t, logs


def assert_final_weights(method: Method, v: Vector) -> None:
    """Both networks, buffers included, are where the original loop left them."""
    for network, prefix in ((method.net, "student_final__"), (method.teacher, "teacher_final__")):
        assert_weights(network, v, prefix)


def assert_weights(network: nn.Module, v: Vector, prefix: str) -> None:
    """All that the network holds is what the vector has under this prefix."""
    expected = state(v, prefix)
    assert expected.keys() == network.state_dict().keys()
    for name, value in expected.items():
        np.testing.assert_allclose(
            network.state_dict()[name], value, rtol=1e-4, atol=1e-6, err_msg=prefix + name
        )


def tensor(v: Vector, key: str) -> Tensor:
    """An array of the vector; whole numbers as int64."""
    x = torch.from_numpy(v[key])
    return x if x.is_floating_point() else x.long()


def stepped(
    method: Method, steps: Iterable[tuple[Batch, Clock, float]], kind: OptimizerConfig
) -> Iterator[dict[str, Tensor]]:
    """The logs of an iteration with each batch, at its place in the run and with its learning rate."""
    optimizers = {name: build_optimizer(getattr(method, name), kind) for name in method.trainable}
    fabric = Fabric(accelerator="cpu", devices=1)
    for batch, t, lr in steps:
        for optimizer in optimizers.values():
            optimizer.param_groups[0]["lr"] = lr
        logs, finite = iterate(fabric, method, batch, optimizers, t, Precision("32", fabric.device))
        assert finite
        yield logs
