"""The demo: a supervised network and a mean teacher, given the same labels and the same number of iterations.

It takes the same steps, through the same functions, as the commands ``check``, ``plan``, ``train``,
``predict`` and ``evaluate``. Nothing is tuned for the outcome: the table says what came out.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semiseg.atomic import replacing
from semiseg.claim import contents, held
from semiseg.demo.pictures import draw_cases
from semiseg.report.side_by_side import Scores, caption, comparison_markdown, comparison_table

if TYPE_CHECKING:
    from rich.table import Table

    from semiseg.data.dataset import Dataset
    from semiseg.run import Run

logger = logging.getLogger("semiseg.demo")

METHODS = {"supervised": "supervised", "mean teacher": "mean_teacher"}
"""What is compared: name in the table -> name of the method."""

ITERATIONS_PER_MINUTE = 100
"""Of each method, so that the whole demo takes about the minutes asked for on two CPU cores."""

DATASET = "Dataset000_SyntheticPhantoms"
MARKER = "SYNTHETIC.txt"
SYNTHETIC = (
    "Synthetic phantoms, no patients: the numbers say how the tool works, not how it does on your scans."
)


@dataclass(frozen=True)
class DemoResult:
    """Where everything lies, and what came out.

    Attributes:
        folder: holds the dataset, the runs, predictions, pictures and ``results.md``.
        dataset: the synthetic dataset folder.
        runs: name of the method -> its run folder.
        scores: one per method, in the order of :data:`METHODS`.
        pictures: one PNG per test case.
        results: the Markdown report.
        seconds: how long it all took.
    """

    folder: Path
    dataset: Path
    runs: Mapping[str, Path]
    scores: Sequence[Scores]
    pictures: Sequence[Path]
    results: Path
    seconds: float

    @property
    def table(self) -> Table:
        """The comparison, for the terminal."""
        return comparison_table(self.scores, title="Synthetic phantoms, test cases")

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "synthetic": True,
            "note": SYNTHETIC,
            "folder": str(self.folder),
            "dataset": str(self.dataset),
            "runs": {name: str(path) for name, path in self.runs.items()},
            "cases": {score.name: score.cases for score in self.scores},
            "summary": caption(self.scores),
            "pictures": [str(path) for path in self.pictures],
            "results": str(self.results),
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
    labeled: int = 4,
    unlabeled: int = 24,
    test: int = 8,
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
    started = time.monotonic()
    folder = Path(folder)
    steps = iterations or max(1, round(minutes * ITERATIONS_PER_MINUTE))
    with held(folder, "-o"):
        logger.info("1/5 drawing %d synthetic scans: %s", labeled + unlabeled + test, folder / DATASET)
        dataset = _dataset(folder, labeled=labeled, unlabeled=unlabeled, test=test, seed=seed)
        logger.info("2/5 %s", _checked(dataset))
        logger.info("    %s", _plan(dataset, folder / "plan.json", device, workers))
        runs: dict[str, Path] = {}
        scores: list[Scores] = []
        for number, (name, method) in enumerate(METHODS.items(), start=3):
            logger.info("%d/5 %s: %d iterations", number, name, steps)
            trained = _train(
                dataset,
                method,
                steps,
                folder=folder,
                seed=seed,
                device=device,
                workers=workers,
                progress=progress,
            )
            runs[name] = trained.folder
            scores.append(_evaluate(trained, dataset, name, folder / "predictions" / method, device))
        logger.info("5/5 drawing the test cases: %s", folder / "pictures")
        predictions = {name: folder / "predictions" / method for name, method in METHODS.items()}
        pictures = draw_cases(dataset, predictions, folder / "pictures")
        results = _write_results(folder, scores, steps, labeled=labeled, unlabeled=unlabeled, seed=seed)
        seconds = time.monotonic() - started
        return DemoResult(folder, dataset.root, runs, scores, pictures, results, seconds)


def _dataset(folder: Path, *, labeled: int, unlabeled: int, test: int, seed: int) -> Dataset:
    from semiseg.data.dataset import Dataset
    from semiseg.demo.phantoms import make_phantom_dataset

    _make_room(folder)
    root = make_phantom_dataset(folder / DATASET, labeled=labeled, unlabeled=unlabeled, test=test, seed=seed)
    return Dataset.open(root)


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
    for name in (DATASET, "runs", "predictions", "pictures"):
        shutil.rmtree(folder / name, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    marker.write_text(f"Made by `semiseg demo`, which replaces it when it runs again. {SYNTHETIC}\n")


def _checked(dataset: Dataset) -> str:
    from semiseg.data.check import check
    from semiseg.errors import DataError

    report = check(dataset.root)
    if not report.ok:
        raise DataError(
            f"the demo's own dataset is not valid: {report.as_text()}",
            hint="see that the disk has room, and run the demo again",
        )
    return f"checked: {len(dataset.annotated)} labeled, {len(dataset.unannotated)} unlabeled, " + (
        f"{len(dataset.test)} test scans"
    )


def _plan(dataset: Dataset, path: Path, device: str, workers: int | None) -> str:
    """Write the plan that both methods share, and tell it in one line."""
    from semiseg.data.planner import make_plan
    from semiseg.devices import select_device
    from semiseg.machine import cores

    kind = select_device(device).type
    plan = make_plan(dataset, dataset.split(), device=kind, workers=cores() if workers is None else workers)
    plan.save(path)
    patch = "x".join(map(str, plan.patch))
    return f"planned: {plan.dim}D, patch {patch}, batch {plan.batch}, network {plan.network.name}"


def _train(
    dataset: Dataset,
    method: str,
    iterations: int,
    *,
    folder: Path,
    seed: int,
    device: str,
    workers: int | None,
    progress: bool,
) -> Run:
    from semiseg.experiment import train
    from semiseg.report.console import Console
    from semiseg.resolve import resolve

    config = resolve(flags={"method.name": method, "train.iterations": iterations, "train.seed": seed})
    return train(
        dataset,
        config,
        runs=folder / "runs",
        plan_file=folder / "plan.json",
        device=device,
        workers=workers,
        overwrite=True,
        listeners=[Console(progress, label=method.replace("_", " "))],
    )


def _evaluate(trained: Run, dataset: Dataset, name: str, output: Path, device: str) -> Scores:
    from semiseg.evaluation import evaluate_folders

    trained.predict(dataset.root / "imagesTs", output, device=device)
    evaluation = evaluate_folders(dataset.root / "labelsTs", output, dataset=dataset)
    evaluation.save(output)
    return Scores(name, {case.case: case.metrics for case in evaluation.cases})


def _write_results(
    folder: Path, scores: Sequence[Scores], iterations: int, *, labeled: int, unlabeled: int, seed: int
) -> Path:
    text = (
        f"# Demo on synthetic phantoms\n\n{SYNTHETIC}\n\n"
        f"{labeled} labeled and {unlabeled} unlabeled phantoms, {iterations} iterations of each method, "
        f"seed {seed}. The supervised network saw the labeled phantoms only.\n\n"
        f"{comparison_markdown(scores)}\n"
        f"One seed shows no more than one draw; compare several before believing a difference.\n"
    )
    with replacing(folder / "results.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    return folder / "results.md"
