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


CT_BOX = np.diag([-2.5, -2.5, 5.0, 1.0])


def _organs(shape: tuple[int, ...], seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """HU and label of a body with ``count`` organs in a row, each a few voxels wide."""
    label = np.zeros(shape, np.uint8)
    for k in range(count):
        x, y = 2 + 4 * (k % 4), 2 + 4 * (k // 4)
        wide, high, top = np.random.default_rng([seed, k]).integers(0, 2, 3)
        label[x : x + 2 + wide, y : y + 2 + high, 1 : shape[2] - 1 - top] = k + 1
    air = np.random.default_rng(seed).normal(-1000, 5, shape)
    body = ball(shape, seed, 1.3)
    return np.where(body | (label > 0), 40 + 8 * label + air / 100, air).astype(np.int16), label


def brats_raw(root: Path) -> Path:
    affine = np.array([[-1, 0, 0, 0], [0, -1, 0, 239], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    ids = {"HGG": ("BraTS19_TCIA02_370_1", "BraTS19_CBICA_ASA_1"), "LGG": ("BraTS19_TCIA09_141_1",)}
    ids["HGG"] += ("BraTS19_CBICA_AAP_1", "BraTS19_TCIA02_309_1")
    for grade, names in ids.items():
        for number, name in enumerate(names):
            shape, seed = (14, 15, 12), number + 10 * len(names)
            seg = 2 * ball(shape, seed, 0.7).astype(np.int16)
            seg[ball(shape, seed, 0.5)] = 1
            seg[ball(shape, seed, 0.3)] = 4 if grade == "HGG" else 1
            brain = ball(shape, seed, 0.95)
            folder = root / "MICCAI_BraTS_2019_Data_Training" / grade / name
            for channel, gain in (("flair", 90), ("t1", 30), ("t1ce", 50), ("t2", 70)):
                noise = np.random.default_rng(gain + seed).integers(1, 20, shape)
                save_nii(
                    folder / f"{name}_{channel}.nii.gz",
                    ((300 + gain * seg + noise) * brain).astype(np.int16),
                    affine,
                )
            save_nii(folder / f"{name}_seg.nii.gz", seg, affine)
    (root / "MICCAI_BraTS_2019_Data_Training" / "name_mapping.csv").write_text("Grade\n")
    return root


def brats_h5(root: Path) -> Path:
    names = ("BraTS19_TCIA02_370_1", "BraTS19_CBICA_ASA_1", "BraTS19_CBICA_AAP_1", "BraTS19_TCIA02_309_1")
    for number, name in enumerate(names):
        mask = ball((10, 12, 14), number)
        save_h5(root / "data" / f"{name}.h5", scan_of(mask, 0, 2, number), mask)
    write_list(root / "train.txt", names[:2], "\r\n")
    write_list(root / "val.txt", names[2:3])
    write_list(root / "test.txt", [f"{names[3]},x"])
    return root


def pancreas_raw(root: Path, odd: Sequence[int] = ()) -> Path:
    """Labels are flipped along y on all scans but the ``odd`` ones; 0025 has a label and no scan."""
    from tests.images.synthetic_dicom import write_series

    for number in (1, 2, 57, 18, 50, 25):
        shape = (24, 24, 10)
        place = np.s_[5 + number % 3 : 11, 4:9, 1 : 6 + number % 2]
        mask = np.zeros(shape, bool)
        mask[place] = True
        hu = np.where(ball(shape, number, 1.0), 40.0, -1000.0)
        noise = np.random.default_rng(number).normal(0, 6, shape)
        hu += np.where(mask, noise, 4 * noise)
        hu[mask] = 110 + noise[mask]
        label = mask if number in odd else np.flip(mask, 1)
        save_nii(
            root / "TCIA_pancreas_labels-02-05-2017" / f"label{number:04d}.nii.gz",
            label.astype(float if number % 2 else np.uint8),
            np.diag([0.8, 0.8, 1, 1]),
        )
        if number != 25:
            study = root / "Pancreas-CT" / f"PANCREAS_{number:04d}" / "11-24-2015" / "Pancreas-63502"
            numbers = list(range(10, 0, -1)) if number % 2 else None
            write_series(
                study, (hu + 1024).round().astype(np.int16), spacing=(0.8, 0.8, 1.0), numbers=numbers,
                RescaleIntercept=-1024, RescaleSlope=1,
            )  # fmt: skip
    return root


def pancreas_h5(root: Path) -> Path:
    for number in (57, 18, 50):
        mask = ball((12, 11, 13), number)
        save_h5(root / "Pancreas_h5" / f"image{number:04d}_norm.h5", scan_of(mask, 0, 1, number), mask)
    return root


def promise12(root: Path) -> Path:
    for number in (0, 1, 2, 35, 40):
        mask = ball((14, 14, 7), number)
        part = root / f"TrainingData_Part{1 + number // 20}"
        save_itk(part / f"Case{number:02d}.mhd", scan_of(mask, 200, 350).astype(np.int16), (0.6, 0.6, 3.6))
        save_itk(part / f"Case{number:02d}_segmentation.mhd", mask.astype(np.int8), (0.6, 0.6, 3.6))
    test = scan_of(ball((14, 14, 7), 9), 200, 350, 5).astype(np.int16)
    save_itk(root / "TestData" / "Case00.mhd", test, (0.6, 0.6, 3.6))
    return root


def isles(root: Path, layout: str = "A") -> Path:
    grid = np.array([[-2, -0.1, 0, 58], [-0.1, 2, -0.4, -39], [0, 0.4, 2, -28], [0, 0, 0, 1.0]])
    flair = np.array([[-0.9, 0, 0, 61], [0, 0.9, -1, -42], [0, 0.2, 5, -28], [0, 0, 0, 1.0]])
    for number in range(1, 5):
        case = f"sub-strokecase{number:04d}"
        shape = (16, 15, 14)
        mask = ball(shape, number, 0.4) & (number != 3)
        raw = root / (case if layout == "A" else f"rawdata/{case}") / "ses-0001"
        inner = {"A": ("dwi/", "anat/", "FLAIR"), "B": ("", "", "flair")}[layout]
        for name, low, high in (("dwi", 300, 700), ("adc", 0.8, 0.4)):
            save_nii(raw / f"{inner[0]}{case}_ses-0001_{name}.nii.gz", scan_of(mask, low, high, number), grid)
        other = np.random.default_rng(number).normal(500, 60, (30, 30, 6)).astype(np.float32)
        save_nii(raw / f"{inner[1]}{case}_ses-0001_{inner[2]}.nii.gz", other, flair)
        derived = root / "derivatives" / case / "ses-0001"
        save_nii(derived / f"{case}_ses-0001_msk.nii.gz", mask.astype(np.uint16), grid)
        if layout == "B":
            save_picture(derived / f"{case}_ses-0001_snp.png", np.zeros((8, 8, 3), np.uint8))
    return root


def isles_b(root: Path) -> Path:
    return isles(root, "B")


def save_picture(path: Path, array: np.ndarray) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def _photo(mask: np.ndarray, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 40, (*mask.shape, 3))
    return (np.stack([90 * mask + 60, 40 * mask + 80, 30 * mask + 50], -1) + noise).astype(np.uint8)


def cadis(root: Path) -> Path:
    for video in (1, 3, 5, 2):
        for frame in (90, 100):
            rng = np.random.default_rng([video, frame])
            label = rng.permuted(np.repeat([0, 1, 2, 4, 5, 6, 7, 19, 27, 35], 40)).reshape(20, 20)
            name = f"Video{video}_frame{frame:06d}.png"
            folder = root / "segmentation" / f"Video{video:02d}"
            save_picture(folder / "Labels" / name, label.astype(np.uint8))
            save_picture(folder / "Images" / name, _photo(label == 4, video + frame))
    return root


def msd(root: Path) -> Path:
    import json

    folder = root / "Task05_Prostate"
    listed = []
    for number in range(4):
        shape = (12, 14, 8)
        label = ball(shape, number, 0.7).astype(np.uint8) + ball(shape, number, 0.4)
        image = np.stack([scan_of(label > k, 100, 200, number + 9 * k) for k in (0, 1)], -1)
        name = f"prostate_{number:02d}.nii.gz"
        save_nii(folder / ("imagesTr" if number < 3 else "imagesTs") / name, image.astype(np.float32))
        if number < 3:
            save_nii(folder / "labelsTr" / name, label)
            listed.append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
    (folder / "imagesTr" / "._prostate_00.nii.gz").write_bytes(bytes(64))
    about = {
        "name": "PROSTATE", "licence": "CC-BY-SA 4.0", "reference": "x", "modality": {"0": "T2", "1": "ADC"},
        "labels": {"0": "background", "1": "PZ", "2": "TZ"}, "training": listed,
        "test": ["./imagesTs/prostate_03.nii.gz"],
    }  # fmt: skip
    (folder / "dataset.json").write_text(json.dumps(about))
    return root


def amos(root: Path) -> Path:
    parts = {1: "Tr", 4: "Tr", 5: "Tr", 507: "Tr", 27: "Va", 508: "Va", 2: "Ts"}
    for number, part in parts.items():
        image, label = _organs((18, 18, 8), number, 15)
        image = image if number < 500 else (image + 1100).astype(np.int16)
        save_nii(root / f"images{part}" / f"amos_{number:04d}.nii.gz", image, CT_BOX)
        if part != "Ts":
            save_nii(root / f"labels{part}" / f"amos_{number:04d}.nii.gz", label, CT_BOX)
    for number in (5001, 5437):
        image = _organs((18, 18, 8), number, 15)[0]
        save_nii(root / "amos22_unlabeled_ct_5000_5399" / f"amos_{number:04d}.nii.gz", image, CT_BOX)
    return root


def flare22(root: Path, labeled: int = 3, unlabeled: int = 3) -> Path:
    first = root / "Training" / "FLARE22_LabeledCase50"
    for number in range(1, labeled + 1):
        image, label = _organs((18, 18, 8), number, 13)
        save_nii(first / "images" / f"FLARE22_Tr_{number:04d}_0000.nii.gz", image, CT_BOX)
        save_nii(first / "labels" / f"FLARE22_Tr_{number:04d}.nii.gz", label, CT_BOX)
    for number in range(1, unlabeled + 1):
        image = _organs((18, 18, 8), 50 + number, 13)[0]
        part = root / "Training" / "FLARE22_UnlabeledCase1-1000"
        save_nii(part / f"Case_{number:05d}_0000.nii.gz", image, CT_BOX)
    image = _organs((18, 18, 8), 40, 13)[0]
    save_nii(root / "Validation" / "FLARETs_0001_0000.nii.gz", image, CT_BOX)
    return root


def btcv_raw(root: Path) -> Path:
    for number in (9, 21, 2, 1, 8, 61):
        image, label = _organs((18, 18, 8), number, 13)
        part = root / "RawData" / ("Training" if number < 60 else "Testing")
        save_nii(part / "img" / f"img{number:04d}.nii.gz", image, CT_BOX)
        if number < 60:
            save_nii(part / "label" / f"label{number:04d}.nii.gz", label, CT_BOX)
    return root


def btcv_npz(root: Path) -> Path:
    for number in (5, 6, 8):
        image, label = _organs((18, 18, 6), number, 8)
        image = (np.clip(image.transpose(2, 0, 1), -125, 275) + 125) / 400
        label = label.transpose(2, 0, 1)
        if number == 8:
            save_h5(root / "test_vol_h5" / "case0008.npy.h5", image, label)
            continue
        for k in range(6):
            path = root / "train_npz" / f"case{number:04d}_slice{k:03d}.npz"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(path, image=image[k].astype(np.float32), label=label[k].astype(np.float32))
    return root


def kvasir(root: Path) -> Path:
    for number in range(5):
        mask = ball((30 + number, 36), number)
        name = f"cju{number:022d}.jpg"
        save_picture(root / "Kvasir-SEG" / "images" / name, _photo(mask, number))
        save_picture(root / "Kvasir-SEG" / "masks" / name, np.stack([mask * 255] * 3, -1).astype(np.uint8))
    return root


def isic2018(root: Path) -> Path:
    for number, part in enumerate(("Training", "Training", "Training", "Validation", "Test")):
        mask = ball((24, 28 + number), number)
        name = f"ISIC_{number:07d}"
        save_picture(root / f"ISIC2018_Task1-2_{part}_Input" / f"{name}.jpg", _photo(mask, number))
        truth = root / f"ISIC2018_Task1_{part}_GroundTruth"
        save_picture(truth / f"{name}_segmentation.png", mask.astype(np.uint8) * 255)
    return root


def isic_tcsm(root: Path) -> Path:
    parts = (("Training", 14346), ("Training", 11208), ("Training", 3), ("Valid", 4), ("Test", 5))
    for k, (part, number) in enumerate(parts):
        mask = ball((24, 24), number, 0.4 + 0.1 * k)
        name = f"ISIC_{number:07d}"
        save_picture(root / f"my{part}_Data248" / f"{name}.jpg", _photo(mask, number))
        save_picture(root / f"my{part}_Label248" / f"{name}_segmentation.png", mask.astype(np.uint8) * 255)
    return root


def kits19(root: Path) -> Path:
    for number in (34, 179, 44, 210):
        image, label = _organs((18, 18, 8), number, 2)
        save_nii(root / "data" / f"case_{number:05d}" / "imaging.nii.gz", image, CT_BOX)
        if number < 210:
            save_nii(root / "data" / f"case_{number:05d}" / "segmentation.nii.gz", label, CT_BOX)
    return root


def lits(root: Path) -> Path:
    for number in (127, 115, 79):
        image, label = _organs((18, 18, 8), number, 2)
        save_nii(root / f"volume-{number}.nii", image, CT_BOX)
        save_nii(root / f"segmentation-{number}.nii", label, CT_BOX)
    save_nii(root / "test-volume-3.nii", _organs((18, 18, 8), 3, 2)[0], CT_BOX)
    return root
