"""The length of a training that fits a time: iterations timed on the real thing, before it begins.

The learning rate and the ramps of a method follow the length, so a run that is merely cut off ends with
weights that no schedule has settled. A run that is given a time and no number of iterations is therefore
planned for it.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

import torch

from semiseg.core import Clock, Stage
from semiseg.training.session import Session
from semiseg.training.stages import first_steps
from semiseg.training.update import iterate
from semiseg.training.validation import Validation

SHARE = 0.93
"""Of the time that is planned for iterations: the rest is for logs, checkpoints and slower steps."""
LEAST_STEPS, MOST_STEPS, SECONDS = 4, 40, 8.0
"""How many iterations of a stage are timed: enough for so many seconds."""


@dataclass(frozen=True)
class Length:
    """How long a training will be, and what that rests on."""

    iterations: int
    minutes: float
    """Asked for."""
    seconds_per_iteration: float
    """Measured before the run, mean over the stages of the method."""
    other_seconds: float
    """For validation, at this number of iterations."""

    def __str__(self) -> str:
        return (
            f"{self.iterations} iterations are planned for {self.minutes:g} min, at "
            f"{1 / self.seconds_per_iteration:.3g} it/s"
        )


def planned_for(minutes: float, session: Session) -> Session:
    """The same training, of the length that fits a time; the session that is timed is spent."""
    length = length_within(minutes, session)
    config = session.config.changed("train", iterations=length.iterations)
    planned = Session(session.fabric, session.prepared, config, start=session.start)
    planned.length = asdict(length)
    planned.notices.append(str(length))
    return planned


def length_within(minutes: float, session: Session) -> Length:
    """The number of iterations that a training can do in a time, at least 1.

    The session's networks are trained a few steps for it and must not be used afterwards. Making
    pseudo-labels is not timed: a run that needs longer than it was given saves and ends, and can be resumed.
    """
    seconds = session.fabric.broadcast(_seconds_per_iteration(session))  # one number for all ranks
    other = session.fabric.broadcast(_validation_seconds(session))
    left = max(60 * SHARE * minutes - other, 0.25 * 60 * minutes)
    return Length(max(int(left / seconds), 1), minutes, seconds, other)


def _seconds_per_iteration(session: Session) -> float:
    loop = session.loop()
    begins = [*first_steps(session.method.stages, loop.total), loop.total]
    mean = 0.0
    for stage, (begin, end) in zip(session.method.stages, itertools.pairwise(begins), strict=True):
        if end == begin:
            continue
        session.method.on_stage_start(stage.name)
        loop.build_optimizers()
        making, training = 0.0, 0.0
        count = 0
        for seconds in _timed(session, loop.optimizers, stage, end - begin):
            making, training, count = making + seconds[0], training + seconds[1], count + 1
            enough = count >= MOST_STEPS or (count >= LEAST_STEPS and making + training >= SECONDS)
            if session.fabric.broadcast(enough):  # all ranks train on the same number of batches
                break
        both = max(making, training) if session.made_ahead else making + training
        mean += both / count * (end - begin) / loop.total
    return mean


def _timed(
    session: Session, optimizers: dict[str, torch.optim.Optimizer], stage: Stage, length: int
) -> Iterator[tuple[float, float]]:
    """Seconds for making a batch and for training on it; the first one, which sets things up, is not told."""
    batches = session.batches.of(stage)
    for step in itertools.count():
        begin = time.perf_counter()
        batch = batches(step)
        made = time.perf_counter()
        now = Clock(min(step, length - 1), length, stage.name)
        iterate(session.fabric, session.method, batch, optimizers, now, session.precision)
        if session.fabric.device.type == "cuda":
            torch.cuda.synchronize(session.fabric.device)
        if step:
            yield made - begin, time.perf_counter() - made


def _validation_seconds(session: Session) -> float:
    """Of all validations of a run together, and of scoring what it holds out; 0 where there is neither."""
    prepared, config = session.prepared, session.config
    split = prepared.split
    if not (split.val or split.held_out):
        return 0.0
    one = replace(prepared, split=replace(split, val=(*split.val, *split.held_out)[:1]))
    validation = Validation(one, config, session.precision.name, session.mirrored)
    begin = time.perf_counter()
    validation(getattr(session.method, session.method.predictor))
    times = 11  # ten in a run, and the final one
    return (time.perf_counter() - begin) * (len(split.val) * times + len(split.held_out))
