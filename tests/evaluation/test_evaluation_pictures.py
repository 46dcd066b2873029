"""References as people have them: black and white blurred by saving, and colors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semiseg.errors import DataError
from semiseg.evaluation.evaluate import evaluate_folders

SHAPE = (40, 36)
COLORS = {1: (255, 0, 0), 2: (0, 255, 0)}


def square(number: int, value: int = 1) -> np.ndarray:
    array = np.zeros(SHAPE, np.uint8)
    array[8 + number : 24 + number, 8:24] = value
    return array


def save(path: Path, array: np.ndarray, **options: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


def colored(array: np.ndarray) -> np.ndarray:
    return np.array([(0, 0, 0), *COLORS.values()], np.uint8)[array]


def with_palette(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(array).convert("P")
    picture.putpalette([0, 0, 0, *COLORS[1], *COLORS[2]])
    picture.save(path)


@pytest.mark.parametrize("bright", [1, 255])
def test_blurred_black_and_white_is_one_class(tmp_path: Path, bright: int) -> None:
    for number in range(2):
        save(tmp_path / "truth" / f"p{number}.jpg", square(number, 255), quality=70)
        save(tmp_path / "guess" / f"p{number}.png", square(number, bright))
    found = evaluate_folders(tmp_path / "truth", tmp_path / "guess")
    assert list(found.labels.values()) == [1]
    assert all(case.metrics["1"]["Dice"] == 1 for case in found.cases)
    assert any("128 and more is the class" in notice for notice in found.notices)


def test_a_color_has_the_number_that_predictions_show_it_with(tmp_path: Path) -> None:
    save(tmp_path / "truth" / "p.png", colored(square(0, 2)))  # red does not occur
    with_palette(tmp_path / "guess" / "p.png", square(0, 2))
    found = evaluate_folders(tmp_path / "truth", tmp_path / "guess")
    assert list(found.labels.values()) == [2]
    assert found.cases[0].metrics["2"]["Dice"] == 1


def test_colors_without_a_palette_are_numbered_as_init_does(tmp_path: Path) -> None:
    save(tmp_path / "truth" / "p.png", colored(square(0, 2)))
    save(tmp_path / "guess" / "p.png", square(0, 1))
    found = evaluate_folders(tmp_path / "truth", tmp_path / "guess")
    assert found.cases[0].metrics["green"]["Dice"] == 1
    assert any("green = 1" in notice for notice in found.notices)


def test_lossy_pictures_of_class_numbers_are_refused(tmp_path: Path) -> None:
    array = (square(0, 90).astype(int) + square(5, 60)).astype(np.uint8)
    save(tmp_path / "truth" / "p.jpg", array, quality=50)
    save(tmp_path / "guess" / "p.png", square(0))
    with pytest.raises(DataError, match="lossy"):
        evaluate_folders(tmp_path / "truth", tmp_path / "guess")
