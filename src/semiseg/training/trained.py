"""The networks that a training makes: of what description, whether a patch fits, compiled, in which formats.

A self-check compares the gradients of the first batch with float32 before a number format and a memory format
are trusted: gradients of convolutions in bf16 can be garbage on some CPUs for very small feature maps.
"""

from __future__ import annotations

import importlib.util
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from semiseg import networks
from semiseg.core import Average, Batch, Method
from semiseg.errors import UsageError
from semiseg.losses import dice_ce
from semiseg.preparation.network_size import fitting_patch
from semiseg.preparation.plan import Plan
from semiseg.settings.config import Config
from semiseg.training.update import Precision, any_rank


def factory(config: Config, plan: Plan) -> networks.Factory:
    """What makes the networks of a training."""
    return networks.Factory(
        config.network.name,
        dim=plan.dim,
        in_channels=len(plan.channels),
        classes=plan.classes,
        options=config.network.options,
        plan=plan.network,
        patch=plan.patch,
        checkpointing=config.network.checkpointing,
    )


def trained_parameters(method: Method) -> int:
    """How many numbers the optimizers change; one that two networks share counts once."""
    networks = (getattr(method, name) for name in method.trainable)
    distinct = {id(p): p.numel() for net in networks for p in net.parameters() if p.requires_grad}
    return sum(distinct.values())


def described(network: torch.nn.Module, unknown: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint says of its network, to build it again; ``unknown`` of one that does not tell."""
    if not isinstance(network, Average):
        return dict(getattr(network, "described", unknown))
    members = [described(member, unknown) for member in network]
    return {**members[0], "average_of": members}


def require_fit(patch: Sequence[int], *trained: torch.nn.Module) -> None:
    """Compare the patch with what the networks can halve.

    Raises:
        UsageError: an edge that is not divisible; names the nearest patch that is.
    """
    divisors = [divisor for network in trained if (divisor := getattr(network, "divisor", None))]
    needed = [math.lcm(*edges) for edges in zip(*divisors, strict=True)] or [1] * len(patch)
    if any(p % d for p, d in zip(patch, needed, strict=True)):
        nearest = list(fitting_patch(patch, needed))
        names = {told["name"] for network in trained if (told := getattr(network, "described", None))}
        which = " and ".join(sorted(names)) or "the network"
        raise UsageError(
            f"patch {list(patch)} does not fit {which}: its edges must be divisible by {needed}",
            hint=f"use --set 'plan.patch={nearest}'",
            code="PATCH_DIVISOR",
        )


Setting = bool | Literal["auto", "graphs"]

PAYS_AFTER = 20_000
"""Iterations from which ``auto`` compiles: it takes minutes, and saves milliseconds of each iteration of a
fast GPU. On a CPU it saved nothing (0.95 of the speed of a V-Net on 112 x 112 x 80 voxels)."""

_GRAPHS_KEPT = 64
"""Compiled forms of all networks: student and teacher, batch sizes, with and without gradient. Torch keeps 8
of one function, and to torch all networks are calls of one function."""


def should_compile(setting: Setting, device: torch.device, iterations: int) -> bool:
    """What ``train.compile`` means here."""
    if setting != "auto":
        return bool(setting)
    return device.type == "cuda" and iterations >= PAYS_AFTER and can_compile()


def can_compile() -> bool:
    """Whether torch finds what it compiles for a GPU with: Triton, and a C compiler for its launchers."""
    compiler = any(map(shutil.which, ("cc", "gcc", "clang")))
    return compiler and importlib.util.find_spec("triton") is not None


def networks_of(method: Method) -> list[nn.Module]:
    """What is worth compiling: everything trained, and teachers, which are networks of the same kind."""
    kinds = {type(getattr(method, name)) for name in method.trainable}
    return [child for child in method.children() if type(child) in kinds]


def compile_networks(
    networks: Sequence[nn.Module], *, graphs: bool = False, backend: str = "inductor"
) -> None:
    """Compile each network in place, for the static shapes of a training.

    What torch cannot compile it runs eagerly, and says so in its own log.
    """
    settings = torch._dynamo.config
    settings.suppress_errors = True
    limit = "recompile_limit" if hasattr(settings, "recompile_limit") else "cache_size_limit"
    setattr(settings, limit, max(getattr(settings, limit), _GRAPHS_KEPT))
    mode = "reduce-overhead" if graphs and backend == "inductor" else None
    for network in networks:
        network.compile(backend=backend, mode=mode, dynamic=False)


@contextmanager
def eager() -> Iterator[None]:
    """No compiled code inside, where shapes vary: prediction of whole scans."""
    stance = getattr(torch.compiler, "set_stance", None)  # since torch 2.6
    with nullcontext() if stance is None else stance("force_eager"):
        yield


@dataclass
class StepMarks:
    """``batches`` that tell CUDA graphs where an iteration begins: no result from before is needed then."""

    batches: Callable[[int], Batch]

    def __call__(self, step: int) -> Batch:
        """The batch of an iteration."""
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        return self.batches(step)


TRIALS = 3
"""Garbage comes and goes from call to call, so the low-precision gradient is taken this many times."""

PATCHES = 2
"""More would take, in float32, more memory than the training itself."""

TOLERANCE = 0.25
"""Largest accepted relative error of the whole gradient vector; healthy networks stay below 0.1."""


class Choice(NamedTuple):
    """What a run uses."""

    precision: Precision
    form: torch.memory_format
    notice: str | None = None
    """Why it is not what was wanted."""


def choose(
    fabric: Fabric, method: Method, batch: Batch, name: str, form: torch.memory_format, *, asked: bool
) -> Choice:
    """The wanted formats, or what can be trusted instead: first another memory format, then float32.

    The method's weights are left in the chosen memory format.
    """
    precision = Precision(name, fabric.device)
    if precision.dtype is None:
        return Choice(precision, form)
    network = getattr(method, method.trainable[0])
    error = gradient_error(network, batch, precision, form)
    if not any_rank(fabric, error > TOLERANCE):
        return Choice(precision, form)
    text = f"gradients in {precision.name} are {error:.0%} off float32 here"
    if form != torch.contiguous_format:
        plain = gradient_error(network, batch, precision)
        if not any_rank(fabric, plain > TOLERANCE):
            to_format(method, torch.contiguous_format)
            return Choice(
                precision, torch.contiguous_format, f"{text} with channels last: training without it"
            )
        to_format(method, form)
    if asked:
        return Choice(precision, form, f"{text}; {name} is used because it was asked for")
    return Choice(Precision("32", fabric.device), form, f"{text}: training in float32")


def gradient_error(
    network: nn.Module,
    batch: Batch,
    precision: Precision,
    form: torch.memory_format = torch.contiguous_format,
) -> float:
    """``|g - g32| / |g32|`` of the supervised loss on two labeled patches; inf if any gradient is not finite.

    g is in the precision and the memory format, g32 in float32 and contiguous. Runs in eval mode (no dropout,
    no change to running statistics) and leaves the network as it was, in that format. The worst of a few
    trials counts; above :data:`TOLERANCE` precision and format should not be used together.
    """
    was_training = network.training
    x, y = batch.x_l[:PATCHES], batch.y_l[:PATCHES]
    network.eval()
    try:
        to_format(network, torch.contiguous_format)
        exact = _gradient(network, x.contiguous(), y, Precision("32", precision.device))
        to_format(network, form)
        trials = [_gradient(network, x.contiguous(memory_format=form), y, precision) for _ in range(TRIALS)]
    finally:
        to_format(network, form)
        network.train(was_training)
        network.zero_grad(set_to_none=True)
    scale = exact.norm().clamp_min(1e-12)
    return max(float(((trial - exact).norm() / scale).nan_to_num(torch.inf)) for trial in trials)


def to_format(module: nn.Module, form: torch.memory_format) -> None:
    """Lay out the weights, in place."""
    module.to(memory_format=form)  # type: ignore[call-overload]


def _gradient(network: nn.Module, x: Tensor, y: Tensor, precision: Precision) -> Tensor:
    network.zero_grad(set_to_none=True)
    with torch.enable_grad(), precision.autocast():
        loss = dice_ce(network(x).logits, y)
    torch.autograd.backward(loss)
    return torch.cat([p.grad.flatten().float() for p in network.parameters() if p.grad is not None])
