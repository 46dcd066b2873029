"""The networks of one input as a program of PyTorch's own operations, without this package.

As what ``torch.export`` makes (a ``.pt2`` file), or as TorchScript, which MONAI's bundles have.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semiseg.core import Head
from semiseg.errors import UsageError, first_line
from semiseg.inference.copies import prediction_copy
from semiseg.inference.predictor import mirrored_views
from semiseg.networks import layers
from semiseg.prediction.members import Member

EXAMPLES = 2
"""Windows of the example; of one alone PyTorch would take the batch to be fixed."""

TOLERANCE = 1e-3
"""Largest accepted difference of a probability between the network and what was exported of it."""


class Predictor(nn.Module):
    """(B, C, *patch) -> class or region probabilities (B, K, *patch), the mean over networks and views."""

    def __init__(self, networks: Sequence[nn.Module], head: Head, mirror: Sequence[int] = ()) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.regions = bool(head.regions)
        self.views = mirrored_views(mirror)

    def forward(self, image: Tensor) -> Tensor:
        """float32 in [0, 1]."""
        found = []
        for network, view in itertools.product(self.networks, self.views):
            output = network(image.flip(view) if view else image)
            logits = (output if isinstance(output, Tensor) else output.logits).float()
            shares = logits.sigmoid() if self.regions else logits.softmax(1)
            found.append(shares.flip(view) if view else shares)
        return found[0] if len(found) == 1 else torch.stack(found).mean(0)


class _InstanceNorm(nn.Module):
    """PyTorch's own instance norm with the weights of ours, which asks how the tensor lies in memory."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.weight = getattr(norm, "weight", None)
        self.bias = getattr(norm, "bias", None)

    def forward(self, x: Tensor) -> Tensor:
        return F.instance_norm(x, weight=self.weight, bias=self.bias)


def predictor(members: Sequence[Member], mirror: Sequence[int] = ()) -> Predictor:
    """The networks that see one input, in the form that is exported: eval mode, no shortcuts for a CPU."""
    plan = members[0].plan
    networks = []
    for member in members:
        made, _ = prediction_copy(member.network, len(plan.channels), plan.patch, "32")
        networks.append(_plain(copy.deepcopy(made)))
    module = Predictor(networks, plan.head, mirror).eval().requires_grad_(False)
    for tensor in (*module.parameters(), *module.buffers()):
        tensor.data = tensor.data.cpu().contiguous()
    return module


def _plain(network: nn.Module) -> nn.Module:
    """Replace layers whose way depends on the size of the batch or the memory format by PyTorch's."""
    for module in list(network.modules()):
        if isinstance(module, layers.Conv2d | layers.Conv3d):
            object.__setattr__(module, "__class__", type(module).__mro__[1])  # nn.Conv2d, nn.Conv3d
        for name, child in module.named_children():
            if isinstance(child, layers.InstanceNorm | layers.PlainInstanceNorm):
                setattr(module, name, _InstanceNorm(child))
    return network


def program(members: Sequence[Member], mirror: Sequence[int] = ()) -> Any:
    """A ``torch.export`` program of the networks: input ``image``, any number of windows of the plan's patch.

    It holds no path and no example. Views mirrored along the axes ``mirror`` of the patch are averaged in it.

    Raises:
        UsageError: a network with code that cannot be exported, or that answers otherwise once it is.
    """
    module = predictor(members, mirror)
    x = examples(members[0])
    batch = torch.export.Dim("batch", min=1)
    try:
        with torch.no_grad():
            made = torch.export.export(module, (x,), dynamic_shapes={"image": {0: batch}})
            found, wanted = made.module()(x[:1]), module(x[:1])
    except Exception as error:  # somebody's network may do anything
        raise _failed(members, f"{type(error).__name__}{first_line(error)}") from None
    require_same(members, float((found - wanted).abs().max()))
    for graph in (m for m in made.graph_module.modules() if isinstance(m, torch.fx.GraphModule)):
        for node in graph.graph.nodes:  # where the code lies on this machine
            node.meta.pop("stack_trace", None)
    made.example_inputs = None  # it would be stored
    return made


def write_program(path: Path, members: Sequence[Member]) -> dict[str, Any]:
    """Write the program of the networks, which ``torch.export.load`` reads; what ``model.json`` tells of it.

    The ending of ``path`` is set. A network that cannot be exported is a UsageError.
    """
    path = path.with_suffix(".pt2")
    torch.export.save(program(members), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"file": path.name, "sha256": digest, "precision": "32", "torch": str(torch.__version__)}


def script(members: Sequence[Member], mirror: Sequence[int] = ()) -> Any:
    """TorchScript of the networks, for any number of windows; arguments and errors as of :func:`program`."""
    module, trace = predictor(members, mirror), cast(Any, torch.jit.trace)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # checks of the input are not recorded; TorchScript is old
            made = trace(module, examples(members[0]), check_trace=False)
            windows = [examples(members[0], count) for count in (1, EXAMPLES + 1)]
            worst = max(float((made(x) - module(x)).abs().max()) for x in windows)
    except Exception as error:  # somebody's network may do anything
        raise _failed(members, f"{type(error).__name__}{first_line(error)}") from None
    require_same(members, worst)
    return made


def examples(member: Member, count: int = EXAMPLES) -> Tensor:
    """Windows of noise, always the same."""
    shape = (count, len(member.plan.channels), *member.plan.patch)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def require_same(members: Sequence[Member], difference: float) -> None:
    """Refuse an export whose probabilities are not finite, or not those of the network (UsageError)."""
    if not difference <= TOLERANCE:
        raise _failed(members, f"its probabilities differ by {difference:.2g} once it is exported")


def _failed(members: Sequence[Member], why: str) -> UsageError:
    names = ", ".join(dict.fromkeys(str(member.source.get("network", "the network")) for member in members))
    return UsageError(
        f"{names} cannot be exported: {why}",
        hint="--to zip works with every network; networks of this package can be exported in every way",
        code="NOT_EXPORTABLE",
    )
