"""What a run is called: ``METHOD__NETWORK__PLAN/labeled-K_fold-F_seed-S``. Needs no torch."""

from __future__ import annotations

from pathlib import Path

from semiseg.config import Config, DataConfig


def run_name(config: Config, *, variant: str = "") -> str:
    """The place of a run below its dataset's folder.

    Args:
        config: of the run, with the network's name.
        variant: stands for the method, where several runs of one method differ in their settings.
    """
    network = config.network.name.replace(":", "-").replace("/", "-")
    method = variant or config.method.name.replace(":", "-")
    kind = f"{method}__{network}__{Path(config.recipe).stem}"
    return f"{kind}/labeled-{budget(config.data)}_fold-{config.data.fold}_seed-{config.train.seed}"


def budget(data: DataConfig) -> str:
    """How many labels were asked for: ``8``, ``2patients`` or ``all``."""
    return f"{data.labeled_patients}patients" if data.labeled_patients else str(data.labeled or "all")
