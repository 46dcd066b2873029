"""What `semiseg convert` costs on very many scans: time, memory and disk, with links and without.

    python benchmarks/many_files.py [--unlabeled 2000] [--labeled 50]

A folder that looks like FLARE 2022 is made: names, folders and headers of the release, arrays of 24 x 24 x
16 voxels, each file another. Every way is measured in a process of its own: seconds on the wall, the largest
resident memory, and bytes that the new folder takes on disk beside the source.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from _machine import store

RESULTS = Path(__file__).resolve().parent / "results"
SHAPE = (24, 24, 16)
WAYS = {"dry run": ("--dry-run",), "copies": (), "links": ("--link",)}


def make(root: Path, labeled: int, unlabeled: int) -> Path:
    """The folder of the release, with small scans."""
    first = root / "Training" / "FLARE22_LabeledCase50"
    more = (
        root / "Training" / "FLARE22_UnlabeledCase1-1000",
        root / "Training" / "FLARE22_UnlabeledCase1001-2000",
    )
    names = [
        (
            first / "images" / f"FLARE22_Tr_{n:04d}_0000.nii.gz",
            first / "labels" / f"FLARE22_Tr_{n:04d}.nii.gz",
        )
        for n in range(1, labeled + 1)
    ]
    names += [(more[n > 1000] / f"Case_{n:05d}_0000.nii.gz", None) for n in range(1, unlabeled + 1)]
    names += [(root / "Validation" / f"FLARETs_{n:04d}_0000.nii.gz", None) for n in range(1, 51)]
    for seed, (image, label) in enumerate(names):
        values = np.random.default_rng(seed).integers(-1000, 400, SHAPE).astype(np.int16)
        save(image, values)
        if label is not None:
            save(label, (np.arange(SHAPE[0])[:, None, None] // 2 + 0 * values).clip(0, 13).astype(np.uint8))
    return root


def save(path: Path, array: np.ndarray[Any, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([0.8, 0.8, 2.5, 1.0])), path)


def measure(source: Path, target: Path, flags: tuple[str, ...]) -> dict[str, float]:
    """One conversion in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "semiseg",
        "convert",
        "flare22",
        str(source),
        "-o",
        str(target),
        *flags,
        "-q",
    ]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime, time.monotonic()
    code = "import resource, subprocess, sys; p = subprocess.run(sys.argv[1:], check=True, stdout=-3); "
    code += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    done = subprocess.run([sys.executable, "-c", code, *command], check=True, capture_output=True, text=True)
    seconds = time.monotonic() - started
    cpu = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    own = [path for path in target.rglob("*") if path.is_file() and path.stat().st_nlink == 1]
    return {
        "seconds": round(seconds, 1),
        "CPU seconds": round(cpu, 1),
        "memory (MB)": round(int(done.stdout.split()[-1]) / 1024),
        "files": sum(path.is_file() for path in target.rglob("*")),
        "disk beside the source (MB)": round(sum(path.stat().st_blocks * 512 for path in own) / 1e6, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--labeled", type=int, default=50)
    parser.add_argument("--unlabeled", type=int, default=2000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = make(Path(folder) / "FLARE22", given.labeled, given.unlabeled)
        rows = {}
        for name, flags in WAYS.items():
            target = Path(folder) / "made"
            rows[name] = measure(source, target, flags)
            shutil.rmtree(target, ignore_errors=True)
            print(name, rows[name], flush=True)
    scans = given.labeled + given.unlabeled + 50
    heads = list(next(iter(rows.values())))
    lines = [f"| {scans} scans | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(str(row[head]) for head in heads)} |" for name, row in rows.items()]
    store(
        RESULTS,
        "many_files",
        "semiseg convert on very many scans",
        f"python benchmarks/many_files.py --labeled {given.labeled} --unlabeled {given.unlabeled}",
        "\n".join(lines),
        {"scans": scans, "ways": rows},
    )


if __name__ == "__main__":
    main()
