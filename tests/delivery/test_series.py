"""A label map belongs to its DICOM series where their grids are one, by the rule of all grids."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.images.synthetic_dicom import OBLIQUE, volume, write_series
from tests.trained import Thresholds, make_plan

from semiseg import images
from semiseg.delivery.series import write_as
from semiseg.errors import DataError
from semiseg.images.dicom import find_series, read_series
from semiseg.images.grid import Grid
from semiseg.prediction.members import Member
from semiseg.prediction.model import Model


@pytest.mark.parametrize(
    ("shift", "cut", "said"),
    [
        (0.002, 0, None),  # mm: numbers that were rounded on writing
        (0.9, 0, "origin"),
        (0.0, 1, "voxels, wanted"),
    ],
)
def test_a_label_map_of_another_place_is_refused(
    shift: float, cut: int, said: str | None, tmp_path: Path
) -> None:
    write_series(tmp_path / "series", volume(), orientation=OBLIQUE)
    (series,) = find_series(tmp_path / "series")
    grid = read_series(series).grid
    affine = grid.affine.copy()
    affine[0, 3] += shift
    labels = np.ones(grid.shape, np.uint8)[cut:]
    path = tmp_path / "labels.nii.gz"
    images.write(path, labels, Grid(labels.shape, affine))
    model = Model((Member(make_plan(), Thresholds()),))
    if said is None:
        assert [file.name for file in write_as(path, series, model, tmp_path, "rtstruct")] == [
            "labels.rtstruct.dcm"
        ]
    else:
        with pytest.raises(DataError, match=f"the grid of its DICOM series: .*{said}"):
            write_as(path, series, model, tmp_path, "rtstruct")
