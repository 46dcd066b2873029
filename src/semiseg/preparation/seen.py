"""What the training scans look like, kept in the plan, and how another scan differs from them.

Limits are the 5 % and 95 % quantiles of the training scans, widened, and more so where there are few scans.
``benchmarks/unlike.py`` measures how often they are passed. No label is looked at.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from semiseg.preparation.look import Look

WIDENED = 0.75
"""Of the distance between the two quantiles: how far beyond them a scan is still like the others."""

FEW = 4
"""With so many training scans, limits lie twice as far out as with many."""

FACTOR = 1.5
"""Sizes and spacings within this factor of the quantiles are like the others, however alike those are."""

TINY = 1e-3
"""Smaller sizes, spacings and roughness count as this."""

FEWEST = 3
"""Images from which on their gray values are compared."""

ODD = 1.6
"""Times the 95 % quantile of the training scans: as odd as a scan may be."""

LEAST_ODD = 2.0
"""Training scans count as this odd, however alike they are."""

QUANTILE_SDS = 3.29
"""Standard deviations of a normal distribution between its 5 % and 95 % quantiles."""

AXES = {2: ("rows", "columns"), 3: ("R", "A", "S")}

Kind = Literal["slices", "size", "spacing", "gray values", "appearance"]


@dataclass(frozen=True)
class Unlike:
    """One thing in which a scan is unlike the training scans."""

    kind: Kind
    text: str
    """With the numbers, such as ``1.25 mm along R, training scans 0.625 to 0.625``."""
    value: float
    seen: tuple[float, float]
    """What 90 % of the training scans lie between."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class Frozen(BaseModel):
    """A part of a plan: it is not changed, and has no other keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Band(Frozen):
    """Quantiles of one number over the training scans."""

    low: float
    middle: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float] | NDArray[Any]) -> Self:
        """5 %, 50 % and 95 %."""
        low, middle, high = (float(f"{value:.5g}") for value in np.percentile(values, [5, 50, 95]))
        return cls(low=low, middle=middle, high=high)

    def log(self) -> Band:
        """Natural logarithms of the three."""
        low, middle, high = (math.log(max(value, TINY)) for value in (self.low, self.middle, self.high))
        return Band(low=low, middle=middle, high=high)

    def limits(self, count: int, least: float, *, sure: bool = False) -> tuple[float, float]:
        """Where a scan begins to be unlike ``count`` others; at least ``least`` beyond them.

        With few scans that is wider, too, unless it is ``sure``.
        """
        wider = 1 + FEW / count
        beyond = max(wider * WIDENED * (self.high - self.low), least if sure else wider * least)
        return self.low - beyond, self.high + beyond

    def holds(
        self, value: float, count: int, *, least: float = 0.0, ratio: bool = False, sure: bool = False
    ) -> bool:
        """Whether ``value`` is within the :meth:`limits`; of logarithms where ``ratio`` is set."""
        if ratio:
            return self.log().holds(math.log(max(value, TINY)), count, least=least, sure=sure)
        low, high = self.limits(count, least, sure=sure)
        return low <= value <= high


class ChannelSeen(Frozen):
    """One channel of the training scans whose voxels were read."""

    images: int
    dark: Band
    """5th percentile of a scan's gray values."""
    bright: Band
    """95th percentile."""
    alike: Band
    """Correlation of where light and dark lie in a scan (its picture) with the mean picture of the others."""
    distance: Band
    """Mean distance of a scan's profile from the mean profile of the others, in standard deviations."""
    rough: tuple[Band, ...]
    """Per axis; see :class:`Look`."""
    odd: Band
    """How odd a scan is in these three together; see :meth:`oddness`."""
    profile: str
    """The mean profile, times 1000."""
    picture: str
    """The mean picture, times 1000."""

    @classmethod
    def of(cls, looks: Sequence[Look]) -> Self:
        """Statistics of one channel of at least :data:`FEWEST` scans; each is compared with the others."""
        profiles = np.stack([look.profile for look in looks])
        pictures = np.stack([look.picture for look in looks])
        rest = len(looks) - 1
        apart = [
            _apart(x, (profiles.sum(0) - x.profile) / rest, (pictures.sum(0) - x.picture) / rest)
            for x in looks
        ]
        alike, distance, *rough = (Band.of(values) for values in zip(*apart, strict=True))
        found = cls(
            images=len(looks),
            dark=Band.of([look.dark for look in looks]),
            bright=Band.of([look.bright for look in looks]),
            alike=alike,
            distance=distance,
            rough=tuple(rough),
            odd=Band(low=0.0, middle=0.0, high=0.0),
            profile=_packed(profiles.mean(0)),
            picture=_packed(pictures.mean(0)),
        )
        odd = Band.of([float(np.sqrt((found.deviations(values) ** 2).sum())) for values in apart])
        return found.model_copy(update={"odd": odd})

    def deviations(self, apart: Sequence[float]) -> NDArray[np.float64]:
        """Of correlation, distance and roughness per axis, in the scale of the training scans: 1 is usual.

        More alike, or less distant, than usual is no deviation.
        """
        logs = [band.log() for band in self.rough]
        values = [*apart[:2], *(math.log(max(value, TINY)) for value in apart[2:])]
        steps = [
            (value - band.middle) / max((band.high - band.low) / QUANTILE_SDS, least)
            for value, band, least in zip(
                values, (self.alike, self.distance, *logs), (0.03, 0.01, *[0.03] * len(logs)), strict=True
            )
        ]
        return np.array([min(steps[0], 0.0), max(steps[1], 0.0), *steps[2:]])

    def unlike(self, name: str, look: Look, *, levels: bool) -> list[Unlike]:
        """In what the channel of a scan is unlike the others."""
        found: list[Unlike] = []
        span = self.bright.middle - self.dark.middle
        for what, value, band in (("5th", look.dark, self.dark), ("95th", look.bright, self.bright)):
            if levels and not band.holds(value, self.images, least=span / 2):
                text = f"{what} percentile of {name} is {value:.4g}, {_in_training(band)}"
                found.append(Unlike("gray values", text, value, (band.low, band.high)))
        if len(look.rough) != len(self.rough):
            return found
        apart = _apart(look, _unpacked(self.profile), _unpacked(self.picture))
        deviations = self.deviations(apart)
        limit = ODD * (1 + FEW / self.images) * max(self.odd.high, LEAST_ODD)
        if float(np.sqrt((deviations**2).sum())) > limit:
            most = int(np.abs(deviations).argmax())
            bands = (self.alike, self.distance, *self.rough)
            whats = (
                "light and dark of {} correlate {:.2f} with theirs",
                "gray values of {} are distributed {:.2f} SD from theirs",
            )
            what = (
                whats[most]
                if most < 2
                else "roughness of {} is {:.2f} along " + AXES[len(self.rough)][most - 2]
            )
            text = f"{what.format(name, apart[most])}, {_in_training(bands[most])}"
            found.append(Unlike("appearance", text, apart[most], (bands[most].low, bands[most].high)))
        return found


def _apart(look: Look, profile: NDArray[np.float64], picture: NDArray[np.float64]) -> tuple[float, ...]:
    """Correlation of pictures, distance of profiles, and roughness per axis."""
    one, other = look.picture - look.picture.mean(), picture - picture.mean()
    scale = float(np.sqrt((one**2).sum() * (other**2).sum()))
    alike = float((one * other).sum()) / scale if scale > 0 else 0.0
    return (alike, float(np.abs(look.profile - profile).mean()), *look.rough.tolist())


class Seen(Frozen):
    """Sizes, spacings and gray values of the labeled and unlabeled training scans."""

    scans: int
    size: tuple[Band, ...]
    """Voxels along R, A and S, or along the axes of the file where it has none of these."""
    spacing: tuple[Band, ...]
    channels: tuple[ChannelSeen, ...] = ()
    """Empty where too few voxels were read."""

    @classmethod
    def of(
        cls, grids: Sequence[tuple[Sequence[int], Sequence[float]]], looks: Sequence[Sequence[Look]]
    ) -> Self:
        """Statistics of a dataset."""
        channels: tuple[ChannelSeen, ...] = ()
        if len(looks) >= FEWEST:
            channels = tuple(ChannelSeen.of(channel) for channel in zip(*looks, strict=True))
        return cls(
            scans=len(grids),
            size=tuple(Band.of(values) for values in zip(*(shape for shape, _ in grids), strict=True)),
            spacing=tuple(Band.of(values) for values in zip(*(mm for _, mm in grids), strict=True)),
            channels=channels,
        )

    def unlike(
        self,
        shape: Sequence[int],
        spacing: Sequence[float],
        looks: Sequence[Look],
        channels: Sequence[tuple[str, bool]],
    ) -> list[Unlike]:
        """In what a scan is unlike the training scans, at most one entry per kind."""
        found: list[Unlike] = []
        if len(shape) == len(self.size):
            found += self._grid(shape, spacing)
        for seen, look, (name, levels) in zip(self.channels, looks, channels, strict=False):
            found += seen.unlike(name, look, levels=levels)
        return list({one.kind: one for one in reversed(found)}.values())[::-1]

    def _grid(self, shape: Sequence[int], spacing: Sequence[float]) -> list[Unlike]:
        found: list[Unlike] = []
        axes = AXES[len(shape)]
        least = math.log(FACTOR)
        for axis, (size, mm) in enumerate(zip(self.size, self.spacing, strict=True)):
            if not size.holds(shape[axis], self.scans, least=least, ratio=True):
                slices = axis == self.slice_axis
                what = "slices" if slices else f"voxels along {axes[axis]}"
                text = f"{shape[axis]} {what}, {_in_training(size)}"
                found.append(
                    Unlike("slices" if slices else "size", text, float(shape[axis]), (size.low, size.high))
                )
            # a protocol sets spacings: a few scans tell them as well as many
            if not mm.holds(spacing[axis], self.scans, least=least, ratio=True, sure=True):
                text = f"{spacing[axis]:.4g} mm along {axes[axis]}, {_in_training(mm)}"
                found.append(Unlike("spacing", text, float(spacing[axis]), (mm.low, mm.high)))
        return found

    @property
    def slice_axis(self) -> int | None:
        """Where voxels lie furthest apart, the last such axis; None of pictures."""
        if len(self.spacing) < 3:
            return None
        apart = [band.middle for band in self.spacing]
        return max(axis for axis, mm in enumerate(apart) if mm > 0.99 * max(apart))


def _in_training(band: Band) -> str:
    return f"training scans {band.low:.4g} to {band.high:.4g}"


def _packed(values: NDArray[np.float64]) -> str:
    """One line of a file that people read, in place of a hundred."""
    return " ".join(str(round(1000 * value)) for value in values.ravel())


def _unpacked(text: str) -> NDArray[np.float64]:
    return np.array([float(word) for word in text.split()]) / 1000
