"""A plan in words: every choice on a line of its own, with its reason."""

from __future__ import annotations

from semiseg.data.plan import ChannelPlan, Plan


def explain(plan: Plan) -> list[str]:
    """Every choice of a plan with its reason, one line each, in the order they depend on each other."""
    size = " x ".join
    target = size("own" if mm is None else f"{mm:g}" for mm in plan.spacing)
    network = plan.network
    schemes = ", ".join(map(_scheme, plan.channels))
    values = {
        "dataset": plan.dataset or "(not named)",
        "labels": ", ".join(f"{name} = {value}" for name, value in plan.labels.items()),
        "dim": f"{plan.dim}D",
        "orientation": plan.orientation,
        "axes": f"{plan.axes}",
        "spacing": f"{target} mm",
        "crop": plan.crop,
        "channels": schemes,
        "patch": f"{size(map(str, plan.patch))} voxels",
        "batch": f"{plan.batch} patches",
        "foreground": f"{plan.foreground:.0%} of the labeled patches are centered on foreground",
        "network": f"{network.name}, features {'-'.join(map(str, network.features))}, patch divisible by "
        f"{size(map(str, network.divisor)) or '1'}",
        "memory_gb": ", ".join(f"{name} {gb:g} GB" for name, gb in plan.memory_gb.items()) or "not estimated",
    }
    return [
        f"{name}: {value}" + (f" ({plan.reasons[name]})" if name in plan.reasons else "")
        for name, value in values.items()
    ]


def _scheme(channel: ChannelPlan) -> str:
    window = f" within {channel.clip[0]:g} to {channel.clip[1]:g}" if channel.clip else ""
    return f"{channel.name}: {channel.scheme}{window}"
