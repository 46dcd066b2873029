"""What a run is made of: typed sections, one YAML file, and ``--set section.key=value``.

Precedence, weakest first: defaults here < recipe < file < environment (``SEMISEG__OPTIMIZER__LR``) <
``--set``.
A recipe may say more for one method under ``methods: {NAME: {…}}``, which is laid over the recipe when that
method runs. The resolved configuration is written into every run folder.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from semiseg.errors import UsageError, plural, unknown_name


def _as_text(value: Any) -> Any:
    """``precision: 32`` is a number in YAML, and meant as the name."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _length(value: Any) -> Any:
    """One message for what would be two: neither a number nor the word."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if value == "auto" or (whole and value >= 1):
        return value
    raise ValueError("wanted a whole number above 0, or auto")


Voxels = Annotated[int, Field(ge=1)]

AUTO_ITERATIONS = {"cpu": {2: 6000, 3: 2000}, "cuda": {2: 20_000, 3: 10_000}, "mps": {2: 9000, 3: 3000}}
"""What ``train.iterations: auto`` means in 2D and in 3D: up to half an hour on two cores of a CPU, a coffee
break on a GPU. On development cases of ACDC (2D) twice 3000 iterations gain 0.012 Dice; in 3D twice 1000 gain
0.008 on those of the left atrium and nothing on the hippocampus, and twice 2000 gain 0.002."""


DEFAULT_METHOD = "fixmatch"
"""Chosen on held-out training cases; docs/which-method.md has the figures."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class MethodConfig(_Section):
    """The training method and its hyperparameters (defaults: the paper's)."""

    name: str = DEFAULT_METHOD
    options: dict[str, Any] = Field(default_factory=dict)


class NetworkConfig(_Section):
    """The network; ``auto`` is the one that the plan sized for this dataset."""

    name: str = "auto"
    options: dict[str, Any] = Field(default_factory=dict)
    checkpointing: bool = False
    """Run blocks again in the backward pass instead of keeping their maps: less memory, a third more work."""


class DataConfig(_Section):
    """Which cases play which part."""

    labeled: int | None = Field(None, ge=1)
    """Number of labeled cases (None: all that have a label)."""
    labeled_patients: int | None = Field(None, ge=1)
    """The same counted in patients, for datasets that group cases by patient."""
    fold: int = Field(0, ge=0)
    folds: Annotated[int, Field(ge=2)] | Literal["auto"] | None = None
    """Of a cross-validation of the labeled cases, which ``fold`` is one of; None where it is one of the lists
    that the split file publishes. ``auto``, which ``--fold`` means: published ones, else such a fold."""
    accepted: float = Field(1.0, ge=0, le=1)
    """How often cases are learned from whose label is an accepted prediction (``semiseg accept``), compared
    with the others; 0 leaves their labels out."""
    memory_gb: float | None = Field(None, ge=0)
    """Memory that the prepared cases may take on the device (None: half of what is free); with more of them,
    each crop is read from disk."""


class PlanConfig(_Section):
    """Choices that override the planner's (see ``semiseg plan``)."""

    dim: Literal[2, 3] | None = None
    spacing: tuple[float | None, ...] | None = None
    patch: Annotated[tuple[Voxels, ...], Field(min_length=2)] | None = None
    batch: int | None = Field(None, ge=1)
    orientation: Literal["RAS", "native"] | None = None
    crop: Literal["none", "nonzero"] | None = None
    channels: Annotated[tuple[str | dict[str, Any], ...], Field(min_length=1)] | None = None
    """Per channel a scheme of normalization, or its settings (``ChannelPlan`` of the plan)."""
    foreground: float | None = Field(None, ge=0, le=1)
    features: Annotated[tuple[Voxels, ...], Field(min_length=1)] | None = None
    memory_gb: float | None = Field(None, gt=0)
    """Memory the planner may count on (None: most of the accelerator's, 8 where there is none)."""
    networks: float | None = Field(None, gt=0)
    """Networks trained at once that it must hold, a teacher counting a quarter (None: those of the method, in
    a sweep those of its most demanding one, so that all train on the same patches)."""


class BatchConfig(_Section):
    """Patches per iteration; None takes the plan's batch, half labeled and half unlabeled."""

    labeled: int | None = Field(None, ge=1)
    unlabeled: int | None = Field(None, ge=0)


class AugmentConfig(_Section):
    """A named augmentation (see ``semiseg.batches.augment``) and its options."""

    name: str = "default"
    options: dict[str, Any] = Field(default_factory=dict)


class OptimizerConfig(_Section):
    """The optimizer of every trained network that the method does not give its own."""

    name: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: float = Field(2e-3, gt=0)
    weight_decay: float = Field(1e-4, ge=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = False


class ScheduleConfig(_Section):
    """Learning rate as a factor of the base rate, a pure function of the iteration."""

    name: Literal["constant", "poly", "step", "cosine"] = "poly"
    warmup: int = Field(0, ge=0)
    """Iterations of linear warm-up."""
    power: float = Field(0.9, gt=0)
    """Of ``poly``."""
    lag: int = Field(0, ge=0)
    """``poly`` evaluated this many iterations late (the 2D scripts of the field use 1)."""
    every: int = Field(2500, ge=1)
    """Iterations between drops of ``step``."""
    factor: float = Field(0.1, gt=0, le=1)
    """Of each drop of ``step``."""


class TrainConfig(_Section):
    """The loop."""

    iterations: Annotated[int | Literal["auto"], BeforeValidator(_length)] = "auto"
    """``auto``: what fits ``max_time``; without one chosen for the device, see :data:`AUTO_ITERATIONS`."""
    seed: int = Field(0, ge=0, lt=2**63)
    precision: Annotated[Literal["auto", "32", "bf16", "16"], BeforeValidator(_as_text)] = "auto"
    """``auto``: bf16 where the hardware has it and the self-check at start agrees with float32."""
    clip: float | None = Field(12.0, gt=0)
    """Largest gradient norm; None for no clipping."""
    ema: float = Field(0.0, ge=0, lt=1)
    """Decay of averaged weights used for prediction; 0 keeps none."""
    max_time: float | None = Field(None, gt=0)
    """Minutes after which the run saves and exports what it has; ``--resume`` trains on. With ``iterations:
    auto`` the length is planned for it."""
    checkpoint_minutes: float = Field(10.0, gt=0)
    log_every: int = Field(10, ge=1)
    max_bad_steps: int = Field(20, ge=1)
    """Non-finite losses or gradients in a row before the run ends with an error."""
    on_collapse: Literal["warn", "stop"] = "warn"
    """When a class vanishes or doubles on unlabeled scans: say so; or also end the run, with the weights of
    the last check that was healthy."""
    deterministic: bool = True
    compile: bool | Literal["auto", "graphs"] = "auto"
    """Compile the networks; ``auto``: for long runs on a GPU. ``graphs`` replays CUDA graphs, too."""
    channels_last: bool = True


class StartConfig(_Section):
    """Fine-tuning: the first weights come from a file, and change slowly at first."""

    file: str | None = None
    """A run, a ``model.zip``, a results folder of nnU-Net, or a checkpoint (None: random weights)."""
    lr: float = Field(0.3, gt=0, le=1)
    """The learning rate is this part of ``optimizer.lr``, if there is a file."""
    warmup: float = Field(0.1, ge=0, lt=1)
    """Share of the iterations over which it grows to that, if there is a file."""


class ValidationConfig(_Section):
    """Whole-volume validation, when a validation list exists."""

    every: int | None = Field(None, ge=1)
    """Iterations between validations (None: ten times in a run)."""
    patience: int | None = Field(None, ge=1)
    """Stop after this many validations (of the last stage) without a better mean Dice."""


class InferenceConfig(_Section):
    """Sliding window, test-time augmentation and post-processing."""

    overlap: float = Field(0.5, ge=0, lt=1)
    stride: tuple[Voxels, ...] | None = None
    """Voxels between windows, instead of ``overlap``."""
    weighting: Literal["gaussian", "uniform"] = "gaussian"
    window_batch: int | None = Field(None, ge=1)
    mirror: bool = False
    """Average over mirrored views, along the axes that training mirrored and no others."""
    slice_size: tuple[Voxels, Voxels] | None = None
    """2D only: resize each slice to this size (nearest), predict it whole, and resize back."""
    fill_holes: bool | tuple[str, ...] = False
    """Fill the holes of every foreground class, or of the named ones, before anything is dropped."""
    largest_component: bool | tuple[str, ...] | Literal["plan"] = False
    """Keep only the largest component of every foreground class, of the named ones, or (``plan``) of those
    that the plan found to be one piece in every labeled scan."""
    minimum_mm3: float = Field(0.0, ge=0)
    """Drop components smaller than this volume."""

    def of_plan(self, one_piece: tuple[str, ...]) -> Self:
        """The same with the names of classes where it says ``plan``."""
        if self.largest_component != "plan":
            return self
        return self.model_copy(update={"largest_component": one_piece})

    def require_fit(self, patch: Sequence[int], classes: Iterable[str]) -> None:
        """Refuse settings that no scan could be predicted with, before any is read.

        Args:
            patch: voxels per axis of the plan's patch, two or three numbers.
            classes: names of the foreground classes.

        Raises:
            UsageError: a stride of other axes or wider than the patch, slices of a 3D plan, an unknown class.
        """
        wrong, steps, known = "", self.stride or (), list(classes)
        if steps and len(steps) != len(patch):
            wrong = f"stride {list(steps)} has {plural(len(steps), 'number')}, the plan's patch {len(patch)}"
        elif any(step > edge for step, edge in zip(steps, patch, strict=False)):
            wrong = f"stride {list(steps)} leaves gaps between windows of {list(patch)} voxels"
        if wrong:
            raise UsageError(
                f"inference.{wrong}",
                hint="give one number per axis, none above the patch; without it inference.overlap counts",
                code="INFERENCE",
            )
        if self.slice_size and len(patch) != 2:
            raise UsageError(
                "inference.slice_size is for 2D plans; this plan is 3D", hint="leave it out", code="INFERENCE"
            )
        for chosen in (self.fill_holes, self.largest_component):
            for name in () if isinstance(chosen, bool | str) else chosen:
                if name not in known:
                    raise unknown_name("class", name, known)


class PublishedConfig(_Section):
    """The data that a recipe was written for; where a run's data differ, it says so."""

    data: str | None = None
    """A name of ``semiseg convert``."""
    channels: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    split: str | None = None
    sha256: str | None = None
    """Of the published list of training cases; of the test cases where all others train."""
    forms: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """What is otherwise than published, or than honest practice, by the form of the data: ``raw``, ``h5`` (or
    cut like it) or ``unknown``."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of the method in the published form, where the recipe has others."""
    departs: tuple[str, ...] = ()
    """What else the method has otherwise than published."""


class Config(_Section):
    """The whole configuration of a run."""

    recipe: str = "default"
    protocol: Literal["strict", "paper"] = "strict"
    deviations: tuple[str, ...] = ()
    """What this run does otherwise than honest practice or the published form; printed in every report."""
    published: PublishedConfig = PublishedConfig()
    select: Literal["last", "best-val"] | None = None
    """The exported weights; None: ``best-val`` when there is a validation list, else ``last``."""
    method: MethodConfig = MethodConfig()
    network: NetworkConfig = NetworkConfig()
    data: DataConfig = DataConfig()
    plan: PlanConfig = PlanConfig()
    batch: BatchConfig = BatchConfig()
    augment: AugmentConfig = AugmentConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    train: TrainConfig = TrainConfig()
    start: StartConfig = StartConfig()
    validation: ValidationConfig = ValidationConfig()
    inference: InferenceConfig = InferenceConfig()

    def changed(self, section: str, **values: Any) -> Config:
        """The same with other values in a section, which are not checked: ``changed("train", seed=1)``."""
        return self.model_copy(update={section: getattr(self, section).model_copy(update=values)})
