"""The whole answer: the facts, the ranking, and the commands to type."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from semiseg.advice.look import look
from semiseg.advice.rank import Choice, rank
from semiseg.advice.situation import Situation
from semiseg.config import Config
from semiseg.data.dataset import Dataset
from semiseg.errors import UsageError
from semiseg.prepare import plan_for, split_dataset

FALLBACK = "supervised"


@dataclass(frozen=True)
class Advice:
    """What to train first, what beside it, and why."""

    situation: Situation
    ranking: tuple[Choice, ...]
    """The best first; those that do not fit memory or time last."""
    flags: tuple[str, ...] = ()
    """Of ``semiseg train``, beside the method: the dataset and what was given."""

    @property
    def first(self) -> Choice:
        """The first choice; supervised training where not even that fits the memory."""
        best = self.ranking[0]
        return next(c for c in self.ranking if c.method == FALLBACK) if best.obstacle else best

    @property
    def commands(self) -> tuple[str, ...]:
        """``semiseg train`` with the first choice and, unless it is that, with supervised training.

        Both have the same number of iterations, and fit memory and time.
        """
        names = dict.fromkeys([self.first.method, FALLBACK])
        within = []
        iterations = min(choice.iterations for choice in self.ranking if choice.method in names)
        if iterations < self.situation.iterations:
            within += ["--iterations", str(max(1, iterations))]
        if self.tight:
            within += ["--set", f"plan.memory_gb={self.situation.memory_gb:g}"]
        start = ["semiseg", "train", *self.flags, "--method"]
        return tuple(shlex.join([*start, name, *within]) for name in names)

    @property
    def tight(self) -> bool:
        """Whether smaller patches must be planned, as nothing fits."""
        return bool(self.ranking[0].obstacle)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        ranking = [{**asdict(choice), "fits": not choice.obstacle} for choice in self.ranking]
        return {
            "situation": asdict(self.situation),
            "first": self.first.method,
            "commands": list(self.commands),
            "ranking": ranking,
        }


def advise(
    dataset: Dataset,
    config: Config,
    *,
    device: str,
    memory_gb: float | None = None,
    minutes: float | None = None,
    workers: int = 0,
    flags: Sequence[str] = (),
) -> Advice:
    """Rank the methods for a dataset.

    Args:
        dataset: an opened dataset.
        config: which cases are labeled, and the plan's overrides.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``mps``, as it is.
        memory_gb: what may be used; None is what is free.
        minutes: what a run may take; None for as long as it takes.
        workers: processes for measuring the images.
        flags: of ``semiseg train``, repeated in the commands.

    Raises:
        UsageError: memory or minutes that are not above 0, or memory that not even the smallest patch fits.
        DataError: no labeled case, or cases that cannot be read.
    """
    for name, value in (("--memory", memory_gb), ("--minutes", minutes)):
        if value is not None and not value > 0:
            raise UsageError(f"{name} is {value:g}, wanted a number above 0", hint=f"such as {name} 8")
    found = look(dataset, config, device=device, memory_gb=memory_gb, minutes=minutes, workers=workers)
    advice = Advice(found, tuple(rank(found)), tuple(flags) or (str(dataset.root),))
    if advice.tight:  # see that smaller patches can be planned at all
        smaller = config.plan.model_copy(update={"memory_gb": found.memory_gb})
        config = config.model_copy(update={"plan": smaller})
        plan_for(dataset, split_dataset(dataset, config), config, device=device, workers=workers)
    return advice
