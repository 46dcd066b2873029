"""One step of Mean Teacher on a V-Net: the plain form beside ours, in alternation.

The plain form is how the published scripts have it: float32, contiguous tensors, transforms of each whole
scan in NumPy, losses and moving average parameter by parameter. Ours is what ``semiseg train`` runs: resident
scans, bf16 where the CPU has it (``--precision``), channels last, fused updates, and glibc told to keep freed
memory. Each form lives in its own process, so that the memory setting of one does not reach the other; steps
alternate, so that other load on the machine meets both. Before timing, both take one step in float32 on the
same batch from the same weights, without noise and dropout: losses and weights must agree.

    python benchmarks/training.py                      # 64 x 64 x 48 patches, 2 + 2, minutes on a laptop
    python benchmarks/training.py --patch 32 32 32 --steps 2 --results /tmp
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from _machine import machine
from lightning_fabric import Fabric
from torch import Tensor, nn

from semiseg import networks
from semiseg.allocator import keep_freed_memory
from semiseg.config import OptimizerConfig
from semiseg.core import Batch, Clock
from semiseg.data import augment
from semiseg.data.batches import Batches
from semiseg.data.plan import ChannelPlan, Plan
from semiseg.data.resident import make_resident
from semiseg.devices import native_precision
from semiseg.engine.optim import build_optimizer
from semiseg.engine.precision import Precision
from semiseg.engine.update import iterate
from semiseg.methods.mean_teacher import MeanTeacher

RESULTS = Path(__file__).resolve().parent / "results"
CPU = torch.device("cpu")
SGD = OptimizerConfig(name="sgd", lr=0.01, momentum=0.9, weight_decay=1e-4)
TOTAL, AT = 6000, 3000
Step = Callable[[int], float]


def scans(patch: tuple[int, ...], count: int = 4) -> list[SimpleNamespace]:
    """Noise with a box in it, half as large again as the patch."""
    rng = np.random.default_rng(0)
    found = []
    for i in range(count):
        label = np.zeros([n * 3 // 2 for n in patch], np.uint8)
        label[tuple(slice(n // 3, 2 * n // 3) for n in label.shape)] = 1
        image = (rng.standard_normal(label.shape) + label).astype(np.float32)[None]
        found.append(SimpleNamespace(id=str(i), image=image, label=label))
    return found


def network(**options: Any) -> nn.Module:
    """The V-Net, always with the same weights."""
    torch.manual_seed(0)
    return networks.build("vnet", dim=3, in_channels=1, classes=2, **options)


class Plain:
    """The plain form, in our own words."""

    def __init__(self, make_net: Callable[[], nn.Module], noise: float = 0.1) -> None:
        self.student, self.teacher, self.noise = make_net(), make_net(), noise
        for p in self.teacher.parameters():
            p.detach_()
        self.optimizer = torch.optim.SGD(
            self.student.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4, foreach=False
        )

    def step(self, x: Tensor, y: Tensor, labeled: int, k: int) -> float:
        """One update; ``x`` holds the labeled samples first."""
        shaken = x[labeled:] + torch.clamp(torch.randn_like(x[labeled:]) * self.noise, -0.2, 0.2)
        z = self.student(x).logits
        with torch.no_grad():
            target = self.teacher(shaken).logits
        p = torch.softmax(z, 1)
        score, truth = p[:labeled, 1], (y == 1).float()
        overlap = 2 * (score * truth).sum() + 1e-5
        dice = 1 - overlap / ((score * score).sum() + (truth * truth).sum() + 1e-5)
        supervised = 0.5 * (nn.functional.cross_entropy(z[:labeled], y) + dice)
        weight = 0.1 * float(np.exp(-5 * (1 - (k // 150) / 40) ** 2))
        consistency = ((p[labeled:] - torch.softmax(target, 1)) ** 2).mean()
        loss = supervised + weight * consistency
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        decay = min(1 - 1 / (k + 1), 0.99)
        for slow, fast in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
            slow.data.mul_(decay).add_(fast.data, alpha=1 - decay)
        return loss.item()


def plain(patch: tuple[int, ...], sizes: tuple[int, int], precision: str) -> Step:
    """Steps of the plain form, with transforms in NumPy."""
    form, stored, rng = Plain(network), scans(patch), np.random.default_rng(1)

    def sample(i: int) -> tuple[np.ndarray, np.ndarray]:
        image, label, turns, axis = stored[i].image[0], stored[i].label, rng.integers(4), rng.integers(2)
        image, label = (np.flip(np.rot90(a, turns), axis).copy() for a in (image, label))
        start = [rng.integers(max(n - p, 1)) for n, p in zip(image.shape, patch, strict=True)]
        box = tuple(slice(s, s + p) for s, p in zip(start, patch, strict=True))
        return image[box], label[box]

    def step(k: int) -> float:
        chosen = [*rng.permutation(2)[: sizes[0]], *(2 + rng.permutation(2)[: sizes[1]])]
        images, labels = zip(*(sample(i) for i in chosen), strict=True)
        x = torch.from_numpy(np.stack(images)[:, None])
        y = torch.from_numpy(np.stack(labels[: sizes[0]]).astype(np.int64))
        return form.step(x, y, sizes[0], k)

    return step


def ours(patch: tuple[int, ...], sizes: tuple[int, int], precision: str) -> Step:
    """Steps as the engine does them."""
    plan = Plan(
        dim=3,
        spacing=(None, None, None),
        channels=(ChannelPlan(name="MRI", scheme="none"),),
        labels={"background": 0, "box": 1},
        patch=patch,
        foreground=0.0,
    )
    stored = scans(patch)
    for case in stored[2:]:
        del case.label
    resident = make_resident(stored, CPU)
    batches = Batches(resident[:2], resident[2:], plan, augment.build("la", plan), sizes)
    method = MeanTeacher(network, ramp=TOTAL, ramp_unit=150, include_background=False)
    method.to(memory_format=torch.channels_last_3d)
    optimizers = {"net": build_optimizer(method.net, SGD)}
    fabric, number_format = Fabric(accelerator="cpu", devices=1), Precision(precision, CPU)

    def step(k: int) -> float:
        logs, _ = iterate(fabric, method, batches(k), optimizers, Clock(k, TOTAL), number_format)
        return logs["loss"].item()

    return step


def require_same_maths(patch: tuple[int, ...], sizes: tuple[int, int]) -> dict[str, float]:
    """Largest differences after one step of each form in float32 on the same batch."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn((sum(sizes), 1, *patch), generator=generator)
    y = torch.randint(0, 2, (sizes[0], *patch), generator=generator)
    calm = network(has_dropout=False).state_dict()

    def make() -> nn.Module:
        net = network(has_dropout=False)
        net.load_state_dict(calm)
        return net

    form = Plain(make, noise=0.0)
    loss = form.step(x, y, sizes[0], AT)
    method = MeanTeacher(make, ramp=TOTAL, ramp_unit=150, include_background=False, noise=0.0)
    optimizers = {"net": build_optimizer(method.net, SGD)}
    fabric = Fabric(accelerator="cpu", devices=1)
    batch = Batch(x[: sizes[0]], y, {"weak": x[sizes[0] :]})
    logs, _ = iterate(fabric, method, batch, optimizers, Clock(AT, TOTAL), Precision("32", CPU))
    pairs = [(form.student, method.net), (form.teacher, method.teacher)]
    weights = max(
        float((a - b).detach().abs().max())
        for one, other in pairs
        for a, b in zip(one.parameters(), other.parameters(), strict=True)
    )
    found = {"loss": abs(loss - logs["loss"].item()), "weights": weights}
    if max(found.values()) > 1e-4:
        raise SystemExit(f"the two forms are not the same maths: {found}")
    return found


def serve(pipe: Connection, name: str, threads: int, keep: bool, arguments: tuple[Any, ...]) -> None:
    """A process that takes one step whenever it is told to, and says how long it took."""
    torch.set_num_threads(threads)
    if keep:
        keep_freed_memory()
    step = {"plain": plain, "ours": ours}[name](*arguments)
    while (k := pipe.recv()) is not None:
        wall, cpu = time.perf_counter(), time.process_time()
        loss = step(k)
        pipe.send({"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "loss": loss})


def alternate(
    steps: int, warm: int, threads: int, keep: dict[str, bool], arguments: Any
) -> dict[str, list[Any]]:
    """Times of each form, one step of one after one step of the other."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = {}, []
    for name in ("plain", "ours"):
        pipes[name], end = context.Pipe()
        process = context.Process(target=serve, args=(end, name, threads, keep[name], arguments))
        process.start()
        processes.append(process)
    times: dict[str, list[Any]] = {name: [] for name in pipes}
    for k in range(warm + steps):
        for name, pipe in pipes.items():
            pipe.send(k)
            found = pipe.recv()
            if k >= warm:
                times[name].append(found)
    for pipe, process in zip(pipes.values(), processes, strict=True):
        pipe.send(None)
        process.join()
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--patch", type=int, nargs=3, default=(64, 64, 48))
    parser.add_argument("--sizes", type=int, nargs=2, default=(2, 2), metavar=("LABELED", "UNLABELED"))
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--warm", type=int, default=2)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--precision", choices=("auto", "32", "bf16"), default="auto")
    parser.add_argument("--keep-memory", choices=("ours", "both", "none"), default="ours")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    precision = native_precision(CPU) if options.precision == "auto" else options.precision
    patch, sizes = tuple(options.patch), tuple(options.sizes)
    torch.set_num_threads(options.threads)
    same = require_same_maths(patch, sizes)
    keep = {"ours": options.keep_memory != "none", "plain": options.keep_memory == "both"}
    times = alternate(options.steps, options.warm, options.threads, keep, (patch, sizes, precision))
    middle = {
        name: {key: statistics.median(one[key] for one in found) for key in ("wall", "cpu")}
        for name, found in times.items()
    }
    ratios = [a["wall"] / b["wall"] for a, b in zip(times["plain"], times["ours"], strict=True)]
    report = {
        "what": "seconds per Mean Teacher step on a V-Net, medians; ratio = plain / ours",
        "patch": patch,
        "labeled_and_unlabeled": sizes,
        "precision": {"plain": "32", "ours": precision},
        "keeps_freed_memory": keep,
        "malloc_environment": {k: v for k, v in os.environ.items() if k.startswith("MALLOC_")},
        "threads": options.threads,
        "difference_of_one_step_in_float32": same,
        "seconds": middle,
        "ratio": {key: middle["plain"][key] / middle["ours"][key] for key in ("wall", "cpu")},
        "ratio_of_each_pair": {"lowest": min(ratios), "highest": max(ratios)},
        "steps": times,
        "machine": machine(),
    }
    options.results.mkdir(parents=True, exist_ok=True)
    (options.results / "training.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps({key: report[key] for key in ("seconds", "ratio", "precision")}, indent=1))


if __name__ == "__main__":
    main()
