"""Exported models against `semiseg predict`, in environments that lack torch or semiseg.

    python benchmarks/export.py WORK                                   # drawn scans: four kinds of data
    python benchmarks/export.py WORK --run hippocampus RUN DATASET     # and a trained run; may be repeated
    python benchmarks/export.py                                        # the page again

WORK gets the environments (onnx: onnxruntime, numpy, nibabel, scipy, pillow; monai: torch, monai and what a
bundle needs), drawn datasets, short runs, exports and label maps; what is there is used again. Voxels are
compared with `semiseg predict --precision 32`, Dice with the labels of the test scans. Seconds are CPU time
of one thread for a scan, from file to file; of a bundle, of the whole program over all scans.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks._machine import store  # noqa: E402
from benchmarks.export_kinds import ITERATIONS, KINDS, prepared  # noqa: E402
from tests.delivery.monai_schema import SCHEMA  # noqa: E402

import semiseg  # noqa: E402
from semiseg import images  # noqa: E402
from semiseg.dataset.case import LabeledCase  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
COMMAND = "python benchmarks/export.py WORK [--run NAME RUN DATASET] [--scans N]"
PACKAGES = {
    "onnx": ("onnxruntime", "numpy", "nibabel", "scipy", "pillow"),
    "monai": ("torch", "monai", "nibabel", "scipy", "pillow", "fire", "jsonschema", "pytorch-ignite"),
}
EXPORTS: dict[str, dict[str, Any]] = {
    "zip": {"to": "zip"},
    "onnx": {"to": "onnx"},
    "onnx half": {"to": "onnx", "half": True},
    "onnx int8": {"to": "onnx", "int8": True},
    "torch": {"to": "torch"},
    "monai": {"to": "monai"},
}
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONPATH": ""}


@dataclass(frozen=True)
class Job:
    """Test scans of one dataset, copied so that each program finds them by name."""

    name: str
    data: Path
    run: Path
    work: Path
    cases: Sequence[LabeledCase]

    @property
    def scans(self) -> Path:
        return self.work / "scans"

    @property
    def ending(self) -> str:
        return str(images.ending_of(self.cases[0].images[0]))

    def files(self, case: LabeledCase) -> list[Path]:
        return [self.scans / f"{case.id}_{c:04d}{self.ending}" for c in range(len(case.images))]

    def output(self, variant: str, case: LabeledCase) -> Path:
        """Where a variant's label map is."""
        folder = self.work / "labels" / variant.replace(" ", "_")
        if variant != "monai":
            return folder / f"{case.id}{self.ending}"
        return folder / f"{case.id}_0000_seg{self.ending}"


def environment(folder: Path, name: str) -> Path:
    """The Python of an environment with these packages and nothing else."""
    python = folder / name / "bin" / "python"
    if not python.exists():
        venv.create(folder / name, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES[name]], check=True)
    done = subprocess.run([python, "-c", "import semiseg"], capture_output=True, env=ONE_THREAD, cwd=folder)
    if done.returncode == 0:
        raise SystemExit(f"{python} has semiseg: give another folder of environments")
    return python


def job(name: str, run: Path, data: Path, work: Path, count: int) -> Job:
    cases = [case for case in semiseg.Dataset.open(data).test if isinstance(case, LabeledCase)][:count]
    made = Job(name, data, run, work, cases)
    shutil.rmtree(made.scans, ignore_errors=True)
    made.scans.mkdir(parents=True)
    for case in cases:
        for source, target in zip(case.images, made.files(case), strict=True):
            shutil.copyfile(source, target)
    return made


def predict(job: Job, variant: str, model: Path, precision: str) -> float:
    """CPU seconds per scan of `semiseg predict`, the model loaded."""
    loaded = semiseg.Model.load(model, "cpu", precision=precision)
    began = time.process_time()
    folder = job.work / "labels" / variant.replace(" ", "_")
    report = semiseg.predict(job.scans, folder, loaded, overwrite=True, workers=0)
    if report.failed:
        raise SystemExit(f"{job.name}: {report.failed[0].error}")
    return (time.process_time() - began) / len(job.cases)


def drive(job: Job, variant: str, python: Path, exports: Mapping[str, Path]) -> float:
    jobs = [[list(map(str, job.files(case))), str(job.output(variant, case))] for case in job.cases]
    job.output(variant, job.cases[0]).parent.mkdir(parents=True, exist_ok=True)
    listed = job.work / "jobs.json"
    listed.write_text(json.dumps(jobs))
    folder = exports["onnx" if variant == "torch" else variant]
    words = [python, ROOT / "benchmarks" / "export_drive.py", folder, listed]
    told = told_by([*words, exports["torch"]] if variant == "torch" else words)
    if "semiseg" not in told["absent"] or (variant != "torch" and "torch" not in told["absent"]):
        raise SystemExit(f"the environment of {python} has more than it should")
    return float(told["cpu_seconds"])


def told_by(words: Sequence[Path | str]) -> dict[str, Any]:
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, env=ONE_THREAD, cwd="/")
    if done.returncode:
        raise SystemExit(f"{words}: {done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def runner_alone(job: Job, python: Path, folder: Path) -> bool:
    """`python run_onnx.py SCAN LABELS` as a user calls it, once: the same label map."""
    case = job.cases[0]
    output = job.work / f"alone{job.ending}"
    words = [python, folder / "run_onnx.py", *job.files(case), output]
    subprocess.run(list(map(str, words)), check=True, env=ONE_THREAD, cwd="/")
    return bool(np.array_equal(voxels(output), voxels(job.output("onnx", case))))


LOAD = """
import os, sys, monai, torch
os.chdir(sys.argv[1] + "/monai")
where = {"bundle_dir": sys.argv[1], "source": "github", "device": "cpu"}
network = monai.bundle.load("monai", workflow_type="inference", **where)
script, described, _ = monai.bundle.load("monai", load_ts_module=True, **where)
image = described["network_data_format"]["inputs"]["image"]
x = torch.randn(2, image["num_channels"], *image["spatial_shape"])
with torch.no_grad():
    print("verified: the same network" if torch.equal(network(x), script(x)) else "two networks")
"""
"""In the folder of the bundle; what is there is not looked for anywhere else."""


def bundle(job: Job, python: Path, folder: Path) -> tuple[float, dict[str, str]]:
    """CPU seconds per scan of the whole program, and what MONAI's own commands say of the bundle."""
    schema = job.work / "schema.json"
    schema.write_text(json.dumps(SCHEMA))
    files = ["--meta_file", folder / "configs/metadata.json"]
    both = [*files, "--config_file", folder / "configs/inference.json"]
    here = ["--bundle_root", folder]
    output = job.output("monai", job.cases[0]).parent
    script = job.work / "made.ts"
    module = [python, "-W", "ignore", "-m", "monai.bundle"]
    checks = {
        "verify_metadata": [*module, "verify_metadata", *files, "--filepath", schema],
        "verify_net_in_out": [
            *(*module, "verify_net_in_out", "network_def", *both, *here, "--device", "cpu"),
        ],
        "ckpt_export": [*module, "ckpt_export", "network_def", *both, *here, "--filepath", script],
        "load": [python, "-W", "ignore", "-c", LOAD, folder.parent],
    }
    said = {name: monai(words)[-200:] for name, words in checks.items()}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    monai([*module, "run", *both, "--dataset_dir", job.scans, "--output_dir", output])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds / len(job.cases), said


def monai(words: Sequence[Path | str]) -> str:
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, env=ONE_THREAD, cwd="/")
    if done.returncode:
        raise SystemExit(f"{words}: {done.stderr[-3000:]}")
    lines = f"{done.stdout}\n{done.stderr}".splitlines()
    said = [line for line in lines if "verified" in line or "exported to file" in line]
    return said[-1].rpartition(" - INFO - ")[2].partition(": /")[0] if said else "said nothing"


def voxels(path: Path) -> Any:
    return images.read_label(path).array


def dice(found: Any, truth: Any) -> float:
    """Mean over the foreground classes that either map has."""
    values = np.union1d(np.unique(found), np.unique(truth))
    both = [
        2 * np.sum((found == v) & (truth == v)) / (np.sum(found == v) + np.sum(truth == v))
        for v in values
        if v
    ]
    return float(np.mean(both))


def compared(job: Job, variant: str) -> dict[str, float]:
    shares, lost = [], []
    for case in job.cases:
        found, wanted, truth = (
            voxels(p) for p in (job.output(variant, case), job.output("32", case), case.label)
        )
        found = found.reshape(wanted.shape)
        shares.append(float(np.mean(found != wanted)))
        lost.append(dice(found, truth) - dice(wanted, truth))
    return {
        "differ_mean": float(np.mean(shares)),
        "differ_most": max(shares),
        "dice_change": float(np.mean(lost)),
    }


def measure(job: Job, pythons: Mapping[str, Path], variants: Sequence[str]) -> dict[str, Any]:
    exports: dict[str, Path] = {}
    for variant, how in ((name, EXPORTS[name]) for name in variants):
        exports[variant] = job.work / "exports" / variant.replace(" ", "_")
        data = job.data if how.get("int8") or how.get("half") else None
        if not exports[variant].exists():
            semiseg.export(job.run, exports[variant], data=data, **how)
    rows: dict[str, Any] = {"32": {"seconds": predict(job, "32", job.run, "32")}}
    rows["auto"] = {"seconds": predict(job, "auto", job.run, "auto")}
    checks: dict[str, str] = {}
    for variant in variants:
        if variant == "zip":
            seconds = predict(job, "zip", exports["zip"] / "model.zip", "32")
        elif variant == "monai":
            seconds, checks = bundle(job, pythons["monai"], exports["monai"])
        else:
            seconds = drive(job, variant, pythons["monai" if variant == "torch" else "onnx"], exports)
        rows[variant] = {"seconds": seconds}
    for variant, row in rows.items():
        row.update(compared(job, variant))
        row["bytes"] = weights(exports.get(variant))
    places = [folder / "model.json" for folder in exports.values()]
    told = [json.loads(place.read_text()) for place in places if place.exists()]
    measured = {one["networks"][0]["precision"]: one["measured"] for one in told if "measured" in one}
    truths = [dice(voxels(job.output("32", case)), voxels(case.label)) for case in job.cases]
    found = {"scans": len(job.cases), "dice": float(np.mean(truths)), "rows": rows, "checks": checks}
    if "onnx" in exports:
        found["runner_alone_equal"] = runner_alone(job, pythons["onnx"], exports["onnx"])
    return found | ({"int8_measured": measured["int8"]} if "int8" in measured else {})


def beside(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """What was measured before of other variants stays."""
    both = {key: {**earlier.get(key, {}), **now[key]} for key in ("rows", "checks")}
    return {"int8_measured": None, **earlier, **now, **both}


def weights(folder: Path | None) -> int | None:
    """Bytes of the file that holds the weights."""
    if folder is None:
        return None
    found = [p for p in folder.rglob("*") if p.suffix in (".onnx", ".pt2", ".ts", ".zip")]
    return sum(p.stat().st_size for p in found)


def page(found: Mapping[str, Any]) -> str:
    head = "| {} | Variant | Voxels that differ (mean) | (worst scan) | Dice change | s per scan | MB |"
    blocks = []
    for name, kind in found.items():
        title = f"{name}, {kind['scans']} test scans, Dice {kind['dice']:.4f} with 32 bits"
        lines = [f"**{title}**", "", head.format("").replace("|  |", "|"), "|---|---|---|---|---|---|"]
        for variant, row in kind["rows"].items():
            size = "" if row["bytes"] is None else f"{row['bytes'] / 1e6:.2f}"
            shown = NAMES.get(variant, variant)
            differ = f"{row['differ_mean']:.1e} | {row['differ_most']:.1e}"
            lines.append(
                f"| {shown} | {differ} | {row['dice_change']:+.4f} | {row['seconds']:.2f} | {size} |"
            )
        lines.append("")
        if measured := kind["int8_measured"]:
            lost = ", ".join(f"{label} {value:+.4f}" for label, value in measured["difference"].items())
            lines += [f"int8 on {measured['cases']} {measured['on']} cases, as model.json tells it: {lost}."]
        equal = "the same label map" if kind["runner_alone_equal"] else "ANOTHER label map"
        lines += [f"`python run_onnx.py` called as a program: {equal}."]
        lines += [f"`{check}`: {said}" for check, said in kind["checks"].items()]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def measured_so_far(results: Path) -> dict[str, Any]:
    stored = results / "export.json"
    return dict(json.loads(stored.read_text())["kinds"]) if stored.exists() else {}


NAMES = {
    "32": "semiseg predict, 32 bits",
    "auto": "semiseg predict as it chooses",
    "zip": "zip, semiseg predict",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("work", type=Path, nargs="?")
    parser.add_argument("--envs", type=Path, help="folder of the environments (default: in WORK)")
    parser.add_argument("--run", nargs=3, action="append", default=[], metavar=("NAME", "RUN", "DATASET"))
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), help="drawn scans; none to leave them out")
    parser.add_argument("--variants", nargs="*", default=list(EXPORTS), help="those with int8 take longest")
    parser.add_argument("--scans", type=int, default=4, help="test scans of each")
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    found = measured_so_far(given.results)
    if given.work is not None:
        work = given.work.resolve()
        envs = (given.envs or work / "envs").resolve()
        pythons = {name: environment(envs, name) for name in PACKAGES}
        trained = [(name, Path(run), Path(data)) for name, run, data in given.run]
        for name in given.kinds:
            data, run = prepared(name, work)
            trained.append((f"{name} (drawn, {ITERATIONS} iterations)", run, data))
        for name, run, data in trained:
            made = job(name, run, data, work / name.split(" (")[0].replace(" ", "_"), given.scans)
            measured = measure(made, pythons, given.variants)
            found = measured_so_far(given.results)  # of another process, too
            found[name] = beside(found.get(name, {}), measured)
            text = page(found)
            store(given.results, "export", "Exported models", COMMAND, text, {"kinds": found})
    text = page(found)
    store(given.results, "export", "Exported models", COMMAND, text, {"kinds": found})
    print(text)


if __name__ == "__main__":
    main()
