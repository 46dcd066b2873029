"""How each channel is normalized: by its name, as in nnU-Net, or as the user says."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from semiseg.data.fingerprint import ChannelFacts, Fingerprint
from semiseg.data.normalize import scheme_for
from semiseg.data.plan import ChannelPlan
from semiseg.errors import UsageError


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
    if measured is None:
        return ChannelPlan(name=facts.name, scheme=scheme)
    return ChannelPlan(
        name=facts.name,
        scheme=scheme,
        mean=measured.mean,
        std=measured.std,
        p005=measured.p005,
        p995=measured.p995,
    )


def _channel_reason(facts: ChannelFacts, plan: ChannelPlan) -> str:
    if plan.scheme == "ct" and facts.foreground:
        images = facts.foreground.images
        return f"CT: statistics of the labeled structures in {images} labeled images, as in nnU-Net"
    if plan.scheme == "ct":
        return "CT: statistics of the brighter voxels of all images, for no label has foreground"
    return f"the name {facts.name!r} asks for {plan.scheme}"


def invalid(error: ValidationError, where: str) -> UsageError:
    """All that pydantic found wrong, in one error a user can read."""
    problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or where}: {e['msg']}" for e in error.errors())
    return UsageError(
        f"these choices do not make a plan: {problems}", hint="mend the named keys", code="PLAN_INVALID"
    )
