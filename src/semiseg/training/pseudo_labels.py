"""Pseudo-labels of a stage: every unlabeled scan predicted whole, the reliable ones chosen, all of it on
disk.

``RUN/pseudo_labels/STAGE`` holds ``CASE.nii.gz`` on the scan's grid, to look at; ``CASE.label.npy`` and
``CASE.confidence.npy`` on the grid of training; and ``CASE.taught.npy``, what is learned from, 255 where
unsure. ``RUN/pseudo_labels/STAGE.json`` tells the network, the value of each scan, the thresholds and what
was kept.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor, nn

from semiseg import images
from semiseg.core import Head, Stage
from semiseg.errors import DataError
from semiseg.inference.accumulate import Slab
from semiseg.inference.postprocess import postprocess
from semiseg.machine.files import json_object, read_json, write_json
from semiseg.machine.stopping import Stopped, StopRequest
from semiseg.prediction.model import Model, PreparedScan
from semiseg.preparation.cache import image_key
from semiseg.preparation.prepare import Prepared
from semiseg.preparation.store import StoredCase
from semiseg.settings.config import Config
from semiseg.training.reliable_scans import (
    Tell,
    choose,
    entropy_map,
    finite,
    fold_disagreement,
    histogram,
    place_of,
    write_array,
)
from semiseg.training.trained import eager
from semiseg.training.update import any_rank

log = logging.getLogger("semiseg.train")


@dataclass
class PseudoLabeler:
    """Makes and reads the pseudo-labels of a run.

    Raises:
        DataError: an unlabeled scan is also one of the validation or test list.
    """

    prepared: Prepared
    config: Config
    precision: str
    fabric: Fabric
    folder: Path
    stages: Sequence[Stage]
    tell: Tell = log.warning

    def __post_init__(self) -> None:
        if self.fabric.global_rank == 0:
            _require_no_leak(self.prepared)

    def make(self, stage: Stage, networks: Sequence[nn.Module]) -> None:
        """Predict what these networks have not yet predicted, as one, and choose.

        Raises:
            Stopped: on request, after the scan at hand.
        """
        if stage.pseudo is None or not self.prepared.unlabeled:
            return
        model = self._model(networks)
        name = model.id
        with eager(), StopRequest() as stop:
            for case in self.prepared.unlabeled[self.fabric.global_rank :: self.fabric.world_size]:
                if stop.raised:
                    break
                self._predict(stage, case, model, name)
            stopped = stop.raised
        if any_rank(self.fabric, stopped):
            raise Stopped
        self.fabric.barrier("predicted")
        if self.fabric.global_rank == 0:
            choose(self.prepared, self.stages, stage, name, self.folder, self.tell)
        self.fabric.barrier("chosen")

    def taught(self, stage: Stage) -> dict[str, NDArray[Any]]:
        """Case -> (T0, T1, T2) classes to learn from, of the scans that were chosen; mapped from disk.

        With their confidences where the stage asks for them, see :func:`semiseg.preparation.resident.packed`.

        Raises:
            DataError: they are gone.
        """
        if not self.prepared.unlabeled:
            return {}
        place = place_of(self.folder, stage)
        try:
            kept = read_json(place.with_suffix(".json"))["kept"]
            return {case: np.load(place / f"{case}.taught.npy", mmap_mode="r") for case in kept}
        except (OSError, ValueError, KeyError) as error:
            raise DataError(
                f"the pseudo-labels in {place} cannot be read: {error}",
                hint="restore the folder, or train again with --overwrite",
                code="PSEUDO_LABELS",
            ) from None

    def _model(self, networks: Sequence[nn.Module]) -> Model:
        return Model.of(self.prepared.plan, networks, self.config.inference, precision=self.precision)

    def _predict(self, stage: Stage, case: StoredCase, model: Model, network: str) -> None:
        """Label map, classes and confidences of one scan; its facts are written last."""
        place = place_of(self.folder, stage)
        record = place / f"{case.id}.json"
        if json_object(record).get("network") == network:
            return
        began = time.monotonic()
        plan, head = model.plan, model.plan.head
        seen = _Seen(head)
        scan = PreparedScan(((model.members, np.array(case.image)),), case.geometry)
        found = model.infer(scan, also=seen.add).result()
        labels, confidence = seen.maps()
        settings = model.settings
        labels = postprocess(
            labels,
            plan.written,
            regions=plan.structures if plan.regions else None,
            fill_holes=settings.fill_holes,
            largest_component=settings.largest_component,
            minimum_mm3=settings.minimum_mm3,
            spacing=case.geometry.spacing,
        )
        counts = histogram(labels, confidence, head.classes)
        write_array(place / f"{case.id}.label.npy", labels)
        write_array(place / f"{case.id}.confidence.npy", confidence)
        images.write(place / f"{case.id}.nii.gz", found.labels, case.geometry.source, {})
        facts = {
            "network": network,
            "seconds": round(time.monotonic() - began, 3),
            "entropy": seen.entropy_in_box(labels),
            "entropy_sum": seen.entropy_sum,
            "counts": counts.tolist(),
        }
        if stage.pseudo and stage.pseudo.scans == "fold_disagreement" and len(model.members) > 1:
            alone = [self._alone(case, network) for network in model.networks]
            facts["disagreement"] = finite(fold_disagreement(alone))
        write_json(record, facts)

    def _alone(self, case: StoredCase, network: nn.Module) -> NDArray[np.uint8]:
        """(T0, T1, T2) classes that one network of several gives a scan."""
        model = self._model([network])
        seen = _Seen(model.plan.head)
        model.infer(PreparedScan(((model.members, np.array(case.image)),), case.geometry), also=seen.add)
        return seen.maps()[0]


class _Seen:
    """Classes, confidences and entropies on the grid of training, slab by slab."""

    def __init__(self, head: Head) -> None:
        self._head = head
        self._most = len(head.regions) * math.log(2) or math.log(head.classes)
        self._parts: list[tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]]] = []
        self.entropy_sum = 0.0

    def add(self, slab: Slab) -> None:
        """Take the next rows."""
        p = slab.probabilities
        labels, confidence = self._head.decide(p), self._head.confidence(p)
        entropy = entropy_map(torch.cat([p, 1 - p]) if self._head.regions else p)
        self.entropy_sum += float(entropy.double().sum())
        self._parts.append((_bytes(labels), _bytes((255 * confidence).round()), entropy.cpu().numpy()))

    def maps(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """(T0, T1, T2) classes and stored confidences."""
        return tuple(np.concatenate([part[i] for part in self._parts]) for i in (0, 1))  # type: ignore[return-value]

    def entropy_in_box(self, labels: NDArray[np.uint8]) -> float | None:
        """Mean entropy in the box around the foreground, 1 for uniform; None without foreground."""
        where = np.nonzero(labels)
        if not len(where[0]):
            return None
        box = tuple(slice(int(w.min()), int(w.max()) + 1) for w in where)
        entropy = np.concatenate([part[2] for part in self._parts])
        return float(entropy[box].mean()) / self._most


def _require_no_leak(prepared: Prepared) -> None:
    """No scan that is scored may be learned from, under whatever name; images only, no label is opened."""
    keys = {case.image_path.name.split(".")[0]: case.id for case in prepared.unlabeled}
    both = []
    for case in prepared.split.kept_apart:
        try:
            key = image_key(case.images, prepared.plan)
        except OSError:
            continue  # nobody can learn from what is not there
        both += [(keys[key], case.id)] if key in keys else []
    if both:
        pairs = ", ".join(f"{one} (unlabeled) = {other}" for one, other in both[:5])
        raise DataError(
            f"scans of the validation, held-out or test list are among the unlabeled ones: {pairs}",
            hint="remove them from the unlabeled scans: they would be learned from",
            code="LEAK",
            details={"cases": both},
        )


def _bytes(values: Tensor) -> NDArray[np.uint8]:
    return values.to(torch.uint8).cpu().numpy()
