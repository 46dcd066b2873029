"""A trained model: networks, the plan they were trained with, and how to apply them to a scan."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from semiseg.config import InferenceConfig
from semiseg.data.labels import file_values
from semiseg.data.plan import Plan
from semiseg.data.preprocess import (
    Geometry,
    preprocess_image,
    restore_labels,
    restore_map,
    restore_probabilities,
)
from semiseg.data.volume import Grid
from semiseg.errors import SemisegError, UsageError, unknown_name
from semiseg.inference.fit import require_settings_fit
from semiseg.inference.postprocess import postprocess
from semiseg.inference.predictor import AUTOCAST, predict_probabilities
from semiseg.inference.uncertainty import entropy as entropy_of
from semiseg.resolve import validate

QUALITY: dict[str, dict[str, Any]] = {
    "fast": {"overlap": 0.25, "mirror": False},
    "balanced": {},
    "best": {"overlap": 0.5, "mirror": True},
}
"""Named settings of time against accuracy; ``balanced`` is what the model was validated with."""


class Segmentation(NamedTuple):
    """A scan's prediction on the scan's own voxels."""

    labels: NDArray[Any]
    """(*S), the user's label values, smallest unsigned integer type."""
    probabilities: NDArray[np.float32] | None = None
    """(K, *S), where asked for."""
    entropy: NDArray[np.float32] | None = None
    """(*S) in [0, 1], 0 certain, where asked for."""


class Member(NamedTuple):
    """One network of a model, and where it came from."""

    plan: Plan
    network: nn.Module
    source: Mapping[str, Any] = {}
    """``file``, ``sha256``, ``step``, ``score``, ``method``; empty for a network in training."""


@dataclass(frozen=True, eq=False)
class Model:
    """One network or an ensemble, ready to predict.

    Attributes:
        members: at least one; all have the same classes and the same voxel grid, but each may have its own
            intensity statistics and patch, as the folds of a cross-validation do.
        settings: sliding window and post-processing.
        device: where the networks are.
        precision: ``32``, ``bf16`` or ``16``.
    """

    members: tuple[Member, ...]
    settings: InferenceConfig = field(default_factory=InferenceConfig)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: str = "32"

    def __post_init__(self) -> None:
        if not self.members:
            raise UsageError("a model needs at least one network", hint="use -m RUN_FOLDER", code="NO_MODEL")
        if self.precision not in AUTOCAST:
            raise unknown_name("precision", self.precision, ["auto", *AUTOCAST])
        first, *others = self.members
        for other in others:
            _require_same(first, other)
        for member in self.members:
            require_settings_fit(self.settings, member.plan.patch, list(member.plan.labels)[1:])

    @classmethod
    def load(
        cls,
        path: Path | str | Sequence[Path | str],
        device: str | torch.device = "auto",
        *,
        overrides: Mapping[str, Any] | None = None,
        precision: str = "auto",
    ) -> Model:
        """Read a model from run folders or checkpoints; several make an ensemble.

        Args:
            path: a run folder (its ``final`` checkpoint, else ``best``, else ``last``), a ``.ckpt`` file, or
                several of them.
            device: see :func:`semiseg.devices.select_device`.
            overrides: keys of the ``inference`` section, over what the run was configured with.
            precision: ``32``, ``bf16`` or ``16``; ``auto`` is what is fastest on the device.

        Raises:
            UsageError: missing, damaged or foreign checkpoints, or members that do not fit together.
        """
        from semiseg.devices import native_precision, select_device
        from semiseg.saved import read_member

        paths = [path] if isinstance(path, Path | str) else list(path)
        if not paths:
            raise UsageError("no model was given", hint="use -m RUN_FOLDER", code="NO_MODEL")
        where = select_device(device)
        read = [read_member(Path(p)) for p in paths]
        members = tuple(member for member, _ in read)
        for member in members:
            layout = torch.channels_last if member.plan.dim == 2 else torch.channels_last_3d
            member.network.to(where).to(memory_format=layout).eval()  # type: ignore[call-overload]
        chosen = native_precision(where) if precision == "auto" else precision
        return cls(members, read[0][1], where, chosen).with_settings(**(overrides or {}))

    @classmethod
    def of(
        cls,
        plan: Plan,
        networks: Sequence[nn.Module],
        settings: InferenceConfig | None = None,
        *,
        precision: str = "32",
    ) -> Model:
        """A model of networks in memory, such as the one in training."""
        device = next((p.device for network in networks for p in network.parameters()), torch.device("cpu"))
        return cls(tuple(Member(plan, n) for n in networks), settings or InferenceConfig(), device, precision)

    @property
    def plan(self) -> Plan:
        """The first member's plan; classes, axes and spacing are those of all."""
        return self.members[0].plan

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """All networks."""
        return tuple(member.network for member in self.members)

    @property
    def id(self) -> str:
        """The same for the same weights in the same order-free set of members (16 hex digits)."""
        digests = sorted(str(m.source.get("sha256") or _digest(m.network)) for m in self.members)
        return hashlib.sha256("".join(digests).encode()).hexdigest()[:16]

    @property
    def label_values(self) -> dict[str, int]:
        """Class name -> value in the predictions, background included."""
        return dict(zip(self.plan.labels, file_values(self.plan), strict=True))

    def with_settings(self, **overrides: Any) -> Model:
        """The same model with other keys of the ``inference`` section.

        Raises:
            UsageError: an unknown key or a value that does not fit.
        """
        if not overrides:
            return self
        tree = self.settings.model_dump() | overrides
        return replace(self, settings=validate({"inference": tree}).inference)

    def segment(
        self, image: NDArray[Any], grid: Grid, *, probabilities: bool = False, entropy: bool = False
    ) -> Segmentation:
        """Predict one scan.

        Args:
            image: (C, *S), any numeric type, as the files hold it.
            grid: where the voxels lie.
            probabilities: also return class probabilities.
            entropy: also return the uncertainty map.

        Raises:
            DataError: an image that does not fit the plan.
            DeviceError: one window does not fit into memory.
            SemisegError: the network's answer is not finite.
        """
        parts = []
        for members in self._groups():
            prepared, geometry = preprocess_image(image, grid, members[0].plan)
            parts.append((len(members), self._probabilities(members, prepared)))
        return self._finish(_mean(parts), geometry, probabilities, entropy)

    def segment_prepared(
        self,
        image: NDArray[np.float32],
        geometry: Geometry,
        *,
        probabilities: bool = False,
        entropy: bool = False,
    ) -> Segmentation:
        """As :meth:`segment` for a scan that was already preprocessed with :attr:`plan`, as in validation.

        Args:
            image: (C, T0, T1, T2) float32.
            geometry: the scan's.
            probabilities: also return class probabilities.
            entropy: also return the uncertainty map.
        """
        return self._finish(self._probabilities(self.members, image), geometry, probabilities, entropy)

    def _groups(self) -> list[list[Member]]:
        """Members that see the same input through the same window."""
        groups: dict[Any, list[Member]] = {}
        for member in self.members:
            groups.setdefault((member.plan.channels, member.plan.patch), []).append(member)
        return list(groups.values())

    def _probabilities(self, members: Sequence[Member], image: NDArray[np.float32]) -> Tensor:
        """(K, T0, T1, T2) on the device, or on the CPU where that does not fit."""
        return predict_probabilities(
            [member.network for member in members],
            torch.from_numpy(np.ascontiguousarray(image)),
            dim=self.plan.dim,
            patch=members[0].plan.patch,
            config=self.settings,
            precision=self.precision,
        )

    def _finish(self, mean: Tensor, geometry: Geometry, probabilities: bool, entropy: bool) -> Segmentation:
        if not bool(torch.isfinite(mean.sum())):
            raise SemisegError(
                "the network answers NaN or infinity for this scan",
                hint="the training has diverged, or --precision 16 overflows: try precision 32",
                code="NOT_FINITE",
            )
        doubt = restore_map(_numpy(entropy_of(mean)), geometry, self.plan) if entropy else None
        scores = _numpy(mean)
        values = self.label_values
        background, *_ = values.values()
        labels = postprocess(
            restore_labels(scores, geometry, self.plan),
            {name: value for name, value in values.items() if value != background},
            fill_holes=self.settings.fill_holes,
            largest_component=self.settings.largest_component,
            minimum_mm3=self.settings.minimum_mm3,
            spacing=geometry.source.spacing,
            background=background,
        )
        shares = restore_probabilities(scores, geometry, self.plan) if probabilities else None
        return Segmentation(labels, shares, doubt)


def _mean(parts: Sequence[tuple[int, Tensor]]) -> Tensor:
    """The weighted mean of tensors of one shape."""
    if len(parts) == 1:
        return parts[0][1]
    total = torch.zeros(parts[0][1].shape)
    for weight, part in parts:
        total.add_(part.cpu(), alpha=weight / sum(w for w, _ in parts))
    return total


def _digest(network: nn.Module) -> str:
    digest = hashlib.sha256()
    for key, value in network.state_dict().items():
        digest.update(key.encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _numpy(values: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = values.float().cpu().numpy()
    return array


_FREE = ("dataset", "batch", "foreground", "network", "memory_gb", "reasons", "version", "patch", "channels")
"""Keys of a plan in which the members of an ensemble may differ."""


def _require_same(first: Member, other: Member) -> None:
    """Members must have the same classes and lay a scan out on the same voxels."""
    mine, theirs = (member.plan.model_dump(exclude=set(_FREE)) for member in (first, other))
    wrong = [
        key for key in mine if mine[key] != theirs[key] or list(_keys(mine[key])) != list(_keys(theirs[key]))
    ]
    if len(first.plan.channels) != len(other.plan.channels):
        wrong.append("channels")
    if wrong:
        names = [str(member.source.get("file", "a network")) for member in (first, other)]
        key = wrong[0]
        raise UsageError(
            f"{names[0]} and {names[1]} cannot form an ensemble: their plans differ in {', '.join(wrong)} "
            f"({mine.get(key)} and {theirs.get(key)})",
            hint="combine runs on the same dataset and plan only",
            code="ENSEMBLE",
        )


def _keys(value: Any) -> Sequence[Any]:
    return list(value) if isinstance(value, dict) else []
