"""Small pictures of cases: the most telling axial slice with outlines of the label or prediction."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from semiseg import images
from semiseg.dataset.case import Case
from semiseg.drawing.overlay import AXIAL, PLANE, Array, View, best_cut, deep, intensity_window, to_ras
from semiseg.drawing.palette import COLOR_BLIND_SAFE, rgb_of
from semiseg.images.grid import Grid
from semiseg.machine.files import atomic_file
from semiseg.studio.served import made_of

HEIGHT = 160
_AT_ONCE = threading.Semaphore(2)
"""A page asks for sixty pictures at once, and each one needs its scan in memory."""
_ONE = threading.Semaphore(1)
"""Large scans one by one: who opens a case meanwhile waits for no more than one of them."""

Files = tuple[Path, Path | None]
"""An image, and a label map on its grid."""


def thumbnail(
    folder: Path,
    case: Case,
    label: Path | None,
    colors: dict[int, str],
    coarse: Callable[[], Files] | None = None,
) -> Path:
    """The PNG of the first channel of a case, made once per state of its files.

    ``label`` is a label map on its grid, ``colors`` are value -> ``#rrggbb``; ``coarse`` gives smaller files
    of a large scan to draw instead. An image that cannot be read is a DataError.
    """
    sources = [case.images[0], *([label] if label else [])]
    path = folder / f"{made_of(colors, sources)}.png"
    if not path.is_file():
        with _ONE if coarse else _AT_ONCE:
            content = draw(*(coarse() if coarse else (case.images[0], label)), colors)
        with atomic_file(path) as stream:
            stream.write(content)
    return path


def draw(image: Path, label: Path | None, colors: dict[int, str]) -> bytes:
    """The picture as PNG bytes."""
    volume = images.read(image)
    map_ = images.read_label(label).array if label else None
    channels, labels, spacing, view = _laid_out(volume.array, map_, volume.grid)
    values = list(colors) or [1]
    if map_ is None:  # nothing chooses a slice
        middle = labels.shape[view.axis] // 2
        *channels, labels = (np.take(one, [middle], view.axis) for one in (*channels, labels))
    cut = best_cut(view, [labels], [labels], values, spacing)
    plane, shown = _picture(cut.of(channels[0])), cut.of(labels)
    if len(channels) >= 3:
        plane = np.stack([cut.of(one) for one in channels[:3]], -1).astype(np.uint8)
    picture = Image.fromarray(plane).convert("RGB")
    scale = HEIGHT / max(cut.height, cut.width)
    size = (max(1, round(cut.width * scale)), max(1, round(cut.height * scale)))
    pixels = np.array(picture.resize(size, Image.Resampling.BILINEAR))
    seen = np.array(Image.fromarray(shown.astype(np.int32)).resize(size, Image.Resampling.NEAREST))
    for value, color in colors.items():
        pixels[_outline(seen == value)] = rgb_of(color)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def _laid_out(
    array: Array, label: Array | None, grid: Grid
) -> tuple[list[Array], Array, tuple[float, ...], View]:
    """Channels and label (X, Y, Z) as the cuts of :mod:`semiseg.drawing` want them."""
    channels = list(np.moveaxis(array, -1, 0)) if array.ndim > len(grid.shape) else [array]
    fits = label is not None and label.shape == grid.shape
    labels = label if label is not None and fits else np.broadcast_to(np.uint8(0), grid.shape)
    if len(grid.shape) == 2:
        return [deep(one) for one in channels], deep(labels), (*reversed(grid.spacing), 1.0), PLANE
    turned = [to_ras(one, grid.affine)[0] for one in channels]
    labels, spacing = to_ras(labels, grid.affine)
    return turned, labels, spacing, AXIAL


def _picture(plane: Array) -> Array:
    """Intensities as gray values."""
    low, high = intensity_window(plane)
    gray: Array = np.clip((plane.astype(np.float32) - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    return gray


def _outline(mask: Array) -> Array:
    """The voxels of a mask that touch others."""
    padded = np.pad(mask, 1)
    inner = padded[1:-1, :-2] & padded[1:-1, 2:] & padded[:-2, 1:-1] & padded[2:, 1:-1]
    return np.asarray(mask & ~inner)


def class_colors(values: dict[str, tuple[int, ...]], chosen: dict[str, str]) -> dict[int, str]:
    """Value -> color of each class, as pictures of the dataset have them."""
    found: dict[int, str] = {}
    for place, (name, numbers) in enumerate(values.items()):
        for number in numbers:
            found[number] = chosen.get(name, COLOR_BLIND_SAFE[place % len(COLOR_BLIND_SAFE)])
    return found
