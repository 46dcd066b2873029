"""A trained model: networks, the plan they were trained with, and how to apply them to a scan."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from semiseg.core import SegOutput
from semiseg.errors import UsageError, unknown_name
from semiseg.images.grid import Grid
from semiseg.inference.accumulate import Slab
from semiseg.inference.copies import prediction_copy
from semiseg.inference.predictor import AUTOCAST, predict_slabs
from semiseg.prediction.assembly import Assembly, Segmentation, Slabs, mean_slabs
from semiseg.prediction.members import Member, digest, require_same, trusted
from semiseg.preparation.forward import preprocess_image
from semiseg.preparation.geometry import Geometry
from semiseg.preparation.labels import file_values
from semiseg.preparation.plan import Plan, Term
from semiseg.settings.config import InferenceConfig
from semiseg.settings.resolve import validate

QUALITY: dict[str, dict[str, Any]] = {"balanced": {}, "best": {"mirror": True}}
"""Named settings of time against accuracy, measured by benchmarks/quality.py; ``balanced`` is what the model
was validated with, ``best`` adds the mirrored views that its training has seen."""


class PreparedScan(NamedTuple):
    """A scan as the networks take it."""

    inputs: tuple[tuple[tuple[Member, ...], NDArray[np.float32]], ...]
    """Members that see the same input, and that input, (C, T0, T1, T2)."""
    geometry: Geometry


@dataclass(frozen=True, eq=False)
class Model:
    """One network or an ensemble, ready to predict.

    Attributes:
        members: at least one; all have the same classes and the same voxel grid, but each may have its own
            intensity statistics and patch, as the folds of a cross-validation do.
        settings: sliding window and post-processing.
        device: where the networks are.
        precision: ``32``, ``bf16`` or ``16``.
        copies: id of a network -> its prediction copy, made when it is first needed.
    """

    members: tuple[Member, ...]
    settings: InferenceConfig = field(default_factory=InferenceConfig)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: str = "32"
    copies: dict[int, nn.Module] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if not self.members:
            raise UsageError("a model needs at least one network", hint="use -m RUN_FOLDER", code="NO_MODEL")
        if self.precision not in AUTOCAST:
            raise unknown_name("precision", self.precision, ["auto", *AUTOCAST])
        first, *others = self.members
        object.__setattr__(self, "settings", self.settings.of_plan(first.plan.one_piece))
        for other in others:
            require_same(first, other)
        for member in self.members:
            self.settings.require_fit(member.plan.patch, member.plan.structures)

    @classmethod
    def load(
        cls,
        path: Path | str | Sequence[Path | str],
        device: str | torch.device = "auto",
        *,
        overrides: Mapping[str, Any] | None = None,
        precision: str = "auto",
        allow_code: Collection[str] = (),
        folds: str | Sequence[int] | None = None,
    ) -> Model:
        """Read a model from run folders, checkpoints or zips; several make an ensemble.

        Args:
            path: a run folder (its ``final`` checkpoint, else ``best``, else ``last``), the folder of a
                cross-validation (all of its folds), a ``.ckpt`` file, a ``model.zip`` of ``semiseg export``,
                a pattern such as ``runs/D/*/labeled-8_fold-*_seed-0``, or several of them.
            device: see :func:`semiseg.machine.hardware.select_device`.
            overrides: keys of the ``inference`` section, over what the run was configured with.
            precision: ``32``, ``bf16`` or ``16``; ``auto`` is what is fastest on the device, if the networks
                answer there as they do in float32.
            allow_code: modules that may be imported where a checkpoint names a network of other code.
            folds: folds of the cross-validation that each path is one of: ``all``, ``0,2`` or numbers.

        Raises:
            UsageError: missing, damaged or foreign checkpoints, code that is not allowed, or members that do
                not fit together.
        """
        from semiseg.machine.hardware import native_precision, select_device
        from semiseg.prediction.members import members_of, read_members, tell_datasets
        from semiseg.prediction.packaged import expanded

        given = expanded([path] if isinstance(path, Path | str) else list(path), folds)
        paths = [member for each in given for member in members_of(Path(each))]
        if not paths:
            raise UsageError("no model was given", hint="use -m RUN_FOLDER", code="NO_MODEL")
        where = select_device(device)
        read = [found for p in paths for found in read_members(Path(p), allow_code)]
        members = tuple(member for member, _ in read)
        tell_datasets(members)
        for member in members:
            layout = torch.channels_last if member.plan.dim == 2 else torch.channels_last_3d
            member.network.to(where).to(memory_format=layout).eval()  # type: ignore[call-overload]
        copies: dict[int, nn.Module] = {}
        if precision == "auto":
            precision, copies = trusted(members, native_precision(where))
        model = cls(members, read[0][1], where, precision, copies)
        return model.with_settings(**(overrides or {}))

    @classmethod
    def of(
        cls,
        plan: Plan,
        networks: Sequence[nn.Module],
        settings: InferenceConfig | None = None,
        *,
        precision: str = "32",
        mirrored: tuple[int, ...] = (),
    ) -> Model:
        """A model of networks in memory, such as the one in training."""
        device = next((p.device for network in networks for p in network.parameters()), torch.device("cpu"))
        members = tuple(Member(plan, network, mirrored=mirrored) for network in networks)
        return cls(members, settings or InferenceConfig(), device, precision)

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
        """A hash of the members' weights, whatever their order (16 hex digits)."""
        digests = sorted(str(m.source.get("sha256") or digest(m.network)) for m in self.members)
        return hashlib.sha256("".join(digests).encode()).hexdigest()[:16]

    @property
    def label_values(self) -> dict[str, int]:
        """Class name -> value in the predictions, background included."""
        return dict(zip(self.plan.labels, file_values(self.plan), strict=True))

    @property
    def structures(self) -> dict[str, tuple[int, ...]]:
        """Class (without background) or region -> the values that it has in the predictions."""
        values = file_values(self.plan)
        return {name: tuple(values[k] for k in places) for name, places in self.plan.structures.items()}

    def mirrored(self, member: Member) -> tuple[int, ...]:
        """The patch axes along which the member's mirrored views are averaged: none its training lacked."""
        return member.mirrored if self.settings.mirror else ()

    def with_terminology(self, terms: Mapping[str, Term]) -> Model:
        """The same model with codes of its classes for DICOM results, over those it has."""
        members = [
            m._replace(plan=m.plan.model_copy(update={"terminology": {**m.plan.terminology, **terms}}))
            for m in self.members
        ]
        return replace(self, members=tuple(members))

    def with_settings(self, **overrides: Any) -> Model:
        """The same model with other keys of the ``inference`` section.

        Raises:
            UsageError: an unknown key or a value that does not fit.
        """
        if not overrides:
            return self
        tree = self.settings.model_dump() | overrides
        return replace(self, settings=validate({"inference": tree}).inference)

    @overload
    def segment(
        self, image: NDArray[Any], grid: Grid, *, probabilities: bool = False, entropy: bool = False
    ) -> Segmentation: ...

    @overload
    def segment(
        self,
        image: Any,
        grid: None = None,
        *,
        spacing: Sequence[float] | None = None,
        affine: ArrayLike | None = None,
        probabilities: bool = False,
        uncertainty: bool = False,
    ) -> Any: ...

    def segment(
        self,
        image: Any,
        grid: Grid | None = None,
        *,
        spacing: Sequence[float] | None = None,
        affine: ArrayLike | None = None,
        probabilities: bool = False,
        uncertainty: bool = False,
        entropy: bool = False,
    ) -> Any:
        """Predict one image that is in memory.

        Args:
            image: an array, a nibabel or a SimpleITK image, or a list of one for each channel; see
                :func:`semiseg.images.memory.hold`. An array has its axes as nibabel has them: the first to
                the patient's right, then to the front, then up, unless ``affine`` says otherwise; the array
                that SimpleITK gives counts slices first, so give the image itself. With ``grid``: (C, *S) as
                the files hold it.
            grid: where the voxels of an array lie, as :func:`semiseg.images.read` gives it.
            spacing: mm along each axis of an array; it may be missing where the model resamples nothing.
            affine: (4, 4) index to RAS+ mm of an array, instead of ``spacing``.
            probabilities: also return class probabilities.
            uncertainty: also return the uncertainty map.
            entropy: the same, with ``grid``.

        Returns:
            The label map, of the kind that ``image`` is; with probabilities or uncertainty a
            :class:`semiseg.prediction.arrays.Segmented`; with ``grid`` a :class:`Segmentation`.

        Raises:
            DataError: an image that does not fit the plan.
            UsageError: spacing is missing, or given twice.
            DeviceError: one window does not fit into memory.
            SemisegError: the network's answer is not finite.
        """
        if grid is None:
            from semiseg.prediction.arrays import given_back, hold_for

            doubt = uncertainty or entropy
            held, array = hold_for(self.plan, image, spacing, affine)
            found = self.segment(array, held.grid, probabilities=probabilities, entropy=doubt)
            made = given_back(found, held, array, self.plan, self.label_values, self.structures)
            return made if probabilities or doubt else made.labels
        prepared = self.prepare(image, grid)
        return self.infer(prepared, probabilities=probabilities, entropy=entropy).result()

    def segment_prepared(
        self,
        image: NDArray[np.float32],
        geometry: Geometry,
        *,
        probabilities: bool = False,
        entropy: bool = False,
    ) -> Segmentation:
        """As :meth:`segment` for a scan (C, T0, T1, T2) preprocessed with :attr:`plan`, as in validation."""
        prepared = PreparedScan(((self.members, image),), geometry)
        return self.infer(prepared, probabilities=probabilities, entropy=entropy).result()

    def prepare(self, image: NDArray[Any], grid: Grid) -> PreparedScan:
        """The first step of :meth:`segment`; it needs no network, and may run in another thread."""
        inputs = []
        for members in self.groups():
            prepared, geometry = preprocess_image(image, grid, members[0].plan)
            inputs.append((tuple(members), prepared))
        return PreparedScan(tuple(inputs), geometry)

    def infer(
        self,
        scan: PreparedScan,
        *,
        probabilities: bool = False,
        entropy: bool = False,
        also: Callable[[Slab], None] | None = None,
    ) -> Assembly:
        """The second step: all forward passes. ``result()`` of what it returns is the third.

        ``also`` is given every slab, too: probabilities on the networks' grid.
        """
        assembly = Assembly(
            scan.geometry, self.plan, self.settings, entropy=entropy, probabilities=probabilities
        )
        parts = [(len(members), self._slabs(members, image)) for members, image in scan.inputs]
        with closing(mean_slabs(parts)) as slabs:
            for slab in slabs:
                assembly.add(slab)
                if also is not None:
                    also(slab)
        return assembly

    @contextmanager
    def observed(self, see: Callable[[SegOutput], None]) -> Iterator[None]:
        """Call ``see`` with every output of every network while the block lasts, such as for its features."""

        def hook(_: nn.Module, __: Any, output: Any) -> None:
            if isinstance(output, SegOutput):
                see(output)

        handles = [self._copy(member).register_forward_hook(hook) for member in self.members]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def groups(self) -> list[list[Member]]:
        """Members that see the same input through the same windows and mirrors."""
        groups: dict[Any, list[Member]] = {}
        for member in self.members:
            key = (member.plan.channels, member.plan.patch, self.mirrored(member))
            groups.setdefault(key, []).append(member)
        return list(groups.values())

    def _slabs(self, members: Sequence[Member], image: NDArray[np.float32]) -> Slabs:
        return predict_slabs(
            [self._copy(member) for member in members],
            torch.from_numpy(np.ascontiguousarray(image)),
            dim=self.plan.dim,
            patch=members[0].plan.patch,
            config=self.settings,
            mirrored=self.mirrored(members[0]),
            precision=self.precision,
            probabilities=self.plan.head.probabilities,
        )

    def _copy(self, member: Member) -> nn.Module:
        """The network's prediction copy, made once."""
        key = id(member.network)
        if key not in self.copies:
            plan = member.plan
            made, _ = prediction_copy(member.network, len(plan.channels), plan.patch, self.precision)
            self.copies[key] = made
        return self.copies[key]
