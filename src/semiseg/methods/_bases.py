"""Bases of several methods (a ramp, a teacher, two networks), and what they all ask of ranks and networks."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, TypedDict, Unpack, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from semiseg.core import Average, Batch, Clock, Method, NetFactory, SegOutput, Update
from semiseg.errors import UsageError
from semiseg.losses import dice_ce, entropy_map
from semiseg.schedules import consistency_ramp, ema_update, warm_decay
from semiseg.settings.options import Amount, Length, Share


class CommonOptions(TypedDict, total=False):
    """Options of :class:`Ramped` that no method has other defaults for."""

    ramp_unit: Length
    include_background: bool


class RampedOptions(CommonOptions, total=False):
    """Options of :class:`Ramped`, in the signatures of methods that pass them on."""

    weight: Amount
    ramp: Length | None


class Ramped(Method):
    """``L = 0.5 (CE + Dice) + w(k) consistency``, with ``w(k)`` the sigmoid ramp up to ``weight``.

    A method of this kind passes the options that it leaves as they are on to here, as ``**ramped``. They are
    described here, unless it has to say more about one.

    Args:
        weight: w_max, the weight of the second term at the end of the ramp.
        ramp: length of the sigmoid ramp of w(k), in iterations; None is the whole run, as in most published
            codes (200 units of 150).
        ramp_unit: the ramp moves in stairs of this many iterations (150 in the published codes).
        include_background: count class 0 in the Dice term.
    """

    def __init__(
        self,
        *,
        weight: Amount = 0.1,
        ramp: Length | None = None,
        ramp_unit: Length = 1,
        include_background: bool = True,
    ) -> None:
        super().__init__()
        self.weight, self.ramp, self.ramp_unit = weight, ramp, ramp_unit
        self.include_background = include_background

    def supervised(self, logits: Tensor, target: Tensor) -> Tensor:
        """``0.5 (CE + Dice)`` of logits (B, K, *S) and classes (B, *S)."""
        return dice_ce(logits, target, include_background=self.include_background)

    def consistency_weight(self, t: Clock) -> float:
        """``w(k)``."""
        length = t.total if self.ramp is None else self.ramp
        return self.weight * consistency_ramp(t.step, length, self.ramp_unit)

    def total(
        self, supervised: Tensor, consistency: Tensor, t: Clock, *, on: str = "net", **logs: Tensor
    ) -> Update:
        """``supervised + w(k) consistency`` with its parts in the log."""
        w = self.consistency_weight(t)
        parts = {"supervised": supervised, "consistency": consistency, "weight": torch.tensor(w), **logs}
        return Update(supervised + w * consistency, on=on, logs=numbered(on, parts))


def numbered(on: str, parts: dict[str, Tensor]) -> dict[str, Tensor]:
    """What is logged of a network: the names of what belongs to ``net2`` end in 2."""
    return {f"{name}{on.removeprefix('net')}": part for name, part in parts.items()}


TOGETHER = 4
"""Inputs that share a pass at most. Without a gradient a pass keeps two or three maps where the student keeps
all of its layers, so that four times the samples take about what the student does."""


class TeacherRoles(TypedDict, total=False):
    """Options of :class:`Teacher` that no method has other defaults for."""

    student_view: Literal["weak", "strong"]
    teacher_mode: Literal["train", "eval"]
    predict_with: Literal["student", "teacher"]


class TeacherOptions(TeacherRoles, RampedOptions, total=False):
    """Options of :class:`Teacher`, in the signatures of methods that pass them on."""

    decay: Share
    noise: Amount


class Teacher(Ramped):
    """A student trained by gradient, its moving average, and the weight of what one learns from the other.

    A method of this kind passes the options that it leaves as they are on to here, as ``**teacher``. They are
    described here, unless it has to say more about one.

    Args:
        make_net: returns a fresh network.
        decay: EMA decay.
        noise: of the teacher's input, ``clip(noise * N(0, 1), -2 noise, 2 noise)``.
        student_view: view of the unlabeled scans that the student sees; ``strong`` changes intensities more.
            The teacher sees ``weak``.
        teacher_mode: ``train``: dropout and batch statistics in the teacher; or ``eval``.
        predict_with: the exported network (published: the student).
    """

    def __init__(
        self,
        make_net: NetFactory,
        *,
        decay: Share = 0.99,
        noise: Amount = 0.1,
        student_view: Literal["weak", "strong"] = "weak",
        teacher_mode: Literal["train", "eval"] = "train",
        predict_with: Literal["student", "teacher"] = "student",
        **ramped: Unpack[RampedOptions],
    ) -> None:
        super().__init__(**ramped)
        self.net = make_net()
        self.teacher = copy.deepcopy(self.net).requires_grad_(False)
        self.decay, self.noise = decay, noise
        self.student_view, self.teacher_mode = student_view, teacher_mode
        self.views = ("weak",) if student_view == "weak" else ("weak", student_view)
        self.predictor = "net" if predict_with == "student" else "teacher"

    def after_step(self, t: Clock) -> None:
        """The teacher follows the student."""
        ema_update(self.teacher, self.net, warm_decay(t.step, self.decay))

    def teach(self, x: Tensor) -> Tensor:
        """Teacher logits (B, K, *S) of the noisy input; no gradient."""
        (logits,) = self.ask([self.perturb(x)])
        return logits

    def perturb(self, x: Tensor) -> Tensor:
        """``x + clip(noise * N(0, 1), -2 noise, 2 noise)``."""
        limit = 2 * self.noise
        return x + (torch.randn_like(x) * self.noise).clamp(-limit, limit)

    def ready(self) -> nn.Module:
        """The teacher, in the mode in which it answers."""
        return self.teacher.train(self.training and self.teacher_mode == "train")

    @torch.no_grad()
    def answer(self, x: Tensor) -> SegOutput:
        """All that the teacher says of an input; no gradient."""
        return cast(SegOutput, self.ready()(x))

    @torch.no_grad()
    def ask(self, inputs: Sequence[Tensor]) -> Iterator[Tensor]:
        """Teacher logits of each input, see :func:`passes_of`; no gradient."""
        yield from map(_logits, passes_of(self.ready(), inputs))

    @torch.no_grad()
    def doubt(self, network: nn.Module, x: Tensor, passes: int) -> Tensor:
        """Entropy (B, 1, *S) of a network's mean prediction over noisy passes, in [0, ln K].

        They run two at a time, as published: batch norm sees both.
        """
        pairs = [2] * (passes // 2) + [1] * (passes % 2)
        mean = torch.zeros((), device=x.device)
        inputs = [self.perturb(torch.cat([x] * n)) for n in pairs]
        for logits in map(_logits, passes_of(network, inputs)):
            copies = logits.float().softmax(1).view(-1, *x.shape[:1], *logits.shape[1:])
            mean = mean + copies.sum(0) / passes
        return entropy_map(mean, normalized=False)


def passes_of(network: nn.Module, inputs: Sequence[Tensor]) -> Iterator[SegOutput]:
    """Logits and levels of each input, one pass each; on a GPU several share one where that is the same."""
    together = TOGETHER if len(inputs) > 1 and one_pass_pays(network, inputs[0]) else 1
    for start in range(0, len(inputs), together):
        group = inputs[start : start + together]
        out, end = network(torch.cat(list(group)) if len(group) > 1 else group[0]), 0
        for x in group:
            rows = slice(end, end := end + len(x))
            yield SegOutput(out.logits[rows], levels=tuple(level[rows] for level in out.levels))
        del out  # before the next pass: maps are large


def _logits(out: SegOutput) -> Tensor:
    return out.logits


def one_pass_pays(network: nn.Module, x: Tensor) -> bool:
    """Whether passes may share a batch: not where batch norm would see the others, and only a GPU gains."""
    return x.is_cuda and not any(m.training for m in network.modules() if isinstance(m, _BatchNorm))


class WithMain(Method):
    """``net`` has more around the network than it is exported with: what is exported is ``net.main``."""

    predictor = "main"

    @property
    def main(self) -> nn.Module:
        """The network for prediction."""
        net: Any = self.net
        return cast(nn.Module, net.main)


class Pair(Method):
    """``net`` and ``net2``, each with its own updates and its own optimizer."""

    trainable: tuple[str, ...] = ("net", "net2")

    def take(
        self, net: nn.Module, net2: nn.Module, predict_with: Literal["first", "second", "average"]
    ) -> None:
        """Set both, and which is exported: one, or the mean of the probabilities of both."""
        self.net, self.net2 = net, net2
        self.predictor = {"first": "net", "second": "net2", "average": "both"}[predict_with]

    @property
    def both(self) -> Average:
        """The two as one network for prediction; it shares their weights."""
        return Average([self.net, self.net2])


class TwoOptions(RampedOptions, total=False):
    """Options of :class:`TwoNetworks`, in the signatures of methods that pass them on."""

    predict_with: Literal["first", "second", "average"]


class TwoNetworks(Ramped, Pair):
    """Two networks, each with its own supervised term.

    A method of this kind says in :meth:`lesson` what a network learns from the other one. Both losses are
    those of the weights before the step: the second one does not see the first network's update.

    It passes the options that it leaves as they are on to here, as ``**two``.

    Args:
        make_net: returns a fresh network, with other first weights each time.
        make_partner: the same for the second one; by default ``make_net``.
        predict_with: the exported network: the ``first`` (published), the ``second``, or the ``average`` of
            their probabilities, which takes as long as both.
    """

    def __init__(
        self,
        make_net: NetFactory,
        make_partner: Callable[[], nn.Module] | None = None,
        *,
        predict_with: Literal["first", "second", "average"] = "first",
        **ramped: Unpack[RampedOptions],
    ) -> None:
        super().__init__(**ramped)
        self.take(make_net(), (make_partner or make_net)(), predict_with)

    def step(self, batch: Batch, t: Clock) -> Iterator[Update]:
        """Both networks on [x_l, x_u], then an update of each."""
        x, n = torch.cat([batch.x_l, batch.x_u["weak"]]), len(batch.x_l)
        answers = [self.net(x).logits, self.net2(x).logits]
        targets = [
            self.teach(z.detach(), batch, t, on=on) for z, on in zip(answers, self.trainable, strict=True)
        ]
        yield from [
            self.total(self.supervised(z[:n], batch.y_l), self.lesson(z[n:], target), t, on=on)
            for z, target, on in zip(answers, reversed(targets), self.trainable, strict=True)
        ]

    def teach(self, logits: Tensor, batch: Batch, t: Clock, *, on: str) -> Tensor:
        """What the other network learns from: unless a method says otherwise, the logits on x_u.

        Args:
            logits: (Bl + Bu, K, *S) of this network, without gradient.
            batch: the scans that they are of.
            t: where the run stands.
            on: this network's name.
        """
        return logits[len(batch.x_l) :]

    def lesson(self, logits: Tensor, other: Tensor) -> Tensor:
        """The consistency term of one network.

        Args:
            logits: (Bu, K, *S), its answer on unlabeled scans.
            other: what the other one teaches, without gradient.
        """
        raise NotImplementedError  # abstract


def sum_over_ranks(values: Tensor) -> Tensor:
    """The sum over all ranks, in place; the values themselves in a single process."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(values)
    return values


def mean_over_ranks(values: Tensor) -> Tensor:
    """The mean over all ranks; the values themselves in a single process."""
    both = sum_over_ranks(torch.stack([values, torch.ones_like(values)]))
    return both[0] / both[1]


def fact(network: nn.Module, name: str, method: str) -> int:
    """``dim``, ``classes`` or ``in_channels``, as the network says.

    Raises:
        UsageError: it does not say it.
    """
    value = getattr(network, name, None)
    if value is None:
        raise UsageError(
            f"{method} needs a network that says its {name}, and {type(network).__name__} does not",
            hint=f"choose another network (`semiseg networks`), or give yours an attribute {name!r}",
        )
    return int(value)
