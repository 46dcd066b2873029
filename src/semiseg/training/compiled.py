"""Networks compiled in place: their keys and attributes stay, and there is always the way back."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from semiseg.core import Batch, Method

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

    Args:
        networks: on their device.
        graphs: replay CUDA graphs, which need :class:`StepMarks`; without effect on a CPU.
        backend: of torch.
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
