"""``check`` on labels that all lie beside what they were drawn on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.factories import make_dataset
from tests.images.damage import image, label, save

from semiseg.dataset.check import check
from semiseg.dataset.check.moved import FARTHEST, best_move, moved_fits
from semiseg.dataset.problem import Problem

SHAPE = (24, 22, 20)


def ball(rng: np.random.Generator) -> np.ndarray:
    center = rng.uniform(9, 12, 3)[:, None, None, None]
    return (((np.indices(SHAPE) - center) ** 2).sum(0) < rng.uniform(16, 25)).astype(np.uint8)


def found(folder: Path, moves: list[tuple[int, ...]], contrast: float = 60.0) -> list[Problem]:
    """What is told of organs whose labels were moved by so many voxels."""
    folder = make_dataset(folder, labeled=len(moves), unlabeled=1, test=0, shape=SHAPE)
    rng = np.random.default_rng(1)
    for number, by in enumerate(moves):
        mask = ball(rng)
        save(
            image(folder, f"case_{number:02d}"), (rng.normal(0, 10, SHAPE) + contrast * mask).astype(np.int16)
        )
        save(label(folder, f"case_{number:02d}"), np.roll(mask, by, (0, 1, 2)))
    return [problem for problem in check(folder, workers=1).problems if problem.code == "MOVED_LABELS"]


@pytest.mark.parametrize(
    ("moves", "shown"),
    [
        ([(0, 0, 0)] * 4, ""),
        ([(2, 0, 0)] * 3, "+2, +0, +0"),
        ([(-3, 4, 1)] * 4, "-3, +4, +1"),  # along several axes at once, as a forgotten crop does
        ([(3, 0, 0)] * 2, ""),  # two cases say too little
        ([(3, 0, 0), (-3, 0, 0), (0, 3, 0), (0, 0, -3)], ""),  # not alike
    ],
)
def test_labels_that_are_all_moved_alike_are_told(
    tmp_path: Path, moves: list[tuple[int, ...]], shown: str
) -> None:
    problems = found(tmp_path, moves)
    assert [problem.severity for problem in problems] == ["warning"] * bool(shown)
    assert all(f"lie {shown} voxels" in problem.got for problem in problems)


def test_labels_that_follow_nothing_lie_nowhere_else(tmp_path: Path) -> None:
    assert not found(tmp_path, [(3, 0, 0)] * 5, contrast=0.0)


@pytest.mark.parametrize("axes", [2, 3])
def test_the_fit_at_another_place_is_that_of_a_moved_label(axes: int) -> None:
    rng = np.random.default_rng(0)
    mask = ball(rng) if axes == 3 else np.hypot(*(np.indices((40, 30)) - 15)) < 9
    scan = rng.normal(0, 10, mask.shape) + 40 * mask
    fits = moved_fits(scan, mask)
    assert fits is not None
    assert fits.shape == (2 * FARTHEST + 1,) * axes
    middle = (FARTHEST,) * axes
    assert fits.max() == fits[middle] > 1
    by = (2, -1, 1)[:axes]
    moved = moved_fits(scan, np.roll(mask, by, range(axes)))
    place = tuple(FARTHEST + step for step in by)
    assert moved is not None
    assert moved[tuple(FARTHEST - step for step in by)] == pytest.approx(fits[middle], abs=1e-3)
    assert moved[middle] == pytest.approx(fits[place], abs=1e-3)
    assert np.isneginf(fits).any()  # beyond the scan
    assert moved_fits(scan, np.zeros_like(mask)) is None
    assert moved_fits(np.zeros(mask.shape), mask) is None
    assert best_move([fits] * 2) == ((), 0.0)
