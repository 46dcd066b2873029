"""One run of predicting: where each result goes, what need not be done again, one scan from end to end."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from numpy.typing import NDArray

from semiseg import images
from semiseg.__about__ import __version__
from semiseg.errors import DeviceError, SemisegError, UsageError, is_out_of_memory, some
from semiseg.images.grid import Grid
from semiseg.machine.files import printable, require_writable, write_json
from semiseg.prediction.assembly import Assembly
from semiseg.prediction.doubt import Doubt, of_model
from semiseg.prediction.model import Model, PreparedScan
from semiseg.prediction.record import (
    CaseOutcome,
    Outputs,
    grid_dict,
    inputs_state,
    is_complete,
    read_record,
    size_unit,
    unlike_in,
    versions,
)
from semiseg.prediction.results import (
    WRITERS,
    Finished,
    Wanted,
    require_dicom,
    require_forms,
)
from semiseg.prediction.scans import InputScan, stem_of
from semiseg.prediction.structures import picture_of
from semiseg.preparation.unlike import Unlike, unlike

log = logging.getLogger("semiseg.prediction")

T = TypeVar("T")

_FILE_NAME = re.compile(r"\.[A-Za-z]{2,4}$")
"""What a folder is hardly ever called."""


@dataclass(frozen=True, eq=False)
class Task:
    """A scan and where its results go."""

    scan: InputScan
    outputs: Outputs


class Ready(NamedTuple):
    """A scan that waits for its forward passes."""

    scan: PreparedScan
    grid: Grid
    meta: dict[str, Any]
    unlike: list[Unlike]
    """In what it is unlike the training scans."""
    picture: NDArray[Any] | None = None
    """What an overlay shows of it."""


class Inferred(NamedTuple):
    """A scan whose forward passes are done."""

    assembly: Assembly
    grid: Grid
    meta: dict[str, Any]
    unlike: list[Unlike]
    began: float
    """When they began."""
    doubt: Doubt
    """What the probabilities say of their own worth."""
    picture: NDArray[Any] | None = None


class PredictionJob:
    """A model with its options, applied to many scans.

    Raises:
        UsageError: files that this model cannot give.
    """

    def __init__(self, model: Model, wanted: Wanted) -> None:
        require_forms(wanted, model)
        self.model = model
        self.wanted = wanted
        self.channels = [channel.name for channel in model.plan.channels]
        self.device = str(model.device)
        self.model_dict: dict[str, Any] = {"id": model.id, "members": [dict(m.source) for m in model.members]}
        self.options: dict[str, Any] = {
            **model.settings.model_dump(mode="json", exclude={"window_batch"}),
            "precision": model.precision,
            "mirrored_axes": [list(model.mirrored(member)) for member in model.members],
        }
        sources = self.model_dict["members"]
        self.calibration, self.not_calibrated = of_model(sources, self.options)
        plans = [member.plan for member in model.members]
        self.plan = next((plan for plan in plans if plan.seen is not None), model.plan)
        if self.plan.seen is None:
            log.debug("no statistics of the training scans: new scans are not compared with them")

    def lay_out(self, scans: Sequence[InputScan], inputs: Path, output: Path) -> list[Task]:
        """Say where each result goes.

        Raises:
            UsageError: one output file for several scans, or a place where inputs would be overwritten.
        """
        single = images.ending_of(output) is not None and not output.is_dir()
        if single and self.wanted.to:
            raise UsageError(
                f"output {output} is one file, and --to asks for files of its own names",
                hint="give -o a folder, or leave out --to",
                code="CONTRADICTION",
            )
        if single and len(scans) != 1:
            raise UsageError(
                f"output {output} is one file, the input holds {len(scans)} scans", hint="give -o a folder"
            )
        named = inputs.is_file() and not output.exists() and _FILE_NAME.search(output.name)
        if not single and (output.is_file() or named):
            raise UsageError(
                f"output {output} {'looks like' if named else 'is'} a file of a format not known here",
                hint=f"give -o a folder, or a name that ends in {', '.join(images.ENDINGS)}",
            )
        require_writable(output.parent if single else output, "-o")
        tasks = []
        for scan in scans:
            labels = output if single else output / f"{scan.id}{scan.ending}"
            tasks.append(Task(scan, self.wanted.place(labels, stem_of(output) if single else scan.id)))
        sources = {file.resolve() for scan in scans for file in scan.files}
        written = {
            p.resolve() for task in tasks for p in (*task.outputs.files().values(), task.outputs.record)
        }
        taken = {inputs.resolve(), *(file.parent for file in sources)}
        same_folder = inputs.is_dir() and not single and output.resolve() in taken
        if same_folder or sources & written:
            raise UsageError(
                f"output {output} lies among the input scans, which must not be overwritten or mixed with "
                "predictions",
                hint="give -o another folder",
                code="OUTPUT_IS_INPUT",
            )
        return tasks

    def skip_finished(
        self, tasks: Sequence[Task], *, overwrite: bool, resume: bool
    ) -> dict[Task, CaseOutcome]:
        """The scans that need no work, because the same model has predicted them in the same way.

        Raises:
            UsageError: files are in the way that are not such predictions, and may not be overwritten.
        """
        skipped: dict[Task, CaseOutcome] = {}
        foreign: list[str] = []
        if overwrite:
            return skipped
        for task in tasks:
            outputs = task.outputs
            present = [p for p in (*outputs.files().values(), outputs.record) if p.exists()]
            if not task.scan.ending or not present:
                continue
            record = read_record(outputs.record)
            if not resume or record is None or not self._is_ours(record):
                foreign.append(str(present[0]))
            elif is_complete(record, outputs, inputs_state(task.scan.files)):
                written = {kind: str(path) for kind, path in outputs.files().items()}
                skipped[task] = CaseOutcome(
                    task.scan.id,
                    "skipped",
                    0.0,
                    written,
                    record.get("sizes") or {},
                    unlike_in(record),
                    str(record.get("unit") or ""),
                    dropped=record.get("dropped") or {},
                )
        if foreign:
            raise UsageError(
                f"{some(foreign, 1)} exist and were not made by this model with these options",
                hint="give -o another folder, or --overwrite to replace them",
                code="OUTPUT_EXISTS",
                details={"files": foreign},
            )
        return skipped

    def prepare(self, task: Task) -> Ready:
        """Read one scan and make the networks' input of it, in any thread (DataError: it cannot be used)."""
        image, grid, meta = task.scan.load()
        require_dicom(task.scan.id, self.wanted, meta)
        if self.wanted.dicom and meta["gantry_tilt_degrees"]:
            log.warning(
                "%s: its slices are tilted by %.1f degrees: programs that build an upright volume misplace "
                "its DICOM results; those that show slices do not",
                task.scan.id,
                meta["gantry_tilt_degrees"],
            )
        picture = picture_of(image, self.plan) if self.wanted.picture else None
        return Ready(self.model.prepare(image, grid), grid, meta, unlike(self.plan, image, grid), picture)

    def infer(self, task: Task, ready: Callable[[], Ready]) -> Inferred | CaseOutcome:
        """The forward passes of one scan, or what went wrong with it.

        Raises:
            DeviceError: the device cannot do it, so that the next scan would fail alike.
        """
        began = time.monotonic()

        def work() -> Inferred:
            scan, grid, meta, found, picture = ready()
            doubt = Doubt(self.model.plan)
            wanted = self.wanted
            assembly = self.model.infer(
                scan, entropy=wanted.uncertainty, probabilities=wanted.probabilities, also=doubt.add
            )
            return Inferred(assembly, grid, meta, found, began, doubt, picture)

        return self._guarded(task, began, work)

    def finish(self, task: Task, inferred: Inferred | CaseOutcome) -> CaseOutcome:
        """Post-process and write what :meth:`infer` found, in any thread; failures are as there."""
        if isinstance(inferred, CaseOutcome):
            return inferred

        def work() -> CaseOutcome:
            sizes, dropped = self._write(task, inferred)
            written = {kind: str(path) for kind, path in task.outputs.files().items()}
            found = [one.as_dict() for one in inferred.unlike]
            seconds, unit = _since(inferred.began), size_unit(inferred.grid)
            return CaseOutcome(task.scan.id, "done", seconds, written, sizes, found, unit, dropped=dropped)

        return self._guarded(task, inferred.began, work)

    def _guarded(self, task: Task, began: float, work: Callable[[], T]) -> T | CaseOutcome:
        """What ``work`` returns, or the scan's failure; what concerns all scans is raised."""
        name = task.scan.id
        try:
            return work()
        except DeviceError:
            raise
        except SemisegError as error:
            log.warning("%s failed: %s", name, error.message.removeprefix(f"{name}: "))
            return self._failed(name, began, error)
        except Exception as error:
            log.warning("%s failed: %s: %s", name, type(error).__name__, error)
            log.debug("where it happened", exc_info=True)
            text = f"{name}: unexpected {type(error).__name__}: {error}"
            full = is_out_of_memory(error)
            hint = "free some memory, or use a machine with more" if full else "-v shows where"
            code = "MEMORY" if full else "INTERNAL"
            return self._failed(name, began, SemisegError(text, hint=hint, code=code))

    def _write(self, task: Task, inferred: Inferred) -> tuple[dict[str, float], dict[str, float]]:
        """All files of one scan or none; the record says ``writing`` until the others are whole.

        Returns:
            Class -> size, and class -> what was dropped of it, as :class:`CaseOutcome` has them.
        """
        outputs, grid, began = task.outputs, inferred.grid, inferred.began
        found = inferred.assembly.result()
        scan = Finished(task.scan.id, found, grid, inferred.meta, self.model, inferred.picture)
        sizes, dropped = scan.sizes, dict(found.dropped)
        doubt = inferred.doubt.result()
        trust: dict[str, Any] = {"expected_dice": None, "expected_dice_reason": self.not_calibrated}
        record = self._record(task, grid) | {
            "sizes": sizes,
            "unit": size_unit(grid),
            "unlike": [one.as_dict() for one in inferred.unlike],
            **({"dropped": dropped} if dropped else {}),
            "uncertainty": doubt,
            **(trust if self.calibration is None else self.calibration.told(doubt)),
        }
        try:
            write_json(outputs.record, record | {"status": "writing"})
            for kind, path in outputs.files().items():
                WRITERS[kind](path, scan)
            written = {kind: path.stat().st_size for kind, path in outputs.files().items()}
            write_json(
                outputs.record, record | {"status": "done", "bytes": written, "seconds": _since(began)}
            )
        except BaseException:
            for path in (*outputs.files().values(), outputs.record):
                path.unlink(missing_ok=True)
            raise
        return sizes, dropped

    def _record(self, task: Task, grid: Grid) -> dict[str, Any]:
        scan = task.scan
        return {
            "case": scan.id,
            "semiseg": __version__,
            "versions": versions(),
            "model": self.model_dict,
            "options": self.options,
            "device": self.device,
            "inputs": [printable(str(path)) for path in scan.shown or scan.files],
            **({"series_instance_uid": list(scan.series)} if scan.series else {}),
            "inputs_state": inputs_state(scan.files),
            "outputs": {kind: path.name for kind, path in task.outputs.files().items()},
            "label_values": self.model.label_values,
            **({"label_map": self.model.plan.label_map} if self.model.plan.label_map else {}),
            **({"regions": self.model.structures} if self.model.plan.regions else {}),
            "grid": grid_dict(grid),
            # PNG and TIFF readers look for this key in CASE.json
            **({"spacing": list(grid.spacing)} if grid.unit == "mm" else {}),
        }

    def _is_ours(self, record: dict[str, Any]) -> bool:
        model = record.get("model")
        same = isinstance(model, dict) and model.get("id") == self.model_dict["id"]
        return same and record.get("options") == self.options

    def _failed(self, name: str, began: float, error: SemisegError) -> CaseOutcome:
        told = {key: value for key, value in error.as_dict().items() if key != "ok"}
        return CaseOutcome(name, "failed", _since(began), error=told)


def _since(began: float) -> float:
    return round(time.monotonic() - began, 3)
