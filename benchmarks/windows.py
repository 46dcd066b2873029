"""Why windows larger than the training patch cost accuracy: `python benchmarks/windows.py DATASET RUN`.

One network, the same scans, other ways to cover a scan that is a little larger than the patch along an axis:
by overlapping windows of the patch's size, or by one window that grew. Between the two lie a loss of
averaging (each voxel from the one window in whose middle it lies), padding, and the statistics of instance
norms, which are exchanged between the two kinds of windows. Scans are training cases that the run has not
seen as labeled.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks._machine import store  # noqa: E402
from benchmarks.held_out import cases_of  # noqa: E402

from semiseg.dataset.case import load_case, load_label  # noqa: E402
from semiseg.evaluation.results import Evaluation, evaluate_pairs  # noqa: E402
from semiseg.inference.predictor import autocasting  # noqa: E402
from semiseg.inference.window import axis_weight, pad_to, sliding_window, window_starts  # noqa: E402
from semiseg.networks.layers import InstanceNorm  # noqa: E402
from semiseg.prediction.model import Model  # noqa: E402
from semiseg.preparation.back import restore_labels  # noqa: E402
from semiseg.runs.run import Run, load_run  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
GROWTH = 1.25
"""The largest factor by which windows once grew along an axis, where that made one window enough."""

Forward = Callable[[Tensor], Tensor]
Statistics = dict[str, tuple[Tensor, Tensor]]


def grown(patch: Sequence[int], size: Sequence[int], divisor: Sequence[int]) -> tuple[int, ...]:
    """The window as it once was: one that covers an axis, where that needs at most :data:`GROWTH` patches."""
    whole = [-(-length // step) * step for length, step in zip(size, divisor, strict=True)]
    pairs = zip(patch, size, whole, strict=True)
    return tuple(w if p < length and w <= GROWTH * p else p for p, length, w in pairs)


def norms(network: nn.Module) -> dict[str, InstanceNorm]:
    return {name: module for name, module in network.named_modules() if isinstance(module, InstanceNorm)}


def measured(network: nn.Module, forward: Forward, image: Tensor, window: Sequence[int]) -> Statistics:
    """Mean and variance that each instance norm sees per channel, the mean over all windows of a size."""
    sums: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in norms(network)}

    def note(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            flat = inputs[0].float().flatten(2)
            sums[name].append((flat.mean(2).mean(0), flat.var(2, unbiased=False).mean(0)))

        return hook

    handles = [norm.register_forward_pre_hook(note(name)) for name, norm in norms(network).items()]
    padded, _ = pad_to(image, window)
    for start in window_starts(padded.shape[1:], window, 0.5, None):
        forward(cut(padded, start, window)[None])
    for handle in handles:
        handle.remove()
    return {
        name: (torch.stack([m for m, _ in seen]).mean(0), torch.stack([v for _, v in seen]).mean(0))
        for name, seen in sums.items()
    }


@contextmanager
def exchanged(network: nn.Module, statistics: Statistics) -> Iterator[None]:
    """Instance norms inside use these statistics instead of those of their input."""

    def fixed(name: str) -> Any:
        mean, variance = statistics[name]

        def hook(module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            x = inputs[0].float()
            return F.batch_norm(x, mean, variance, module.weight, module.bias).to(output.dtype)

        return hook

    handles = [norm.register_forward_hook(fixed(name)) for name, norm in norms(network).items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def most_central(forward: Forward, image: Tensor, window: Sequence[int]) -> Tensor:
    """(K, *S): each voxel from the one window in whose middle it lies, so that nothing is averaged."""
    padded, before = pad_to(image, window)
    weight: Tensor = torch.ones(())
    for edge in window:
        weight = weight[..., None] * axis_weight(edge, "gaussian")
    best = torch.zeros(padded.shape[1:])
    result = torch.zeros(0)
    for start in window_starts(padded.shape[1:], window, 0.5, None):
        at = tuple(slice(s, s + w) for s, w in zip(start, window, strict=True))
        found = forward(cut(padded, start, window)[None])[0]
        result = result if len(result) else torch.zeros(len(found), *padded.shape[1:])
        nearer = weight > best[at]
        result[(slice(None), *at)][:, nearer] = found[:, nearer]
        best[at][nearer] = weight[nearer]
    inside = (slice(b, b + s) for b, s in zip(before, image.shape[1:], strict=True))
    return result[(slice(None), *inside)]


def cut(image: Tensor, start: Sequence[int], window: Sequence[int]) -> Tensor:
    at = (slice(s, s + w) for s, w in zip(start, window, strict=True))
    return image[(slice(None), *at)].contiguous()


def windows(forward: Forward, image: Tensor, window: Sequence[int]) -> Tensor:
    """(K, *S): the mean over overlapping windows, as prediction makes it."""
    return sliding_window(lambda x: forward(x).clamp_min(1e-12).log(), image, window)


def repeated(forward: Forward, image: Tensor, window: Sequence[int]) -> Tensor:
    """As :func:`windows`, the scan's outermost voxels repeated where there would be zeros."""
    missing = [max(w - s, 0) for w, s in zip(window, image.shape[1:], strict=True)]
    pads = [n for m in reversed(missing) for n in (m // 2, m - m // 2)]
    found = windows(forward, F.pad(image[None], pads, mode="replicate")[0], window)
    inside = (slice(m // 2, m // 2 + s) for m, s in zip(missing, image.shape[1:], strict=True))
    return found[(slice(None), *inside)]


def ways(network: nn.Module, forward: Forward, image: Tensor, patch: Sequence[int]) -> dict[str, Any]:
    """Name of each way -> a function that gives the probabilities (K, *S) of an image (C, *S)."""
    large = grown(patch, image.shape[1:], network.divisor)  # type: ignore[arg-type]

    def with_statistics(of: Sequence[int], window: Sequence[int]) -> Tensor:
        with exchanged(network, measured(network, forward, image, of)):
            return windows(forward, image, window)

    return {
        "windows of the patch's size": partial(windows, forward, image, patch),
        "the same, nothing averaged": partial(most_central, forward, image, patch),
        "the same, statistics of the grown window": partial(with_statistics, large, patch),
        "grown windows": partial(windows, forward, image, large),
        "the same, edges repeated instead of zeros": partial(repeated, forward, image, large),
        "the same, statistics of the patch's windows": partial(with_statistics, patch, large),
    }


@torch.inference_mode()
def compare(dataset: Path, run: Run, count: int) -> tuple[dict[str, Evaluation], dict[str, float]]:
    """The scores of each way, and what share of the grown windows is padding and the scans were grown."""
    model = Model.load(run.folder, "cpu")
    plan, network = model.plan, model.networks[0]
    layout = torch.channels_last if plan.dim == 2 else torch.channels_last_3d
    pairs: dict[str, list[Any]] = {}
    shares: list[float] = []

    def forward(x: Tensor) -> Tensor:
        with autocasting(model.device, model.precision):
            answer = network(x.contiguous(memory_format=layout))
        return answer.logits.float().softmax(1)

    for case in cases_of(dataset, run, "development", count):
        scan, grid, _ = load_case(case)
        reference = load_label(case, grid)
        prepared = model.prepare(scan, grid)
        ((_, array),) = prepared.inputs
        volume = torch.from_numpy(array)
        images = list(volume.unbind(1)) if plan.dim == 2 else [volume]
        size = images[0].shape[1:]
        large = grown(plan.patch, size, network.divisor)  # type: ignore[arg-type]
        if large != plan.patch:
            outer = [max(w, s) for w, s in zip(large, size, strict=True)]
            shares.append(1 - size.numel() / math.prod(outer))
        made = [ways(network, forward, image, plan.patch) for image in images]
        for name in made[0]:
            found = [each[name]() for each in made]
            scores = torch.stack(found, 1) if plan.dim == 2 else found[0]
            labels = restore_labels(scores.numpy(), prepared.geometry, plan)
            pairs.setdefault(name, []).append((case.id, labels, reference, grid))
    classes = dict(itertools.islice(model.label_values.items(), 1, None))
    evaluations = {name: evaluate_pairs(iter(found), classes) for name, found in pairs.items()}
    return evaluations, {"grown": len(shares), "padding": sum(shares) / max(len(shares), 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("run", type=Path, nargs="+")
    parser.add_argument("--cases", type=int, default=40, help="from the end of the training order")
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    rows, figures = [], {}
    for folder in args.run:
        scores, facts = compare(args.dataset, load_run(folder), args.cases)
        about = f"{folder.name}, {facts['grown']} of {args.cases} scans grow, {facts['padding']:.0%} padding"
        base = scores["windows of the patch's size"]
        for name, found in scores.items():
            better = [a - b for a, b in zip(per_case(found), per_case(base), strict=True)]
            worse = sum(difference < 0 for difference in better)
            rows.append(
                f"| {about} | {name} | {found.mean('Dice'):.4f} | {found.mean('HD95'):.2f} | {worse} |"
            )
            figures[f"{folder.name}, {name}"] = {"dice": found.mean("Dice"), "hd95": found.mean("HD95")}
    head = "| run | windows | Dice | HD95, mm | cases worse than by the patch's size |\n|---|---|---|---|---|"
    names = " ".join(folder.name for folder in args.run)
    command = f"python benchmarks/windows.py {args.dataset.name} {names} --cases {args.cases}"
    text = "\n".join([head, *rows])
    store(args.results, "windows", "Windows larger than the training patch", command, text, {"rows": figures})
    print(text)


def per_case(evaluation: Evaluation) -> list[float]:
    """The mean Dice over classes of each case."""
    return [sum(m["Dice"] for m in case.metrics.values()) / len(case.metrics) for case in evaluation.cases]


if __name__ == "__main__":
    main()
