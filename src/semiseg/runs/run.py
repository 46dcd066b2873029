"""A run folder: what is in it, and how to use it again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from semiseg.drawing.notebook import Tabular
from semiseg.errors import UsageError, near_path
from semiseg.machine.files import read_json, write_text
from semiseg.machine.provenance import other_version
from semiseg.preparation.plan import Plan
from semiseg.settings.changes import flat
from semiseg.settings.config import Config
from semiseg.settings.resolve import read_yaml, validate

if TYPE_CHECKING:
    from semiseg.drawing.table import Table
    from semiseg.evaluation.results import Evaluation
    from semiseg.prediction.model import Model
    from semiseg.prediction.packaged import ModelZip
    from semiseg.prediction.record import PredictionReport
    from semiseg.runs.score import Score

_Read = TypeVar("_Read")
_OF_THE_RECIPE = ("deviations", "published.")
FREE_IN_BETWEEN = (
    "train.max_time", "train.checkpoint_minutes", "train.log_every", "train.on_collapse",
    "data.memory_gb", "network.checkpointing",
)  # fmt: skip
"""Settings that a resumed run may change: they change no weights, and memory may have run out."""


_FACTS = (
    "dataset", "method", "labeled", "validation", "precision", "parameters", "started", "ended", "deviations",
)  # fmt: skip
"""Entries of the manifest that say what a run is."""


@dataclass(frozen=True)
class Run(Tabular):
    """A training run on disk. In a notebook it shows what it is; ``to_frame`` has its ``metrics.csv``.

    The folder holds ``config.yaml``, ``plan.json``, ``dataset.json``, ``splits.json``, ``manifest.json``,
    ``metrics.csv``, ``events.jsonl``, ``tb/``, ``progress.png``, ``train.log`` and
    ``checkpoints/{last,best,final}.ckpt``; with self-training, ``pseudo_labels/``.
    """

    folder: Path
    archive: ModelZip | None = field(default=None, repr=False, compare=False)
    """The ``model.zip`` that it came from: without logs and lists of cases; its folder goes with it."""

    @property
    def config(self) -> Config:
        """The resolved configuration.

        Raises:
            UsageError: damaged, or of another version, with settings that are not known here.
        """
        return self._settings(lambda: validate(read_yaml(self.folder / "config.yaml")))

    @property
    def plan(self) -> Plan:
        """The plan that the run used.

        Raises:
            UsageError: as :attr:`config`.
        """
        return self._settings(lambda: Plan.load(self.folder / "plan.json"))

    def _settings(self, read: Callable[[], _Read]) -> _Read:
        """What a file of the run's settings holds."""
        try:
            return read()
        except UsageError as error:
            other = other_version(self.folder, self.folder, error.message)
            raise other or UsageError(
                f"{self.folder}: {error.message}", hint=_DAMAGED, code="BAD_RUN"
            ) from None

    @property
    def manifest(self) -> dict[str, Any]:
        """Versions, hashes, hardware, protocol and how the run ended."""
        return _json(self.folder / "manifest.json")

    @property
    def split(self) -> dict[str, Any]:
        """Case ids: labeled, unlabeled, val, test.

        Raises:
            UsageError: damaged, or a ``model.zip``, which names no case.
        """
        if self.archive is not None:
            raise UsageError(
                f"{self.archive.path} does not tell which cases its run saw",
                hint="give the run folder that it was exported from",
                code="NO_LISTS",
            )
        path = self.folder / "splits.json"
        found = _json(path)
        for name, ids in found.items():
            of_ids = name not in ("source", "patients", "weights")
            if of_ids and not (isinstance(ids, list) and all(isinstance(one, str) for one in ids)):
                raise damaged(path, ValueError(f"{name!r} is not a list of cases"))
        return found

    @property
    def score(self) -> Score | None:
        """The score at the end of the run, or why it has none; None before that, and of older versions."""
        from semiseg.runs.score import Score

        told = self.manifest.get("score")
        return Score(**{**told, "commands": tuple(told["commands"])}) if told else None

    @property
    def metrics(self) -> list[dict[str, str]]:
        """The rows of ``metrics.csv``; none before the first one was logged."""
        from semiseg.runs.log import read_rows

        return read_rows(self.folder / "metrics.csv")

    @property
    def finished(self) -> bool:
        """True with a final model and nothing left to train; ``--max-time`` leaves something."""
        return self.ended_for_good(self.manifest.get("sessions") or [])

    def ended_for_good(self, sessions: Sequence[Mapping[str, Any]]) -> bool:
        """:attr:`finished`, by the ``sessions`` of a manifest."""
        written = (self.folder / "checkpoints" / "final.ckpt").is_file()
        return written and not (sessions and sessions[-1].get("reason") == "max-time")

    def tables(self) -> Sequence[Table]:
        """What the run is, a row for each fact."""
        from semiseg.drawing.table import Table, TableCell, heads

        known = _json(self.folder / "manifest.json") if (self.folder / "manifest.json").is_file() else {}
        facts = {name: known[name] for name in _FACTS if known.get(name) not in (None, [], {})}
        rows = tuple((TableCell(name), TableCell(str(value))) for name, value in facts.items())
        return [Table(str(self.folder), heads(("", "what"), left=2), rows)]

    def records(self) -> list[dict[str, Any]]:
        """The rows of ``metrics.csv``, numbers as numbers."""
        from semiseg.runs.log import read_metrics

        return [dict(row) for row in read_metrics(self.folder)]

    def model(self, device: str = "auto", allow_code: Collection[str] = ()) -> Model:
        """The exported network; ``allow_code`` as for :meth:`semiseg.prediction.model.Model.load`."""
        from semiseg.prediction.model import Model

        return Model.load(self.folder, device, allow_code=allow_code)

    @cached_property
    def _loaded(self) -> Model:
        return self.model()

    def segment(self, image: Any, **options: Any) -> Any:
        """Predict an array or image in memory; see :meth:`semiseg.prediction.model.Model.segment`.

        The network is read once, and stays on the device that is chosen by itself; for another one, or with
        code of others, take ``run.model(device, allow_code=…)``.
        """
        return self._loaded.segment(image, **options)

    def predict(self, inputs: str | Path, output: str | Path, **options: Any) -> PredictionReport:
        """Segment a file, folder, DICOM series or zip (see :func:`semiseg.prediction.predict.predict`)."""
        from semiseg.prediction.predict import predict

        return predict(Path(inputs), Path(output), self.folder, **options)

    def evaluate(self, reference: str | Path, prediction: str | Path, **options: Any) -> Evaluation:
        """Scores with this run's class names; see :func:`semiseg.evaluation.evaluate.evaluate_folders`."""
        from semiseg.evaluation.evaluate import evaluate_folders

        return evaluate_folders(Path(reference), Path(prediction), dataset=self.plan, **options)


def load_run(folder: str | Path) -> Run:
    """Open a run folder, or the ``model.zip`` of one run that ``semiseg export`` wrote.

    Raises:
        UsageError: it is not one.
    """
    folder = Path(folder)
    if folder.suffix.lower() == ".zip" and not folder.is_dir():
        return _load_zip(folder)
    missing = [name for name in ("config.yaml", "plan.json") if not (folder / name).is_file()]
    if missing:
        why = f"no {' and no '.join(missing)}" if folder.is_dir() else "it is a file"
        raise UsageError(
            f"{folder} is not a run folder: {why if folder.exists() else 'it does not exist.'}"
            f"{near_path(folder)}",
            hint="give the folder that `semiseg train` printed, which ends in labeled-K_fold-F_seed-S",
            code="NOT_A_RUN",
        )
    return Run(folder)


def _load_zip(path: Path) -> Run:
    from semiseg.prediction.packaged import ModelZip

    opened = ModelZip(path)
    if len(opened.folders) > 1:
        raise UsageError(
            f"{path} holds {len(opened.folders)} networks, wanted one run",
            hint="`semiseg predict -m` and semiseg.Model.load take it as the ensemble that it is",
            code="NOT_A_RUN",
        )
    return replace(load_run(opened.folders[0]), archive=opened)


def differences(stored: Config, wanted: Config) -> list[str]:
    """Settings in which a resumed run would differ, leaving out those that may change in between."""
    free = set(FREE_IN_BETWEEN)
    before, after = flat(stored.model_dump(mode="json")), flat(wanted.model_dump(mode="json"))
    planned_for = "plan.networks", "plan.memory_gb"  # the stored run has its plan
    free |= {key for key in planned_for if after[key] is None}
    if wanted.select is None:  # "whatever suits", which the stored run has decided
        free.add("select")
    if wanted.train.iterations == "auto":  # likewise
        free.add("train.iterations")
    if wanted.inference.largest_component == "plan":  # of the recipe; earlier versions keep everything
        free.add("inference.largest_component")
    if wanted.start.file is None:  # the run has what it began with
        free.add("start.file")
    keys = sorted(key for key in {*before, *after} - free if not key.startswith(_OF_THE_RECIPE))
    return [f"{k}: {before.get(k)} before, {after.get(k)} now" for k in keys if before.get(k) != after.get(k)]


def resumed(stored: Config, wanted: Config) -> Config:
    """The configuration of a stored run, with what may change in between as it is wanted now."""
    for key in FREE_IN_BETWEEN:
        section, name = key.split(".")
        stored = stored.changed(section, **{name: getattr(getattr(wanted, section), name)})
    return stored


def _json(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
        if not isinstance(content, dict):
            raise ValueError("it holds no JSON object")
    except (OSError, ValueError) as error:
        raise damaged(path, error) from None
    return content


_DAMAGED = "the run folder is damaged: restore the file, or train again with --overwrite"


def damaged(path: Path, error: Exception) -> UsageError:
    """The error for a file of a run folder that cannot be used."""
    what = f"it has no {error}" if isinstance(error, KeyError) else getattr(error, "strerror", None) or error
    return UsageError(f"cannot read {path}: {what}", hint=_DAMAGED, code="BAD_RUN")


def save_config(config: Config, path: Path) -> None:
    """Write the resolved configuration as YAML, every key present."""
    write_text(path, yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
