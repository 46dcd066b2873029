"""Small look-alikes of public data sets: names, folders, headers and value ranges as distributed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk  # noqa: N813

LA_IDS = (
    *("06SR5RBREL16DQ6M8LWS", "0RZDK210BSMWAA6467LU", "1D7CUD1955YZPGK8XHJX"),
    *("CMPXO4J23G58J53Q98SZ", "UPT6DX9IQY9JAZ7HJKA7"),
)


def ball(shape: Sequence[int], seed: int = 0, radius: float = 0.5) -> np.ndarray:
    """A ball, a little off the middle, as booleans."""
    rng = np.random.default_rng([seed, *shape])
    axes = [np.linspace(-1, 1, n) - shift for n, shift in zip(shape, rng.uniform(-0.2, 0.2, 3), strict=False)]
    return sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij")) < radius**2


def scan_of(mask: np.ndarray, low: float, high: float, seed: int = 0) -> np.ndarray:
    """Noise around ``low``, and around ``high`` inside the mask."""
    noise = np.random.default_rng(seed).normal(0, 0.1 * abs(high - low), mask.shape)
    return np.where(mask, high, low) + noise


def save_h5(path: Path, image: np.ndarray, label: np.ndarray, name: str = "label") -> None:
    import h5py

    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.create_dataset("image", data=image.astype(np.float32), compression="gzip")
        file.create_dataset(name, data=label.astype(np.uint8), compression="gzip")


def save_nii(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)


def save_itk(path: Path, array: np.ndarray, spacing: Sequence[float] = (1.0, 1.0, 1.0)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose()))
    image.SetSpacing([float(size) for size in spacing])
    sitk.WriteImage(image, str(path))


def write_list(path: Path, names: Iterable[str], end: str = "\n") -> None:
    path.write_bytes(end.join(names).encode())


def la_raw(root: Path, ids: Sequence[str] = LA_IDS) -> Path:
    for number, name in enumerate(ids):
        folder = root / ("Testing Set" if number == 4 else "Training Set") / name
        mask = ball((14, 14, 10), 0 if name.startswith(("0RZ", "CMP")) else number)
        save_itk(folder / "lgemri.nrrd", np.clip(scan_of(mask, 60, 130, number), 0, 255).astype(np.uint8))
        save_itk(folder / "laendo.nrrd", mask.astype(np.uint8) * 255)
        if number < 2:
            wall = ball((14, 14, 10), number, 0.7)
            save_itk(folder / "lawall.nrrd", wall.astype(np.uint8) * 255)
    (root / "Training Set" / ids[0] / "desktop.ini").write_text("[x]")
    return root


def la_h5(root: Path, ids: Sequence[str] = LA_IDS, shape: tuple[int, ...] = (14, 12, 10)) -> Path:
    for number, name in enumerate(ids):
        mask = ball(shape, number)
        save_h5(root / "2018LA_Seg_Training Set" / name / "mri_norm2.h5", scan_of(mask, -1, 2, number), mask)
    write_list(root / "train.list", ids[:-1])
    write_list(root / "test.list", ids[-1:], "\r\n")
    return root


def _heart(shape: tuple[int, ...], seed: int) -> np.ndarray:
    label = 2 * ball(shape, seed, 0.7).astype(np.uint8)
    label[ball(shape, seed, 0.4)] = 3
    label[:2, :9] = 1
    return label


def acdc_raw(root: Path, patients: Sequence[int] = (1, 2, 3, 99, 101)) -> Path:
    affine = np.diag([1.5, 1.5, 10, 1])
    for number in patients:
        name, es = f"patient{number:03d}", 8 + number % 3
        folder = root / ("training" if number <= 100 else "testing") / name
        for frame in (1, es):
            label = _heart((14, 16, 5), 100 * number + frame)
            save_nii(folder / f"{name}_frame{frame:02d}.nii.gz", (40 * label + 20).astype(np.int16), affine)
            save_nii(folder / f"{name}_frame{frame:02d}_gt.nii.gz", label, affine)
        beats = np.random.default_rng(number).integers(0, 90, (14, 16, 5, es)).astype(np.int16)
        save_nii(folder / f"{name}_4d.nii.gz", beats, affine)
        (folder / "Info.cfg").write_text(f"ED: 1\nES: {es}\nGroup: DCM\nNbFrame: {es}\n")
    return root


def acdc_h5(
    root: Path, names: Sequence[str] | None = None, shape: tuple[int, ...] = (5, 14, 16), whole: bool = True
) -> Path:
    names = names or [f"patient{p:03d}_frame0{f}" for p in (99, 15, 28, 11) for f in (1, 2)]
    for number, name in enumerate(names):
        label = _heart(shape, number)
        image = 0.3 * label + 0.01 * np.arange(shape[0])[:, None, None]
        if whole:
            save_h5(root / "data" / f"{name}.h5", image, label)
        else:
            for k in range(shape[0]):
                save_h5(root / "data" / "slices" / f"{name}_slice_{k + 1}.h5", image[k], label[k])
    return root
