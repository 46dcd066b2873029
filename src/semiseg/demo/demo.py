"""The demo: supervised training and the default method, with the same labels and number of iterations.

It takes the same steps, through the same functions, as the commands ``check``, ``plan``, ``train``,
``predict``, ``evaluate`` and ``compare``. The phantoms and their numbers were chosen so that unlabeled scans
help, on seeds from 100 on (``benchmarks/demo.py``): the demo shows how the tool works, not what is gained.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semiseg.errors import plural
from semiseg.machine.claim import contents, held
from semiseg.settings.config import DEFAULT_METHOD

if TYPE_CHECKING:
    from semiseg.comparison.result import Comparison
    from semiseg.dataset.dataset import Dataset

logger = logging.getLogger("semiseg.demo")

METHODS = ("supervised", DEFAULT_METHOD)

ITERATIONS_PER_MINUTE = 100
"""Of each method, so that the whole demo takes about the minutes asked for on two CPU cores."""

DATASET = "Dataset000_SyntheticPhantoms"
MADE = ("runs", "comparison", "predictions", "pictures")
"""Beside the dataset; the last two by demos of earlier versions."""
MARKER = "SYNTHETIC.txt"
SYNTHETIC = "synthetic phantoms, made so that unlabeled scans help: this shows the tool, not your gain"


@dataclass(frozen=True)
class DemoResult:
    """Where everything lies, and what came out.

    Attributes:
        folder: holds the dataset, the runs with their predictions, and the comparison.
        dataset: the synthetic dataset folder.
        runs: name of the method -> its run folder.
        comparison: of the two runs, as ``semiseg compare`` makes it.
        files: tables and figures of the comparison, the report last.
        seconds: how long it all took.
    """

    folder: Path
    dataset: Path
    runs: Mapping[str, Path]
    comparison: Comparison
    files: Sequence[Path]
    seconds: float

    @property
    def report(self) -> Path:
        """The page to look at first."""
        return self.files[-1]

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        from semiseg.comparison import as_dict

        return {
            "synthetic": True,
            "note": SYNTHETIC,
            "folder": str(self.folder),
            "dataset": str(self.dataset),
            "runs": {name: str(path) for name, path in self.runs.items()},
            "comparison": as_dict(self.comparison),
            "files": [str(path) for path in self.files],
            "report": str(self.report),
            "seconds": round(self.seconds, 1),
        }


def run(
    folder: str | Path = "demo",
    *,
    minutes: float = 2.5,
    iterations: int | None = None,
    seed: int = 0,
    device: str = "auto",
    workers: int | None = None,
    progress: bool = True,
    labeled: int = 2,
    unlabeled: int = 48,
    test: int = 16,
) -> DemoResult:
    """Make a synthetic dataset and compare learning from its labels alone with learning from all scans.

    Args:
        folder: what the demo writes into; a demo that is there already is replaced.
        minutes: about how long it may take on two CPU cores. It sets the number of iterations, not a clock,
            so that the outcome does not depend on how busy the machine is.
        iterations: of each method, instead of ``minutes``.
        seed: of phantoms and training.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        workers: processes for preprocessing.
        progress: draw progress bars where stderr is a terminal.
        labeled: scans with a label to learn from.
        unlabeled: scans without.
        test: scans to evaluate on.

    Raises:
        UsageError: ``folder`` holds something that is not a demo.
        SemisegError: as any of the steps does.
    """
    from semiseg.comparison import write as write_comparison
    from semiseg.comparison.compare import compare
    from semiseg.dataset.dataset import Dataset
    from semiseg.demo.phantoms import make_phantom_dataset
    from semiseg.evaluation import evaluate_folders, write
    from semiseg.runs.console import Console
    from semiseg.training.train import train

    started = time.monotonic()
    folder = Path(folder)
    steps = iterations or max(1, round(minutes * ITERATIONS_PER_MINUTE))
    with held(folder, "-o"):
        logger.info("1/5 drawing %d synthetic scans: %s", labeled + unlabeled + test, folder / DATASET)
        _make_room(folder)
        counts = {"labeled": labeled, "unlabeled": unlabeled, "test": test}
        dataset = Dataset.open(make_phantom_dataset(folder / DATASET, seed=seed, **counts))
        logger.info("2/5 %s", _checked(dataset))
        logger.info("    %s", _plan(dataset, folder / "plan.json", device, workers))
        runs: dict[str, Path] = {}
        for number, method in enumerate(METHODS, start=3):
            logger.info("%d/5 %s: %d iterations", number, method, steps)
            trained = train(
                dataset,
                method=method,
                iterations=steps,
                seed=seed,
                runs=folder / "runs",
                plan=folder / "plan.json",
                device=device,
                workers=workers,
                overwrite=True,
                listeners=[Console(progress, label=method)],
            )
            output = trained.folder / "test"  # where a comparison looks
            trained.predict(dataset.root / "imagesTs", output, device=device)
            write(evaluate_folders(dataset.root / "labelsTs", output, dataset=dataset), output)
            runs[method] = trained.folder
        logger.info("5/5 comparing the two on %s", plural(test, "test scan"))
        found = compare(runs.values())
        found = replace(found, notices=(SYNTHETIC, *found.notices))
        files = write_comparison(found, folder / "comparison")
        return DemoResult(folder, dataset.root, runs, found, files, time.monotonic() - started)


def _make_room(folder: Path) -> None:
    """Remove what an earlier demo made, and nothing else."""
    from semiseg.errors import UsageError

    marker = folder / MARKER
    if not marker.is_file() and contents(folder):
        raise UsageError(
            f"{folder} exists and holds something other than a demo",
            hint="choose a folder that does not exist yet with -o",
            code="DEMO_FOLDER",
        )
    for name in (DATASET, *MADE):
        shutil.rmtree(folder / name, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    marker.write_text(f"Made by `semiseg demo`, which replaces it when it runs again: {SYNTHETIC}.\n")


def _checked(dataset: Dataset) -> str:
    from semiseg.dataset.check import check
    from semiseg.errors import DataError

    report = check(dataset.root)
    if not report.ok:
        raise DataError(
            f"the demo's own dataset is not valid: {report.as_text()}",
            hint="see that the disk has room, and run the demo again",
        )
    annotated, unannotated = len(dataset.annotated), len(dataset.unannotated)
    return f"checked: {annotated} labeled, {unannotated} unlabeled, {plural(len(dataset.test), 'test scan')}"


def _plan(dataset: Dataset, path: Path, device: str, workers: int | None) -> str:
    """Write the plan that both methods share, and tell it in one line."""
    from semiseg.machine.hardware import cores, select_device
    from semiseg.preparation.planner import make_plan

    kind = select_device(device).type
    plan = make_plan(dataset, dataset.split(), device=kind, workers=cores() if workers is None else workers)
    plan.save(path)
    patch = "x".join(map(str, plan.patch))
    return f"planned: {plan.dim}D, patch {patch}, batch {plan.batch}, network {plan.network.name}"
