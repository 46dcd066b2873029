"""Gather the facts: the dataset as a run would see it, its plan, its labels, the machine."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from semiseg.advice.situation import CORE_RATE, LabelFacts, Situation, free_gpu_gb, multiply_adds
from semiseg.config import AUTO_ITERATIONS, Config
from semiseg.data.cases import LabeledCase
from semiseg.data.dataset import Dataset
from semiseg.data.labels import to_classes
from semiseg.data.load import case_header, load_label
from semiseg.data.plan import Plan
from semiseg.machine import cores, cpu, free_memory_gb
from semiseg.prepare import plan_for, split_dataset

MOST_LABELS = 20
"""Labels that are looked at, the first of the labeled list."""


def look(
    dataset: Dataset,
    config: Config,
    *,
    device: str,
    memory_gb: float | None = None,
    minutes: float | None = None,
    workers: int = 0,
) -> Situation:
    """The situation of a training.

    Args:
        dataset: an opened dataset.
        config: which cases are labeled, and the plan's overrides.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``mps``, as it is.
        memory_gb: what may be used; None is what is free.
        minutes: what a run may take; None for as long as it takes.
        workers: processes for measuring the images.
    """
    kind = device.partition(":")[0]
    split = split_dataset(dataset, config)
    if config.plan.networks is None:  # a plan that most methods fit
        config = config.model_copy(update={"plan": config.plan.model_copy(update={"networks": 2.0})})
    plan = plan_for(dataset, split, config, device=device, workers=workers)
    rate = CORE_RATE[bool(cpu()["bf16"])] * cores() if kind == "cpu" else None
    if memory_gb is None:
        memory_gb = free_memory_gb() if kind == "cpu" else free_gpu_gb(device)
    wanted = config.train.iterations
    return Situation(
        dataset=dataset.name,
        dim=plan.dim,
        channels=len(plan.channels),
        classes=plan.classes,
        labeled=len(split.labeled),
        unlabeled=len(split.unlabeled),
        labels=label_facts(split.labeled, plan),
        patch=plan.patch,
        batch=plan.batch,
        plan_gb=(plan.memory_gb["one network"], plan.memory_gb["two networks"]),
        device=device,
        iterations=AUTO_ITERATIONS[kind] if wanted == "auto" else wanted,
        step_seconds=None if rate is None else multiply_adds(plan) / rate,
        memory_gb=memory_gb,
        minutes=minutes,
    )


def label_facts(labeled: tuple[LabeledCase, ...], plan: Plan) -> LabelFacts:
    """Read labels of labeled cases: sizes, missing classes, pieces."""
    names = list(plan.labels)[1:]
    chosen = labeled[:MOST_LABELS]
    voxels = np.zeros(len(names), np.int64)
    total, incomplete, pieces = 0, 0, []
    for case in chosen:
        label = to_classes(load_label(case, case_header(case).grid), plan, case=case.id)
        counts = np.bincount(label.ravel(), minlength=256)[1 : len(names) + 1]
        voxels += counts
        total += label.size
        incomplete += bool((counts == 0).any())
        corners = np.ones((3,) * label.ndim)
        pieces += [ndimage.label(label == k + 1, structure=corners)[1] for k in np.flatnonzero(counts)]
    k = int(voxels.argmin())
    return LabelFacts(
        cases=len(chosen),
        rarest=names[k],
        rarest_share=float(voxels[k] / max(total, 1)),
        absent=incomplete / len(chosen),
        pieces=float(np.median(pieces)) if pieces else 0.0,
    )
