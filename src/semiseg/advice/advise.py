"""The whole answer: the facts of dataset, plan, labels and machine, the ranking, the commands to type."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from semiseg import methods
from semiseg.advice.rank import Choice, rank
from semiseg.advice.situation import CORE_RATE, LabelFacts, Situation, free_gpu_gb, multiply_adds
from semiseg.dataset.case import LabeledCase, case_header, load_label
from semiseg.dataset.dataset import Dataset
from semiseg.drawing.notebook import Tabular
from semiseg.errors import UsageError
from semiseg.machine.hardware import cores, cpu, free_memory_gb, select_device
from semiseg.preparation.labels import to_classes
from semiseg.preparation.plan import Plan
from semiseg.preparation.prepare import plan_for, split_dataset
from semiseg.settings.config import AUTO_ITERATIONS, Config
from semiseg.settings.flags import Settings, configured

if TYPE_CHECKING:
    from semiseg.drawing.table import Table

FALLBACK = "supervised"


@dataclass(frozen=True)
class Advice(Tabular):
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

    def tables(self) -> Sequence[Table]:
        """The ranking, with a reason or an obstacle each."""
        from semiseg.drawing.table import table_of

        def why(choice: Choice) -> str:
            return choice.obstacle or "; ".join(reason.text for reason in choice.reasons)

        columns = (("method", lambda c: c.method), ("iterations", lambda c: str(c.iterations)), ("why", why))
        title = f"{self.situation.dataset}: {self.first.method} first"
        return [table_of(title, self.ranking, columns, self.commands)]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        ranking = [{**asdict(choice), "fits": not choice.obstacle} for choice in self.ranking]
        return {
            "situation": asdict(self.situation),
            "first": self.first.method,
            "commands": list(self.commands),
            "ranking": ranking,
        }


def recommend(
    dataset: str | Path | Dataset,
    config: Config | str | Path | None = None,
    *,
    labeled: int | None = None,
    labeled_patients: int | None = None,
    fold: int | None = None,
    seed: int | None = None,
    memory_gb: float | None = None,
    minutes: float | None = None,
    settings: Settings | None = None,
    device: str = "auto",
    workers: int | None = None,
) -> Advice:
    """Rank the training methods for a dataset, with the reasons, and say which command to start with.

    Looks at the images and at the labels of the labeled cases only.

    Args:
        dataset: a folder, a name or number under ``SEMISEG_DATA``, or an opened dataset.
        config: a YAML file with settings; or a whole configuration, beside which no other setting is taken.
        labeled: how many labeled cases to use; None is all.
        labeled_patients: the same number counted in patients.
        fold: the fold of the dataset's split file, counted from 0.
        seed: the seed that chooses the labeled cases.
        memory_gb: the memory that a training may use, in GB; None is what is free.
        minutes: the time that a training may take; None is as long as it takes.
        settings: other settings, ``{"plan.spacing": [1, 1, 1]}`` or ``["plan.spacing=[1,1,1]"]``.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``; it need not be in this machine.
        workers: processes that measure the images; None is the number of cores, 0 is this process.

    Returns:
        The ranking; ``advice.first`` is the first choice, ``advice.commands`` what to type.

    Raises:
        UsageError: memory or minutes that are not above 0, or memory that not even the smallest patch fits.
        DataError: no labeled case, or cases that cannot be read.
    """
    flags: dict[str, Any] = {
        "labeled": labeled,
        "labeled_patients": labeled_patients,
        "fold": fold,
        "seed": seed,
    }
    settings = settings if isinstance(settings, Mapping) else list(settings or ())
    file = None if isinstance(config, Config) else config
    repeated = {**flags, "config": file, "device": None if device == "auto" else device}
    config = configured(config, settings=settings, **flags)
    for name, value in (("--memory", memory_gb), ("--minutes", minutes)):
        if value is not None and not value > 0:
            raise UsageError(f"{name} is {value:g}, wanted a number above 0", hint=f"such as {name} 8")
    if device == "auto":  # any other need not be in this machine
        device = str(select_device(device))
    workers = cores() if workers is None else workers
    opened = dataset if isinstance(dataset, Dataset) else Dataset.open(dataset)
    found = measure(opened, config, device=device, memory_gb=memory_gb, minutes=minutes, workers=workers)
    named = opened.root if isinstance(dataset, Dataset) else dataset
    able = None if opened.label_form == "classes" else methods.names(opened.label_form)
    advice = Advice(found, tuple(rank(found, able)), (str(named), *_typed(repeated, settings)))
    if advice.tight:  # see that smaller patches can be planned at all
        config = config.changed("plan", memory_gb=found.memory_gb)
        plan = plan_for(opened, split_dataset(opened, config), config, device=device, workers=workers)
        _require_room(plan.memory_gb["one network"], found.memory_gb, config)
    return advice


def _require_room(need: float, have: float | None, config: Config) -> None:
    """Refuse sizes that were asked for, which the planner takes as they are, where nothing fits them."""
    asked = [
        f"plan.{name}" for name in ("patch", "batch", "features") if getattr(config.plan, name) is not None
    ]
    if asked and have is not None and need > have:
        raise UsageError(
            f"with {' and '.join(asked)} as given, one network alone needs {need:,.4g} GB of memory, and "
            f"{have:g} may be used",
            hint=f"leave out {' and '.join(asked)}: sizes are then planned that fit",
            code="PLAN_MEMORY",
        )


def _typed(flags: Mapping[str, Any], settings: Settings) -> Iterator[str]:
    """Keywords and settings as a command line has them."""
    for name, value in flags.items():
        if value is not None:
            yield from (f"--{name.replace('_', '-')}", str(value))
    if isinstance(settings, Mapping):
        settings = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
    for setting in settings:
        yield from ("--set", setting)


MOST_LABELS = 20
"""Labels that are looked at, the first of the labeled list."""


def measure(
    dataset: Dataset,
    config: Config,
    *,
    device: str,
    memory_gb: float | None = None,
    minutes: float | None = None,
    workers: int = 0,
) -> Situation:
    """The situation of a training."""
    kind = device.partition(":")[0]
    split = split_dataset(dataset, config)
    if config.plan.networks is None:  # a plan that most methods fit
        config = config.changed("plan", networks=2.0)
    plan = plan_for(dataset, split, config, device=device, workers=workers)
    rate = CORE_RATE[bool(cpu()["bf16"])] * cores() if kind == "cpu" else None
    if memory_gb is None:
        memory_gb = free_memory_gb() if kind == "cpu" else free_gpu_gb(device)
    wanted = config.train.iterations
    return Situation(
        dataset=dataset.name,
        dim=plan.dim,
        channels=len(plan.channels),
        classes=len(plan.structures) + 1,
        labeled=len(split.labeled),
        unlabeled=len(split.unlabeled),
        labels=label_facts(split.labeled, plan),
        patch=plan.patch,
        batch=plan.batch,
        plan_gb=(plan.memory_gb["one network"], plan.memory_gb["two networks"]),
        device=device,
        iterations=AUTO_ITERATIONS[kind][plan.dim] if wanted == "auto" else wanted,
        step_seconds=None if rate is None else multiply_adds(plan) / rate,
        memory_gb=memory_gb,
        minutes=minutes,
    )


def label_facts(labeled: tuple[LabeledCase, ...], plan: Plan) -> LabelFacts:
    """Read labels of labeled cases: sizes, missing classes, pieces."""
    names = list(plan.structures)
    chosen = labeled[:MOST_LABELS]
    voxels = np.zeros(len(names), np.int64)
    total, incomplete, pieces = 0, 0, []
    for case in chosen:
        label = to_classes(load_label(case, case_header(case).grid), plan, case=case.id)
        masks = [np.isin(label, places) for places in plan.structures.values()]
        counts = np.array([np.count_nonzero(mask) for mask in masks])
        voxels += counts
        total += label.size
        incomplete += bool((counts == 0).any())
        corners = np.ones((3,) * label.ndim)
        pieces += [ndimage.label(masks[k], structure=corners)[1] for k in np.flatnonzero(counts)]
    k = int(voxels.argmin())
    return LabelFacts(
        cases=len(chosen),
        rarest=names[k],
        rarest_share=float(voxels[k] / max(total, 1)),
        absent=incomplete / len(chosen),
        pieces=float(np.median(pieces)) if pieces else 0.0,
    )
