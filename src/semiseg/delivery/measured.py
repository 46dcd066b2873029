"""What smaller weights cost: windows of unlabeled scans to choose their ranges, Dice before and after.

Unlabeled scans are read without labels. Dice is measured on the run's validation cases or, where it has none,
on its labeled ones, never on test cases.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from semiseg.core import SegOutput
from semiseg.dataset.case import Case, LabeledCase, load_case, load_label, plain
from semiseg.dataset.dataset import Dataset
from semiseg.delivery.onnx_model import open_session
from semiseg.delivery.source import Source
from semiseg.errors import UsageError
from semiseg.evaluation.results import evaluate_pairs
from semiseg.images.grid import Grid
from semiseg.inference.window import pad_to, window_starts
from semiseg.prediction.members import Member
from semiseg.prediction.model import Model
from semiseg.prediction.scans import channel_numbers
from semiseg.preparation.labels import IGNORE, file_values, to_classes

SCANS = 8
"""Unlabeled scans that windows are taken from."""
WINDOWS = 4
"""Of each scan."""
MOST_CASES = 20
"""Cases that Dice is measured on."""


class Cases:
    """The cases of the runs' lists, in the dataset that they were trained on.

    Args:
        sources: runs; all have lists.
        data: the dataset's folder.

    Raises:
        UsageError: a zip, which has no lists, or a dataset without a case of them.
        DataError: a dataset of other channels.
    """

    def __init__(self, sources: Sequence[Source], data: str | Path) -> None:
        dataset = Dataset.open(data)
        self._channels = [channel.name for channel in sources[0].plan.channels]
        self._order = channel_numbers(dataset.root / "imagesTr", self._channels)
        self._known: dict[str, Case] = {c.id: c for c in (*dataset.annotated, *dataset.unannotated)}
        splits = [source.run.split for source in sources]
        lists = {key: [name for split in splits for name in split.get(key) or ()] for key in splits[0]}
        self._lists = {key: list(dict.fromkeys(names)) for key, names in lists.items()}
        wanted = [name for key in ("labeled", "unlabeled", "val") for name in self._lists.get(key, ())]
        if missing := [name for name in wanted if name not in self._known]:
            raise UsageError(
                f"{dataset.root} has no case {missing[0]}, which the run was trained on",
                hint="name the dataset of the run",
                code="OTHER_DATASET",
            )

    def image(self, case: Case) -> tuple[NDArray[Any], Grid]:
        """(C, *S) with the channels in the order of the run, and where its voxels lie."""
        image, grid, _ = load_case(case, len(self._channels))
        return (image if self._order is None else image[list(self._order)]), grid

    @property
    def unlabeled(self) -> list[Case]:
        """Scans without labels; of a run that saw none, those of the labeled cases."""
        names = self._lists.get("unlabeled") or self._lists["labeled"]
        return [plain(self._known[name]) for name in names]

    @property
    def scored(self) -> tuple[str, list[LabeledCase]]:
        """``validation`` or ``labeled``, and its cases."""
        name = "val" if self._lists.get("val") else "labeled"
        found = [self._known[case] for case in self._lists[name][:MOST_CASES]]
        cases = [case for case in found if isinstance(case, LabeledCase)]
        return ("validation" if name == "val" else name), cases


def windows(cases: Cases, model: Model, members: Sequence[Member]) -> list[NDArray[np.float32]]:
    """Windows (1, C, *patch) of some unlabeled scans, spread over each, as ``members`` see them."""
    plan, found = members[0].plan, []
    window = (1, *plan.patch) if plan.dim == 2 else plan.patch
    alone = replace(model, members=tuple(members), copies={})
    scans = cases.unlabeled
    for case in scans[:: max(1, len(scans) // SCANS)][:SCANS]:
        x, _ = pad_to(torch.from_numpy(alone.prepare(*cases.image(case)).inputs[0][1]), window)
        starts = window_starts(x.shape[1:], window, 0.5, None)
        for start in starts[:: max(1, len(starts) // WINDOWS)][:WINDOWS]:
            cut = x[(slice(None), *(slice(s, s + w) for s, w in zip(start, window, strict=True)))]
            found.append(np.ascontiguousarray(cut.reshape(1, len(x), *plan.patch).numpy()))
    return found


class OnnxNetwork(nn.Module):
    """An exported graph in the place of the networks that it was made of."""

    def __init__(self, content: bytes, *, regions: bool) -> None:
        super().__init__()
        self.session, self.regions = open_session(content), regions

    def forward(self, x: Tensor) -> SegOutput:
        """(B, C, *patch) -> logits (B, K, *patch) whose softmax (or sigmoid) is what the graph says."""
        p = torch.from_numpy(self.session.run(["probabilities"], {"image": x.contiguous().numpy()})[0])
        logits = p.clamp_min(1e-30).log()
        return SegOutput(logits - (1 - p).clamp_min(1e-30).log() if self.regions else logits)


def from_files(model: Model, files: Sequence[Path]) -> Model:
    """The model with one exported graph in the place of each group of its networks."""
    members: list[Member] = []
    for group, file in zip(model.groups(), files, strict=True):
        network = OnnxNetwork(file.read_bytes(), regions=bool(model.plan.regions))
        members += [member._replace(network=network) for member in group]
    return replace(model, members=tuple(members), copies={}, precision="32")


def compared(model: Model, smaller: Model, cases: Cases) -> dict[str, Any]:
    """Mean Dice per class of the networks and of their smaller form, on the same cases."""
    on, chosen = cases.scored
    before, after = (
        _dice(one, cases, chosen) for one in (replace(model, precision="32", copies={}), smaller)
    )
    lost = {name: round(after[name] - before[name], 5) for name in before}
    return {"on": on, "cases": len(chosen), "dice": before, "dice_smaller": after, "difference": lost}


def _dice(model: Model, cases: Cases, chosen: Sequence[LabeledCase]) -> Mapping[str, float]:
    values = np.array(file_values(model.plan))
    background = int(values[0])

    def pairs() -> Any:
        for case in chosen:
            image, grid = cases.image(case.without_label())
            classes = to_classes(load_label(case, grid), model.plan, case=case.id)
            found, unknown = model.segment(image, grid).labels, classes == IGNORE
            truth = values[np.where(unknown, 0, classes)]
            yield case.id, truth, np.where(unknown, background, found), grid

    found = evaluate_pairs(pairs(), model.structures, distances=False)
    return {name: round(value, 5) for name, value in found.class_means("Dice").items()}
