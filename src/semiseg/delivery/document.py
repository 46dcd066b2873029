"""``model.json``: everything between a scan and a label map that is not the network itself.

Nothing of this package is needed to understand it; ``run_onnx.py`` shows how it is read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from semiseg.__about__ import __version__
from semiseg.delivery.source import Source
from semiseg.prediction.members import Member
from semiseg.prediction.model import Model
from semiseg.prediction.packaged import SCHEMA, VERSION
from semiseg.preparation.labels import file_values
from semiseg.preparation.plan import Plan
from semiseg.preparation.seen import FACTOR, Band
from semiseg.settings.config import InferenceConfig

Kind = Literal["zip", "onnx", "torch", "monai"]


def document(
    kind: Kind,
    model: Model,
    sources: Sequence[Source],
    files: Sequence[Mapping[str, Any]],
    more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The content of ``model.json``.

    Args:
        kind: what is exported.
        model: all members, and the settings of prediction.
        sources: where they came from.
        files: an entry per file of weights, in the order of ``model.groups()`` (of a zip: of the members).
        more: further entries of this kind of export.
    """
    members = [[member] for member in model.members] if kind == "zip" else model.groups()
    networks = [
        {**file, "members": len(group), **_input(group[0], model.settings)}
        for file, group in zip(files, members, strict=True)
    ]
    plan = model.plan
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "kind": kind,
        "semiseg": __version__,
        "dim": plan.dim,
        "channels": [channel.name for channel in plan.channels],
        "orientation": plan.orientation,
        "axes": list(plan.axes),
        "spacing": list(plan.spacing),
        "crop": plan.crop,
        "networks": networks,
        **_output(plan),
        "prediction": prediction(model.settings, plan),
        "usual": usual(plan if plan.seen else next((s.plan for s in sources if s.plan.seen), plan)),
        **(more or {}),
        "about": [source.about for source in sources],
    }


def _input(member: Member, settings: InferenceConfig) -> dict[str, Any]:
    """What a network wants to see, and how far its windows lie apart."""
    channels = [channel.model_dump(mode="json") for channel in member.plan.channels]
    steps = settings.stride or [max(1, round(edge * (1 - settings.overlap))) for edge in member.plan.patch]
    return {
        "patch": list(settings.slice_size or member.plan.patch),
        "step": list(steps),
        "normalization": channels,
        "mirrored": list(member.mirrored),
    }


def _output(plan: Plan) -> dict[str, Any]:
    """What the channels of the output mean, and which values a label map gets."""
    values = file_values(plan)
    return {
        "labels": dict(zip(plan.labels, values, strict=True)),
        "background": values[0],
        "activation": plan.head.activation,
        "outputs": list(plan.regions or plan.labels),
        "painted": [values[k] for k in plan.head.painted] or None,
        "structures": _structures(plan, values),
        "colors": plan.colors,
    }


def _structures(plan: Plan, values: Sequence[int]) -> dict[str, Any]:
    """Class or region -> the value it is painted with, all values that it has, and earlier ones around it."""
    found: dict[str, Any] = {}
    for name, places in plan.structures.items():
        around = [outer for outer in found if set(places) <= set(plan.structures[outer])]
        found[name] = {
            "value": values[plan.written[name]],
            "members": [values[k] for k in places],
            "within": around,
        }
    return found


def prediction(settings: InferenceConfig, plan: Plan) -> dict[str, Any]:
    """Windows and post-processing, every choice spelled out."""

    def names(chosen: bool | tuple[str, ...] | str) -> list[str]:
        return (list(plan.structures) if chosen else []) if isinstance(chosen, bool) else list(chosen)

    settings = settings.of_plan(plan.one_piece)
    return {
        "overlap": settings.overlap,
        "spread": settings.stride is None,
        "weighting": settings.weighting,
        "mirror": settings.mirror,
        "slice_size": None if settings.slice_size is None else list(settings.slice_size),
        "fill_holes": names(settings.fill_holes),
        "largest_component": names(settings.largest_component),
        "minimum_mm3": settings.minimum_mm3,
    }


def usual(plan: Plan) -> dict[str, Any] | None:
    """Limits of voxels and mm per axis (R, A, S, or rows and columns) in scans like the training scans."""
    seen = plan.seen
    if seen is None:
        return None

    def limits(bands: Sequence[Band]) -> list[list[float]]:
        ends = [band.log().limits(seen.scans, math.log(FACTOR)) for band in bands]
        return [[float(f"{math.exp(end):.5g}") for end in pair] for pair in ends]

    return {"size": limits(seen.size), "spacing": limits(seen.spacing)}
