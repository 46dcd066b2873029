"""The demo: a supervised network and a mean teacher, given the same labels and the same number of iterations.

It takes the same steps, through the same functions, as the commands ``check``, ``plan``, ``train``,
``predict`` and ``evaluate``. Nothing is tuned for the outcome: the table says what came out.

One picture per test case: the scan with the reference and every method's prediction.

Results side by side, for the terminal (one column per method) and for Markdown (one row per method).
"""

from __future__ import annotations

import logging
import math
import shutil
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from semiseg.drawing.table import Cell, Table, markdown, terminal
from semiseg.machine.files import contents, held, replacing

if TYPE_CHECKING:
    from rich.table import Table as RichTable

    from semiseg.dataset.dataset import Dataset
    from semiseg.runs.run import Run


def draw_cases(dataset: Dataset, predictions: Mapping[str, Path], output: Path) -> list[Path]:
    """Draw every test case of the demo.

    Args:
        dataset: the synthetic dataset.
        predictions: name of the method -> folder of its label maps.
        output: where the PNGs go.
    """
    from semiseg import images
    from semiseg.dataset.case import LabeledCase
    from semiseg.drawing.overlay import overlay_picture, to_ras

    pictures = []
    for case in dataset.test:
        image = images.read(case.images[0])
        affine = image.grid.affine
        voxels, spacing = to_ras(image.array, affine)
        predicted = {
            name: to_ras(images.read_label(folder / f"{case.id}{dataset.file_ending}").array, affine)[0]
            for name, folder in predictions.items()
        }
        reference = None
        if isinstance(case, LabeledCase):
            reference = to_ras(images.read_label(case.label).array, affine)[0]
        path = output / f"{case.id}.png"
        overlay_picture(
            voxels,
            spacing,
            reference,
            predicted,
            dataset.labels,
            path,
            f"{case.id} (synthetic)",
            note="Synthetic phantom, no patient.",
        )
        pictures.append(path)
    return pictures


UNITS = {"HD95": "mm", "ASD": "mm", "ASSD": "mm"}

METRICS = ("Dice", "HD95", "ASSD")
"""Shown unless others are asked for."""


@dataclass(frozen=True)
class Scores:
    """What one method reached: case -> class -> metric -> value (NaN where it is not defined)."""

    name: str
    cases: Mapping[str, Mapping[str, Mapping[str, float]]]

    @classmethod
    def of_summary(cls, name: str, summary: Mapping[str, Any], labels: Mapping[str, int]) -> Scores:
        """Read the ``summary.json`` that ``semiseg evaluate`` (or nnU-Net) writes.

        Args:
            name: of the method.
            summary: the parsed file.
            labels: class name -> label value.
        """
        classes = {str(value): label for label, value in labels.items()}
        cases: dict[str, dict[str, dict[str, float]]] = {}
        for entry in summary["metric_per_case"]:
            case = PurePath(PurePath(str(entry["reference_file"])).name.removesuffix(".gz")).stem
            cases[case] = {
                classes.get(key, key): {metric: _float(value) for metric, value in metrics.items()}
                for key, metrics in entry["metrics"].items()
            }
        return cls(name, cases)

    @property
    def classes(self) -> list[str]:
        """Names of the classes that were scored, in order."""
        return list(dict.fromkeys(name for case in self.cases.values() for name in case))

    def values(self, metric: str, label: str | None = None) -> dict[str, float]:
        """Case -> value of a class, or the mean over classes; cases where it is not defined are left out."""
        found: dict[str, float] = {}
        for case, classes in self.cases.items():
            chosen = [label] if label else list(classes)
            numbers = [classes[c][metric] for c in chosen if c in classes and metric in classes[c]]
            defined = [number for number in numbers if not math.isnan(number)]
            if defined:
                found[case] = statistics.fmean(defined)
        return found


def comparison_table(scores: Sequence[Scores], *, title: str, metrics: Sequence[str] = METRICS) -> RichTable:
    """The comparison as a rich table, one column per method; mean ± standard deviation over cases.

    Args:
        scores: the methods; the first is what the others are compared with.
        title: above the table.
        metrics: which to show of every class.
    """
    columns = tuple(zip(*_cells(scores, metrics), strict=True))
    return terminal(_table(title, [("", *columns[0][1:]), *columns[1:]], scores))


def comparison_markdown(scores: Sequence[Scores], *, metrics: Sequence[str] = METRICS) -> str:
    """The comparison as a Markdown table with its caption; see :func:`comparison_table`."""
    return markdown(_table("", _cells(scores, metrics), scores))


def caption(scores: Sequence[Scores]) -> str:
    """How to read the table, and how each method did against the first, case by case."""
    count = len({case for score in scores for case in score.cases})
    lines = [f"Mean ± standard deviation over {count} cases."]
    for other in scores[1:]:
        differences = paired_differences(scores[0], other)
        if differences:
            better = sum(d > 0 for d in differences)
            mean = statistics.fmean(differences)
            lines.append(
                f"Dice of {other.name} minus {scores[0].name}, case by case: mean {mean:+.3f}, "
                f"higher in {better} of {len(differences)} cases."
            )
    return " ".join(lines)


def paired_differences(first: Scores, second: Scores) -> list[float]:
    """Mean Dice over classes of ``second`` minus ``first``, for the cases that both have."""
    before, after = first.values("Dice"), second.values("Dice")
    return [after[case] - before[case] for case in before if case in after]


def _table(title: str, lines: Sequence[Sequence[str]], scores: Sequence[Scores]) -> Table:
    head, *rows = lines
    cells = tuple(tuple(map(Cell, row)) for row in rows)
    return Table(title, tuple(head), cells, notes=(caption(scores),))


def _cells(scores: Sequence[Scores], metrics: Sequence[str]) -> list[list[str]]:
    classes = list(dict.fromkeys(name for score in scores for name in score.classes))
    columns: list[tuple[str, str | None]] = [("Dice", None)] if len(classes) > 1 else []
    columns += [(metric, name) for metric in metrics for name in classes]
    head = ["method", *(_head(metric, name) for metric, name in columns)]
    rows = [
        [score.name, *(_spread(score.values(m, name).values(), m) for m, name in columns)] for score in scores
    ]
    return [head, *rows]


def _head(metric: str, label: str | None) -> str:
    unit = f" ({UNITS[metric]})" if metric in UNITS else ""
    return f"{metric}{unit} {label or 'mean'}"


def _spread(values: Iterable[float], metric: str) -> str:
    numbers = list(values)
    if not numbers:
        return "–"
    digits = 2 if metric in UNITS else 3
    spread = f" ± {statistics.stdev(numbers):.{digits}f}" if len(numbers) > 1 else ""
    return f"{statistics.fmean(numbers):.{digits}f}{spread}"


def _float(value: Any) -> float:
    return float("nan") if value is None else float(value)


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
    def table(self) -> RichTable:
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
    from semiseg.dataset.dataset import Dataset
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
    from semiseg.dataset.check import check
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
    from semiseg.machine.hardware import cores, select_device
    from semiseg.preparation.planner import make_plan

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
    from semiseg.runs.console import Console
    from semiseg.training.train import train

    return train(
        dataset,
        method=method,
        iterations=iterations,
        seed=seed,
        runs=folder / "runs",
        plan=folder / "plan.json",
        device=device,
        workers=workers,
        overwrite=True,
        listeners=[Console(progress, label=method.replace("_", " "))],
    )


def _evaluate(trained: Run, dataset: Dataset, name: str, output: Path, device: str) -> Scores:
    from semiseg.evaluation.evaluate import evaluate_folders
    from semiseg.evaluation.tables import write

    trained.predict(dataset.root / "imagesTs", output, device=device)
    evaluation = evaluate_folders(dataset.root / "labelsTs", output, dataset=dataset)
    write(evaluation, output)
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
