"""The plan: a small JSON file that says how scans become network input. A person can read and edit it.

Axes: a scan is first turned to ``orientation`` (axes R, A, S for ``"RAS"``), then its axes are put in the
order ``axes``. In 2D the slice axis comes first, so that stored arrays are always (C, T0, T1, T2): a 3D plan
cuts its patch from all three axes, a 2D plan cuts (T1, T2) patches from single slices along T0.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Generic, Literal, Self, TypeVar

from pydantic import Field, ValidationError, model_validator

from semiseg.errors import UsageError, plural
from semiseg.machine.files import write_text
from semiseg.preparation.seen import Frozen, Seen

if TYPE_CHECKING:
    from semiseg.core import Head

Scheme = Literal["zscore", "ct", "none", "rescale_to_0_1", "rgb_to_0_1"]
T = TypeVar("T")


@dataclass(frozen=True)
class Choice(Generic[T]):
    """A value of a plan, and in one line why it is this one."""

    value: T
    reason: str = "as asked"


class ChannelPlan(Frozen):
    """How one input channel is normalized.

    ``zscore`` uses each image's own mean and standard deviation; ``ct`` clips to [p005, p995] and applies the
    dataset's mean and std; ``none`` leaves values alone; ``rescale_to_0_1`` is per-image min-max;
    ``rgb_to_0_1`` divides by 255. The statistics come from labeled and unlabeled images, never from test.
    ``clip`` cuts gray values off before any of these: the window of a CT, such as [-125, 275] HU.
    """

    name: str
    scheme: Scheme
    mean: float = 0.0
    std: float = 1.0
    p005: float = 0.0
    p995: float = 0.0
    clip: tuple[float, float] | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.clip is not None and not self.clip[0] < self.clip[1]:
            raise ValueError(f"clip is {list(self.clip)}, wanted the lower value first")
        return self


Code = tuple[str, str, str]
"""Code value, coding scheme and meaning, such as ``("59652004", "SCT", "Atrium")``."""
Color = Annotated[str, Field(pattern="^#[0-9a-fA-F]{6}$")]


class Term(Frozen):
    """What DICOM calls a class or region: see :mod:`semiseg.dataset.terminology`."""

    category: Code
    type: Code
    color: Color | None = None


class NetworkPlan(Frozen):
    """Size of the default network: one entry per resolution stage, the first at full resolution."""

    name: str = "unet"
    features: tuple[int, ...] = (32, 64, 128, 256)
    strides: tuple[tuple[int, ...], ...] = ()
    """Down-sampling factor per axis when entering each stage; the first is all ones."""
    kernels: tuple[tuple[int, ...], ...] = ()
    """Convolution kernel per axis in each stage (1 across slices while they are much thicker)."""

    @property
    def divisor(self) -> tuple[int, ...]:
        """What each patch edge must be divisible by."""
        product = [1] * (len(self.strides[0]) if self.strides else 0)
        for stride in self.strides:
            product = [p * s for p, s in zip(product, stride, strict=True)]
        return tuple(product)


class Plan(Frozen):
    """Everything between a file and a patch, made by ``semiseg plan`` or written by hand."""

    version: Literal[1] = 1
    dataset: str = ""
    dim: Literal[2, 3]
    orientation: Literal["RAS", "native"] = "RAS"
    axes: tuple[int, int, int] = (0, 1, 2)
    """Stored axis i is oriented axis ``axes[i]``; the slice axis first when ``dim`` is 2."""
    spacing: tuple[float | None, float | None, float | None]
    """Target mm per *stored* axis; None keeps the scan's own spacing along it (always for slices in 2D)."""
    crop: Literal["none", "nonzero"] = "none"
    """``nonzero`` crops to the box of voxels that are not exactly 0 in some channel; never uses a label."""
    channels: tuple[ChannelPlan, ...]
    labels: dict[str, int]
    """Class name -> value in the label files, in class order; class k of the network is the k-th entry,
    unless there are regions."""
    regions: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    """Region -> the values that it is made of; the network has a channel for each region, in this order."""
    regions_class_order: tuple[int, ...] = ()
    """The value that each region is painted with in a prediction, later ones over earlier ones."""
    label_map: dict[int, int] = Field(default_factory=dict)
    """Raw value in a file -> declared value, for files with 255 or 1/2/4 (``check --fix`` writes it)."""
    ignore_value: int | None = None
    """The declared value that masks the loss (nnU-Net's ``ignore``), not one of the classes."""
    one_piece: tuple[str, ...] = ()
    """Classes that are one connected piece in every labeled scan; ``inference.largest_component: plan`` keeps
    the largest piece of each."""
    colors: dict[str, Color] = Field(default_factory=dict)
    """Class name -> ``#rrggbb`` in which predicted pictures show it; classes without one get usual colors."""
    terminology: dict[str, Term] = Field(default_factory=dict)
    """Class or region -> its codes in DICOM results; those without any get neutral ones."""
    patch: tuple[int, ...]
    """Voxels per axis of a training patch: three entries in 3D, two in 2D."""
    batch: int = Field(4, ge=1)
    """Patches per iteration, labeled and unlabeled together."""
    foreground: float = Field(1 / 3, ge=0, le=1)
    """Share of labeled patches that are centered on a foreground voxel."""
    network: NetworkPlan = NetworkPlan()
    memory_gb: dict[str, float] = Field(default_factory=dict)
    """Estimates: training ``one network``, ``two networks``, ``as planned``; and the ``prepared cases``."""
    reasons: dict[str, str] = Field(default_factory=dict)
    """Why each choice was made, one line each; nothing reads it but people."""
    seen: Seen | None = None
    """What the training scans look like; prediction tells of scans that are unlike them."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.patch) != self.dim:
            raise ValueError(
                f"patch has {plural(len(self.patch), 'entry', 'entries')}, but dim is {self.dim}"
            )
        if sorted(self.axes) != [0, 1, 2]:
            raise ValueError(f"axes must order 0, 1, 2, got {self.axes}")
        names = [*self.labels, *self.regions, *(channel.name for channel in self.channels)]
        if not all(name.isprintable() for name in names):
            raise ValueError("the name of a class or channel has characters that cannot be seen")
        if self.seen is not None and len(self.seen.channels) not in (0, len(self.channels)):
            raise ValueError(
                f"seen has {plural(len(self.seen.channels), 'channel')}, channels {len(self.channels)}"
            )
        if len(set(self.labels.values())) != len(self.labels):
            raise ValueError("two classes have the same label value")
        used = {value for members in (*self.regions.values(), self.regions_class_order) for value in members}
        if not used <= set(self.labels.values()) or len(self.regions_class_order) != len(self.regions):
            raise ValueError("regions and regions_class_order do not fit the values of labels")
        return self

    @property
    def classes(self) -> int:
        """K, the channels of the network: classes with background, or regions."""
        return len(self.regions) or len(self.labels)

    @property
    def structures(self) -> dict[str, tuple[int, ...]]:
        """What is scored: region, or class but background -> places of its values in :attr:`labels`."""
        place = {value: k for k, value in enumerate(self.labels.values())}
        if self.regions:
            return {name: tuple(place[v] for v in members) for name, members in self.regions.items()}
        return {name: (k,) for k, name in enumerate(self.labels) if k}

    @property
    def written(self) -> dict[str, int]:
        """Structure -> the place in :attr:`labels` of the value that predictions have there."""
        place = {value: k for k, value in enumerate(self.labels.values())}
        if self.regions:
            return {n: place[v] for n, v in zip(self.regions, self.regions_class_order, strict=True)}
        return {name: k for name, (k,) in self.structures.items()}

    @property
    def head(self) -> Head:
        """The meaning of the network's channels."""
        from semiseg.core import Head  # imports torch, which planning does not need

        if not self.regions:
            return Head(len(self.labels))
        return Head(len(self.labels), tuple(self.structures.values()), tuple(self.written.values()))

    def sha256(self) -> str:
        """Hash of everything but the reasons, which may be worded anew."""
        text = json.dumps(self.model_dump(mode="json", exclude={"reasons"}), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def save(self, path: Path) -> None:
        """Write as indented JSON."""
        write_text(path, self.model_dump_json(indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Plan:
        """Read and validate a ``plan.json``.

        Raises:
            UsageError: unreadable, not JSON, or a key or value that does not fit; all problems at once.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise UsageError(
                f"cannot read plan {path}: {error.strerror}",
                hint=f"`semiseg plan DATASET -o {path}` writes one",
                code="PLAN_UNREADABLE",
            ) from None
        except ValidationError as error:
            raise UsageError(
                f"plan {path} is not valid: {problems(error)}",
                hint="delete it and run `semiseg plan` again, or fix the named keys",
                code="PLAN_INVALID",
            ) from None


def problems(error: ValidationError, where: str = "plan") -> str:
    """Everything that is wrong with a plan or a part of it, in one line."""
    unknown = {"extra_forbidden": "is a key that this version does not know"}
    told = [(".".join(map(str, e["loc"])) or where, unknown.get(e["type"], e["msg"])) for e in error.errors()]
    return "; ".join(f"{place}: {why}" for place, why in told)


def explain(plan: Plan) -> list[str]:
    """Every choice of a plan with its reason, one line each, in the order they depend on each other."""
    size = " x ".join
    target = size("own" if mm is None else f"{mm:g}" for mm in plan.spacing)
    network = plan.network
    values = {
        "dataset": plan.dataset or "(not named)",
        "labels": ", ".join(f"{name} = {value}" for name, value in plan.labels.items()),
        **({"regions": _painted(plan)} if plan.regions else {}),
        **({"one_piece": ", ".join(plan.one_piece)} if plan.one_piece else {}),
        "dim": f"{plan.dim}D",
        "orientation": plan.orientation,
        "axes": f"{plan.axes}",
        "spacing": f"{target} mm",
        "crop": plan.crop,
        "channels": ", ".join(map(_scheme, plan.channels)),
        "patch": f"{size(map(str, plan.patch))} voxels",
        "batch": plural(plan.batch, "patch", "patches"),
        "foreground": f"{plan.foreground:.0%} of the labeled patches are centered on foreground",
        "network": f"{network.name}, features {'-'.join(map(str, network.features))}, patch divisible by "
        f"{size(map(str, network.divisor)) or '1'}",
        "memory_gb": ", ".join(f"{name} {gb:g} GB" for name, gb in plan.memory_gb.items()) or "not estimated",
    }
    return [
        f"{name}: {value}" + (f" ({plan.reasons[name]})" if name in plan.reasons else "")
        for name, value in values.items()
    ]


def _painted(plan: Plan) -> str:
    pairs = zip(plan.regions.items(), plan.regions_class_order, strict=True)
    return ", ".join(f"{name} = {list(members)} painted with {value}" for (name, members), value in pairs)


def _scheme(channel: ChannelPlan) -> str:
    window = f" within {channel.clip[0]:g} to {channel.clip[1]:g}" if channel.clip else ""
    return f"{channel.name}: {channel.scheme}{window}"
