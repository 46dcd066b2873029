"""Dice, HD95 and time of each setting of prediction: `python benchmarks/quality.py DATASET RUN ...`.

    python benchmarks/quality.py DATASET RUN --part development          # settings to choose from
    python benchmarks/quality.py DATASET RUN --state before --code OLD   # --quality of an older checkout
    python benchmarks/quality.py DATASET RUN                             # --quality of this one
    python benchmarks/quality.py                                         # the page again

A setting is chosen on the last training cases, which the run has not seen as labeled; the test cases are for
the settings of ``--quality`` alone. Rows are kept in benchmarks/results/quality.json, the page beside it. The
seconds are those of one thread's work for a scan, from the file to the written label map, without starting
the program and reading the model.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks._machine import store  # noqa: E402
from benchmarks.held_out import cases_of  # noqa: E402

import semiseg  # noqa: E402
from semiseg.dataset.case import LabeledCase  # noqa: E402
from semiseg.prediction.model import QUALITY  # noqa: E402
from semiseg.runs.run import Run, load_run  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
TITLE = "Settings of prediction"
COMMAND = "python benchmarks/quality.py DATASET RUN [--part development] [--state before --code OLD]"

PLAIN = ("--set", "inference.overlap=0.5", "--no-mirror")
CANDIDATES: dict[str, tuple[str, ...]] = {
    "overlap 0.5": PLAIN,
    "overlap 0.25": (*PLAIN, "--set", "inference.overlap=0.25"),
    "overlap 0.75": (*PLAIN, "--set", "inference.overlap=0.75"),
    "overlap 0.5, plain mean": (*PLAIN, "--set", "inference.weighting=uniform"),
    "overlap 0.5, mirrored": (*PLAIN[:-1], "--mirror"),
    "overlap 0.75, mirrored": ("--set", "inference.overlap=0.75", "--mirror"),
    "overlap 0.5, largest component": (*PLAIN, "--set", "inference.largest_component=true"),
}
"""What may become part of a setting of ``--quality``, as options of ``semiseg predict``."""


def named(state: str) -> dict[str, tuple[str, ...]]:
    """The settings of ``--quality``; there was one more before."""
    names = (*QUALITY, "fast") if state == "before" else QUALITY
    return {name: ("--quality", name) for name in names}


def measured(
    cases: Sequence[LabeledCase], run: Run, dataset: Path, options: Sequence[str], code: Path
) -> dict[str, float]:
    """Mean Dice and HD95 over classes and scans, and CPU seconds per scan, of ``semiseg predict``."""
    with tempfile.TemporaryDirectory() as place:
        images, labels, out = (Path(place) / name for name in ("images", "labels", "out"))
        for case in cases:
            link(case.images, images, [f"{case.id}_{c:04d}" for c in range(len(case.images))])
            link([case.label], labels, [case.id])
        words = ["-i", str(images), "-o", str(out), "-m", str(run.folder), "--device", "cpu", "-j", "0"]
        start = seconds([*words, "--dry-run"], code)
        spent = seconds([*words, *options], code) - start
        scores = semiseg.evaluate(labels, out, dataset=dataset)
    if scores.failed or len(scores.cases) != len(cases):
        raise SystemExit(f"{run.folder}: {len(scores.failed)} scans could not be scored: {scores.failed}")
    found = {
        "dice": scores.mean("Dice"),
        "hd95": scores.mean("HD95"),
        "volume_error": scores.mean("VolumeError"),
    }
    return {**found, "seconds": spent / len(cases), "scans": len(cases)}


def link(files: Iterable[Path], folder: Path, names: Sequence[str]) -> None:
    folder.mkdir(exist_ok=True)
    for file, name in zip(files, names, strict=True):
        ending = "".join(file.suffixes[-2:] if file.suffix == ".gz" else file.suffixes[-1:])
        (folder / f"{name}{ending}").symlink_to(file.resolve())


def seconds(words: Sequence[str], code: Path) -> float:
    """CPU seconds of one `semiseg predict` of a checkout."""
    environment = os.environ | {"PYTHONPATH": str(code / "src"), "OMP_NUM_THREADS": "1"}
    before = spent()
    done = subprocess.run(
        [sys.executable, "-m", "semiseg", "predict", *words], env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return spent() - before


def spent() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def page(rows: Sequence[Mapping[str, Any]]) -> str:
    """One table per part of the data, before and after side by side."""
    text = []
    for part, title in (("development", "Held-out training scans"), ("test", "Test scans, by `--quality`")):
        chosen = [row for row in rows if row["part"] == part]
        states = [s for s in ("before", "after") if any(row["state"] == s for row in chosen)]
        heads = [f"{what}, {state}" for state in states for what in ("Dice", "HD95 mm", "s per scan")]
        lines = ["| data | method | scans | setting | " + " | ".join(heads) + " |"]
        lines.append("|" + "---|" * (4 + len(heads)))
        keys = dict.fromkeys((r["dataset"], r["method"], r["scans"], r["setting"]) for r in chosen)
        for key in keys:
            cells = [cell for state in states for cell in figures(chosen, key, state)]
            lines.append("| " + " | ".join([*map(str, key), *cells]) + " |")
        if chosen:
            text.append(f"**{title}**\n\n" + "\n".join(lines))
    return "\n\n".join(text)


def figures(rows: Sequence[Mapping[str, Any]], key: tuple[Any, ...], state: str) -> list[str]:
    """The three cells of a setting, or dashes."""
    names = ("dataset", "method", "scans", "setting")
    for row in rows:
        if row["state"] == state and tuple(row[name] for name in names) == key:
            return [f"{row['dice']:.4f}", f"{row['hd95']:.2f}", f"{row['seconds']:.2f}"]
    return ["-"] * 3


def kept(results: Path) -> list[dict[str, Any]]:
    file = results / "quality.json"
    return json.loads(file.read_text(encoding="utf-8"))["rows"] if file.is_file() else []


def with_row(rows: list[dict[str, Any]], row: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows, this one in the place of one of the same measurement."""
    names = ("part", "dataset", "method", "setting", "state")
    same = [all(old[name] == row[name] for name in names) for old in rows]
    return [row if hit else old for old, hit in zip(rows, same, strict=True)] + ([] if any(same) else [row])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path, nargs="?")
    parser.add_argument("run", type=Path, nargs="*")
    parser.add_argument("--part", choices=("development", "test"), default="test")
    parser.add_argument("--cases", type=int, default=20, help="of the development part")
    parser.add_argument("--state", choices=("before", "after"), default="after")
    parser.add_argument("--code", type=Path, default=ROOT, help="the checkout that predicts")
    parser.add_argument("--settings", nargs="+", help="some of them")
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    settings = CANDIDATES if args.part == "development" else named(args.state)
    for folder in args.run:
        run = load_run(folder.resolve())
        cases = cases_of(args.dataset, run, args.part, args.cases)
        for name in args.settings or settings:
            row = {"part": args.part, "dataset": args.dataset.name, "method": run.config.method.name}
            row |= {"setting": name, "state": args.state}
            row |= measured(cases, run, args.dataset, settings[name], args.code.resolve())
            print(json.dumps(row), flush=True)
            rows = with_row(kept(args.results), row)
            store(args.results, "quality", TITLE, COMMAND, page(rows), {"rows": rows})
    if not args.run:
        rows = kept(args.results)
        store(args.results, "quality", TITLE, COMMAND, page(rows), {"rows": rows})


if __name__ == "__main__":
    main()
