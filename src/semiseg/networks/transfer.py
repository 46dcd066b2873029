"""Weights of one network for another: by name and shape, and where these differ as far as it makes sense.

A network that expects other channels gets the kernels of its first convolution by channel name, or else their
mean; its last convolution gets the rows of classes that both know. Layers of nnU-Net's U-Nets have our names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

_PREFIXES = re.compile(r"^(module\.|_orig_mod\.|network\.)+")
_TWICE = re.compile(r"^decoder\.encoder\.|\.all_modules\.")
"""Other names of tensors that nnU-Net's checkpoints have already."""
_SILENT = re.compile(r"\.conv\.bias$|^decoder\.seg_layers\.|num_batches_tracked$")
"""What may be left over: a norm removes the bias, and deep supervision serves training only."""

_CONV = r"(conv|norm)\.(weight|bias)"
_RULES = (
    (rf"encoder\.stages\.(\d+)\.(?:0\.)?convs\.0\.{_CONV}", r"encoder.\1.first.\2.\3"),
    (rf"encoder\.stages\.(\d+)\.(?:0\.)?convs\.1\.{_CONV}", r"encoder.\1.second.\2.\3"),
    (rf"decoder\.stages\.(\d+)\.convs\.0\.{_CONV}", r"decoder.\1.first.\2.\3"),
    (rf"decoder\.stages\.(\d+)\.convs\.1\.{_CONV}", r"decoder.\1.second.\2.\3"),
    (r"decoder\.transpconvs\.(\d+)\.(weight|bias)", r"ups.\1.conv.\2"),
    (rf"encoder\.stem\.convs\.(0)\.{_CONV}", r"encoder.\1.first.\2.\3"),
    (rf"encoder\.stages\.([1-9]\d*)\.blocks\.0\.conv1\.{_CONV}", r"encoder.\1.first.\2.\3"),
    (rf"encoder\.stages\.([1-9]\d*)\.blocks\.0\.conv2\.{_CONV}", r"encoder.\1.second.\2.\3"),
    (rf"encoder\.stages\.([1-9]\d*)\.blocks\.0\.skip\.\d+\.{_CONV}", r"encoder.\1.project.\2.\3"),
)
"""Layers of nnU-Net v2 (plain and residual encoders) -> ours. Both concatenate what is up-sampled first."""
_SEGMENT = re.compile(r"decoder\.seg_layers\.(\d+)\.(weight|bias)")


@dataclass(frozen=True)
class Learned:
    """Weights from somewhere.

    Attributes:
        weights: name -> tensor.
        classes: what each row of the last convolution is, background first; empty where nobody says.
        channels: names of the input channels; empty where nobody says.
        axes: which axis of the patient (0 to the right, 1 to the front, 2 up) each axis of a kernel runs
            along; empty where nobody says.
    """

    weights: Mapping[str, Tensor]
    classes: Sequence[str] = ()
    channels: Sequence[str] = ()
    axes: Sequence[int] = ()


@dataclass(frozen=True)
class Target:
    """The network that is to start from them."""

    network: nn.Module
    classes: Sequence[str]
    channels: Sequence[str]
    axes: Sequence[int] = ()


@dataclass(frozen=True)
class Fitted:
    """What a network takes over.

    Attributes:
        weights: name of a tensor of the network -> its value.
        rows: name of a tensor of the last convolution -> which rows it takes, and their values.
        misfits: one sentence for each layer that starts fresh, wholly or in part.
        share: of the network's parameters that are taken over.
    """

    weights: dict[str, Tensor]
    rows: dict[str, tuple[list[int], Tensor]] = field(default_factory=dict)
    misfits: tuple[str, ...] = ()
    share: float = 0.0

    def apply(self, network: nn.Module, *, head: bool = True) -> None:
        """Write into a network of the same kind; what it does not have, or has in another shape, is left."""
        state = network.state_dict()
        with torch.no_grad():
            for name, value in self.weights.items():
                if name in state and state[name].shape == value.shape:
                    state[name].copy_(value)
            for name, (rows, values) in self.rows.items() if head else ():
                if name in state and state[name].shape[1:] == values.shape[1:]:
                    state[name][rows] = values.to(state[name])


def fit(learned: Learned, target: Target) -> Fitted:
    """What of ``learned`` fits the network, which is not changed."""
    wanted = {k: v for k, v in target.network.state_dict().items() if not re.match(r"(\d+\.)?heads\.", k)}
    given, used = _renamed(learned, wanted, target)
    head, stem = last_convolution(target.network), _stem(wanted)
    weights: dict[str, Tensor] = {}
    rows: dict[str, tuple[list[int], Tensor]] = {}
    misfits: dict[str, str] = {}
    for name, tensor in wanted.items():
        layer = name.rpartition(".")[0]
        shown = _block(name)
        found = given.get(name)
        if found is None:
            if not _SILENT.search(name):
                misfits.setdefault(shown, "the file has no such layer")
            continue
        if layer == head:
            kept = _rows(learned.classes, target.classes, found, tensor)
            if kept:
                rows[name] = (kept[1], found[kept[0]])
            misfits |= _fresh_rows(layer, kept[1] if kept else [], target.classes)
            continue
        value = _shaped(found, tensor, learned, target, stem=name in stem)
        if value is None:
            misfits.setdefault(shown, f"{_size(found)} in the file, {_size(tensor)} here")
        else:
            weights[name] = value
    unused = sorted({_block(k) for k in learned.weights if k not in used and not _left(k)})
    told = [f"{layer} starts fresh: {why}" for layer, why in misfits.items()]
    told += [f"{layer} of the file has no place here" for layer in unused]
    return Fitted(weights, rows, tuple(told), _share(target.network, weights, rows))


def last_convolution(network: nn.Module) -> str:
    """The name of the layer whose rows are the classes; empty where there is none."""
    classes = getattr(network, "classes", None)
    found = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.Conv3d)
        and (classes is None or module.out_channels == classes)
        and not re.match(r"(\d+\.)?heads\.", name)
    ]
    return found[-1] if found else ""


def _block(key: str) -> str:
    """The layer of a tensor; a convolution and its norm are one."""
    return re.sub(r"\.(conv|norm)$", "", key.rpartition(".")[0])


def _left(key: str) -> bool:
    key = _PREFIXES.sub("", key)
    return bool(_TWICE.search(key) or _SILENT.search(key))


def _renamed(
    learned: Learned, wanted: Mapping[str, Tensor], target: Target
) -> tuple[dict[str, Tensor], set[str]]:
    """Tensors under the names of the network, kernels turned to its axes; and which names they had."""
    last = max((int(m[1]) for k in learned.weights if (m := _SEGMENT.search(k))), default=-1)
    turn = _turn(learned.axes, target.axes)
    given: dict[str, Tensor] = {}
    used: set[str] = set()
    for key, tensor in learned.weights.items():
        if _TWICE.search(key):
            continue
        for name in _names(_PREFIXES.sub("", key), last, last_convolution(target.network)):
            if name in wanted and name not in given:
                spatial = turn is not None and tensor.ndim == 2 + len(turn)
                given[name] = tensor.permute(0, 1, *turn) if spatial and turn else tensor
                used.add(key)
                break
    return given, used


def _names(key: str, last: int, head: str) -> Iterator[str]:
    """What the network may call it: the same, the same inside a wrapper, or as the rules have it."""
    yield key
    yield f"net.{key}"
    for pattern, name in _RULES:
        if match := re.fullmatch(pattern, key):
            yield match.expand(name)
    match = _SEGMENT.fullmatch(key)
    if match and int(match[1]) == last:
        yield f"{head}.{match[2]}"


def _turn(there: Sequence[int], here: Sequence[int]) -> list[int] | None:
    """The order of a kernel's spatial axes, counted in the tensor; None where it stays."""
    if len(there) != 3 or len(here) != 3 or tuple(there) == tuple(here):
        return None
    return [2 + list(there).index(axis) for axis in here]


def _stem(wanted: Mapping[str, Tensor]) -> set[str]:
    """The kernels that see the image: the first, and the projection beside it."""
    first = next((name for name, tensor in wanted.items() if tensor.ndim >= 4), "")
    block = first.split("first.")[0]
    return {first, *(name for name in wanted if block and name.startswith(f"{block}project."))}


def _shaped(found: Tensor, wanted: Tensor, learned: Learned, target: Target, *, stem: bool) -> Tensor | None:
    """``found`` in the shape that is wanted, or None."""
    alike = found.ndim == wanted.ndim >= 4
    if stem and alike and found.shape[0] == wanted.shape[0] and found.shape[2:] == wanted.shape[2:]:
        return _channels(found, learned, target)
    if found.shape == wanted.shape:
        return found
    if alike and found.shape[:2] == wanted.shape[:2] and found.shape[2:].numel() == 1:
        # Pooling by the stride and then one voxel is the mean over a kernel as large as the stride.
        return found.expand_as(wanted) / wanted.shape[2:].numel()
    return None


def _channels(found: Tensor, learned: Learned, target: Target) -> Tensor:
    """Kernels for other input channels: those of the same names, where all are known; else their mean."""
    known = [name.casefold() for name in learned.channels]
    names = [name.casefold() for name in target.channels]
    if len(set(known)) == found.shape[1] and all(name in known for name in names):
        return found[:, [known.index(name) for name in names]]
    if found.shape[1] == len(names):
        return found
    mean = found.mean(1, keepdim=True) * (found.shape[1] / len(names))  # so that maps keep their scale
    return mean.expand(-1, len(names), *found.shape[2:]).clone()


def _rows(
    there: Sequence[str], here: Sequence[str], found: Tensor, wanted: Tensor
) -> tuple[list[int], list[int]] | None:
    """Rows of the last convolution of the same class: (in the file, in the network)."""
    if len(there) != len(found) or len(here) != len(wanted) or found.shape[1:] != wanted.shape[1:]:
        return None
    known = [name.casefold() for name in there]
    pairs = [(known.index(n.casefold()), row) for row, n in enumerate(here) if n.casefold() in known]
    return ([a for a, _ in pairs], [b for _, b in pairs]) if pairs else None


def _fresh_rows(layer: str, kept: Sequence[int], classes: Sequence[str]) -> dict[str, str]:
    fresh = [name for row, name in enumerate(classes) if row not in kept]
    if not fresh:
        return {}
    return {layer: f"rows of {', '.join(fresh)}" if kept else "the file has other classes"}


def _share(
    network: nn.Module, weights: Mapping[str, Tensor], rows: Mapping[str, tuple[list[int], Tensor]]
) -> float:
    sizes: dict[str, int] = {
        name: p.numel() for name, p in network.named_parameters() if not re.match(r"(\d+\.)?heads\.", name)
    }
    taken = sum(size for name, size in sizes.items() if name in weights)
    taken += sum(values.numel() for _, values in rows.values())
    return taken / max(sum(sizes.values()), 1)


def _size(tensor: Any) -> str:
    return " x ".join(map(str, tensor.shape)) or "a number"
