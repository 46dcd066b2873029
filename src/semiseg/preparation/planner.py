"""From a dataset to a plan: what a user gives is checked and kept, the rest follows from it and the data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from semiseg.dataset.dataset import Dataset
from semiseg.dataset.split import Split
from semiseg.errors import DataError, UsageError, plural, unknown_name
from semiseg.preparation.fingerprint import ChannelFacts, Fingerprint, fingerprint
from semiseg.preparation.forward import scheme_for
from semiseg.preparation.layout import Layout, lay_out_dataset
from semiseg.preparation.network_plan import AskedNetwork, asked_network, plan_network
from semiseg.preparation.network_size import (
    Load,
    Memory,
    budget_for,
    cases_gb,
    choose_batch,
    choose_view,
    memory,
    memory_for,
    seen,
)
from semiseg.preparation.plan import ChannelPlan, Choice, Plan, explain, problems

__all__ = ["explain", "make_plan"]

CROP_BELOW = 0.75
"""Crop to nonzero voxels where their box holds less than this share of the median scan (nnU-Net's limit)."""

OVERRIDES = (
    *("orientation", "axes", "crop", "channels", "labels", "label_map", "ignore_value", "foreground"),
    *("network", "features", "strides", "kernels", "dataset"),
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
    memory_gb: float | None = None,
    networks: float = 2.0,
    blocks: tuple[int, ...] | None = None,
    device: str = "cpu",
    workers: int = 0,
    cache: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    **overrides: Any,
) -> Plan:
    """Plan a dataset from its labeled and unlabeled training images. Test images are not looked at.

    Args:
        dataset: the folder.
        split: only ``labeled`` and ``unlabeled`` are used; labels only of the former.
        dim: 2 or 3; default: 3 unless the images are flat or have too few slices.
        spacing: mm per stored axis (two pixel sizes in 2D, or one number for all); default: the median, or
            coarser where a patch would show too little of a scan.
        patch: voxels per axis; the stages of the network follow from it.
        batch: patches per iteration, labeled and unlabeled together.
        memory_gb: what training may take; default: most of the accelerator's memory, 8 where it is not known.
        networks: that are trained at once, such as 1.25 with a teacher.
        blocks: of each stage of the network's encoder, where it is a residual one.
        device: ``cpu`` plans what two cores can train in minutes, anything else for an accelerator. It need
            not be in this machine.
        workers: processes for measuring; 0 works in this one.
        cache: a folder that keeps the fingerprint.
        progress: told (scans measured, all scans); not at all where the fingerprint is known.
        **overrides: any of :data:`OVERRIDES`; ``channels`` takes schemes or whole channel plans,
            ``network`` a name or a network plan, ``features`` the channels per stage.

    Raises:
        UsageError: a choice that does not exist or cannot be met; says what to change.
        DataError: cases that cannot be read, all at once.
    """
    for name in overrides:
        if name not in OVERRIDES:
            known = (*OVERRIDES, "dim", "spacing", "patch", "batch", "memory_gb", "networks", "blocks")
            raise unknown_name("plan setting", name, known)
    asked = {name: value for name, value in overrides.items() if value is not None}
    network = asked_network(asked.pop("network", None), asked)
    found = fingerprint(
        [*split.labeled, *split.unlabeled],
        dataset.channel_names,
        workers,
        label_map=dataset.label_map,
        ignore_value=dataset.ignore_value,
        regions=tuple(dataset.regions.values()),
        cache=cache,
        progress=progress,
    )
    crop = _choose_crop(found, asked.pop("crop", None))
    layout = lay_out_dataset(
        found,
        dim=dim,
        spacing=spacing,
        orientation=asked.pop("orientation", None),
        axes=asked.pop("axes", None),
        cropped=crop.value == "nonzero",
    )
    channels = Choice(*choose_channels(found, asked.pop("channels", None)))
    outputs = len(dataset.regions or dataset.labels)
    load = Load(len(dataset.channel_names), outputs, batch or 4, network.features, networks, blocks)
    layout, sizes = _choose_sizes(
        layout,
        network,
        load,
        patch=patch,
        batch=batch,
        limit=memory_for(device, memory_gb),
        device=device,
        fixed=spacing is not None,
    )
    unlabeled = plural(len(split.unlabeled), "unlabeled image")
    whence = f"from {len(split.labeled)} labeled and {unlabeled}, none of test"
    pieces: Choice[tuple[str, ...]] = Choice(())
    if not dataset.regions:
        names, seen_in = found.one_piece(dict([*dataset.labels.items()][1:]))
        pieces = Choice(names, f"one piece of much the same size in all {plural(seen_in, 'labeled scan')}")
    choices = {"crop": crop, "channels": channels, "one_piece": pieces, **sizes}
    same = ("labels", "regions", "regions_class_order", "label_map", "ignore_value", "colors", "terminology")
    values: dict[str, Any] = {
        "dataset": dataset.name,
        "dim": layout.dim,
        "orientation": layout.orientation,
        "axes": layout.axes,
        "spacing": layout.target,
        **{name: getattr(dataset, name) for name in same},
        **{name: choice.value for name, choice in choices.items()},
        "reasons": {
            "dataset": whence,
            **layout.reasons,
            **{name: choice.reason for name, choice in choices.items()},
        },
        "seen": found.seen(),
        **asked,
    }
    return _validated(values)


def _choose_crop(found: Fingerprint, asked: Any) -> Choice[Any]:
    if asked is not None:
        return Choice(asked)
    shares = [float(np.prod(case.nonzero)) for case in found.cases if case.nonzero is not None]
    median = float(np.median(shares)) if shares else 1.0
    why = f"the box of nonzero voxels holds {median:.0%} of the median scan"
    return Choice("nonzero" if median < CROP_BELOW else "none", why)


def _choose_sizes(
    layout: Layout,
    asked: AskedNetwork,
    load: Load,
    *,
    patch: Sequence[int] | int | None,
    batch: int | None,
    limit: Memory,
    device: str,
    fixed: bool,
) -> tuple[Layout, dict[str, Choice[Any]]]:
    """Voxels and patch together, then network, batch and memory, each from those before it."""
    if batch is not None and (isinstance(batch, bool) or not isinstance(batch, int) or batch < 1):
        raise UsageError(
            f"batch is {batch!r}, wanted a whole number of patches, 1 or more",
            hint="such as 4",
            code="PLAN_BATCH",
        )
    budget = budget_for(device, layout.dim)
    if patch is None:
        layout, view = choose_view(layout, budget, limit, load, fixed=fixed)
    else:
        edges = _asked_patch(patch, layout.dim)
        view = Choice(edges, f"as asked; shows {seen(edges, layout):.0%} of the median scan")
    network = plan_network(asked, view.value, layout.patch_spacing, budget, fixed=patch is not None)
    if patch is None and asked.strides:
        edges = tuple(max(1, n // d) * d for n, d in zip(view.value, network.value.divisor, strict=True))
        view = Choice(edges, view.reason)
    load = replace(load, features=network.value.features)
    room = limit.room(cases_gb(layout, load.channels))
    if batch is None:
        patches = choose_batch(view.value, layout, budget, load, network.value, room)
    else:
        patches = Choice(batch)
    load = replace(load, batch=patches.value)
    need = memory(view.value, layout.patch_spacing, budget, load, network.value)
    need["prepared cases"] = cases_gb(layout, load.channels)
    why = (
        f"estimates, planned for {load.networks:g} trained networks, a teacher counting a quarter; the cases "
        "come on top, or stay on disk when they take more than half of what is free (data.memory_gb)"
    )
    return layout, {"patch": view, "network": network, "batch": patches, "memory_gb": Choice(need, why)}


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
            f"labels names {plural(len(values['labels']), 'class', 'classes')}, wanted background and 1 "
            "to 253 others",
            hint="fix labels in dataset.json",
            code="LABELS",
        )
    try:
        return Plan.model_validate(values)
    except ValidationError as error:
        raise invalid(error, "plan") from None


def choose_channels(found: Fingerprint, asked: Any = None) -> tuple[list[ChannelPlan], str]:
    """The channel plans and their reason.

    Args:
        found: names and statistics.
        asked: None, or per channel a scheme, a mapping of channel plan keys, or a whole channel plan.

    Raises:
        UsageError: another number of channels, or an unknown scheme or key.
    """
    if asked is None:
        channels = [_channel(facts, scheme_for(facts.name)) for facts in found.channels]
        ways = [_channel_reason(facts, plan) for facts, plan in zip(found.channels, channels, strict=True)]
        return channels, "; ".join(dict.fromkeys(ways))
    if isinstance(asked, str) or len(asked) != len(found.channels):
        raise UsageError(
            f"channels is {asked!r}, wanted {len(found.channels)} schemes or channel plans",
            hint="such as ['zscore'], one per channel",
            code="PLAN_CHANNELS",
        )
    given = zip(found.channels, asked, strict=True)
    return [_asked_channel(facts, value) for facts, value in given], "as asked"


def _asked_channel(facts: ChannelFacts, value: Any) -> ChannelPlan:
    if isinstance(value, ChannelPlan):
        return value
    try:
        if isinstance(value, dict):
            return ChannelPlan.model_validate({"name": facts.name, **value})
        return _channel(facts, value)
    except ValidationError as error:
        raise invalid(error, "channels") from None


def _channel(facts: ChannelFacts, scheme: Any) -> ChannelPlan:
    measured = (facts.foreground or facts.body) if scheme == "ct" else None
    names = ("mean", "std", "p005", "p995") if measured else ()
    return ChannelPlan(name=facts.name, scheme=scheme, **{name: getattr(measured, name) for name in names})


def _channel_reason(facts: ChannelFacts, plan: ChannelPlan) -> str:
    if plan.scheme == "ct" and facts.foreground:
        images = plural(facts.foreground.images, "labeled image")
        return f"CT: statistics of the labeled structures in {images}, as in nnU-Net"
    if plan.scheme == "ct":
        return "CT: statistics of the brighter voxels of all images, for no label has foreground"
    return f"the name {facts.name!r} asks for {plan.scheme}"


def invalid(error: ValidationError, where: str) -> UsageError:
    """All that pydantic found wrong, in one error a user can read."""
    what = f"these choices do not make a plan: {problems(error, where)}"
    return UsageError(what, hint="fix the named keys", code="PLAN_INVALID")
