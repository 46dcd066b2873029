"""Synthetic scans with known truth: a bent organ of two parts among look-alikes, in noise and a bias field.

No patient is behind them. Organ and distractors share intensities, so that position and shape matter; pose,
size, bend and contrast vary from case to case, so that a few labels do not show it all.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiseg import images
from semiseg.images.grid import Grid

SHAPE = (32, 40, 32)
SPACING_MM = 1.4
LABELS = {"background": 0, "head": 1, "tail": 2}

DESCRIPTION = (
    "SYNTHETIC phantoms drawn by a random generator (semiseg demo), not scans of people: a bent organ with "
    "head and tail among distractors of like intensity, smooth bias field, Rician noise"
)

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Phantom:
    """One synthetic scan.

    Attributes:
        image: (X, Y, Z) float32, arbitrary units, never negative.
        label: (X, Y, Z) uint8, values of :data:`LABELS`.
    """

    image: NDArray[np.float32]
    label: NDArray[np.uint8]


def make_phantom_dataset(
    folder: str | Path, *, labeled: int = 4, unlabeled: int = 24, test: int = 8, seed: int = 0
) -> Path:
    """Write a dataset folder of phantoms: nnU-Net's layout and ``imagesUn``.

    The truth of unlabeled phantoms is never written, so nothing can use it.

    Args:
        folder: the dataset folder; made when it does not exist.
        labeled: scans in imagesTr, with labelsTr.
        unlabeled: scans in imagesUn.
        test: scans in imagesTs, with labelsTs for the evaluation.
        seed: the same seed gives the same files; a case depends on the seed, its part and its number only.

    Returns:
        The folder.
    """
    folder = Path(folder)
    grid = Grid(SHAPE, np.diag([SPACING_MM] * 3 + [1.0]))
    parts = (("Tr", labeled, True), ("Un", unlabeled, False), ("Ts", test, True))
    for number, (part, count, with_label) in enumerate(parts):
        (folder / f"images{part}").mkdir(parents=True, exist_ok=True)
        for i in range(count):
            phantom = make_phantom(np.random.default_rng([seed, number, i]))
            case = f"phantom_{part.lower()}_{i:03d}"
            images.write(folder / f"images{part}" / f"{case}_0000.nii.gz", phantom.image, grid)
            if with_label:
                (folder / f"labels{part}").mkdir(exist_ok=True)
                images.write(folder / f"labels{part}" / f"{case}.nii.gz", phantom.label, grid)
    (folder / "dataset.json").write_text(json.dumps(_dataset_json(labeled), indent=1) + "\n")
    return folder


def make_phantom(rng: np.random.Generator, shape: tuple[int, int, int] = SHAPE) -> Phantom:
    """Draw one phantom."""
    from scipy.ndimage import gaussian_filter

    # All anatomy is deformed at once, by smooth millimeters.
    bent = _positions(shape) + 1.8 * np.stack([_smooth_noise(shape, rng, width=5.0) for _ in range(3)])
    organ = _organ(bent, rng)
    intensity = _tissue(shape, rng)
    for _ in range(rng.integers(5, 9)):
        intensity[_distractor(bent, organ > 0, rng)] = rng.uniform(0.52, 0.78)
    intensity[organ == 1] = rng.normal(0.60, 0.02)
    intensity[organ == 2] = rng.normal(0.69, 0.02)
    texture = 0.03 * _smooth_noise(shape, rng, width=1.2)
    clean = gaussian_filter(intensity + texture, 0.7) * np.exp(0.2 * _smooth_noise(shape, rng, width=10.0))
    image = rng.uniform(300, 900) * _rician(clean, 0.05, rng)
    return Phantom(image.astype(np.float32), organ)


def _positions(shape: tuple[int, int, int]) -> Array:
    """(3, X, Y, Z) millimeters from the middle of the grid."""
    axes = [(np.arange(n) - (n - 1) / 2) * SPACING_MM for n in shape]
    return np.stack(np.meshgrid(*axes, indexing="ij"))


def _smooth_noise(shape: tuple[int, ...], rng: np.random.Generator, *, width: float) -> Array:
    """Gaussian noise blurred over ``width`` voxels, mean 0 and standard deviation 1."""
    from scipy.ndimage import gaussian_filter

    noise: Array = gaussian_filter(rng.standard_normal(shape), width, mode="reflect")
    normalized: Array = (noise - noise.mean()) / noise.std()
    return normalized


def _organ(positions: Array, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A bent club along y: a thick head (1) and a thinner tail (2), with an oblique border between them."""
    local = np.einsum(
        "ij,jxyz->ixyz", _rotation(rng, degrees=18.0), positions - _column(rng.normal(0, 2.5, 3))
    )
    length = rng.uniform(17.0, 22.0)
    t = local[1] / length  # -1 at the end of the tail, 1 at the top of the head
    inside = np.clip(1 - t**2, 0, None)
    across = local[0] - rng.uniform(-5.0, 5.0) * (t**2 - 0.3)
    up = local[2] - rng.uniform(1.0, 6.0) * (t**2 - 0.3)
    thickness = rng.uniform(6.5, 8.5) * (0.5 + 0.5 / (1 + np.exp(-(t - 0.1) / 0.15)))
    flat = rng.uniform(1.0, 1.35)
    organ = (across / flat) ** 2 + (up * flat) ** 2 < thickness**2 * np.sqrt(inside)
    border = rng.normal(0.12, 0.08) + 0.02 * rng.normal() * up + 0.02 * rng.normal() * across
    return np.where(organ, np.where(t > border, 1, 2), 0).astype(np.uint8)


def _distractor(positions: Array, organ: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """An ellipsoid, round or long, somewhere around the organ but never on it."""
    center = _column(rng.uniform(-1, 1, 3) * np.array([19.0, 24.0, 19.0]))
    local = np.einsum("ij,jxyz->ixyz", _rotation(rng, degrees=90.0), positions - center)
    radii = _column(rng.uniform(3.0, 7.5, 3) * np.array([1.0, rng.choice([1.0, 2.2]), 1.0]))
    blob: NDArray[np.bool_] = ((local / radii) ** 2).sum(0) < 1
    return blob & ~organ


def _tissue(shape: tuple[int, int, int], rng: np.random.Generator) -> Array:
    """What lies between: two tissues in smooth patches, darker than the organ on the whole."""
    patches = _smooth_noise(shape, rng, width=3.0)
    return np.where(patches > 0.6, 0.5, np.where(patches < -0.8, 0.2, 0.38))


def _rotation(rng: np.random.Generator, *, degrees: float) -> Array:
    """(3, 3), turned about each axis by an angle drawn from [-degrees, degrees]."""
    from scipy.spatial.transform import Rotation

    matrix: Array = Rotation.from_euler("xyz", rng.uniform(-degrees, degrees, 3), degrees=True).as_matrix()
    return matrix


def _rician(clean: Array, sigma: float, rng: np.random.Generator) -> Array:
    """Magnitude of a complex signal with Gaussian noise in both parts, as in MRI."""
    return np.hypot(
        clean + sigma * rng.standard_normal(clean.shape), sigma * rng.standard_normal(clean.shape)
    )


def _column(vector: Array) -> Array:
    """(3,) -> (3, 1, 1, 1)."""
    return np.asarray(vector, float)[:, None, None, None]


def _dataset_json(labeled: int) -> dict[str, Any]:
    return {
        "name": "Synthetic phantoms",
        "description": DESCRIPTION,
        "channel_names": {"0": "synthetic"},
        "labels": LABELS,
        "numTraining": labeled,
        "file_ending": ".nii.gz",
        "licence": "made on your machine; do as you like",
    }
