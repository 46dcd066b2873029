"""One picture per test case: the scan with the reference and every method's prediction."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from semiseg.data.dataset import Dataset


def draw_cases(dataset: Dataset, predictions: Mapping[str, Path], output: Path) -> list[Path]:
    """Draw every test case of the demo.

    Args:
        dataset: the synthetic dataset.
        predictions: name of the method -> folder of its label maps.
        output: where the PNGs go.
    """
    from semiseg.data import formats
    from semiseg.data.cases import LabeledCase
    from semiseg.report.cuts import to_ras
    from semiseg.report.overlay import overlay_picture

    pictures = []
    for case in dataset.test:
        image = formats.read(case.images[0])
        affine = image.grid.affine
        voxels, spacing = to_ras(image.array, affine)
        predicted = {
            name: to_ras(formats.read_label(folder / f"{case.id}{dataset.file_ending}").array, affine)[0]
            for name, folder in predictions.items()
        }
        reference = None
        if isinstance(case, LabeledCase):
            reference = to_ras(formats.read_label(case.label).array, affine)[0]
        path = output / f"{case.id}.png"
        overlay_picture(
            voxels,
            spacing,
            reference,
            predicted,
            dataset.labels,
            path,
            f"{case.id} (synthetic)",
            note="Synthetic phantom, no patient.",
        )
        pictures.append(path)
    return pictures
