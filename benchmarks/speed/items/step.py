"""A training step: our whole iteration, batch included, beside a plain one with its own loading."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from benchmarks.speed import scans
from benchmarks.speed.limits import network_flops
from benchmarks.speed.plain import loader, networks, training
from benchmarks.speed.setting import Call, Case, Setting
from torch import Tensor, nn

from semiseg import methods as our_methods
from semiseg.core import Batch, Clock, Method
from semiseg.machine.fabric import launch, repeatable
from semiseg.training.loop import Loop
from semiseg.training.session import Session
from semiseg.training.trained import StepMarks
from semiseg.training.update import Precision

PLAIN = {"supervised": training.Supervised, "mean_teacher": training.MeanTeacher, "ua_mt": training.UAMT}
LIMITS = {"32": (1e-5, 1e-4), "bf16": (0.01, 0.5)}
"""Accepted relative differences of the loss and of the gradient vector, by precision.

The gradient of a V-Net with random weights is that sensitive: disturbing its maps by 2^-9, the rounding of
bf16, turns it by as much in float32.
"""


def cases3d(setting: Setting) -> list[Case]:
    return [_case(setting, "3d", name) for name in ("supervised", "mean_teacher", "ua_mt")]


def cases2d(setting: Setting) -> list[Case]:
    return [_case(setting, "2d", "mean_teacher")]


def _case(setting: Setting, dim: str, method: str) -> Case:
    size = setting.patch if dim == "3d" else setting.slices
    batch = sizes(dim, method)
    title = f"step of {method} in {dim.upper()}, {'+'.join(map(str, batch))} of {'x'.join(map(str, size))}"
    return Case(
        name=f"step{dim}.{method}",
        title=title,
        plain=functools.partial(plain, setting, dim, method),
        ours=functools.partial(ours, setting, dim, method),
        agree=functools.partial(agree, dim, method, setting.device),
        flops=step_flops(dim, method, size),
        per=(1, "step"),
        target=3.0,
        warm=0 if setting.device.type == "cpu" else 5,
        repeats=3 if setting.device.type == "cpu" else 20,
    )


def sizes(dim: str, method: str) -> tuple[int, int]:
    """Labeled and unlabeled samples of a step."""
    labeled, unlabeled = (2, 2) if dim == "3d" else (12, 12)
    return (labeled + unlabeled, 0) if method == "supervised" else (labeled, unlabeled)


def step_flops(dim: str, method: str, size: Sequence[int]) -> float:
    """Forward and backward of the student, forward of each sample of the teacher."""
    net = networks.VNet() if dim == "3d" else networks.UNet2D()
    forward, both = network_flops(net, (1, 1, *size))
    labeled, unlabeled = sizes(dim, method)
    passes = {"supervised": 0, "mean_teacher": 1, "ua_mt": 9}[method]
    return (labeled + unlabeled) * both + passes * unlabeled * forward


def plain(setting: Setting, dim: str, method: str) -> Call:
    """Steps of the plain form, from h5 files."""
    data = plain_data(setting, dim)
    known = scans.labeled_files(data.files)
    form = plain_form(dim, method, setting.device)
    labeled, unlabeled = sizes(dim, method)
    rng = np.random.default_rng(0)
    iterations = itertools.count(form.total // 2 + 1)

    def step() -> float:
        chosen = [*rng.choice(known, labeled, replace=labeled > known)]
        chosen += [*(known + rng.choice(len(data) - known, unlabeled, replace=False))]
        x, y = loader.batch(data, chosen)
        return form.step(x.to(setting.device), y.to(setting.device), next(iterations))

    small = torch.zeros(labeled + unlabeled, 1, *([32] * int(dim[0])), device=setting.device)
    form.step(small, small[:, 0].long(), 0)  # what a process does only once
    return step


def plain_data(setting: Setting, dim: str) -> loader.Scans:
    """The files of a protocol with its transforms; those of labeled scans come first."""
    if dim == "3d":
        files = scans.h5_files(setting, scans.LEFT_ATRIUM)
        return loader.Scans(files, [loader.rotate_flip, loader.RandomCrop(setting.patch)])
    files = scans.h5_files(setting, scans.ACDC, slices=True)
    return loader.Scans(files, [loader.RandomSlice(setting.slices)])


def plain_form(dim: str, method: str, device: torch.device, *, calm: bool = False) -> training.Supervised:
    """A plain method with fresh networks; ``calm`` has neither dropout nor noise."""
    torch.manual_seed(0)
    kind = networks.VNet if dim == "3d" else networks.UNet2D
    made = [kind(dropout=not calm).to(device).train() for _ in range(1 + (method != "supervised"))]
    options: dict[str, Any] = {"total": 6000 if dim == "3d" else 30000}
    if dim == "2d":
        options["classes_of_dice"] = (0, 1, 2, 3)
    if method != "supervised":
        options |= {"hold_off": 1000 if dim == "2d" else 0, "noise": 0.0 if calm else 0.1}
    return PLAIN[method](*made, labeled=sizes(dim, method)[0], **options)


def ours(setting: Setting, dim: str, method: str) -> Call:
    """Iterations as `semiseg train` does them, in the middle of the schedule."""
    session = our_session(setting, dim, method)
    loop = middle(session)

    def step() -> None:
        with repeatable(session.config.train.deterministic):  # ours alone, as a run has it
            loop.iterate_once()

    return step


def our_session(setting: Setting, dim: str, method: str, settings: Sequence[str] = ()) -> Session:
    """A run of the protocol, put together as `semiseg train` does."""
    from semiseg.preparation.plan import NetworkPlan
    from semiseg.preparation.prepare import prepare
    from semiseg.settings.resolve import resolve, with_network

    three = dim == "3d"
    root = scans.folder(setting, scans.LEFT_ATRIUM if three else scans.ACDC)
    size = list(setting.patch if three else setting.slices)
    flags = {"method.name": method, "data.labeled": scans.COUNT // 2}
    wanted = [f"plan.patch={size}", "select=last", *settings]
    config = resolve(recipe="la" if three else "acdc", flags=flags, settings=wanted)
    fabric = launch(str(setting.device))
    config = with_network(config, NetworkPlan().name)
    cache = setting.work / "cache"
    prepared = prepare(root, config, cache=cache, device=fabric.device.type, workers=0)
    return Session(fabric, prepared, config)


def middle(session: Session) -> Loop:
    """Its loop, past every hold-off, with every term at work; batches are made ahead where a run does so."""
    loop = session.loop()
    loop.batches = session._source(loop.total).__enter__()
    if session.graphs:
        loop.batches = StepMarks(loop.batches)
    loop.method.train()
    loop.step = loop.total // 2
    loop.method.on_stage_start(loop.clock(loop.step)[0].name)
    loop.build_optimizers()
    return loop


def agree(dim: str, method: str, device: torch.device, patch: Sequence[int] = ()) -> str:
    """One step of each from the same weights and the same batch, without dropout and noise.

    Raises:
        SystemExit: losses or gradients further apart than the precision explains.
    """
    said = []
    for precision, limits in LIMITS.items():
        loss, gradient = differences(dim, method, device, precision, patch)
        if loss > limits[0] or gradient > limits[1]:
            raise SystemExit(f"{method} {dim} {precision}: loss {loss:.1e}, gradient {gradient:.1e} apart")
        said.append(f"{precision}: loss {loss:.0e}, gradient {gradient:.0e}")
    return "relative differences of one step, " + "; ".join(said)


def differences(
    dim: str, method: str, device: torch.device, precision: str, patch: Sequence[int] = ()
) -> tuple[float, float]:
    """Relative differences of the loss and of the gradient vector, ours from the plain one in float32."""
    size = tuple(patch) or ((48, 48, 48) if dim == "3d" else (64, 64))
    labeled, unlabeled = sizes(dim, method)
    x, y = (t.to(device) for t in batch_of(labeled + unlabeled, size, 2 if dim == "3d" else 4))
    mine: Any = our_method(dim, method).to(device)
    form: Any = plain_form(dim, method, device, calm=True)
    networks.copy_weights(form.net, mine.net)
    if method != "supervised":
        networks.copy_weights(form.teacher, mine.teacher)
    k = form.total // 2
    wanted = form.loss(x, y, k)
    wanted.backward()
    views = {"weak": x[labeled:]} if unlabeled else {}
    with Precision(precision, device).autocast():
        update = next(mine.step(Batch(x[:labeled], y[:labeled], views), Clock(k, form.total)))
    update.loss.backward()
    there, here = _gradient(form.net), _gradient(mine.net)
    loss = abs(update.loss.item() / wanted.item() - 1)
    return loss, float((here - there).norm() / there.norm())


def batch_of(count: int, size: Sequence[int], classes: int) -> tuple[Tensor, Tensor]:
    """Images (B, 1, *S) and labels (B, *S) of generated scans."""
    rng = np.random.default_rng(0)
    made = [scans.lumpy(rng, tuple(size), classes) for _ in range(count)]
    x, y = (torch.from_numpy(np.stack(parts)) for parts in zip(*made, strict=True))
    return x[:, None], y.long()


def our_method(dim: str, method: str) -> Method:
    """Our method as the protocol has it, without dropout and noise."""
    from semiseg.networks import Factory

    three = dim == "3d"
    options = {"has_dropout": False} if three else {"dropout": [0.0] * 5}
    make_net = Factory(
        "vnet" if three else "unet2d",
        dim=3 if three else 2,
        in_channels=1,
        classes=2 if three else 4,
        options=options,
    )
    torch.manual_seed(0)
    chosen: dict[str, Any] = {"include_background": not three}
    if method != "supervised":
        chosen |= {"noise": 0.0, "weight": 0.1, "ramp": 6000 if three else 30000, "ramp_unit": 150}
    build: Any = our_methods.find(method)
    return build(make_net, **chosen).train()


def _gradient(net: nn.Module) -> Tensor:
    return torch.cat([p.grad.flatten().float() for p in net.parameters() if p.grad is not None])
