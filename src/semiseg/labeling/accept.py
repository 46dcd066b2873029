"""``semiseg accept``: predictions become labels, marked as such in ``labels.jsonl``."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from semiseg import images
from semiseg.dataset.case import LabeledCase
from semiseg.errors import DataError, SemisegError, UsageError
from semiseg.images.grid import Volume
from semiseg.labeling.store import Labels, Origin
from semiseg.prediction.record import read_record


@dataclass
class Acceptance:
    """What became of each prediction.

    Attributes:
        dataset: the folder.
        accepted: case -> version of its label.
        refused: case -> ``code``, ``message`` and ``hint``.
    """

    dataset: Path
    accepted: dict[str, int] = field(default_factory=dict)
    refused: dict[str, dict[str, str]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)


def accept(
    dataset: str | Path | Labels,
    predictions: str | Path,
    *,
    cases: Collection[str] | None = None,
    replace: bool = False,
    by: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> Acceptance:
    """Take predictions as labels of unlabeled cases, unchanged.

    A label map is checked as ``semiseg check`` does before it is written; ``labels.jsonl`` says who accepted
    it and which run made it.

    Args:
        dataset: a folder, a name or number under ``SEMISEG_DATA``, or its opened labels.
        predictions: a folder that ``semiseg predict`` wrote: label maps, and a record of each.
        cases: ids to accept; None for all unlabeled cases that have a prediction there.
        replace: also where a case has a label; the former one is kept.
        by: who accepts; empty is the user of this process.
        progress: called with (cases done, cases in all).

    Returns:
        What was accepted, and what was refused and why; one refusal does not stop the others.

    Raises:
        UsageError: no such folder, or a name in ``cases`` without a prediction.
        DataError: the folder holds no prediction of a case of the dataset.
    """
    labels = dataset if isinstance(dataset, Labels) else Labels(dataset)
    folder = Path(predictions)
    chosen = _chosen(labels, folder, cases, replace)
    report = Acceptance(labels.root)
    for done, name in enumerate(chosen, start=1):
        try:
            if not replace and isinstance(labels.case(name), LabeledCase):
                raise UsageError(
                    f"{name} has a label already",
                    hint="--replace takes the prediction; the label is kept",
                    code="LABELED",
                )
            volume, origin = read_prediction(folder, name, by)
            saved = labels.save(name, volume, base=labels.version(name), origin=origin)
            report.accepted[name] = saved.version
        except SemisegError as error:
            told = error.as_dict()
            report.refused[name] = {key: str(told[key]) for key in ("code", "message", "hint")}
        if progress is not None:
            progress(done, len(chosen))
    return report


def read_prediction(folder: Path, name: str, by: str = "") -> tuple[Volume, Origin]:
    """The predicted label map of a case, and where it comes from.

    Raises:
        UsageError: there is none with a record.
    """
    path, record = prediction_file(folder, name), read_record(folder / f"{name}.json")
    if path is None or record is None or record.get("status") != "done":
        raise UsageError(
            f"no finished prediction of {name} in {folder}",
            hint="predict it with `semiseg predict`",
            code="NO_PREDICTION",
        )
    model = record.get("model") or {}
    return images.read_label(path), Origin("accepted", by, run=run_of(record), model=model.get("id"))


def prediction_file(folder: Path, name: str) -> Path | None:
    """The label map of a case in a folder of predictions."""
    record = read_record(folder / f"{name}.json")
    written = (record or {}).get("outputs", {}).get("labels")
    path = folder / Path(str(written)).name if written else None
    return path if path is not None and path.is_file() else None


def run_of(record: dict[str, Any]) -> str | None:
    """The run folder's name that made a prediction."""
    members = (record.get("model") or {}).get("members") or [{}]
    file = Path(str(members[0].get("file", "")))
    folder = file.parent.parent if file.parent.name == "checkpoints" else file.parent
    return folder.name or None


def _chosen(labels: Labels, folder: Path, cases: Collection[str] | None, replace: bool) -> list[str]:
    if not folder.is_dir():
        raise UsageError(f"no folder {folder}", hint="give the folder that -o of `semiseg predict` named")
    if cases is not None:
        for name in cases:
            labels.case(name)
        return list(dict.fromkeys(cases))
    bad = labels.ledger.bad
    there = [name for name in sorted(labels.cases) if (folder / f"{name}.json").is_file()]
    chosen = [name for name in there if name not in bad and (replace or not labels.version(name))]
    if not there:
        raise DataError(
            f"{folder} holds no prediction of a training case of {labels.root}",
            hint="predict the unlabeled scans: semiseg predict -i DATASET/imagesUn -o PREDICTIONS -m RUN",
            code="NO_PREDICTION",
        )
    return chosen
