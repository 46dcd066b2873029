"""``check`` on labels that lie on each other's scan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.factories import make_dataset
from tests.images.damage import image, label, save

from semiseg.dataset.check import check
from semiseg.dataset.check.edges import fit
from semiseg.dataset.check.swapped import swapped_problems
from semiseg.dataset.problem import Finding, Problem

SHAPE = (20, 18, 16)


def ball(rng: np.random.Generator) -> np.ndarray:
    center = rng.uniform(6, 10, 3)[:, None, None, None]
    return (((np.indices(SHAPE) - center) ** 2).sum(0) < rng.uniform(16, 25)).astype(np.uint8)


def found(folder: Path, order: list[int], follows: bool = True) -> list[Problem]:
    """What is told of organs whose labels lie in the files of each other, in this order."""
    folder = make_dataset(folder, labeled=len(order), unlabeled=1, test=0, shape=SHAPE)
    rng = np.random.default_rng(1)
    masks = [ball(rng) for _ in order]
    for number, other in enumerate(order):
        scan = rng.normal(0, 10, SHAPE) + 60.0 * masks[number] * follows
        save(image(folder, f"case_{number:02d}"), scan.astype(np.int16))
        save(label(folder, f"case_{number:02d}"), masks[other])
    return [problem for problem in check(folder, workers=1).problems if problem.code == "SWAPPED_LABELS"]


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
    problems = found(tmp_path, order)
    assert [problem.severity for problem in problems] == ["warning"] * len(told)
    assert all(names in problem.got for names, problem in zip(told, problems, strict=True))


def test_labels_that_follow_nothing_tell_nothing(tmp_path: Path) -> None:
    assert not found(tmp_path, [1, 0, 2, 3, 4, 5, 6, 7], follows=False)


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
    assert not swapped_problems([Finding(None)])  # type: ignore[arg-type]
