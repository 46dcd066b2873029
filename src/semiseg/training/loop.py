"""The loop: iterations, checkpoints, validation, stopping. It knows no method, no dataset, no network.

All randomness of iteration k is a pure function of (seed, k): the global generator is seeded anew before each
iteration and the batches are functions of the iteration. So a resumed run has nothing to rewind.
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from semiseg.core import Batch, Clock, Method, Stage
from semiseg.errors import SemisegError
from semiseg.machine.stopping import Stopped, StopRequest
from semiseg.networks import checkpoint
from semiseg.runs import events
from semiseg.runs.events import Begun, Ended, Event, Listener, Notice, Started, Stepped, Validated
from semiseg.schedules import ema_update, warm_decay
from semiseg.settings.config import OptimizerConfig, ScheduleConfig, TrainConfig
from semiseg.training.collapse import CollapseMonitor
from semiseg.training.optim import build_optimizer, fuse, lr_factor
from semiseg.training.stages import Meter, clock_at, hands_on_best, leader, load_best, save_best
from semiseg.training.update import Precision, Skips, any_rank, iterate

Batches = Callable[[int], Batch]
"""Iteration over the whole run -> this rank's batch on the device; a pure function."""

Validate = Callable[[nn.Module], dict[str, float]]
"""Network -> scores; ``dice`` decides which one is best."""

log = logging.getLogger("semiseg.train")

HEALTHY = "healthy.ckpt"
"""The exported network at the last check that found it healthy on unlabeled scans."""
Label = Callable[[Stage, Sequence[nn.Module]], None]
"""Stage, and the networks that have been trained so far: makes the stage's pseudo-labels, on all ranks.

Raises ``Stopped`` when it was asked to stop before it was done.
"""


@dataclass
class Loop:
    """One training run.

    Attributes:
        fabric: launch, device and communication; it wraps nothing.
        method: the method, on the device.
        batches: see :data:`Batches`.
        total: iterations of all stages together.
        folder: where ``last.ckpt`` and ``best.ckpt`` go; None writes nothing.
        describe: attribute of the exported network -> what is stored in each checkpoint beside the weights,
            so that it can be used alone.
        validate_every: iterations between validations; there is one more at the end of each stage.
        patience: validations of the last stage without a new best before the run ends.
        monitor: looks at predictions on unlabeled scans; healthy weights go to :data:`HEALTHY`.
        label: see :data:`Label`; called before a stage that asks for pseudo-labels.
        rank_seed: added to the seed of each iteration, so that ranks draw different noise.
    """

    fabric: Fabric
    method: Method
    batches: Batches
    precision: Precision
    total: int
    train: TrainConfig
    optimizer: OptimizerConfig
    schedule: ScheduleConfig
    folder: Path | None = None
    describe: Callable[[str], dict[str, Any]] = lambda name: {}
    validate: Validate | None = None
    validate_every: int = 1000
    patience: int | None = None
    monitor: CollapseMonitor | None = None
    label: Label | None = None
    listeners: Sequence[Listener] = ()
    rank_seed: int = 0

    def __post_init__(self) -> None:
        self.step = 0
        self.best: float | None = None
        self.stale = 0  # validations since the best one
        self.unseen = False  # a validation is due at this step
        self.whole = True  # not in the middle of an iteration
        self._saved: int | None = None  # at this step
        self._failed: set[int] = set()  # listeners
        self.skips = Skips(self.fabric.device)
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.meter = Meter(self.total)
        self._enter(self.clock(0)[0])

    @property
    def network(self) -> nn.Module:
        """The network that is validated and exported."""
        return self._trained if self.average is None else self.average

    @property
    def _trained(self) -> nn.Module:
        """The same as it was trained, not averaged."""
        network: nn.Module = getattr(self.method, self.name)
        return network

    @property
    def name(self) -> str:
        """Which attribute of the method is validated and exported."""
        return self.stage.network or self.method.predictor

    def _enter(self, stage: Stage) -> None:
        self.stage = stage
        self.average = copy.deepcopy(self._trained).requires_grad_(False) if self.train.ema else None

    def run(self) -> Ended:
        """Train to the end, or to a reason to stop earlier; always leaves a checkpoint behind."""
        began, saved = time.monotonic(), time.monotonic()
        self.meter.start()
        reason = "finished"
        first = self.step + 1
        self.tell(Started(self.step, self.total))
        self.method.train()
        with StopRequest() as stop, self._saved_whatever_happens():
            while self.step < self.total or self.unseen:
                if not self.unseen:
                    try:
                        self.iterate_once()
                    except Stopped:
                        reason = "interrupted"
                        break
                    self.unseen = self._is_due()
                    if self.step % self.train.log_every == 0 or self._ends_a_stage():
                        self.tell(self._stepped())
                    elif self.step == first:
                        self.tell(Begun(self.step, self.total, time.monotonic() - began))
                if self.unseen:
                    self._validate()
                reason = self._reason_to_stop(stop.raised, time.monotonic() - began)
                if reason != "finished":
                    break
                if time.monotonic() - saved > 60 * self.train.checkpoint_minutes:
                    self._save_meanwhile()
                    saved = time.monotonic()
            self.save()
        ended = Ended(self.step, reason, time.monotonic() - began)
        self.tell(ended)
        return ended

    def clock(self, step: int) -> tuple[Stage, Clock]:
        """The stage of an iteration, and where it stands in that stage."""
        if not self.method.stages:
            raise SemisegError(
                f"method {type(self.method).__name__} has no stages", hint="give its class at least one Stage"
            )
        return clock_at(self.method.stages, self.total, step)

    def state(self) -> dict[str, Any]:
        """Everything that a bit-exact continuation needs."""
        return {
            **self.model(),
            "kind": checkpoint.STATE,
            "total": self.total,
            "stale": self.stale,
            "unseen": self.unseen,
            "bad_steps": self.skips.in_a_row,
            "skipped": self.skips.total,
            "method": self.method.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimizers": {name: o.state_dict() for name, o in self.optimizers.items()},
            "precision": self.precision.state_dict(),
            "meter": self.meter.state_dict(),
            "monitor": self.monitor.judge.state_dict() if self.monitor else None,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state`."""
        self.step, self.best, self.stale = state["step"], state["score"], state["stale"]
        self.unseen = state.get("unseen", False) and self.validate is not None
        self.skips.restore(state["skipped"], state["bad_steps"])
        self._enter(self.clock(max(self.step - 1, 0))[0])
        self.method.load_state_dict(state["method"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.build_optimizers()
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        self.precision.load_state_dict(state["precision"])
        self.meter.load_state_dict(state["meter"])
        if self.monitor and state.get("monitor"):
            self.monitor.judge.load_state_dict(state["monitor"])

    def save(self) -> None:
        """Write ``last.ckpt`` (rank 0; all ranks hold the same state)."""
        if self.folder is not None and self.fabric.global_rank == 0:
            checkpoint.save(self.folder / "last.ckpt", self.state())
        self._saved = self.step

    def _save_meanwhile(self) -> None:
        """A disk that is full now may have room later; the checkpoint of before is still whole."""
        try:
            self.save()
        except (OSError, RuntimeError) as error:
            why = getattr(error, "strerror", None) or error
            log.warning(
                "iteration %d: the state cannot be saved (%s); the training continues", self.step, why
            )

    @contextmanager
    def _saved_whatever_happens(self) -> Iterator[None]:
        """No exception leaves before the state is saved, unless it came in the middle of an iteration."""
        try:
            yield
        except BaseException as error:
            if self.folder is not None and self.whole and self._saved != self.step:
                self._save_meanwhile()
                if self._saved == self.step and not isinstance(error, events.Stop):
                    log.warning("ended at iteration %d; --resume continues from there", self.step)
            raise

    def model(self) -> dict[str, Any]:
        """The exported network alone; in a state its tensors are those of the method, which costs nothing."""
        return {
            "kind": checkpoint.MODEL,
            "format": 1,
            **self.describe(self.name),
            "step": self.step,
            "score": self.best,
            "predictor": self.network.state_dict(),
        }

    def iterate_once(self) -> None:
        """One iteration: learning rate, seed, batch, updates, moving average."""
        stage, t = self.clock(self.step)
        if t.step == 0:
            self.whole = False
            self._begin(stage)
        factor = lr_factor(self.schedule, t.step, t.total, constant=stage.constant_lr)
        for optimizer in self.optimizers.values():
            for group in filter(lambda g: g.get("scheduled", True), optimizer.param_groups):
                group["lr"] = group["base_lr"] * factor
        self._seed(self.rank_seed)
        batch = self.batches(self.step)
        self.whole = False
        logs, finite = iterate(
            self.fabric, self.method, batch, self.optimizers, t, self.precision, clip=self.train.clip
        )
        if self.average is not None:
            ema_update(self.average, self._trained, warm_decay(t.step, self.train.ema))
            for mine, theirs in zip(self.average.buffers(), self._trained.buffers(), strict=True):
                mine.copy_(theirs)
        self.step += 1
        self.meter.add(logs)
        self.skips.add(finite)
        self.whole = True
        if self.fabric.device.type == "cpu" or self.step % self.train.log_every == 0 or self._ends_a_stage():
            self._guard()

    def _begin(self, stage: Stage) -> None:
        """What a stage goes on from; it has optimizers, an average and, but for rivals, a best of its own."""
        if self.step > 0:
            if stage.start_from == "best":
                self._return_to_best(stage)
            if self.stage.keep_as:
                getattr(self.method, self.stage.keep_as).load_state_dict(self.network.state_dict())
            if stage.pseudo is not None and self.label is not None:
                self.save()  # what follows may take long, and finds the same weights when it is done again
                self.label(stage, [getattr(self.method, name) for name in stage.teachers] or [self.network])
            self.best, self.stale = self.best if stage.rival else None, 0
        self._seed(0)  # without the rank: what a stage draws must be equal on all ranks
        self.method.on_stage_start(stage.name)
        self._enter(stage)
        self.build_optimizers()

    def _return_to_best(self, stage: Stage) -> None:
        before, _ = self.clock(self.step - 1)
        if self.best is None or self.folder is None:
            text = f"no validated weights of {before.name}: {stage.name} continues from the last ones"
            self.tell(Notice(self.step, text))
            return
        content = load_best(self.fabric, self.folder, leader(self.method.stages, before))
        self.method.load_state_dict(content["method"])
        for network in {self.network, self._trained}:
            network.load_state_dict(content["predictor"])  # what was validated, averaged weights or not

    def _is_due(self) -> bool:
        """Whether there is a validation after this iteration."""
        return self.validate is not None and (self.step % self.validate_every == 0 or self._ends_a_stage())

    def _ends_a_stage(self) -> bool:
        _, t = self.clock(self.step - 1)
        return t.step + 1 == t.total

    def _seed(self, rank_seed: int) -> None:
        torch.manual_seed(((self.train.seed * 1_000_003 + self.step) * 4096 + rank_seed) % 2**63)

    def build_optimizers(self) -> None:
        """Fresh optimizers for every trainable network, as at the start of a stage."""
        self.optimizers = {}
        for name in self.method.trainable:
            own = self.method.optimizers.get(name)
            network = getattr(self.method, name)
            self.optimizers[name] = fuse(own(network)) if own else build_optimizer(network, self.optimizer)
            for group in self.optimizers[name].param_groups:
                group.setdefault("base_lr", group["lr"])

    def _guard(self) -> None:
        """Tell of skipped updates; at every iteration on a CPU, elsewhere when the device is read anyway."""
        found = self.skips.read()
        if not found.new:
            return
        updates = "update skipped" if found.new == 1 else f"{found.new} updates skipped"
        self.tell(Notice(self.step, f"gradient not finite: {updates}", warning=True))
        if found.longest >= self.train.max_bad_steps:
            raise SemisegError(
                f"{found.longest} updates in a row had non-finite gradients (iteration {self.step})",
                hint="lower optimizer.lr, or set train.precision=32; `semiseg check` finds NaN in the images",
                code="NOT_FINITE",
            )

    def _stepped(self) -> Stepped:
        stage, t = self.clock(self.step - 1)
        lr = self.optimizer.lr * lr_factor(self.schedule, t.step, t.total, constant=stage.constant_lr)
        meter = self.meter
        values = meter.read()
        if skipped := self.skips.total:
            values["skipped_updates"] = float(skipped)
        values |= self._watch(stage)
        return Stepped(
            self.step, self.total, stage.name, lr, values, meter.per_second, meter.seconds_left(self.step)
        )

    def _watch(self, stage: Stage) -> dict[str, float]:
        """What each class has on unlabeled scans, where it is time to look; healthy weights are kept."""
        monitor = self.monitor
        if monitor is None or not monitor.due(self.step, ends=self._ends_a_stage()):
            return {}
        for found in monitor.check(self.fabric, self.network, self.step, stage.name):
            self.tell(Notice(self.step, found.text, warning=True))
        if monitor.judge.healthy and self.folder is not None and self.fabric.global_rank == 0:
            checkpoint.save(self.folder / HEALTHY, self.model())
        return monitor.judge.values()

    def _validate(self) -> None:
        if self.validate is None:
            return
        network = self.network
        network.eval()
        scores = self.validate(network) if self.fabric.global_rank == 0 else {}
        scores = self.fabric.broadcast(scores)
        network.train()
        better = self.best is None or scores["dice"] > self.best
        self.stale = 0 if better else self.stale + 1
        if better:
            self.best = scores["dice"]
            if self.folder is not None and self.fabric.global_rank == 0:
                self._keep_best(self.folder)
        self.unseen = False
        self.tell(Validated(self.step, scores, better))

    def _keep_best(self, folder: Path) -> None:
        if not (folder / "last.ckpt").is_file():  # weights that nothing can resume would be in the way
            self.save()
        content = self.model()
        checkpoint.save(folder / "best.ckpt", content)
        stage, _ = self.clock(self.step - 1)
        if hands_on_best(self.method.stages, stage):
            save_best(
                folder, leader(self.method.stages, stage), {**content, "method": self.method.state_dict()}
            )

    def _reason_to_stop(self, signaled: bool, seconds: float) -> str:
        shared = self.fabric.world_size > 1
        if shared and self.step % self.train.log_every:
            return "finished"  # ranks agree only now and then: each agreement costs a message
        if any_rank(self.fabric, signaled):
            return "interrupted"
        if self.monitor and self.monitor.judge.collapsed and self.train.on_collapse == "stop":
            return "collapse"
        if self.train.max_time and any_rank(self.fabric, seconds > 60 * self.train.max_time):
            return "max-time"
        in_last_stage = self.clock(self.step - 1)[0] == self.method.stages[-1]
        if self.patience and self.stale >= self.patience and in_last_stage:
            return "patience"
        return "finished"

    def tell(self, event: Event) -> None:
        """Send an event to every listener (rank 0 only)."""
        if self.fabric.global_rank == 0:
            events.tell(self.listeners, event, self._failed)
