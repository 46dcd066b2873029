"""``check`` on labels that lie on another scan, or all beside what they were drawn on."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from tests.factories import make_dataset
from tests.images.damage import image, label, save

from semiseg.dataset.check import check, misplaced
from semiseg.dataset.check.edges import fit
from semiseg.dataset.check.misplaced import FARTHEST, best_move, misplaced_problems, moved_fits
from semiseg.dataset.problem import Finding, Problem
from semiseg.images import read
from semiseg.images.grid import Volume

SHAPE = (24, 22, 20)


def ball(rng: np.random.Generator) -> np.ndarray:
    center = rng.uniform(9, 12, 3)[:, None, None, None]
    return (((np.indices(SHAPE) - center) ** 2).sum(0) < rng.uniform(16, 25)).astype(np.uint8)


def made(folder: Path, labels: list[np.ndarray], masks: list[np.ndarray], contrast: float = 60.0) -> Path:
    """Organs that differ by so much from what is around them, and what is said to be their labels."""
    folder = make_dataset(folder, labeled=len(masks), unlabeled=1, test=0, shape=SHAPE)
    rng = np.random.default_rng(1)
    for number, (mask, said) in enumerate(zip(masks, labels, strict=True)):
        scan = rng.normal(0, 10, SHAPE) + contrast * mask
        save(image(folder, f"case_{number:02d}"), scan.astype(np.int16))
        save(label(folder, f"case_{number:02d}"), said)
    return folder


def found(folder: Path, code: str) -> list[Problem]:
    return [problem for problem in check(folder, workers=1).problems if problem.code == code]


def balls(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [ball(rng) for _ in range(count)]


@pytest.mark.parametrize(
    ("order", "told"),
    [
        ([0, 1, 2, 3, 4], []),
        ([0, 3, 2, 1, 4], ["case_01, case_03"]),
        ([1, 0], ["case_00, case_01"]),
        ([2, 0, 1, 3, 4, 5], ["case_00, case_01, case_02"]),  # a circle
        ([1, 0, 3, 2, 4, 5, 6], ["case_00, case_01", "case_02, case_03"]),
    ],
)
def test_exchanged_labels_are_told(tmp_path: Path, order: list[int], told: list[str]) -> None:
    masks = balls(len(order))
    problems = found(made(tmp_path, [masks[other] for other in order], masks), "SWAPPED_LABELS")
    assert [problem.severity for problem in problems] == ["warning"] * len(told)
    assert all(names in problem.got for names, problem in zip(told, problems, strict=True))


def test_labels_that_follow_nothing_tell_nothing(tmp_path: Path) -> None:
    masks = balls(8)
    folder = made(tmp_path, [masks[1], masks[0], *masks[2:]], masks, contrast=0.0)
    assert not found(folder, "SWAPPED_LABELS")


def test_each_scan_is_opened_once_more_for_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: Counter[Path] = Counter()

    def counting(path: Path) -> Volume:
        opened[path] += 1
        return read(path)

    monkeypatch.setattr(misplaced, "read", counting)
    masks = balls(5)
    assert not found(made(tmp_path, masks, masks), "SWAPPED_LABELS")
    assert len(opened) == 5
    assert set(opened.values()) == {1}


def test_the_fit_of_a_label() -> None:
    rng = np.random.default_rng(0)
    mask = ball(rng)
    scan = rng.normal(0, 10, SHAPE) + 60 * mask
    assert fit(scan, mask) > 1.0
    assert abs(fit(scan, np.roll(mask, 9, axis=0))) < 0.5
    for nothing in (np.zeros(SHAPE), mask[:9]):
        assert np.isnan(fit(scan, nothing))
    assert np.isnan(fit(np.where(mask, np.nan, scan), mask))
    assert np.isnan(fit(np.zeros(SHAPE), mask))
    assert not misplaced_problems([Finding(None)])  # type: ignore[arg-type]


def moved(folder: Path, moves: list[tuple[int, ...]], contrast: float = 60.0) -> Path:
    """Organs whose labels were moved by so many voxels."""
    masks = balls(len(moves))
    labels = [np.roll(mask, by, (0, 1, 2)) for mask, by in zip(masks, moves, strict=True)]
    return made(folder, labels, masks, contrast)


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
    problems = found(moved(tmp_path, moves), "MOVED_LABELS")
    assert [problem.severity for problem in problems] == ["warning"] * bool(shown)
    assert all(f"lie {shown} voxels" in problem.got for problem in problems)


def test_labels_that_follow_nothing_lie_nowhere_else(tmp_path: Path) -> None:
    assert not found(moved(tmp_path, [(3, 0, 0)] * 5, contrast=0.0), "MOVED_LABELS")


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
