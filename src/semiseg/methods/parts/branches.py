"""Further decoders and disturbed feature maps (Ouali et al. 2020, arXiv:2003.09005), for training only."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semiseg.core import NetFactory, SegOutput
from semiseg.errors import UsageError

FEATURES = "features"
"""How the names of heads begin that are no logits."""

Perturbation = Callable[[Tensor], Tensor]
"""A map of the encoder -> what a decoder gets instead."""


class Branches(nn.Module):
    """A network with further decoders, which read the maps of its encoder.

    Its state is ``main.*``, the whole network, and ``decoders.*``, the further decoders and nothing else.

    Args:
        main: the network.
        others: networks of the same architecture; their encoders are removed.
        method: who asks, for messages.
        perturbations: one for each of ``others``, applied to each map by itself, in eval mode too; none
            leaves the maps as they are.
        features: answer with the last maps of the further decoders, too.

    Raises:
        UsageError: a network that is not split into encoder and decoder.
    """

    def __init__(
        self,
        main: nn.Module,
        others: Sequence[nn.Module],
        method: str,
        perturbations: Sequence[Perturbation] = (),
        *,
        features: bool = False,
    ) -> None:
        super().__init__()
        self.main = main
        for network in (main, *others):
            require_split(network, method)
        self.decoders = nn.ModuleList(map(without_encoder, others))
        self.features = features
        self.perturbations = tuple(perturbations) or (_unchanged,) * len(others)

    def forward(self, x: Tensor) -> SegOutput:
        """(B, C, *S) -> the answer of the network, with the logits of the other decoders as its heads."""
        main: Any = self.main
        decoders: Iterable[Any] = self.decoders
        maps = main.encode(x)
        levels = main.decode(maps)
        heads = {}
        for i, (decoder, perturb) in enumerate(zip(decoders, self.perturbations, strict=True), start=2):
            features = decoder.decode([perturb(m) for m in maps])[-1]
            heads[f"decoder{i}"] = decoder.classify(features)
            if self.features:
                heads[f"{FEATURES}{i}"] = features
        return SegOutput(main.classify(levels[-1]), levels[-1], heads, tuple(levels))


def whole_networks(branches: Branches) -> list[nn.Module]:
    """The network, and each further decoder as one of its own: they share the encoder."""
    main: Any = branches.main
    found = [main]
    for decoder in branches.decoders:
        network = copy.copy(decoder)
        network._modules = dict(decoder._modules)  # else the decoder would get the encoder, too
        for part in main.encoder_parts:
            setattr(network, part, getattr(main, part))
        found.append(network)
    return found


def all_logits(answer: SegOutput) -> list[Tensor]:
    """The logits (B, K, *S) of the network, then those of its branches."""
    others = (head for name, head in answer.heads.items() if not name.startswith(FEATURES))
    return [answer.logits, *others]


def all_features(answer: SegOutput) -> list[Tensor]:
    """The last maps (B, D, *S) of the network, then those of its branches, of which it was asked for them."""
    others = [head for name, head in answer.heads.items() if name.startswith(FEATURES)]
    return others if answer.features is None else [answer.features, *others]


def require_split(network: nn.Module, method: str) -> None:
    """Refuse a network whose encoder and decoder cannot be run one after the other.

    Raises:
        UsageError: it has no ``encoder_parts``, the names of what ``decode`` and ``classify`` do without.
    """
    if not getattr(network, "encoder_parts", ()):
        raise UsageError(
            f"{method} runs encoder and decoder of the network apart, and {type(network).__name__} is not "
            "split into these",
            hint="choose another network (`semiseg networks`), or give yours encode, decode, classify and "
            "encoder_parts",
        )


def without_encoder(network: nn.Module) -> nn.Module:
    """The network itself, which can only ``decode`` and ``classify`` from now on."""
    parts: Any = network.encoder_parts
    for name in parts:
        delattr(network, name)
    return network


def different_decoders(make_net: NetFactory, first: nn.Module, count: int) -> list[nn.Module]:
    """Networks whose decoders double the resolution in other ways than ``first``, as far as there are others.

    Beyond those, and where the network has no choice (no ``upsamplings``), its own way again, with other
    first weights.
    """
    kinds = list(getattr(first, "upsamplings", ()))[1 : count + 1]
    return [make_net(up=kind) for kind in kinds] + [make_net() for _ in range(count - len(kinds))]


def _unchanged(x: Tensor) -> Tensor:
    return x


def feature_noise(x: Tensor, *, limit: float = 0.3, noise: Tensor | None = None) -> Tensor:
    """``x (1 + n)`` of x (B, D, *S) with one n ~ U(-limit, limit), (D, *S), for the whole batch."""
    if noise is None:
        noise = (2 * torch.rand_like(x[0]) - 1) * limit
    return x * noise + x


def feature_dropout(x: Tensor, *, rate: float) -> Tensor:
    """Element-wise dropout of (B, D, *S), in eval mode too."""
    return F.dropout(x, rate, training=True)


def channel_dropout(x: Tensor, *, rate: float) -> Tensor:
    """Dropout of whole channels of (B, D, *S), in eval mode too."""
    return F.dropout2d(x, rate) if x.ndim == 4 else F.dropout3d(x, rate)


def feature_drop(
    x: Tensor, *, between: tuple[float, float] = (0.7, 0.9), share: Tensor | None = None
) -> Tensor:
    """Sets the most active positions to 0; what is left is not scaled up.

    The activity of a position of x (B, D, *S) is its mean over channels. Positions below u times the largest
    activity of their sample stay, with one ``share`` u ~ U(between) for the whole batch.
    """
    if share is None:
        low, high = between
        share = low + (high - low) * torch.rand((), device=x.device)
    activity = x.detach().float().mean(1, keepdim=True)
    largest = activity.flatten(1).amax(1).view(-1, *[1] * (x.ndim - 1))
    return x * (activity < share * largest)


class Streams(nn.Module):
    """A network whose decoder also reads disturbed maps: channels of each map of the encoder are dropped.

    Clean and disturbed maps share one pass of the decoder (and so its batch statistics), as in UniMatch (Yang
    et al. 2023, arXiv:2208.09910). Its state is ``main.*``.

    Args:
        main: the network; for a pass with disturbed maps it must be split into encoder and decoder.
    """

    def __init__(self, main: nn.Module) -> None:
        super().__init__()
        self.main = main

    def forward(self, x: Tensor, rates: Sequence[float] = (), first: int = 0) -> SegOutput:
        """(B, C, *S) -> the answer of the network, and as heads the logits of the disturbed maps.

        Args:
            x: the images.
            rates: of the dropout, one for each stream: ``stream1``, ``stream2``, ... of (B - first, K, *S).
            first: the first sample that is disturbed.
        """
        if not rates:
            answer: SegOutput = self.main(x)
            return answer
        main: Any = self.main
        maps = main.encode(x)
        levels = main.decode(
            [torch.cat([m, *(channel_dropout(m[first:], rate=rate) for rate in rates)]) for m in maps]
        )
        logits: Tensor = main.classify(levels[-1])
        clean, *streams = torch.split(logits, [len(x), *[len(x) - first] * len(rates)])
        return SegOutput(clean, heads={f"stream{i}": z for i, z in enumerate(streams, start=1)})
