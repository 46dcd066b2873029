"""The contract: all that a method, a network, the data and the engine know of one another.

Symbols, used everywhere: B batch (Bl labeled, Bu unlabeled), C input channels, K classes with background,
D feature channels, ``*S`` the spatial axes (two or three of them).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

log = logging.getLogger("semiseg.methods")

IGNORE = 255
"""The label value that no loss and no metric counts (nnU-Net's ``ignore`` label is stored as this)."""

SHIFTED = "shifted"
"""The view that is not aligned: another crop of the same scan, turned and colored as the first one, which it
overlaps by half an edge at least."""

NetFactory = Callable[..., nn.Module]
"""``make_net(heads={"sdf": 1})`` returns a fresh network whose forward returns :class:`SegOutput`.

``make_net(up="linear")`` changes an option of the run's network; ``make_net(network="resvnet")`` returns
another one for the same images and classes.
"""

OptimizerFactory = Callable[[nn.Module], torch.optim.Optimizer]


class SegOutput(NamedTuple):
    """What every network returns. A NamedTuple passes through autocast, compile and DDP alike."""

    logits: Tensor
    """(B, K, *S), raw scores."""
    features: Tensor | None = None
    """(B, D, *S), the last feature map before the segmentation head."""
    heads: Mapping[str, Tensor] = {}
    """The extra heads asked for, such as ``{"sdf": (B, K-1, *S)}``."""
    levels: tuple[Tensor, ...] = ()
    """The decoder's feature maps, deepest first: the bottleneck, ..., :attr:`features`. A network that gives
    them has ``widths``, the channels of each."""


class Batch(NamedTuple):
    """One iteration's data. Unlabeled images have no label field, so no method can read one by accident."""

    x_l: Tensor
    """(Bl, C, *S) labeled images."""
    y_l: Tensor
    """(Bl, *S) int64 classes, :data:`IGNORE` where nothing is known. Of regions (see :class:`Head`)
    (Bl, K, *S) uint8: 0, 1 or :data:`IGNORE`. Where the labels of some cases are of some classes alone
    (Bl, K, *S) bool: the classes that a voxel may be of, see :meth:`Head.candidates`."""
    x_u: Mapping[str, Tensor]
    """View name -> (Bu, C, *S); the views of one sample are voxel-aligned, all but :data:`SHIFTED`."""
    targets: Mapping[str, Tensor] = {}
    """What the method asked for, such as ``{"sdf": (Bl, K-1, *S)}``."""
    views_l: Mapping[str, Tensor] = {}
    """View name -> (Bl, C, *S): the :attr:`Method.labeled_views`."""
    shifts: Mapping[str, Sequence[tuple[int, ...]]] = {}
    """``labeled`` and ``unlabeled``, where the view :data:`SHIFTED` was asked for: by how many voxels per
    axis the second crop of each sample begins after the first."""
    pseudo: Tensor | None = None
    """What an earlier network of this run said of ``x_u``, in the form of ``y_l``, :data:`IGNORE` where it
    was unsure; in stages that ask for it."""
    confidence: Tensor | None = None
    """(Bu, *S) in [0, 1], of :attr:`pseudo`; in stages that ask for it."""


@dataclass(frozen=True)
class Head:
    """What the K channels of a network mean: classes, of which a voxel has one, or regions, which overlap.

    A region is a set of classes, such as a whole tumor of edema and core. Classes go through a softmax and
    the most probable one wins; regions go through a sigmoid each, and a voxel gets the class that the last
    region with p > 0.5 is painted with (nnU-Net; Isensee et al. 2021, doi:10.1038/s41592-020-01008-z).
    """

    classes: int
    """Of label maps, background included."""
    regions: tuple[tuple[int, ...], ...] = ()
    """The classes of each region, in the order of the channels; empty where the channels are classes."""
    painted: tuple[int, ...] = ()
    """The class that a voxel of each region gets; later ones are painted over earlier ones."""

    @property
    def channels(self) -> int:
        """K."""
        return len(self.regions) or self.classes

    @property
    def activation(self) -> Literal["softmax", "sigmoid"]:
        """What makes probabilities of logits."""
        return "sigmoid" if self.regions else "softmax"

    def probabilities(self, logits: Tensor) -> Tensor:
        """(B, K, *S) float32 in [0, 1]."""
        return logits.float().sigmoid() if self.regions else logits.float().softmax(1)

    def decide(self, scores: Tensor, axis: int = 0, *, over: float = 0.5) -> Tensor:
        """The class of each voxel, int64, without the axis of the channels.

        Args:
            scores: probabilities, or logits with ``over=0``.
            axis: of the channels.
            over: a region is where its score is larger.
        """
        if not self.regions:
            return scores.argmax(axis)
        found = torch.zeros_like(scores.select(axis, 0), dtype=torch.int64)
        for score, painted in zip(scores.unbind(axis), self.painted, strict=True):
            found.masked_fill_(score > over, painted)
        return found

    def confidence(self, probabilities: Tensor) -> Tensor:
        """(K, *S) -> (*S): of what is decided; of several regions that of the least sure one."""
        if not self.regions:
            return probabilities.amax(0)
        return torch.maximum(probabilities, 1 - probabilities).amin(0)

    def targets(self, classes: Tensor) -> Tensor:
        """Classes (B, *S) as :attr:`Batch.y_l` has them."""
        if not self.regions:
            return classes.long()
        table = torch.zeros(IGNORE + 1, len(self.regions), dtype=torch.uint8, device=classes.device)
        for channel, members in enumerate(self.regions):
            table[list(members), channel] = 1
        table[IGNORE] = IGNORE
        return table[classes.long()].movedim(-1, 1)

    def candidates(self, classes: Tensor) -> Tensor:
        """The classes that each voxel of (B, *S) may be of: (B, K, *S) bool, all where nothing is known."""
        every = torch.arange(self.classes, device=classes.device)
        here = classes.unsqueeze(1) == every.view(-1, *[1] * (classes.ndim - 1))
        return here | (classes == IGNORE).unsqueeze(1)

    def structures(self, targets: Tensor) -> Iterator[Tensor]:
        """Where each region, or each class but background, is: (B, *S) bool, one after another.

        Args:
            targets: see :meth:`targets`.
        """
        if self.regions:
            yield from targets.eq(1).unbind(1)
        else:
            yield from (targets == k for k in range(1, self.classes))

    def known(self, targets: Tensor) -> Tensor:
        """Where all is known: (B, *S) bool."""
        return (targets != IGNORE).all(1) if self.regions else targets != IGNORE


@dataclass(frozen=True)
class Clock:
    """The position of a run in its training. Every schedule is a pure function of it."""

    step: int
    """Iteration within the stage, from 0."""
    total: int
    """Iterations of the stage."""
    stage: str = "train"

    @property
    def fraction(self) -> float:
        """The share of the stage that is done, in [0, 1)."""
        return self.step / max(self.total, 1)


@dataclass(frozen=True)
class PseudoLabels:
    """How the unlabeled scans get labels before a stage: whole, from the network as it stands then."""

    scans: Literal[
        "mean_confidence",
        "round_change",
        "entropy",
        "entropy_sum",
        "fold_disagreement",
        "volume_prior",
        "none",
    ] = "mean_confidence"
    """By which value scans are left out, see :mod:`semiseg.training.reliable_scans`."""
    keep: float = 0.9
    """Share of the scans that stay, at least four of them."""
    voxels: Literal["quantile", "fixed", "none"] = "quantile"
    """By which threshold voxels are left out."""
    quantile: float = 0.2
    """Of the voxels predicted as one class, in all scans: the share that is left out at most."""
    threshold: float = 0.9
    """Confidence from which a voxel stays; of ``quantile`` the largest threshold."""
    confidence: bool = False
    """Whether batches have :attr:`Batch.confidence`."""


class Stage(NamedTuple):
    """A part of the training with its own clock, optimizers and best score, such as pre-training.

    A score of one stage is not compared with one of another, unless it is a ``rival``: ``best.ckpt`` is the
    best of the stage that was validated last, and of its rivals. Patience ends a run in its last stage only.
    """

    name: str = "train"
    share: float = 1.0
    """Of all iterations."""
    start_from: Literal["last", "best"] = "last"
    """What the method goes on from: the last weights of the stage before, or, where there is a validation
    list, those with its best score."""
    constant_lr: bool = False
    """The learning rate follows the run's warm-up, but not its schedule."""
    unlabeled: bool = True
    """Whether its batches have unlabeled samples; without, all of the batch is labeled."""
    pseudo: PseudoLabels | None = None
    """Labels that its unlabeled samples have, made when it begins."""
    rival: bool = False
    """It trains the same kind of network for the same task as the stage before, so that scores compare."""
    network: str = ""
    """The network that is validated and exported, if it is not :attr:`Method.predictor`."""
    fold: tuple[int, int] = (0, 0)
    """(k, n): it trains without the labeled scans k, k + n, k + 2n, ...; n = 0 leaves out none."""
    keep_as: str = ""
    """Attribute of the method whose network gets the weights that this stage would export, at its end."""
    teachers: tuple[str, ...] = ()
    """Attributes whose networks predict the pseudo-labels, as the mean of their probabilities; empty: the
    exported one."""


@dataclass
class Gradient:
    """What the engine leaves of an update, for a method that reads it after the ``yield``."""

    vector: Tensor = field(default_factory=lambda: torch.zeros(1))
    """(N,) float32, all trainable parameters of the network in their order: the mean over ranks, without a
    loss scale, not clipped; 0 where the loss does not depend on a parameter."""
    lr: float = 0.0
    """The current learning rate (of the first parameter group)."""


@dataclass(frozen=True)
class Update:
    """One backward pass and one optimizer step, both done by the engine."""

    loss: Tensor
    """A scalar."""
    on: str = "net"
    """Which of :attr:`Method.trainable` is stepped."""
    logs: Mapping[str, Tensor] = field(default_factory=dict)
    """Scalars to log, which are detached here; the engine reads them only when it prints."""
    counts: bool = True
    """Whether it is part of the run's ``loss``. A critic's is not: in a fair game it stays where it is."""
    gradient: Gradient | None = None
    """Where to leave the gradient."""
    step: bool = True
    """``False``: the gradient is only looked at, and the weights stay."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "logs", {name: value.detach() for name, value in self.logs.items()})


class Method(nn.Module):
    """Networks and buffers (all state is in ``state_dict``) plus an ordered stream of losses.

    A subclass is built as ``SomeMethod(make_net, **hyperparameters)`` with the paper's values as defaults.
    """

    trainable: tuple[str, ...] = ("net",)
    """Attributes that get an optimizer each."""
    optimizers: ClassVar[Mapping[str, OptimizerFactory]] = {}
    """Exceptions to the run's optimizer, by attribute (a critic's own Adam). A parameter group of theirs with
    ``scheduled: False`` keeps its learning rate."""
    predictor: str = "net"
    """The network that is validated, exported and used for prediction."""
    views: tuple[str, ...] = ("weak",)
    """Views of the unlabeled images asked of the data layer; empty for a purely supervised method."""
    labeled_views: tuple[str, ...] = ()
    """Further views of the labeled images, beside :attr:`Batch.x_l`."""
    samples_per_image: int = 1
    """How many samples are pasted into one image that a network trains on. The batch of a plan counts images
    that a network sees, so a method that makes one of two is given twice as many samples, as it was
    published."""
    unlabeled_per_image: int = 1
    """How many unlabeled samples are asked for each one that is learned from: 2 where every one has a
    partner, a second one from which a part is pasted into it."""
    targets: tuple[str, ...] = ()
    """Extra targets of the labeled images asked of the data layer."""
    compared: tuple[str, ...] = ()
    """Networks of which Dice and seconds per scan are told at the end of a run."""
    stages: tuple[Stage, ...] = (Stage(),)
    regions: ClassVar[bool] = False
    """Whether it can train regions: its losses take the targets of a :class:`Head` of them, and look at
    :attr:`activation`. A class says so for itself, not for those that are derived from it."""
    partial: ClassVar[bool] = False
    """Whether it can train on labels of some classes: it looks at :attr:`Batch.y_l` through the losses of
    :mod:`semiseg.losses` alone, which take a voxel that may be of several classes. A class says so for
    itself, not for those that are derived from it."""
    activation: Literal["softmax", "sigmoid"] = "softmax"
    """What makes probabilities of its networks' logits; ``sigmoid`` where the channels are regions."""

    def __init__(self) -> None:
        super().__init__()
        self.deviations: list[str] = []
        self.as_published: list[str] = []

    def deviates(self, text: str, *, as_published: bool = False) -> None:
        """Say once that an option departs from the paper or from sound practice; the manifest keeps it.

        With ``as_published`` it is a fault of the published form itself, which is no departure from that: a
        run of ``protocol: paper`` warns of it, but does not list it.
        """
        self.deviations.append(text)
        if as_published:
            self.as_published.append(text)
        log.warning(text)

    def departures(self, protocol: str) -> list[str]:
        """What a run of this protocol lists: under ``paper`` not the published form itself."""
        return [text for text in self.deviations if protocol != "paper" or text not in self.as_published]

    def step(self, batch: Batch, t: Clock) -> Iterator[Update]:
        """Yield losses in order. Code after a ``yield`` sees the stepped weights of that network."""
        raise NotImplementedError  # abstract

    def after_step(self, t: Clock) -> None:
        """Update moving averages and queues; called once per iteration, after the last update."""

    def on_stage_start(self, name: str) -> None:
        """Prepare a stage, such as copying the pre-trained student into the teacher; once per stage."""


class Average(nn.ModuleList):
    """The mean of the class probabilities of its networks, which must have the same classes.

    Its state is that of the networks, numbered from 0.
    """

    def __init__(self, networks: Iterable[nn.Module]) -> None:
        super().__init__(networks)
        divisors = [d for network in self if (d := getattr(network, "divisor", None))]
        if divisors:
            self.divisor = tuple(math.lcm(*edges) for edges in zip(*divisors, strict=True))

    def forward(self, x: Tensor) -> SegOutput:
        """(B, C, *S) -> logits (B, K, *S) whose softmax is the mean, float32."""
        log_p = torch.stack([network(x).logits.float().log_softmax(1) for network in self])
        return SegOutput(log_p.logsumexp(0))  # the mean's logarithm plus ln n, which softmax does not see
