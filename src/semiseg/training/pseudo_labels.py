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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor, nn

from semiseg import images
from semiseg.core import IGNORE, Head, PseudoLabels, Stage
from semiseg.errors import DataError
from semiseg.inference.accumulate import Slab
from semiseg.inference.postprocess import postprocess
from semiseg.machine.files import atomic_file, read_json, write_json
from semiseg.machine.stopping import Stopped, StopRequest
from semiseg.methods.parts import reliability
from semiseg.prediction.model import Model, PreparedScan
from semiseg.preparation.cache import image_key
from semiseg.preparation.prepare import Prepared
from semiseg.preparation.store import StoredCase, StoredLabeledCase
from semiseg.settings.config import Config
from semiseg.training.compiled import eager
from semiseg.training.update import any_rank

log = logging.getLogger("semiseg.train")

Tell = Callable[[str], None]
"""A line for the user."""

RARE = 0.5
"""A class of which less than this share of its labeled volume is kept is told."""


@dataclass
class PseudoLabeler:
    """Makes and reads the pseudo-labels of a run.

    Args:
        prepared: the run's data; of unlabeled scans only the stored images are read.
        config: sliding window and post-processing.
        precision: number format of the forward passes.
        fabric: each rank predicts its share of the scans.
        folder: of the run.
        stages: of the method, in order.
        tell: of classes that are hardly kept.

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

    def make(self, stage: Stage, network: nn.Module) -> None:
        """Predict what this network has not yet predicted, and choose.

        Raises:
            Stopped: on request, after the scan at hand.
        """
        if stage.pseudo is None or not self.prepared.unlabeled:
            return
        model = Model.of(self.prepared.plan, [network], self.config.inference, precision=self.precision)
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
            self._choose(stage, stage.pseudo, name)
        self.fabric.barrier("chosen")

    def taught(self, stage: Stage) -> dict[str, NDArray[np.uint8]]:
        """Case -> (T0, T1, T2) classes to learn from, of the scans that were chosen; mapped from disk.

        Raises:
            DataError: they are gone.
        """
        if not self.prepared.unlabeled:
            return {}
        place = self._place(stage)
        try:
            kept = read_json(place.with_suffix(".json"))["kept"]
            return {case: np.load(place / f"{case}.taught.npy", mmap_mode="r") for case in kept}
        except (OSError, ValueError, KeyError) as error:
            raise DataError(
                f"the pseudo-labels in {place} cannot be read: {error}",
                hint="restore the folder, or train anew with --overwrite",
                code="PSEUDO_LABELS",
            ) from None

    def _place(self, stage: Stage) -> Path:
        return self.folder / "pseudo_labels" / stage.name

    def _predict(self, stage: Stage, case: StoredCase, model: Model, network: str) -> None:
        """Label map, classes and confidences of one scan; its facts are written last."""
        place = self._place(stage)
        record = place / f"{case.id}.json"
        if _facts(record).get("network") == network:
            return
        began = time.monotonic()
        plan, head = model.plan, model.plan.head
        seen = _Seen(head)
        scan = PreparedScan(((model.members, np.array(case.image)),), case.geometry)
        found = model.infer(scan, also=seen.add).result()
        labels, confidence = seen.maps()
        settings = self.config.inference
        labels = postprocess(
            labels,
            plan.written,
            regions=plan.structures if plan.regions else None,
            fill_holes=settings.fill_holes,
            largest_component=settings.largest_component,
            minimum_mm3=settings.minimum_mm3,
            spacing=case.geometry.spacing,
        )
        counts = reliability.histogram(labels, confidence, head.classes)
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
        write_json(record, facts)

    def _choose(self, stage: Stage, wanted: PseudoLabels, network: str) -> None:
        """Scans and voxels to learn from, and the record of the choice."""
        place = self._place(stage)
        cases = [case.id for case in self.prepared.unlabeled]
        facts = {case: _facts(place / f"{case}.json") for case in cases}
        counts = {case: np.asarray(facts[case]["counts"], np.int64) for case in cases}
        by, values = self._values(stage, wanted, facts, counts)
        places = self._kept(by, list(values.values()), wanted.keep)
        kept = [cases[i] for i in places]
        levels = _levels(wanted, np.sum([*counts.values()], axis=0))
        for case in kept:
            labels, confidence = (np.load(place / f"{case}.{kind}.npy") for kind in ("label", "confidence"))
            labels[confidence < np.asarray(levels, np.uint8)[labels]] = IGNORE
            write_array(place / f"{case}.taught.npy", labels)
        volumes = self._volumes([counts[case] for case in kept], levels)
        content = {
            "network": network,
            "scans_by": by,
            "voxels_by": wanted.voxels,
            "thresholds": {
                name: round(level / 255, 4)
                for name, level in zip(self.prepared.plan.labels, levels, strict=True)
            },
            "values": {case: value if math.isfinite(value) else None for case, value in values.items()},
            "kept": kept,
            "dropped": [case for case in cases if case not in set(kept)],
            "classes": volumes,
        }
        write_json(place.with_suffix(".json"), content)
        self._warn(stage, volumes)

    def _values(
        self,
        stage: Stage,
        wanted: PseudoLabels,
        facts: Mapping[str, Mapping[str, Any]],
        counts: Mapping[str, NDArray[np.int64]],
    ) -> tuple[str, dict[str, float]]:
        """What the scans are chosen by, and its value for each; in a first round nothing can have changed."""
        if wanted.scans in ("entropy", "entropy_sum"):
            return wanted.scans, {case: _number(told[wanted.scans]) for case, told in facts.items()}
        until = self.stages.index(stage) + 1
        rounds = [self._place(s) for s in self.stages[:until] if s.pseudo is not None][-3:]
        if wanted.scans == "round_change" and len(rounds) > 1:
            return "round_change", {
                case: reliability.round_change(*(np.load(p / f"{case}.label.npy") for p in rounds))
                for case in facts
            }
        by = "none" if wanted.scans == "none" else "mean_confidence"
        return by, {case: reliability.doubt(found) for case, found in counts.items()}

    @staticmethod
    def _kept(by: str, values: list[float], keep: float) -> list[int]:
        if by == "none":
            return list(range(len(values)))
        if by == "entropy_sum":
            return reliability.least_certain(values, 100 * (1 - keep))
        return reliability.most_reliable(values, keep)

    def _volumes(self, counts: list[NDArray[np.int64]], levels: list[int]) -> dict[str, dict[str, float]]:
        """Per class: predicted and kept voxels of a scan, and those of a labeled one."""
        labeled = np.mean(
            [
                np.bincount(np.ravel(case.label), minlength=256)
                for case in self.prepared.labeled
                if isinstance(case, StoredLabeledCase)
            ],
            axis=0,
        )
        whole = np.mean(counts, axis=0)
        return {
            name: {
                "predicted": round(float(whole[k].sum()), 1),
                "kept": round(float(whole[k, levels[k] :].sum()), 1),
                "labeled": round(float(labeled[k]), 1),
            }
            for k, name in enumerate(self.prepared.plan.labels)
        }

    def _warn(self, stage: Stage, volumes: Mapping[str, Mapping[str, float]]) -> None:
        _, *structures = volumes.items()
        for name, voxels in structures:
            if voxels["kept"] < RARE * voxels["labeled"]:
                share = voxels["kept"] / voxels["labeled"]
                self.tell(f"{stage.name}: of {name} {share:.0%} of the labeled volume is kept per scan")


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
        entropy = reliability.entropy_map(torch.cat([p, 1 - p]) if self._head.regions else p)
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


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Whole or not at all."""
    with atomic_file(path) as stream:
        np.save(stream, np.ascontiguousarray(array), allow_pickle=False)


def _require_no_leak(prepared: Prepared) -> None:
    """No scan that is scored may be learned from, under whatever name; images only, no label is opened."""
    keys = {case.image_path.name.split(".")[0]: case.id for case in prepared.unlabeled}
    both = []
    for case in (*prepared.split.val, *prepared.split.test):
        try:
            key = image_key(case.images, prepared.plan)
        except OSError:
            continue  # nobody can learn from what is not there
        both += [(keys[key], case.id)] if key in keys else []
    if both:
        pairs = ", ".join(f"{one} (unlabeled) = {other}" for one, other in both[:5])
        raise DataError(
            f"scans of the validation or test list are among the unlabeled ones: {pairs}",
            hint="remove them from the unlabeled scans: they would be learned from",
            code="LEAK",
            details={"cases": both},
        )


def _levels(wanted: PseudoLabels, counts: NDArray[np.int64]) -> list[int]:
    if wanted.voxels == "quantile":
        return reliability.thresholds(counts, wanted.quantile, wanted.threshold)
    return [reliability.stored(wanted.threshold) if wanted.voxels == "fixed" else 0] * len(counts)


def _facts(path: Path) -> dict[str, Any]:
    try:
        return dict(read_json(path))
    except (OSError, ValueError):
        return {}


def _number(value: float | None) -> float:
    return math.inf if value is None else value


def _bytes(values: Tensor) -> NDArray[np.uint8]:
    return values.to(torch.uint8).cpu().numpy()
