from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semiseg.drawing.overlay import AXIAL, CORONAL, PLANE, SAGITTAL, best_cut, overlay_picture, to_ras
from semiseg.drawing.palette import COLOR_BLIND_SAFE
from semiseg.errors import UsageError

LABELS = {"background": 0, "near": 1, "far": 2}


def scene() -> tuple[np.ndarray, np.ndarray]:
    image = np.random.default_rng(0).normal(size=(20, 24, 16)).astype(np.float32)
    label = np.zeros(image.shape, np.uint8)
    label[4:12, 5:12, 3:9] = 1
    label[4:12, 12:18, 5:9] = 2
    return image, label


def has_color(path: Path, color: str) -> bool:
    """Whether a contour has it; the legend alone has fewer pixels of it."""
    pixels = np.asarray(Image.open(path).convert("RGB"), np.int16)
    wanted = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])
    return bool((np.abs(pixels - wanted).max(-1) < 12).sum() > 600)


def test_a_picture_has_a_contour_in_each_class_color(tmp_path: Path) -> None:
    image, label = scene()
    path = tmp_path / "deep" / "case.png"
    overlay_picture(image, (1.0, 1.0, 2.0), label, np.roll(label, 1, 0), LABELS, path, "a case")
    assert has_color(path, COLOR_BLIND_SAFE[0])
    assert has_color(path, COLOR_BLIND_SAFE[1])
    assert not has_color(path, COLOR_BLIND_SAFE[2])
    assert [p.name for p in path.parent.iterdir()] == ["case.png"]  # nothing half-written beside it


def test_several_predictions_are_rows_of_one_picture(tmp_path: Path) -> None:
    image, label = scene()
    overlay_picture(image, (1, 1, 1), label, label, LABELS, tmp_path / "one.png", "t")
    overlay_picture(image, (1, 1, 1), label, {"a": label, "b": label}, LABELS, tmp_path / "two.png", "t")
    one, two = (Image.open(tmp_path / name).size for name in ("one.png", "two.png"))
    assert two[1] > 1.4 * one[1]


def test_flat_images_and_missing_references_work(tmp_path: Path) -> None:
    image, label = scene()
    path = tmp_path / "flat.png"
    overlay_picture(image[:, :, 5], (1, 1), None, label[:, :, 5], LABELS, path, "flat")
    assert has_color(path, COLOR_BLIND_SAFE[0])
    overlay_picture(image, (1, 1, 1), None, np.zeros_like(label), LABELS, tmp_path / "empty.png", "empty")
    assert not has_color(tmp_path / "empty.png", COLOR_BLIND_SAFE[0])


def test_wrong_shapes_are_a_usage_error(tmp_path: Path) -> None:
    image, label = scene()
    with pytest.raises(UsageError, match="one shape"):
        overlay_picture(image, (1, 1, 1), None, label[1:], LABELS, tmp_path / "x.png", "t")


def test_radiological_convention() -> None:
    marked = np.zeros((8, 9, 10), np.uint8)
    marked[7, 8, 9] = 1  # the corner most right, anterior, superior
    for view in (AXIAL, CORONAL, SAGITTAL):
        whole = best_cut(view, [np.ones_like(marked)], [], [1], (1, 1, 1))
        cut = replace(whole, index=marked.shape[view.axis] - 1)
        assert np.argwhere(cut.of(marked)).tolist() == [[0, 0]]  # right (or anterior) is left, superior is up
    flat = best_cut(PLANE, [np.ones((3, 4, 1), np.uint8)], [], [1], (1, 1, 1))
    plane = np.arange(12).reshape(3, 4, 1)
    assert np.array_equal(flat.of(plane), plane[..., 0].T)


def test_the_slice_with_most_of_every_class_is_chosen() -> None:
    _, label = scene()
    label[5:7, 5:7, 12] = 1
    cut = best_cut(AXIAL, [label], [], [1, 2], (1, 1, 1))
    assert cut.index in range(5, 9)
    assert (cut.width, cut.height) == (20, 24)


def test_small_structures_are_cropped_to_and_nothing_shown_is_lost() -> None:
    small = np.zeros((200, 200, 4), np.uint8)
    small[100:104, 50:60, 2] = 1
    stray = np.zeros_like(small)
    stray[102, 90, 2] = 1
    cut = best_cut(AXIAL, [small], [stray], [1], (1, 1, 1))
    assert cut.width < 60
    assert cut.box[1].start <= 50 - 7
    assert cut.box[1].stop > 90


def test_to_ras_turns_axes_and_spacing_together() -> None:
    array = np.zeros((4, 5, 6))
    array[0, 0, 0] = 1
    affine = np.array([[0, 0, -3.0, 0], [2.0, 0, 0, 0], [0, -1.0, 0, 0], [0, 0, 0, 1]])
    turned, spacing = to_ras(array, affine)
    assert turned.shape == (6, 4, 5)
    assert spacing == (3.0, 2.0, 1.0)
    assert turned[5, 0, 4] == 1
