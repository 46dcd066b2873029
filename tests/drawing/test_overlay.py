from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from semiseg.drawing.overlay import AXIAL, PLANE, best_cut, draw_cut, intensity_window, to_ras
from semiseg.drawing.palette import COLOR_BLIND_SAFE


def scene() -> tuple[np.ndarray, np.ndarray]:
    image = np.random.default_rng(0).normal(size=(20, 24, 16)).astype(np.float32)
    label = np.zeros(image.shape, np.uint8)
    label[4:12, 5:12, 3:9] = 1
    label[4:12, 12:18, 5:9] = 2
    return image, label


def colors_of(picture: Figure) -> list[int]:
    """Pixels of each class color."""
    stream = io.BytesIO()
    picture.savefig(stream, format="png", dpi=100)
    pixels = np.asarray(Image.open(stream).convert("RGB"), np.int16)
    wanted = [np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) for color in COLOR_BLIND_SAFE[:3]]
    return [int((np.abs(pixels - color).max(-1) < 12).sum()) for color in wanted]


@pytest.mark.parametrize("with_reference", [True, False])
def test_a_slice_has_a_contour_in_each_class_color(with_reference: bool) -> None:
    image, label = scene()
    cut = best_cut(AXIAL, [label], [], [1, 2], (1, 1, 2))
    figure = Figure(figsize=(4, 4))
    axis = figure.add_axes((0, 0, 1, 1))
    reference = label if with_reference else None
    draw_cut(axis, cut, image, intensity_window(image), np.roll(label, 1, 0), reference, [1, 2])
    near, far, none = colors_of(figure)
    assert min(near, far) > 300
    assert none < 20


def test_radiological_convention() -> None:
    marked = np.zeros((8, 9, 10), np.uint8)
    marked[7, 8, 9] = 1  # the corner most right, anterior, superior
    whole = best_cut(AXIAL, [np.ones_like(marked)], [], [1], (1, 1, 1))
    cut = replace(whole, index=marked.shape[AXIAL.axis] - 1)
    assert np.argwhere(cut.of(marked)).tolist() == [[0, 0]]  # right is left, anterior is up
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
