"""The folder of a run: its name, ``METHOD__NETWORK__PLAN/labeled-K_fold-F_seed-S``, and what is written."""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from semiseg import methods, networks
from semiseg.__about__ import __version__
from semiseg.dataset.dataset import Dataset
from semiseg.errors import SemisegError, UsageError
from semiseg.machine import provenance
from semiseg.machine.claim import contents, held
from semiseg.machine.files import require_writable, write_json
from semiseg.networks import checkpoint
from semiseg.preparation.plan import Plan
from semiseg.preparation.prepare import Prepared, require_same_data
from semiseg.runs.events import Ended, Listener
from semiseg.runs.run import Run, damaged, differences, load_run, resumed, save_config
from semiseg.settings.config import Config, DataConfig

WRITTEN = (
    "checkpoints", "calibration", "calibration.json", "pseudo_labels", "validation", "held_out", "test", "tb",
    "progress.png", "train.log", "events.jsonl", "metrics.csv", "metrics.csv.damaged", "manifest.json",
    "manifest.json.damaged", "splits.json", "dataset.json", "plan.json", "config.yaml",
)  # fmt: skip
"""What a run, and the commands that use it, leave in its folder: --overwrite deletes these and nothing else.
The last one is what tells a run from another folder."""

IDENTITY = ("split_sha256", "data_sha256")
"""Keys of the manifest."""

log = logging.getLogger("semiseg.train")


@dataclass(frozen=True)
class StoredRun:
    """An earlier run in the same folder."""

    run: Run

    @cached_property
    def known(self) -> dict[str, Any]:
        """What going on needs of ``manifest.json``; of ``last.ckpt`` where the manifest is damaged.

        Raises:
            UsageError: neither has it.
        """
        try:
            found = self.run.manifest
            return {
                **{key: found[key] for key in (*IDENTITY, "precision", "sessions")},
                "software": _software(found),
            }
        except (SemisegError, KeyError) as error:
            state = checkpoint.load(self.run.folder / "checkpoints" / "last.ckpt", checkpoint.STATE)
            if "identity" not in state:  # of an older version
                raise damaged(self.run.folder / "manifest.json", error) from None
        log.warning(
            "%s is damaged: last.ckpt has what is needed to resume, and the manifest is written again",
            self.run.folder / "manifest.json",
        )
        reason = "finished" if state["step"] >= state["total"] else "unknown"
        return {**state["identity"], "sessions": [{"reason": reason}], "rebuilt": True}

    @cached_property
    def plan(self) -> Plan:
        """The plan of the training: that of ``last.ckpt``, which has to be that of ``plan.json``.

        A ``plan.json`` that cannot be read is written anew.

        Raises:
            UsageError: ``plan.json`` was changed since.
        """
        path, last = self.run.folder / "plan.json", self.run.folder / "checkpoints" / "last.ckpt"
        state = checkpoint.load(last, checkpoint.STATE) if last.is_file() else {}
        if "plan" not in state:  # nothing to compare with
            return self.run.plan
        used = Plan.model_validate_json(state["plan"])
        try:
            there = self.run.plan
        except UsageError:
            log.warning("%s is damaged: it is written again, from last.ckpt", path)
            used.save(path)
            return used
        mine, theirs = used.model_dump(exclude={"reasons"}), there.model_dump(exclude={"reasons"})
        if wrong := [key for key in mine if mine[key] != theirs[key]]:
            key = wrong[0]
            raise UsageError(
                f"{path} was changed since the run was started: {key} is {theirs[key]}, was {mine[key]}",
                hint="restore it, or train another run with it: --plan FILE --run FOLDER",
                code="RESUME_DIFFERS",
                details={"keys": wrong},
            )
        return used

    @property
    def finished(self) -> bool:
        """As :attr:`Run.finished`."""
        return self.run.ended_for_good(self.known["sessions"])

    def resumed_config(self, wanted: Config) -> Config:
        """The stored configuration, with the few settings that may change.

        Raises:
            UsageError: the resumed run was asked to be a different one; names every difference.
        """
        stored = self.run.config
        wrong = differences(stored, wanted)
        if wrong:
            raise UsageError(
                f"{self.run.folder} was started with other settings: {'; '.join(wrong)}",
                hint="resume with the same flags, or start another run with --run FOLDER or --overwrite",
                code="RESUME_DIFFERS",
            )
        return resumed(stored, wanted)

    def goes_on(self, config: Config) -> bool:
        """Whether there is something left to train; after a collapse, if ``warn`` is asked for now."""
        if not self.finished:
            return True
        last = self.known["sessions"][-1]["reason"]
        return last == "collapse" and config.train.on_collapse == "warn"


def _software(manifest: Mapping[str, Any]) -> dict[str, str]:
    """What the last session of a run was trained with, see :func:`provenance.software`."""
    *_, last = manifest["sessions"] or [{}]
    if "software" in last:
        return dict(last["software"])
    found = {
        "semiseg": manifest.get("semiseg"),
        "commit": (manifest.get("git") or {}).get("commit"),
        "torch": (manifest.get("packages") or {}).get("torch"),
    }
    return {name: version for name, version in found.items() if version}


class RunFolder:
    """``RUNS/DATASET/METHOD__NETWORK__PLAN/labeled-K_fold-F_seed-S``."""

    def __init__(self, root: Path, dataset: str, config: Config, *, exact: bool) -> None:
        self.path = root if exact else root / dataset / run_name(config)

    @property
    def checkpoints(self) -> Path:
        """Where the checkpoints are."""
        return self.path / "checkpoints"

    @property
    def filled(self) -> list[Path]:
        """The folders below it that a training fills file by file."""
        scored = (self.path / name for name in ("validation", "held_out"))
        return [self.checkpoints, *scored, *(self.path / "pseudo_labels").glob("*/")]

    def stored_run(self) -> StoredRun | None:
        """What can be resumed here: a run with a checkpoint, or a finished one."""
        if not any((self.checkpoints / name).is_file() for name in ("last.ckpt", "final.ckpt")):
            return None
        return StoredRun(load_run(self.path))

    def require_free(self, *, overwrite: bool, resume: bool = False) -> None:
        """Refuse to touch what is there.

        A run that was killed before its first checkpoint has nothing to lose and nothing to resume:
        ``resume`` lets it start anew.

        Raises:
            UsageError: the folder is not empty and is not a run that may be overwritten.
        """
        require_writable(self.path, "--runs or --run")
        there = {entry.name for entry in contents(self.path)}
        if not there:
            return
        just_begun = there <= {"checkpoints", "train.log"}
        is_run = just_begun or (self.path / "config.yaml").is_file()
        if is_run and (overwrite or (resume and not any(self.checkpoints.glob("*.ckpt")))):
            return
        raise not_empty(self.path, "--run FOLDER", ours=is_run)

    def require_same_kind(self, stored: StoredRun, dataset: Dataset) -> None:
        """Refuse to resume a run on a dataset of other channels or classes, before any scan is opened.

        Raises:
            UsageError: with what differs.
        """
        try:
            require_same_data(stored.plan, dataset, self.path / "plan.json")
        except UsageError as error:
            if error.code != "PLAN_OTHER_DATA":
                raise
            hint = "resume on the dataset of the run, or start another run with --run FOLDER"
            raise UsageError(error.message, hint=hint, code="RESUME_DIFFERS") from None

    def require_same_data(self, stored: StoredRun, prepared: Prepared) -> None:
        """Refuse to resume a run on other data.

        Raises:
            UsageError: images, labels or lists are not those that the run was started with.
        """
        now = identity(prepared)
        if any(stored.known[key] != value for key, value in now.items()):
            raise UsageError(
                f"the data has changed since {self.path} was started",
                hint="restore the files and lists, or start another run with --run FOLDER or --overwrite",
                code="RESUME_DIFFERS",
            )

    def make(self) -> None:
        """A folder in place of an earlier run (see :meth:`require_free`); what no run writes stays in it.

        Raises:
            UsageError: another process predicts into it.
        """
        remove(self.path, WRITTEN, "--run")
        self.checkpoints.mkdir(parents=True)

    def write(
        self,
        prepared: Prepared,
        config: Config,
        *,
        precision: str,
        batch: tuple[int, int],
        options: Mapping[str, object] | None = None,
        deviations: Sequence[str] = (),
        parameters: int | None = None,
    ) -> None:
        """Everything that is known before the first iteration."""
        old = self.path / "manifest.json"
        if old.is_file():  # of a resumed run, and damaged
            old.replace(old.with_name("manifest.json.damaged"))
        save_config(config, self.path / "config.yaml")
        prepared.plan.save(self.path / "plan.json")
        shutil.copyfile(prepared.dataset.root / "dataset.json", self.path / "dataset.json")
        write_json(self.path / "splits.json", prepared.split.as_dict())
        content = {
            **provenance.environment(),
            "dataset": prepared.dataset.name,
            **identity(prepared),
            "plan_sha256": prepared.plan.sha256(),
            "method": config.method.name,
            "method_options": json.loads(json.dumps(dict(options or {}), default=_name)),
            "batch": {"labeled": batch[0], "unlabeled": batch[1]},
            "labeled": len(prepared.split.labeled),
            "weights": dict(prepared.split.weights),
            "validation": len(prepared.split.val),
            "held_out": len(prepared.split.held_out),
            "selection": config.select if prepared.split.val else "last",
            "protocol": config.protocol,
            "deviations": list(dict.fromkeys([*config.deviations, *deviations])),
            "cite": papers(config.method.name, config.network.name),
            "precision": precision,
            "parameters": parameters,
            "started": provenance.now(),
            "ended": None,
            "sessions": [],
            "checkpoints": {},
        }
        write_json(self.path / "manifest.json", content)

    def note_end(
        self, ended: Ended, memory: Mapping[str, float | None], facts: Mapping[str, Any] | None = None
    ) -> None:
        """Add this session to the manifest, with what :func:`semiseg.machine.hardware.peak_memory` says."""
        path = self.path / "manifest.json"
        content = Run(self.path).manifest
        session: dict[str, Any] = {"step": ended.step, "reason": ended.reason}
        session |= {"seconds": round(ended.seconds, 1), **memory, "software": provenance.software()}
        content["sessions"].append({"ended": provenance.now(), **session})
        files = sorted(self.checkpoints.glob("*.ckpt"))
        content["checkpoints"] = {file.name: checkpoint.sha256(file) for file in files}
        if ended.reason != "interrupted":
            content["ended"] = provenance.now()
        content |= facts or {}
        write_json(path, content)

    def note(self, key: str, value: Any) -> None:
        """Add an entry to the manifest."""
        path = self.path / "manifest.json"
        write_json(path, {**Run(self.path).manifest, key: value})

    def listeners(self) -> list[Listener]:
        """The run's own logs."""
        from semiseg.runs.log import FileLog, TensorBoardLog
        from semiseg.runs.progress_plot import ProgressPlot

        plot = ProgressPlot(self.path / "progress.png", self.path)
        return [FileLog(self.path), TensorBoardLog(self.path / "tb"), plot]

    @contextmanager
    def logging(self, rank: int) -> Iterator[None]:
        """``train.log`` while the run lasts, with time, rank and process."""
        if rank:
            yield
            return
        handler = _LogFile(self.path / "train.log")
        form = f"%(asctime)s rank {rank} pid %(process)d %(levelname)s %(name)s: %(message)s"
        handler.setFormatter(logging.Formatter(form, datefmt="%Y-%m-%dT%H:%M:%S%z"))
        logger = logging.getLogger("semiseg")
        logger.addHandler(handler)
        try:
            yield
        finally:
            logger.removeHandler(handler)
            handler.close()


def not_empty(folder: Path, elsewhere: str, *, ours: bool, kind: str = "a run") -> UsageError:
    """The error for a folder that is not empty: ``ours``, which can be gone on with, or no ``kind``."""
    return UsageError(
        f"{folder} is not empty",
        hint=f"--resume continues it, --overwrite starts again, {elsewhere} writes elsewhere"
        if ours
        else f"it does not look like {kind}: give another folder",
        code="RUN_EXISTS",
    )


def remove(folder: Path, names: Iterable[str], flag: str) -> None:
    """Delete files and folders of an earlier run.

    Raises:
        UsageError: another process works in one of them.
    """
    for entry in (folder / name for name in names):
        if entry.is_symlink() or not entry.is_dir():
            entry.unlink(missing_ok=True)
            continue
        with held(entry, flag):
            shutil.rmtree(entry)


class _LogFile(logging.FileHandler):
    """A log that cannot be written, as on a full disk, stops nothing and says nothing."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        pass


def identity(prepared: Prepared) -> dict[str, str]:
    """What tells the data of one run from those of another."""
    return dict(zip(IDENTITY, (prepared.split.sha256(), prepared.data_hash()), strict=True))


def _name(value: object) -> str:
    """Of a function, or of an object's type: the same in every run, as its address is not."""
    return str(getattr(value, "__qualname__", type(value).__qualname__))


def run_name(config: Config, *, variant: str = "") -> str:
    """The place of a run below its dataset's folder."""
    fold = f"{config.data.fold}of{config.data.folds}" if config.data.folds else f"{config.data.fold}"
    return f"{_kind(config, variant)}/labeled-{budget(config.data)}_fold-{fold}_seed-{config.train.seed}"


def cross_validation_name(config: Config) -> str:
    """The place, beside its folds, of what a cross-validation has as a whole."""
    data = config.data
    return f"{_kind(config)}/labeled-{budget(data)}_folds-{data.folds or 'all'}_seed-{config.train.seed}"


def _kind(config: Config, variant: str = "") -> str:
    network = config.network.name.replace(":", "-").replace("/", "-")
    method = variant or config.method.name.replace(":", "-")
    start = ""
    if config.start.file and not variant:
        start = "-from-" + re.sub(r"[^A-Za-z0-9.-]+", "-", Path(config.start.file).stem)[:40]
    return f"{method}__{network}__{Path(config.recipe).stem}{start}"


def budget(data: DataConfig) -> str:
    """How many labels were asked for: ``8``, ``2patients`` or ``all``."""
    return f"{data.labeled_patients}patients" if data.labeled_patients else str(data.labeled or "all")


def papers(method: str, network: str) -> dict[str, str]:
    """The papers of a method, of a network and of semiseg, those that are known."""
    try:
        paper = methods.description(method).facts.paper
    except UsageError:  # from elsewhere, and its source cannot be read
        paper = ""
    architecture = {entry["name"]: entry["paper"] for entry in networks.describe()}.get(network, "")
    known = {"method": paper, "network": architecture, "semiseg": f"semiseg {__version__}, see CITATION.cff"}
    return {what: text for what, text in known.items() if text}
