"""The plan of a run, and how ``plan`` and ``train --dry-run`` show it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from semiseg.config import Config
from semiseg.data.dataset import Dataset, Split
from semiseg.data.plan import Plan
from semiseg.machine import cores, free_memory_gb


def plan_of(
    dataset: Dataset, config: Config, *, device: str, workers: int | None, file: Path | None = None
) -> tuple[Split, Plan]:
    """The split and the plan with which ``semiseg train`` would run."""
    from semiseg.devices import select_device
    from semiseg.prepare import plan_for, split_dataset

    if device == "auto":  # any other need not be in this machine: log-in nodes plan for those that train
        device = select_device(device).type
    split = split_dataset(dataset, config)
    workers = cores() if workers is None else workers
    return split, plan_for(dataset, split, config, device=device, workers=workers, file=file)


def plan_text(split: Split, plan: Plan) -> Iterator[str]:
    """Counts, the plan line by line, and its memory beside what is free."""
    from semiseg.data.planner import explain

    lists = split.as_dict()
    counts = ", ".join(f"{len(lists[part])} {part}" for part in ("labeled", "unlabeled", "val", "test"))
    yield f"cases: {counts} ({split.source})"
    yield from explain(plan)
    free = free_memory_gb()
    if free is not None:
        yield f"free main memory: {free:g} GB"
