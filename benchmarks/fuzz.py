"""What the readers do with damaged files: the same voxels, a clear refusal, or something worse.

    python benchmarks/fuzz.py [--label after] [--mutations 300] [--only .nii.gz .png] [--run RUN_FOLDER]

A small sound file of each format is written by other libraries, then damaged in ``--mutations`` ways: single
bits, bytes, cuts, blocks of zeros, repeated or inserted blocks, extreme numbers in the header. One child
process reads them one after the other under a limit of memory and time, and is started again when it dies or
hangs. With ``--run``, every file of a finished run folder is damaged in turn, and the run is loaded.

Counted: ``same`` (read as before the damage), ``refused`` (one of our errors), ``silent`` (read, but other
values or another place), ``traceback`` (any other exception), ``hang``, ``died``. Formats without a checksum
cannot tell a changed voxel: their ``silent`` is what the format allows, the others' should be 0.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import select
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from _machine import store

RESULTS = Path(__file__).resolve().parent / "results"
CLASSES = ("same", "refused", "silent", "traceback", "hang", "died")
SECONDS, MEMORY = 10.0, 12 << 30
CHECKED = (".nii.gz", ".nii.gz label", ".png", ".png palette", ".zip")
"""Formats whose every byte is under a checksum, so that nothing may be silent."""


# The sound files


def volume(kind: str = "image") -> np.ndarray[Any, Any]:
    """(20, 21, 22): noise, which hardly shrinks, or a label map, which shrinks a lot."""
    if kind == "label":
        return (np.indices((20, 21, 22)).sum(0) // 12).astype(np.uint8)
    return np.random.default_rng(0).normal(100, 20, (20, 21, 22)).astype(np.int16)


def picture(colors: bool = True) -> np.ndarray[Any, Any]:
    y, x = np.indices((40, 44))
    gray = ((x * 3 + y * 2) % 256).astype(np.uint8)
    return np.stack([gray, gray[::-1], 255 - gray], -1) if colors else gray


def write_nifti(path: Path, array: np.ndarray[Any, Any]) -> None:
    import nibabel as nib

    nib.save(nib.Nifti1Image(array, np.diag([0.8, 0.9, 2.0, 1.0])), path)


def write_itk(path: Path, array: np.ndarray[Any, Any], packed: bool) -> None:
    import SimpleITK

    image = SimpleITK.GetImageFromArray(array.T)
    image.SetSpacing((0.8, 0.9, 2.0))
    SimpleITK.WriteImage(image, str(path), useCompression=packed)


def write_picture(path: Path, mode: str = "RGB") -> None:
    from PIL import Image

    image = Image.fromarray(picture(mode == "RGB"))
    if mode == "P":
        image.putpalette([v for i in range(256) for v in (i, 255 - i, 7)])
    image.save(path, **({"lossless": True} if path.suffix == ".webp" else {}))


def write_tiff(path: Path, compression: str | None) -> None:
    import tifffile

    tifffile.imwrite(
        path, volume()[..., :4].T.astype(np.uint16), compression=compression, photometric="minisblack"
    )


def write_dicom(path: Path) -> None:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    ds.Modality, ds.SeriesInstanceUID, ds.StudyInstanceUID = "CT", "1.2.3", "1.2"
    ds.Rows, ds.Columns, ds.SamplesPerPixel = 40, 44, 1
    ds.PhotometricInterpretation, ds.PixelRepresentation = "MONOCHROME2", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 12, 11
    ds.PixelSpacing, ds.ImageOrientationPatient = [0.8, 0.9], [1, 0, 0, 0, 1, 0]
    ds.ImagePositionPatient, ds.SliceThickness = [1, 2, 3], 2
    ds.RescaleSlope, ds.RescaleIntercept = 1, -1024
    ds.PixelData = picture(False).astype("<u2").tobytes()
    ds.save_as(path, enforce_file_format=True)


def write_zip(path: Path) -> None:
    write_dicom(path.with_suffix(".dcm"))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(path.with_suffix(".dcm"), "a.dcm")


FORMATS: dict[str, Callable[[Path], None]] = {
    ".nii": lambda path: write_nifti(path, volume()),
    ".nii.gz": lambda path: write_nifti(path, volume()),
    ".nii.gz label": lambda path: write_nifti(path, volume("label")),
    ".nrrd": lambda path: write_itk(path, volume(), True),
    ".nrrd raw": lambda path: write_itk(path, volume(), False),
    ".nrrd label": lambda path: write_itk(path, volume("label"), True),
    ".mha": lambda path: write_itk(path, volume(), True),
    ".mha raw": lambda path: write_itk(path, volume(), False),
    ".mha label": lambda path: write_itk(path, volume("label"), True),
    ".png": write_picture,
    ".png palette": lambda path: write_picture(path, "P"),
    ".jpg": write_picture,
    ".bmp": write_picture,
    ".webp": write_picture,
    ".tif": lambda path: write_tiff(path, "zlib"),
    ".tif raw": lambda path: write_tiff(path, None),
    ".dcm": write_dicom,
    ".zip": write_zip,
}
"""Ending, and a word where there are several of one ending -> writer."""


_UNREAD = (".png", ".log", ".html", ".jsonl", ".0")
"""Endings in a run folder that nothing reads: pictures, logs, TensorBoard's events."""


# The damage


def damaged(raw: bytes, number: int) -> bytes:
    """The ``number``-th way of damaging ``raw``; the same for the same bytes and number."""
    draw = random.Random(f"{len(raw)} {number}")
    data = bytearray(raw)
    if not data:
        return raw
    near = min(len(data), 400) if draw.random() < 0.3 else len(data)
    at = draw.randrange(near)
    kind = draw.choices(("bit", "byte", "number", "cut", "block", "insert", "repeat"), (8, 3, 3, 2, 2, 1, 1))[
        0
    ]
    length = draw.randrange(1, 64)
    if kind == "bit":
        data[at] ^= 1 << draw.randrange(8)
    elif kind == "byte":
        data[at] = draw.randrange(256)
    elif kind == "number":
        data[at : at + 4] = draw.choice((b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"9999"))
    elif kind == "cut":
        del data[at:]
    elif kind == "block":
        data[at : at + length] = bytes([draw.choice((0, 255))]) * len(data[at : at + length])
    elif kind == "insert":
        data[at:at] = draw.randbytes(length)
    else:
        data[at:at] = data[at : at + length]
    return bytes(data)


# The child


def read_file(path: Path) -> str:
    """A digest of all that a reader gives for a file."""
    from semiseg import images
    from semiseg.images import dicom

    if path.suffix in (".dcm", ".zip"):
        volumes = [dicom.read_series(series) for series in dicom.find_series(path)]
    else:
        volumes = [images.read(path)]
    whole = hashlib.sha256()
    for one in volumes:
        whole.update(repr((one.array.shape, one.array.dtype, np.round(one.grid.affine, 4).tolist())).encode())
        whole.update(np.ascontiguousarray(one.array).tobytes())
    return whole.hexdigest()


def read_folder(path: Path) -> str:
    """A digest of all that can be read of a run folder: its settings, logs, scores and weights."""
    from semiseg.comparison.read import read_run
    from semiseg.prediction.model import Model
    from semiseg.runs.run import load_run

    run = load_run(path)
    whole = hashlib.sha256()
    for part in (run.config, run.plan, run.manifest, run.split, run.metrics, read_run(path)):
        whole.update(repr(part).encode())
    for place in (path, path / "checkpoints" / "last.ckpt"):
        for network in Model.load(place, device="cpu", precision="32").networks:
            for name, value in sorted(network.state_dict().items()):
                whole.update(name.encode() + value.numpy().tobytes())
    return whole.hexdigest()


def serve() -> None:
    """Read the path on each line of standard input, and answer with one line of JSON each."""
    answers = os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)  # libraries in C talk there
    os.dup2(nowhere, 2)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    from semiseg.errors import SemisegError

    for line in sys.stdin:
        path = Path(line.rstrip("\n"))
        try:
            answer = {"digest": (read_folder if path.is_dir() else read_file)(path)}
        except SemisegError as error:
            answer = {"refused": error.code}
        except BaseException as error:  # whatever it is, it is what is looked for here
            answer = {"traceback": f"{type(error).__name__}: {error}"[:200]}
        print(json.dumps(answer), file=answers, flush=True)


class Child:
    """A process that reads files, started again whenever it is gone."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None

    def ask(self, path: Path) -> dict[str, str]:
        """``digest``, ``refused`` or ``traceback`` of reading ``path``; ``hang`` or ``died``."""
        patience = SECONDS
        if self.process is None:
            command = [sys.executable, __file__, "--child"]
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            patience += 60
        process = self.process
        into, out = cast(IO[str], process.stdin), cast(IO[str], process.stdout)
        into.write(f"{path}\n")
        into.flush()
        ready = select.select([out], [], [], patience)[0]
        line = out.readline() if ready else ""
        if line:
            answer: dict[str, str] = json.loads(line)
            return answer
        self.close()
        return {"died": str(process.returncode)} if ready else {"hang": f"{patience:g} s"}

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


# Counting


def count(child: Child, place: Path, target: Path, mutations: int, why: Counter[str]) -> Counter[str]:
    """Damage ``target`` again and again, and have ``place`` (it, or the folder around it) read."""
    sound = target.read_bytes()
    wanted = child.ask(place)
    if "digest" not in wanted:
        raise SystemExit(f"{place} is not read before any damage: {wanted}")
    found: Counter[str] = Counter()
    for number in range(mutations):
        data = damaged(sound, number)
        target.write_bytes(data)
        answer = child.ask(place)
        outcome = next(iter(answer))
        if outcome == "digest":
            outcome = "same" if answer == wanted else "silent"
        elif outcome != "refused":
            why[f"{target.name}: {outcome} {answer[outcome]}"] += 1
        found[outcome] += 1
    target.write_bytes(sound)
    return found


def sources(only: list[str], run: Path | None, folder: Path) -> Iterator[tuple[str, Path, Path]]:
    """Name, what is read, and the file that is damaged."""
    for name, write in FORMATS.items():
        if not only or name in only:
            path = folder / f"case{name.split()[0]}"
            write(path)
            yield name, path, path
    if run is not None:
        copy = folder / "run"
        shutil.copytree(run, copy)
        for path in sorted(copy.rglob("*")):
            if path.is_file() and path.suffix not in _UNREAD:
                yield f"run: {path.relative_to(copy).as_posix()}", copy, path


def table(columns: dict[str, dict[str, dict[str, int]]]) -> str:
    """One row per format, the classes of each version side by side."""
    rows = list(dict.fromkeys(name for column in columns.values() for name in column))
    lines = ["| File | " + " | ".join(f"{c} ({label})" for label in columns for c in CLASSES) + " |"]
    lines.append("|---|" + "---:|" * len(CLASSES) * len(columns))
    for name in rows:
        cells = [
            str(column[name].get(c, 0)) if name in column else "-"
            for column in columns.values()
            for c in CLASSES
        ]
        mark = " *" if name in CHECKED else ""
        lines.append(f"| `{name}`{mark} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", "\\* every byte that is read is under a checksum"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--label", default="now", help="the column of the table")
    parser.add_argument("--mutations", type=int, default=300)
    parser.add_argument("--only", nargs="*", default=[], choices=list(FORMATS))
    parser.add_argument("--run", type=Path)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        serve()
        return
    kept = args.results / "fuzz.json"
    columns = json.loads(kept.read_text())["columns"] if kept.is_file() else {}
    here, child, why = columns.setdefault(args.label, {}), Child(), Counter[str]()
    with tempfile.TemporaryDirectory(prefix="semiseg-fuzz-") as folder:
        try:
            for name, place, target in sources(args.only, args.run, Path(folder)):
                try:
                    here[name] = dict(count(child, place, target, args.mutations, why))
                except SystemExit as error:
                    print(error)
                    continue
                print(name, here[name], flush=True)
        finally:
            child.close()
    for text, times in why.most_common(20):
        print(f"{times} x {text}")
    command = f"python benchmarks/fuzz.py --mutations {args.mutations}"
    store(args.results, "fuzz", "Damaged files", command, table(columns), {"columns": columns})


if __name__ == "__main__":
    main()
