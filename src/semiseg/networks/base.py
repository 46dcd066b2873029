"""What our own networks share: the check of the input, the extra heads, the form of the output."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, cast

from torch import Tensor, nn

from semiseg.core import SegOutput
from semiseg.errors import UsageError
from semiseg.networks.layers import layers, too_small


class SegNetwork(nn.Module):
    """A network that turns (B, C, *S) into levels, the last of them (B, D, *S) into logits and heads.

    A subclass sets :attr:`divisor` and :attr:`widths`, builds its layers under its own names, calls
    :meth:`add_heads` last (so that the heads' keys come after all others in the state_dict), and writes
    :meth:`encode`, :meth:`decode` and :meth:`classify`, or :meth:`extract` and :meth:`classify` where encoder
    and decoder cannot be told apart. Its constructor takes ``dim`` (2 or 3), ``in_channels`` (C), ``classes``
    (K), ``heads`` (1x1 convolutions on the last features, name -> channels) and options of its own.
    """

    dims: ClassVar[tuple[int, ...]] = (2, 3)
    divisor: tuple[int, ...]
    """Each edge of the input must be divisible by this."""
    widths: tuple[int, ...]
    """Channels of each level, deepest first."""
    encoder_parts: ClassVar[tuple[str, ...]] = ()
    """The attributes that :meth:`decode` and :meth:`classify` do without; none where there is no
    :meth:`encode`."""
    upsamplings: tuple[str, ...] = ()
    """The values that the option ``up`` may have here, the chosen one first; none where it has no such
    option."""

    def __init__(self, dim: int, in_channels: int, classes: int) -> None:
        super().__init__()
        layers(dim)  # refuses other numbers of axes
        if in_channels < 1 or classes < 1:
            raise UsageError(
                f"{type(self).__name__} needs at least one input channel and one class, "
                f"got in_channels={in_channels}, classes={classes}",
                hint="give the numbers of the plan",
            )
        self.dim = dim
        self.in_channels = in_channels
        self.classes = classes

    def add_heads(self, features: int, heads: Mapping[str, int] | None) -> None:
        """Put one 1x1(x1) convolution per head on the last ``features`` channels; none leaves no trace."""
        self.heads = make_heads(self.dim, features, heads)

    def encode(self, x: Tensor) -> list[Tensor]:
        """(B, C, *S) -> the maps of the way down, the bottleneck last, before any dropout of the decoder."""
        raise self._undefined("extracts features", "encode and decode, or extract,")

    def decode(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """The maps of :meth:`encode` -> the levels, as :meth:`extract`; ``maps`` stays as it is."""
        raise self._undefined("decodes", "decode")

    def extract(self, x: Tensor) -> list[Tensor]:
        """(B, C, *S) -> the decoder's maps: the bottleneck, ..., the head's input (B, D, *S)."""
        return self.decode(self.encode(x))

    def classify(self, features: Tensor) -> Tensor:
        """(B, D, *S) -> logits (B, K, *S)."""
        raise self._undefined("classifies features", "classify")

    def _undefined(self, what: str, how: str) -> UsageError:
        return UsageError(
            f"{type(self).__name__} does not say how it {what}", hint=f"define {how} in the class"
        )

    def forward(self, x: Tensor) -> SegOutput:
        """(B, C, *S) -> logits (B, K, *S), features (B, D, *S), the heads asked for and all levels.

        Raises:
            UsageError: wrong number of axes or channels, or a size that :attr:`divisor` does not divide.
        """
        self.check(x)
        return self.answer(self.extract(x))

    def answer(self, levels: Sequence[Tensor]) -> SegOutput:
        """Logits and heads of the last level."""
        features = levels[-1]
        return SegOutput(self.classify(features), features, run_heads(self.heads, features), tuple(levels))

    def check(self, x: Tensor) -> None:
        """Refuse an input that does not fit, in words."""
        check_input(type(self).__name__, x.shape, self.dim, self.in_channels, self.divisor)
        deepest = math.prod([s // d for s, d in zip(x.shape[2:], self.divisor, strict=True)])
        if self.training and x.shape[0] * deepest < 2:
            raise too_small()


def chosen_first(chosen: str, kinds: Sequence[str]) -> tuple[str, ...]:
    """For :attr:`SegNetwork.upsamplings`."""
    return (chosen, *(kind for kind in kinds if kind != chosen))


def make_heads(dim: int, features: int, heads: Mapping[str, int] | None) -> nn.ModuleDict:
    """Head name -> a 1x1(x1) convolution from ``features`` channels.

    Raises:
        UsageError: a head with no channels, or a name that cannot be a state_dict key.
    """
    for name, channels in (heads or {}).items():
        if not name.isidentifier() or channels < 1:
            raise UsageError(
                f"head {name!r} with {channels} channels cannot be built",
                hint="give a plain name and at least one channel, such as sdf: 1",
            )
    conv = layers(dim).conv
    return nn.ModuleDict({name: conv(features, n, 1) for name, n in (heads or {}).items()})


def run_heads(heads: nn.ModuleDict, features: Tensor) -> dict[str, Tensor]:
    """Every head on the same features."""
    return {name: cast(Tensor, head(features)) for name, head in heads.items()}


def check_input(name: str, shape: Sequence[int], dim: int, in_channels: int, divisor: Sequence[int]) -> None:
    """Raise UsageError unless (B, C, *S) fits the network; the hint names the size to pad to."""
    if len(shape) != dim + 2:
        axes = "(B, C, H, W)" if dim == 2 else "(B, C, D, H, W)"
        raise UsageError(
            f"{name} is {dim}D and wants {axes}, got an input of shape {tuple(shape)}",
            hint="give a batch axis, a channel axis and one axis per dimension",
            code="INPUT_AXES",
        )
    if shape[1] != in_channels:
        raise UsageError(
            f"{name} was built for {in_channels} input channel(s), got {shape[1]}",
            hint=f"build it with in_channels={shape[1]}, or give {in_channels} channel(s)",
            code="INPUT_CHANNELS",
        )
    size = tuple(shape[2:])
    wanted = tuple(-(-s // d) * d for s, d in zip(size, divisor, strict=True))
    if size != wanted:
        raise UsageError(
            f"{name} needs an input size divisible by {_times(divisor)}, got {_times(size)}",
            hint=f"pad the input to {_times(wanted)}",
            code="INPUT_SIZE",
            details={"got": size, "pad_to": wanted, "divisor": tuple(divisor)},
        )


def _times(numbers: Sequence[int]) -> str:
    return "x".join(map(str, numbers))
