"""DICOM series made up for tests: a known volume, cut into slices the way scanners do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, EnhancedMRImageStorage, ExplicitVRLittleEndian, generate_uid

PATIENT = "DOE^JANE^SECRET"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
OBLIQUE = (0.8, 0.6, 0.0, -0.36, 0.48, 0.8)


def volume(shape: tuple[int, int, int] = (6, 5, 7), seed: int = 0) -> np.ndarray:
    """Stored values (columns, rows, slices)."""
    return np.random.default_rng(seed).integers(0, 2000, shape).astype(np.int16)


def base(array: np.ndarray, series: str, **extra: Any) -> Dataset:
    """Attributes that all slices share, the patient's name among them."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = CTImageStorage
    ds.PatientName, ds.PatientID = PATIENT, "ID-SECRET"
    ds.Modality, ds.SeriesInstanceUID, ds.StudyInstanceUID = "CT", series, generate_uid()
    ds.SeriesDescription = "thorax SECRET"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.Columns, ds.Rows = array.shape[:2]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    for name, value in extra.items():
        setattr(ds, name, value)
    return ds


def save(ds: Dataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.SOPInstanceUID = ds.get("SOPInstanceUID") or generate_uid()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.save_as(path, enforce_file_format=True)
    return path


def write_series(
    folder: Path,
    array: np.ndarray,
    *,
    orientation: tuple[float, ...] = AXIAL,
    spacing: tuple[float, float, float] = (0.7, 0.9, 2.5),
    origin: tuple[float, float, float] = (-10.0, 20.0, 30.0),
    step: np.ndarray | None = None,
    numbers: list[int] | None = None,
    per_slice: Mapping[int, Mapping[str, Any]] | None = None,
    **extra: Any,
) -> list[Path]:
    """One file per slice. ``spacing`` is for columns, rows, slices; ``step`` (LPS mm) replaces the normal."""
    series = extra.pop("SeriesInstanceUID", None) or generate_uid()
    files = []
    for k in range(array.shape[2]):
        ds = base(array, series, **extra)
        position = np.array(origin) + k * slice_step(orientation, spacing, step)
        ds.ImagePositionPatient = [f"{p:.8g}" for p in position]
        ds.ImageOrientationPatient = list(orientation)
        ds.PixelSpacing = [spacing[1], spacing[0]]
        ds.SliceThickness = 99.0  # not the spacing, on purpose
        ds.InstanceNumber = numbers[k] if numbers else k + 1
        ds.PixelData = np.ascontiguousarray(array[:, :, k].T).astype("<i2").tobytes()
        for name, value in (per_slice or {}).get(k, {}).items():
            setattr(ds, name, value)
        files.append(save(ds, folder / f"{(k * 37) % 101:03d}.dcm"))  # names say nothing of the order
    return files


def slice_step(
    orientation: tuple[float, ...], spacing: tuple[float, float, float], step: np.ndarray | None = None
) -> np.ndarray:
    return np.cross(orientation[:3], orientation[3:]) * spacing[2] if step is None else step


def affine_of(
    orientation: tuple[float, ...] = AXIAL,
    spacing: tuple[float, float, float] = (0.7, 0.9, 2.5),
    origin: tuple[float, float, float] = (-10.0, 20.0, 30.0),
    step: np.ndarray | None = None,
) -> np.ndarray:
    """The RAS+ affine that a reader must find, written from the standard's own formula."""
    lps = np.eye(4)
    lps[:3, 0] = np.array(orientation[:3]) * spacing[0]
    lps[:3, 1] = np.array(orientation[3:]) * spacing[1]
    lps[:3, 2] = slice_step(orientation, spacing, step)
    lps[:3, 3] = origin
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps


def write_enhanced(path: Path, array: np.ndarray, order: list[int]) -> Path:
    """A multi-frame file whose frames come in ``order``; the shared group says slope 2, intercept 1."""
    ds = base(array, generate_uid(), NumberOfFrames=array.shape[2], Modality="MR")
    ds.SOPClassUID = EnhancedMRImageStorage
    shared, measures, plane, scale = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.9, 0.7], 99.0
    plane.ImageOrientationPatient = list(AXIAL)
    scale.RescaleSlope, scale.RescaleIntercept = 2, 1
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.PlaneOrientationSequence = Sequence([plane])
    shared.PixelValueTransformationSequence = Sequence([scale])
    ds.SharedFunctionalGroupsSequence = Sequence([shared])
    frames = []
    for k in order:
        frame, position = Dataset(), Dataset()
        position.ImagePositionPatient = [-10.0, 20.0, 30.0 + 2.5 * k]
        frame.PlanePositionSequence = Sequence([position])
        frames.append(frame)
    ds.PerFrameFunctionalGroupsSequence = Sequence(frames)
    stored = np.stack([array[:, :, k].T for k in order])
    ds.PixelData = np.ascontiguousarray(stored).astype("<i2").tobytes()
    return save(ds, path)
