"""From a dataset to a :class:`~semiseg.data.plan.Plan`: every choice follows from what was measured or asked.

What a user gives is taken as it is, checked, and the other choices follow from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from semiseg.data.channels import choose_channels, invalid
from semiseg.data.dataset import Dataset, Split
from semiseg.data.explain import explain
from semiseg.data.fingerprint import Fingerprint, fingerprint
from semiseg.data.layout import Layout, lay_out_dataset
from semiseg.data.plan import NetworkPlan, Plan
from semiseg.data.sizing import Budget, Load, budget_for, choose_batch, choose_patch, memory
from semiseg.data.staging import Asked, asked_network, plan_network
from semiseg.errors import DataError, UsageError, unknown_name

__all__ = ["explain", "make_plan"]

CROP_BELOW = 0.75
"""Crop to nonzero voxels where their box holds less than this share of the median scan (nnU-Net's limit)."""

SMALL_SHARE = 0.25
"""A patch with less of the median scan than this sees little of its surroundings (nnU-Net's limit)."""

OVERRIDES = (
    "orientation",
    "axes",
    "crop",
    "channels",
    "labels",
    "label_map",
    "ignore_value",
    "foreground",
    "network",
    "features",
    "strides",
    "kernels",
    "dataset",
)
"""Further keyword arguments of :func:`make_plan`, beside the named ones."""


def make_plan(
    dataset: Dataset,
    split: Split,
    *,
    dim: int | None = None,
    spacing: Sequence[float | None] | float | None = None,
    patch: Sequence[int] | int | None = None,
    batch: int | None = None,
    memory_gb: float = 8.0,
    device: str = "cpu",
    workers: int = 0,
    cache: Path | None = None,
    **overrides: Any,
) -> Plan:
    """Plan a dataset from its labeled and unlabeled training images. Test images are not looked at.

    Args:
        dataset: the folder.
        split: only ``labeled`` and ``unlabeled`` are used; labels only of the former, and only for CT.
        dim: 2 or 3; default: 3 unless the images are flat or have too few slices.
        spacing: mm per stored axis (two pixel sizes in 2D, or one number for all); default: the median.
        patch: voxels per axis; the stages of the network follow from it.
        batch: patches per iteration, labeled and unlabeled together.
        memory_gb: what training two networks may take.
        device: ``cpu`` plans what two cores can train in minutes, anything else for an accelerator.
        workers: processes for measuring; 0 works in this one.
        cache: a folder that keeps the fingerprint.
        **overrides: any of :data:`OVERRIDES`; ``channels`` takes schemes or whole channel plans,
            ``network`` a name or a network plan, ``features`` the channels per stage.

    Raises:
        UsageError: a choice that does not exist or cannot be met; says what to change.
        DataError: cases that cannot be read, all at once.
    """
    for name in overrides:
        if name not in OVERRIDES:
            known = (*OVERRIDES, "dim", "spacing", "patch", "batch", "memory_gb")
            raise unknown_name("plan setting", name, known)
    asked = {name: value for name, value in overrides.items() if value is not None}
    network = asked_network(asked.pop("network", None), asked)
    cases = [*split.labeled, *split.unlabeled]
    found = fingerprint(
        cases,
        dataset.channel_names,
        workers,
        label_map=dataset.label_map,
        ignore_value=dataset.ignore_value,
        cache=cache,
    )
    crop, reasons = _choose_crop(found, asked.pop("crop", None))
    layout = lay_out_dataset(
        found,
        dim=dim,
        spacing=spacing,
        orientation=asked.pop("orientation", None),
        axes=asked.pop("axes", None),
        cropped=crop == "nonzero",
    )
    channels, reasons["channels"] = choose_channels(found, asked.pop("channels", None))
    sizes = _choose_sizes(dataset, layout, network, patch, batch, memory_gb, device)
    whence = f"from {len(split.labeled)} labeled and {len(split.unlabeled)} unlabeled images, none of test"
    values: dict[str, Any] = {
        "dataset": dataset.name,
        "dim": layout.dim,
        "orientation": layout.orientation,
        "axes": layout.axes,
        "spacing": layout.target,
        "crop": crop,
        "channels": channels,
        "labels": dataset.labels,
        "label_map": dataset.label_map,
        "ignore_value": dataset.ignore_value,
        **sizes,
        "reasons": {"dataset": whence, **layout.reasons, **reasons, **sizes["reasons"]},
        **asked,
    }
    return _validated(values)


def _choose_crop(found: Fingerprint, asked: Any) -> tuple[Any, dict[str, str]]:
    if asked is not None:
        return asked, {"crop": "as asked"}
    shares = [float(np.prod(case.nonzero)) for case in found.cases if case.nonzero is not None]
    median = float(np.median(shares)) if shares else 1.0
    why = f"the box of nonzero voxels holds {median:.0%} of the median scan"
    return ("nonzero" if median < CROP_BELOW else "none"), {"crop": why}


def _choose_sizes(
    dataset: Dataset,
    layout: Layout,
    asked: Asked,
    patch: Sequence[int] | int | None,
    batch: int | None,
    memory_gb: float,
    device: str,
) -> dict[str, Any]:
    """Patch, network, batch and memory, each from those before it."""
    if batch is not None and (isinstance(batch, bool) or not isinstance(batch, int) or batch < 1):
        raise UsageError(
            f"batch is {batch!r}, wanted a whole number of patches, 1 or more",
            hint="such as 4",
            code="PLAN_BATCH",
        )
    budget = budget_for(device, layout.dim)
    load = Load(len(dataset.channel_names), len(dataset.labels), batch or 4, asked.features)
    median, mm = layout.median_shape, layout.patch_spacing
    reasons = {}
    if patch is None:
        edges = choose_patch(median, mm, budget, memory_gb, load)
        reasons["patch"] = _patch_reason(edges, median, budget, memory_gb)
    else:
        edges, reasons["patch"] = _asked_patch(patch, layout.dim), "as asked"
    network, reasons["network"] = plan_network(asked, edges, mm, budget, fixed=patch is not None)
    if patch is None and asked.strides:
        edges = tuple(max(1, n // d) * d for n, d in zip(edges, network.divisor, strict=True))
    load = Load(load.channels, load.classes, load.batch, network.features)
    if batch is None:
        batch, reasons["batch"] = _sized_batch(edges, mm, budget, load, network, layout, memory_gb)
    else:
        reasons["batch"] = "as asked"
    load = Load(load.channels, load.classes, batch, network.features)
    reasons["memory_gb"] = (
        "estimates; two networks: both trained, a mean teacher takes less; the prepared cases come on top, "
        "or stay on disk when they take more than half of the free memory (data.memory_gb)"
    )
    need = memory(edges, mm, budget, load, network)
    need["prepared cases"] = cases_gb(layout, load.channels)
    return {"patch": edges, "network": network, "batch": batch, "memory_gb": need, "reasons": reasons}


def cases_gb(layout: Layout, channels: int) -> float:
    """Gigabytes of the prepared cases: float32 images and, at most, as many labels."""
    voxels = float(layout.stored_shapes.prod(1, dtype=np.float64).sum())
    return round(voxels * (4 * channels + 1) / 1e9, 2)


def _patch_reason(patch: tuple[int, ...], median: tuple[int, ...], budget: Budget, memory_gb: float) -> str:
    limit = f"{memory_gb:g} GB (more with network.checkpointing=true and plan.patch)"
    if budget.device == "cpu":
        limit = "what a CPU trains in minutes"
    share = float(np.prod(patch) / np.prod(median))
    small = (
        f"; only {share:.0%} of the scan, a coarser spacing would show more" if share < SMALL_SHARE else ""
    )
    return f"the median scan is {' x '.join(map(str, median))} at this spacing; within {limit}{small}"


def _sized_batch(
    patch: tuple[int, ...],
    mm: tuple[float, ...],
    budget: Budget,
    load: Load,
    network: NetworkPlan,
    layout: Layout,
    memory_gb: float,
) -> tuple[int, str]:
    def need(patches: int) -> float:
        one = Load(load.channels, load.classes, patches, load.features)
        return memory(patch, mm, budget, one, network)["two networks"]

    fits = max((n for n in range(2, budget.batch + 1) if need(n) <= memory_gb), default=2)
    pieces = int(layout.shapes[:, 0].sum()) if layout.dim == 2 else len(layout.shapes)
    voxels = int(np.prod(layout.median_shape)) * pieces
    chosen = choose_batch(patch, budget, fits, voxels)
    return chosen, "even, so that labeled and unlabeled patches share it; at most 5 % of the voxels"


def _asked_patch(patch: Sequence[int] | int, dim: int) -> tuple[int, ...]:
    edges = (patch,) if isinstance(patch, int) else tuple(patch)
    edges = edges * dim if len(edges) == 1 else edges
    if len(edges) != dim or any(not isinstance(n, int) or n < 1 for n in edges):
        raise UsageError(
            f"patch is {patch!r}, wanted {dim} whole numbers of voxels, for dim is {dim}",
            hint=f"such as {','.join(['64'] * dim)}",
            code="PLAN_PATCH",
        )
    return edges


def _validated(values: dict[str, Any]) -> Plan:
    if len(values["labels"]) < 2 or len(values["labels"]) > 254:
        raise DataError(
            f"labels names {len(values['labels'])} classes, wanted background and 1 to 253 others",
            hint="mend labels in dataset.json",
            code="LABELS",
        )
    try:
        return Plan.model_validate(values)
    except ValidationError as error:
        raise invalid(error, "plan") from None
