"""Fine-tuning against training from scratch: a few iterations on few labels of the hippocampus.

    python benchmarks/fine_tuning.py DATASET WORK RUN [--iterations 60] [--labeled 4] [--seeds 0 1]
    python benchmarks/fine_tuning.py                       # the page again

RUN has labels of its own. What is trained here gets ``--labeled`` cases that come after RUN's in the
order of the split, once for the same classes and once for another set (one class, hippocampus, of both).
Each pair differs in ``--start-from`` alone; both are scored on test scans.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks._machine import store, typed  # noqa: E402

import semiseg  # noqa: E402
from semiseg.dataset.case import LabeledCase  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
TASKS = {"the same classes": None, "one class of both": {"2": 1}}
"""What is learned -> the ``label_map`` of its dataset."""


def dataset(source: Path, folder: Path, joined: Mapping[str, int] | None, skip: Sequence[str]) -> Path:
    """The data set by links, the cases that the first run knew at the end of its order."""
    if folder.exists():
        return folder
    folder.mkdir(parents=True)
    for part in source.iterdir():
        if part.is_dir():
            (folder / part.name).symlink_to(part)
    content = json.loads((source / "dataset.json").read_text())
    if joined:
        content |= {"labels": {"background": 0, "hippocampus": 1}, "label_map": dict(joined)}
    (folder / "dataset.json").write_text(json.dumps(content))
    lists = json.loads((source / "splits.json").read_text())
    lists["order"].sort(key=lambda case: case in skip)
    lists.pop("published", None)
    (folder / "splits.json").write_text(json.dumps(lists))
    return folder


def scored(data: Path, run: Path, scans: int) -> float:
    """Mean Dice on the first test scans."""
    cases = [case for case in semiseg.Dataset.open(data).test if isinstance(case, LabeledCase)][:scans]
    inputs = run.with_name(f"{run.name}-scans")
    inputs.mkdir(exist_ok=True)
    for path in (path for case in cases for path in case.images):
        if not (inputs / path.name).exists():
            (inputs / path.name).symlink_to(path.resolve())
    semiseg.predict(inputs, run / "maps", run, device="cpu", overwrite=True)
    found = semiseg.evaluate(
        cases[0].label.parent, run / "maps", dataset=data, cases=[case.id for case in cases], distances=False
    )
    return found.mean("Dice")


def measure(
    source: Path, work: Path, first: Path, iterations: int, labeled: int, seeds: Sequence[int], scans: int
) -> list[dict[str, Any]]:
    known = semiseg.load_run(first).split["labeled"]
    rows = []
    for number, (task, joined) in enumerate(TASKS.items()):
        data = dataset(source, work / f"data{number}", joined, known)
        for seed in seeds:
            dice = {}
            for kind, start in (("scratch", None), ("start", first)):
                run = work / f"{number}-{kind}-{seed}"
                settings = {"plan.patch": PATCH, "validation.every": None}
                semiseg.train(
                    data, method="supervised", labeled=labeled, iterations=iterations, seed=seed, run=run,
                    settings=settings, start_from=start, device="cpu", resume=True,
                )  # fmt: skip
                dice[kind] = scored(data, run, scans)
            rows.append({"task": task, "seed": seed, **dice, "scans": scans})
    return rows


PATCH = [24, 40, 24]


def page(found: Mapping[str, Any]) -> str:
    lines = ["| Task | Seed | From scratch | `--start-from` | Gain |", "|---|---:|---:|---:|---:|"]
    for row in found["rows"]:
        gain = row["start"] - row["scratch"]
        lines.append(
            f"| {row['task']} | {row['seed']} | {row['scratch']:.3f} | {row['start']:.3f} | {gain:+.3f} |"
        )
    gains = [row["start"] - row["scratch"] for row in found["rows"]]
    said = found["setting"]
    lines += [
        "",
        f"Supervised, {said['labeled']} labeled scans that the first run did not have as labeled, "
        f"{said['iterations']} iterations of {' x '.join(map(str, PATCH))} voxels; mean Dice of "
        f"{said['scans']} test scans; mean gain {np.mean(gains):+.3f}. The first run: {said['first']}.",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("dataset", type=Path, nargs="?")
    parser.add_argument("work", type=Path, nargs="?")
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--iterations", type=int, default=60)
    parser.add_argument("--labeled", type=int, default=4)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1])
    parser.add_argument("--scans", type=int, default=12)
    given = parser.parse_args()
    if given.run is None:
        found = json.loads((RESULTS / "fine_tuning.json").read_text())
        command = found["command"]
    else:
        first = semiseg.load_run(given.run)
        setting = {
            "iterations": given.iterations, "labeled": given.labeled, "scans": given.scans,
            "first": f"{first.config.method.name}, {len(first.split['labeled'])} labeled scans, "
            f"{first.config.train.iterations} iterations",
        }  # fmt: skip
        rows = measure(
            given.dataset.resolve(), given.work.resolve(), given.run.resolve(),
            given.iterations, given.labeled, given.seeds, given.scans,
        )  # fmt: skip
        found, command = {"setting": setting, "rows": rows}, typed()
    text = page(found)
    told = {key: found[key] for key in ("setting", "rows")}
    store(RESULTS, "fine_tuning", "Fine-tuning against training from scratch", command, text, told)
    print(text)


if __name__ == "__main__":
    main()
