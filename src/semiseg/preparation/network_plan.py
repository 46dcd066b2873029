"""The network part of a plan: what was asked for, completed, and checked against the patch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from semiseg.errors import UsageError, plural, unknown_name
from semiseg.images.grid import times
from semiseg.preparation.network_size import SMALLEST_MAP, Budget, fitting_patch, stages_for
from semiseg.preparation.plan import Choice, NetworkPlan

Table = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class AskedNetwork:
    """What the user says about the network; empty where the planner decides."""

    name: str = "unet"
    features: tuple[int, ...] | None = None
    strides: Table = ()
    kernels: Table = ()


def asked_network(network: Any, others: dict[str, Any]) -> AskedNetwork:
    """Gather ``network`` (a name, a mapping or a NetworkPlan) and the loose keys, which win.

    Takes ``features``, ``strides`` and ``kernels`` out of ``others``.

    Raises:
        UsageError: an unknown key, or values that are no sizes.
    """
    keys = ("name", "features", "strides", "kernels")
    values: dict[str, Any] = {}
    if isinstance(network, NetworkPlan):
        values = network.model_dump()
    elif isinstance(network, Mapping):
        values = dict(network)
    elif network is not None:
        values = {"name": str(network)}
    for name in values:
        if name not in keys:
            raise unknown_name("network setting", str(name), keys)
    values.update({name: others.pop(name) for name in keys[1:] if name in others})
    features = values.get("features")
    return AskedNetwork(
        name=values.get("name") or "unet",
        features=_sizes("features", features) if features else None,
        strides=tuple(_sizes("strides", row) for row in values.get("strides") or ()),
        kernels=tuple(_sizes("kernels", row) for row in values.get("kernels") or ()),
    )


def plan_network(
    asked: AskedNetwork, patch: Sequence[int], spacing: Sequence[float], budget: Budget, *, fixed: bool
) -> Choice[NetworkPlan]:
    """Complete the network for this patch.

    Raises:
        UsageError: the patch cannot be halved as often as the network wants; names the nearest that can.
    """
    if asked.strides:
        return _given_strides(asked, patch, budget, fixed)
    most = len(asked.features) if asked.features else budget.stages
    strides, kernels = stages_for(patch, spacing, most, exact=True)
    ideal, _ = stages_for(patch, spacing, most, exact=False)
    real, wanted = _divisor(strides), _divisor(ideal)
    slack = 1 if asked.features else 2  # one halving less than could be is worth no complaint
    if any(slack * d < w for d, w in zip(real, wanted, strict=True)):
        raise _indivisible(patch, wanted)
    if asked.features and len(strides) < len(asked.features):
        raise _too_deep(asked.features, patch, len(strides))
    features = asked.features or budget.features(len(strides))
    kernels = asked.kernels or kernels
    _require_rows("kernels", kernels, features, patch)
    plan = NetworkPlan(name=asked.name, features=features, strides=strides, kernels=kernels)
    maps = times(n // d for n, d in zip(patch, real, strict=True))
    capped = len(strides) == budget.stages and not asked.features
    limit = f"{budget.stages} stages on this device" if capped else f"{SMALLEST_MAP} voxels per axis"
    return Choice(plan, f"{plural(len(strides), 'stage')}, the smallest map {maps}; limit: {limit}")


def _given_strides(
    asked: AskedNetwork, patch: Sequence[int], budget: Budget, fixed: bool
) -> Choice[NetworkPlan]:
    features = asked.features or budget.features(len(asked.strides))
    kernels = asked.kernels or ((3,) * len(patch),) * len(features)
    _require_rows("strides", asked.strides, features, patch)
    _require_rows("kernels", kernels, features, patch)
    divisor = _divisor(asked.strides)
    if fixed and any(n % d for n, d in zip(patch, divisor, strict=True)):
        raise _indivisible(patch, divisor)
    plan = NetworkPlan(name=asked.name, features=features, strides=asked.strides, kernels=kernels)
    return Choice(plan, "strides as asked")


def _indivisible(patch: Sequence[int], divisor: Sequence[int]) -> UsageError:
    nearest = list(fitting_patch(patch, divisor))
    return UsageError(
        f"patch is {'x'.join(map(str, patch))}, but the network halves it and wants multiples of "
        f"{'x'.join(map(str, divisor))}",
        hint=f"the nearest patch that fits is {','.join(map(str, nearest))}",
        code="PLAN_PATCH",
        details={"patch": list(patch), "divisor": list(divisor), "nearest": nearest},
    )


def _too_deep(features: Sequence[int], patch: Sequence[int], stages: int) -> UsageError:
    return UsageError(
        f"features has {plural(len(features), 'stage')}, but a patch of {'x'.join(map(str, patch))} "
        f"allows {stages}: "
        f"every feature map keeps at least {SMALLEST_MAP} voxels per axis",
        hint=f"give at most {stages} features, or a larger patch",
        code="PLAN_FEATURES",
        details={"patch": list(patch), "stages": stages},
    )


def _require_rows(name: str, rows: Table, features: Sequence[int], patch: Sequence[int]) -> None:
    if len(rows) != len(features) or any(len(row) != len(patch) for row in rows):
        raise UsageError(
            f"{name} is {[list(row) for row in rows]}, wanted {plural(len(features), 'stage')} of "
            f"{len(patch)} axes",
            hint="one row per entry of features, one number per axis of the patch",
            code="PLAN_NETWORK",
        )


def _sizes(name: str, values: Any) -> tuple[int, ...]:
    given = tuple(values) if isinstance(values, list | tuple) else (values,)
    if not given or any(isinstance(v, bool) or not isinstance(v, int) or v < 1 for v in given):
        raise UsageError(
            f"{name} holds {values!r}, wanted whole numbers above 0",
            hint="such as features 16,32,64,128",
            code="PLAN_NETWORK",
        )
    return given


def _divisor(strides: Table) -> tuple[int, ...]:
    return NetworkPlan(strides=strides).divisor
