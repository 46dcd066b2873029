"""Further decoders on the encoder of a network, for training only: what is exported is the network alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

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
            f"{method} puts further decoders on the encoder of the network, and {type(network).__name__} is "
            "not split into encoder and decoder",
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
