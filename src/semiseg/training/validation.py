"""Validation on whole scans, in their own grid, by the same steps as prediction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from semiseg import images
from semiseg.core import IGNORE
from semiseg.dataset.case import LabeledCase, load_case, load_label
from semiseg.errors import SemisegError
from semiseg.evaluation.results import CaseScores, Evaluation, evaluate_pairs
from semiseg.evaluation.tables import read_evaluation
from semiseg.evaluation.tables import write as save
from semiseg.images.grid import Grid
from semiseg.prediction.doubt import FILE as CALIBRATION
from semiseg.prediction.doubt import SCORES, Calibration, Doubt, Known
from semiseg.prediction.model import Model
from semiseg.preparation.labels import to_classes
from semiseg.preparation.prepare import Prepared
from semiseg.settings.config import Config
from semiseg.training.trained import eager


class Validation:
    """``validation(network)`` scores a network on the validation list, or on other labeled ``cases``."""

    def __init__(
        self,
        prepared: Prepared,
        config: Config,
        precision: str,
        mirrored: tuple[int, ...] = (),
        cases: Sequence[LabeledCase] | None = None,
        source: str = "validation list",
    ) -> None:
        self.plan, self.config, self.precision = prepared.plan, config, precision
        self.cases, self.mirrored = prepared.split.val if cases is None else cases, mirrored
        self.source = source
        if cases is None and config.select == "best-val":
            self.source += ", which also chose the weights"
        self.doubts: dict[str, dict[str, float]] = {}
        self.labeled_classes = prepared.dataset.labeled_classes
        self.labels = {n: k if len(k) > 1 else k[0] for n, k in prepared.plan.structures.items()}

    def __call__(self, network: nn.Module) -> dict[str, float]:
        """Mean Dice over the foreground classes (``dice``) and of each (``dice/CLASS``)."""
        scores = self._evaluate(network, None).class_means("Dice")
        found = [value for value in scores.values() if value == value]
        mean = float(np.mean(found)) if found else 0.0
        return {"dice": mean, **{f"dice/{name}": value for name, value in scores.items()}}

    def write(self, network: nn.Module, folder: Path) -> Evaluation:
        """Predictions as NIfTI, ``summary.json`` and ``metrics.csv``; ``calibration.json`` beside them.

        That says of each scan how far its prediction doubts itself and what it was worth.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.doubts.clear()
        found = self._evaluate(network, folder)
        save(found, folder)
        known = [
            Known(case.case, _mean_dice(case), self.doubts[case.case])
            for case in found.cases
            if case.case in self.doubts
        ]
        options = {"overlap": self.config.inference.overlap, "mirror": self.config.inference.mirror}
        Calibration(known, self.source, options).save(folder.parent / CALIBRATION)
        return found

    def _evaluate(self, network: nn.Module, folder: Path | None) -> Evaluation:
        model = Model.of(
            self.plan, [network], self.config.inference, precision=self.precision, mirrored=self.mirrored
        )
        pairs = (self._pair(model, case, folder) for case in self.cases)
        with eager():  # windows and slices come in other numbers than patches
            return evaluate_pairs(
                pairs,
                self.labels,
                ignore=IGNORE,
                distances=folder is not None,
                labeled_classes=self.labeled_classes,
            )

    def _pair(
        self, model: Model, case: LabeledCase, folder: Path | None
    ) -> tuple[str, NDArray[np.uint8], NDArray[np.uint8], Grid]:
        image, grid, meta = load_case(case, len(self.plan.channels))
        doubt = Doubt(self.plan)
        labels = model.infer(model.prepare(image, grid), also=doubt.add if folder else None).result().labels
        if folder is not None:
            told = doubt.result()
            self.doubts[case.id] = {score: told[score] for score in SCORES}
            images.write(folder / f"{case.id}.nii.gz", labels, grid, meta)
        reference = to_classes(load_label(case, grid), self.plan, case=case.id)
        return case.id, _classes(labels, list(model.label_values.values())), reference, grid


def mean_dice_of_cases(folder: Path) -> dict[str, float]:
    """Case -> mean Dice of what was written into a folder; empty where nothing that can be read was."""
    try:
        found = {case.case: _mean_dice(case) for case in read_evaluation(folder).cases}
    except SemisegError:
        return {}
    return {case: dice for case, dice in found.items() if dice == dice}


def _mean_dice(case: CaseScores) -> float:
    """Over the classes that are there."""
    found = [dice for metrics in case.metrics.values() if (dice := metrics["Dice"]) == dice]
    return float(np.mean(found)) if found else float("nan")


def _classes(labels: NDArray[Any], values: list[int]) -> NDArray[np.uint8]:
    """Predicted label values back to class indices."""
    table = np.zeros(max(values) + 1, np.uint8)
    table[values] = np.arange(len(values))
    return np.asarray(table[labels])
