"""Who reads our DICOM results, and finds which voxels: `python -m benchmarks.dicom_readers --others PYTHON`.

Label maps at random, with holes and empty slices, on made-up series (axial, sagittal, coronal, oblique,
tilted; pixels of 0.7 x 0.9 mm, slices of 2.5 mm, numbered in any order) are written as BINARY and LABELMAP
segmentations and as RTSTRUCT. Each reader's voxels are compared with those written, at their places in the
patient. The interpreter given by ``--others`` has rt-utils and dcmrtstruct2nii; ``segimage2itkimage`` of
dcmqi lies beside it (``pip install dcmqi rt-utils dcmrtstruct2nii opencv-python-headless``). RTSTRUCT as
rt-utils itself writes it is in the table, too.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import SimpleITK
from tests.images import synthetic_dicom as made
from tests.prediction.test_dicom_results import SERIES, frames_of

from semiseg.drawing.table import markdown, table_of
from semiseg.images import dicom
from semiseg.images.dicom_contours import write_contours
from semiseg.images.dicom_results import Maker, Structure, origin_of, write_segmentation
from semiseg.machine.files import write_text

RESULTS = Path(__file__).parent / "results" / "dicom_readers.md"
SHAPE = (24, 24, 9)
"""Square, as rt-utils wants it."""
STRUCTURES = [Structure("one", (230, 159, 0)), Structure("two", (86, 180, 233))]
MAKER = Maker("benchmark", "0", "0")

RT_READ = """
import sys, numpy as np
from rt_utils import RTStructBuilder
series, file, out = sys.argv[1:]
found = RTStructBuilder.create_from(dicom_series_path=series, rt_struct_path=file)
np.save(out, np.stack([found.get_roi_mask_by_name(n) for n in found.get_roi_names()]))
"""
RT_WRITE = """
import sys, numpy as np
from rt_utils import RTStructBuilder
series, file, masks = sys.argv[1:]
made = RTStructBuilder.create_new(dicom_series_path=series)
for name, mask in zip(("one", "two"), np.load(masks)):
    made.add_roi(mask=mask, name=name)
made.save(file)
"""
CONVERT = """
import sys, pydicom
pydicom.read_file = pydicom.dcmread  # as it was called before pydicom 3
from dcmrtstruct2nii import dcmrtstruct2nii
series, file, out = sys.argv[1:]
dcmrtstruct2nii(file, series, out)
"""


def labels() -> np.ndarray:
    array = np.random.default_rng(0).integers(0, 3, SHAPE)
    array[..., 0] = array[..., 4] = 0
    array[3:20, 3:16, 2], array[8:14, 7:12, 2] = 1, 0
    array[4:15, 5:12, 6:8] = 2
    return array.astype(np.uint8)


def wrong(found: np.ndarray | None, wanted: np.ndarray) -> str:
    """Share of the foreground's voxels that differ."""
    if found is None:
        return "not read"
    return f"{np.count_nonzero(found != wanted) / np.count_nonzero(wanted):.4f}"


def onto(image: SimpleITK.Image, affine: np.ndarray, values: dict[int, int]) -> np.ndarray | None:
    """Label values of an image on the voxels of the series; None where they lie between or beside them."""
    array = SimpleITK.GetArrayFromImage(image).T
    index = np.argwhere(np.isin(array, list(values)))
    places = np.array([image.TransformIndexToPhysicalPoint(at.tolist()) for at in index]).reshape(-1, 3)
    back = np.linalg.inv(affine) @ np.c_[places * (-1, -1, 1), np.ones(len(places))].T
    whole = np.rint(back[:3]).astype(int)
    out = np.zeros(SHAPE, np.uint8)
    inside = ((whole >= 0) & (whole < np.array(SHAPE)[:, None])).all(0)
    if np.abs(back[:3] - whole).max(initial=0) > 0.01 or not inside.all():
        return None
    out[tuple(whole)] = [values[int(array[tuple(at)])] for at in index]
    return out


def segmentations(
    file: Path, binary: bool, affine: np.ndarray, dcmqi: Path
) -> Iterator[tuple[str, np.ndarray | None]]:
    import highdicom

    by_frame = np.zeros(SHAPE, np.uint8)
    for place, value in frames_of(file).items():
        at = np.linalg.inv(affine) @ [-place[0], -place[1], place[2], 1]
        by_frame[tuple(np.rint(at[:3]).astype(int))] = value
    yield "pydicom, frame by frame", by_frame
    try:
        volume = highdicom.seg.segread(file).get_volume(combine_segments=True)
        index = np.argwhere(volume.array)
        lps = (volume.affine @ np.c_[index, np.ones(len(index))].T)[:3]
        at = np.rint(np.linalg.inv(affine) @ np.vstack([-lps[0], -lps[1], lps[2], np.ones(len(index))]))[
            :3
        ].astype(int)
        found = np.zeros(SHAPE, np.uint8)
        found[tuple(at)] = volume.array[tuple(index.T)]
        yield "highdicom, volume", found
    except RuntimeError:
        yield "highdicom, volume", None
    with tempfile.TemporaryDirectory() as out:
        command = [dcmqi, "--inputDICOM", file, "--outputDirectory", out, "--outputType", "nrrd"]
        subprocess.run(command, check=True, capture_output=True)
        parts = [SimpleITK.ReadImage(str(p)) for p in sorted(Path(out).glob("*.nrrd"))]
        maps = [
            onto(part, affine, {n: n} if binary else {1: 1, 2: 2}) for n, part in enumerate(parts, start=1)
        ]
        yield "dcmqi", None if any(m is None for m in maps) else np.sum(maps, 0).astype(np.uint8)


def contours(
    series: Path, file: Path, affine: np.ndarray, others: Path
) -> Iterator[tuple[str, np.ndarray | None]]:
    with tempfile.TemporaryDirectory() as out:
        subprocess.run([others, "-c", RT_READ, series, file, f"{out}/a.npy"], check=True, capture_output=True)
        masks = np.load(f"{out}/a.npy")  # rows, columns, slices
        yield "rt-utils", (masks[0] + 2 * masks[1]).swapaxes(0, 1).astype(np.uint8)
        subprocess.run([others, "-c", CONVERT, series, file, out], check=True, capture_output=True)
        maps = [
            onto(SimpleITK.ReadImage(f"{out}/mask_{n}.nii.gz"), affine, {255: v})
            for n, v in (("one", 1), ("two", 2))
        ]
        yield "dcmrtstruct2nii", None if any(m is None for m in maps) else np.sum(maps, 0).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--others", type=Path, required=True, help="interpreter with the other readers")
    others = parser.parse_args().others
    rows = []
    for name, more in (SERIES | {"axial, square pixels": {"spacing": (0.8, 0.8, 2.5)}}).items():
        with tempfile.TemporaryDirectory() as made_here:
            folder = Path(made_here)
            shape = {"numbers": [7, 2, 9, 4, 1, 3, 8, 6, 5]} if "numbers" in more else {}
            study = {"StudyInstanceUID": "1.2.3", "FrameOfReferenceUID": "1.2.4", "PatientID": "1"}
            study |= dict.fromkeys(
                ("StudyDate", "StudyTime", "PatientBirthDate", "PatientSex", "StudyID"), ""
            )
            study |= dict.fromkeys(("AccessionNumber", "ReferringPhysicianName"), "")
            made.write_series(folder / "s", made.volume(SHAPE), **{**more, **shape, **study})
            volume = dicom.read_series(dicom.find_series(folder / "s")[0])
            affine, wanted, origin = volume.grid.affine, labels(), origin_of(volume.meta)
            for kind in ("BINARY", "LABELMAP"):
                write_segmentation(folder / f"{kind}.dcm", wanted, origin, STRUCTURES, MAKER, kind)
                found = segmentations(
                    folder / f"{kind}.dcm", kind == "BINARY", affine, others.parent / "segimage2itkimage"
                )
                rows += [
                    {"series": name, "form": kind, "reader": r, "wrong": wrong(v, wanted)} for r, v in found
                ]
            masks = [wanted == 1, wanted == 2]
            write_contours(folder / "rt.dcm", masks, volume.grid, origin, STRUCTURES, MAKER)
            np.save(folder / "masks.npy", np.stack(masks).swapaxes(1, 2))
            command = [others, "-c", RT_WRITE, folder / "s", folder / "theirs.dcm", folder / "masks.npy"]
            subprocess.run(command, check=True, capture_output=True)
            for form, file in (("RTSTRUCT", "rt.dcm"), ("RTSTRUCT of rt-utils", "theirs.dcm")):
                found = contours(folder / "s", folder / file, affine, others)
                rows += [
                    {"series": name, "form": form, "reader": r, "wrong": wrong(v, wanted)} for r, v in found
                ]
        print(
            "\n".join(
                f"{r['series']:24} {r['form']:22} {r['reader']:26} {r['wrong']}"
                for r in rows
                if r["series"] == name
            )
        )
    columns = [(key, lambda row, key=key: row[key]) for key in ("series", "form", "reader", "wrong")]
    note = "wrong: voxels that differ, as a share of the foreground; not read: no volume, or at other places."
    write_text(RESULTS, markdown(table_of("Readers of DICOM results", rows, columns, [note], left=3)))


if __name__ == "__main__":
    main()
