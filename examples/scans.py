"""Make a folder of scans to try semiseg with: `python examples/scans.py [--dicom | --paper]`.

The scans are synthetic phantoms; no patient is behind them. Written are:

- SCANS: 12 scans, 4 of which have a mask beside them (with --dicom, a folder of DICOM slices per scan),
- NEW_SCANS: 3 further scans,
- REFERENCES: the masks of those three.

With --paper it is one dataset instead, PhantomsForPaper, that of `examples/paper.yaml`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semiseg import images
from semiseg.demo.phantoms import SPACING_MM, make_phantom, make_phantom_dataset
from semiseg.images.grid import Grid

LABELED, UNLABELED, NEW = 4, 8, 3


def main() -> None:
    """Write the three folders."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dicom", action="store_true", help="write scans as DICOM slices")
    parser.add_argument("-o", "--output", type=Path, default=Path(), help="where the three folders go")
    parser.add_argument("--paper", action="store_true", help="make the dataset of examples/paper.yaml")
    given = parser.parse_args()
    if given.paper:
        make_phantom_dataset(given.output / "PhantomsForPaper", labeled=8, unlabeled=24, test=12)
        return
    for number in range(LABELED + UNLABELED + NEW):
        phantom = make_phantom(np.random.default_rng([0, number]))
        name = f"patient{number + 1:02d}"
        if number < LABELED + UNLABELED:
            folder = given.output / "SCANS"
            mask = folder / f"{name}_seg.nii.gz" if number < LABELED else None
        else:
            folder = given.output / "NEW_SCANS"
            mask = given.output / "REFERENCES" / f"{name}.nii.gz"
        if given.dicom:
            write_series(folder / name, phantom.image, name)
        else:
            write(folder / f"{name}.nii.gz", phantom.image)
        if mask:
            write(mask, phantom.label)


def write(path: Path, array: NDArray[np.generic]) -> None:
    """Write a NIfTI file whose voxels have the phantoms' size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images.write(path, array, Grid(array.shape, np.diag([SPACING_MM] * 3 + [1.0])))


def write_series(folder: Path, image: NDArray[np.float32], name: str) -> None:
    """Write one DICOM file per axial slice, on the same grid as :func:`write`."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

    folder.mkdir(parents=True, exist_ok=True)
    study, series = (generate_uid(entropy_srcs=[name, part]) for part in ("study", "series"))
    for z in range(image.shape[2]):
        slice_ = Dataset()
        slice_.file_meta = FileMetaDataset()
        slice_.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        slice_.file_meta.MediaStorageSOPClassUID = slice_.SOPClassUID = MRImageStorage
        instance = generate_uid(entropy_srcs=[name, str(z)])
        slice_.file_meta.MediaStorageSOPInstanceUID = slice_.SOPInstanceUID = instance
        slice_.StudyInstanceUID, slice_.SeriesInstanceUID = study, series
        slice_.Modality, slice_.SeriesNumber, slice_.InstanceNumber = "MR", 1, z + 1
        slice_.PatientName, slice_.PatientID, slice_.SeriesDescription = name, name, "phantom"
        # DICOM counts to the left and to the back, NIfTI to the right and to the front.
        slice_.ImagePositionPatient = [0.0, 0.0, float(z * SPACING_MM)]
        slice_.ImageOrientationPatient = [-1, 0, 0, 0, -1, 0]
        slice_.PixelSpacing, slice_.SliceThickness = [SPACING_MM, SPACING_MM], SPACING_MM
        pixels = np.round(image[:, :, z].T).astype("<u2")
        slice_.Rows, slice_.Columns = pixels.shape
        slice_.SamplesPerPixel, slice_.PhotometricInterpretation = 1, "MONOCHROME2"
        slice_.BitsAllocated = slice_.BitsStored = 16
        slice_.HighBit, slice_.PixelRepresentation = 15, 0
        slice_.PixelData = pixels.tobytes()
        slice_.save_as(folder / f"IM{z:03d}.dcm", enforce_file_format=True)


if __name__ == "__main__":
    main()
