"""One case by itself: can each file be read, do they lie on one grid, do the voxels make sense."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiseg.dataset.case import Case, LabeledCase, as_seen, case_header
from semiseg.dataset.check.edges import fit, gray
from semiseg.dataset.check.modality import best_flip, lowest
from semiseg.dataset.files import relative
from semiseg.dataset.problem import Finding, Problem, Severity
from semiseg.errors import DataError, some
from semiseg.images import read, read_label
from semiseg.images.arrays import non_finite
from semiseg.images.grid import (
    GEOMETRY_TOLERANCE_MM,
    GEOMETRY_TOLERANCE_VOXELS,
    Grid,
    Volume,
    times,
    turned,
)
from semiseg.inference.postprocess import box_of

_CODES = {"BAD_SPACING": "SPACING", "MISSING_FILE": "MISSING_FILE"}
"""Reader codes that ``check`` reports under another word."""


def examine(case: Case, channels: Sequence[str], root: Path) -> Finding:
    """Read every file of ``case`` and collect what is wrong with it."""
    look = _Examination(case, root, is_ct=bool(channels) and channels[0].strip().casefold() == "ct")
    look.images(len(channels))
    if isinstance(case, LabeledCase):
        look.label(case.label)
    look.compare_grids()
    return look.finding


class _Examination:
    def __init__(self, case: Case, root: Path, *, is_ct: bool = False) -> None:
        self.finding = Finding(case)
        self.root = root
        self.first: Voxels | None = None
        self.grids: list[tuple[Path, Grid]] = []
        self.label_grid: tuple[Path, Grid] | None = None
        self._is_ct = is_ct

    def images(self, channels: int) -> None:
        digest, constant, complete = hashlib.sha256(), [], True
        for path in self.finding.case.images:
            volume = self._open(path, read)
            if volume is None:
                complete = False
                self.finding.lowest += (float("nan"),)
                continue
            self.finding.lowest += (lowest(volume.array),)
            self._colors(path, volume, channels)
            self._told_by_file(path, volume)
            if not self.grids:
                self.finding.dim = len(volume.grid.shape)
                has_label = isinstance(self.finding.case, LabeledCase)
                self.first = gray(volume) if has_label else None
            self.grids.append((path, volume.grid))
            numbers = non_finite(volume.array)
            if numbers:
                fix = "replace them with the background value, or export the scan again"
                self._report("NAN", path, numbers, "finite numbers", fix)
            elif is_constant(volume.array):
                constant.append(path)
            add_content(digest, volume.array)
        self._constant(constant)
        if complete and len(constant) < len(self.finding.case.images):
            self.finding.digest = digest.hexdigest()

    def compare_grids(self) -> None:
        """All lie on the grid of the first channel, or else of the first that lies on the label's."""
        files = [*self.grids, *([self.label_grid] if self.label_grid else [])]
        if len(files) < 2 or not self.grids:
            return
        reference = self.grids[0]
        if self.label_grid is not None:
            fits = (one for one in self.grids if _alike(one[1], files[-1][1]))
            reference = next(fits, reference)
        for path, grid in files:
            if path != reference[0]:
                self._same_grid(path, grid, reference[1], reference[0])

    def label(self, path: Path) -> None:
        volume = self._open(path, read_label)
        if volume is None:
            return
        if _colors(volume) > 1:
            fix = "save the label as one gray channel that holds the class numbers"
            self._report("RGB", path, f"a label with {_colors(volume)} color channels", "one channel", fix)
            return
        self.label_grid = path, volume.grid
        slope = volume.meta.get("slope")
        if slope is not None and volume.array.dtype.kind in "iu" and slope != int(slope):
            got = f"class numbers stored as scaled integers (times {slope:g}), read as whole numbers"
            fix = "none needed; export labels as integers without a scale factor"
            self._report("SCALED_LABEL", path, got, "", fix, "warning")
        values, odd = value_counts(volume.array)
        if not odd:
            self.finding.values, self.finding.mask = values, mask_digest(volume.array)
            self.finding.frame = frame_value(volume.array)
            if self.first is not None:
                self._on_image(self.first, volume)
        else:
            got = f"values such as {', '.join(f'{v:g}' for v in odd)}"
            fix = "resample labels with nearest neighbor, or export them as whole numbers"
            if slope is not None:
                got += f" (stored as integers times {slope:g})"
                fix = "export the class numbers as integers, without a scale factor"
            self._report("NON_INTEGER_LABEL", path, got, "whole numbers", fix)

    def _on_image(self, image: Voxels, label: Volume) -> None:
        """How the label lies on the first channel."""
        seen = turned(label.array, label.grid, self.grids[0][1])
        array = label.array if seen is None else seen
        self.finding.shape, self.finding.fit = array.shape, fit(image, array)
        if self._is_ct:
            self.finding.flip = best_flip(image, array != 0)

    def _open(self, path: Path, reader: Callable[[Path], Volume]) -> Volume | None:
        try:
            return reader(path)
        except DataError as error:
            why = error.message.removeprefix(f"{path}: ")
            self._report(_CODES.get(error.code, error.code), path, why, "", error.hint)
        except MemoryError:
            fix = "use a machine with more memory, or fewer workers"
            self._report("TOO_LARGE", path, "an image that does not fit into memory", "", fix)
        return None

    def _colors(self, path: Path, volume: Volume, channels: int) -> None:
        alone = len(self.finding.case.images) == 1
        found = list(np.moveaxis(volume.array, -1, 0)) if _colors(volume) > 1 else [volume.array]
        if alone and channels in (1, 3):
            found = as_seen(found, channels)
        if alone and channels == 3 and len(found) != 3:
            got, wanted = f"one file with {len(found)} channels", "3, one per entry of channel_names"
            self._report("RGB", path, got, wanted, "save it as RGB, or add the other channels")
        elif len(found) > 1 and not (alone and channels == 3):
            wanted = "one gray channel per file"
            fix = "save it as gray, or name three channels in channel_names to use the colors"
            self._report("RGB", path, f"{len(found)} color channels in one file", wanted, fix)

    def _told_by_file(self, path: Path, volume: Volume) -> None:
        """What the file says of itself that other tools may read otherwise."""
        gap = volume.meta.get("form_gap_mm", 0.0)
        if gap > GEOMETRY_TOLERANCE_VOXELS * min(volume.grid.spacing):
            got = f"a qform that puts voxels up to {gap:.3g} mm from where the sform puts them"
            fix = "fine if your viewers use the sform as we do; a prediction carries both forms of its scan"
            self._report("TWO_FORMS", path, got, "one place for each voxel", fix, "warning")
        content = volume.meta.get("content")
        if content is not None:
            got, fix = f"a {content} file under another ending", "rename it; it is read as what it holds"
            self._report("WRONG_ENDING", path, got, f"the ending {content}", fix, "warning")

    def _same_grid(self, path: Path, grid: Grid, wanted: Grid, reference: Path) -> None:
        other = relative(reference, self.root)
        if not grid.matches(wanted) and _alike(grid, wanted):
            fix = "none needed: it is turned as it is read; tools that ignore the affine will not"
            got = f"its axes in another order or direction than those of {other}"
            self._report("AXES_TURNED", path, got, "", fix, "warning")
            return
        if grid.shape != wanted.shape:
            fix = "resample it onto the image (labels with nearest neighbor), or pair it with the right image"
            sizes = f"{times(grid.shape)} voxels", f"{times(wanted.shape)} voxels as {other}"
            self._report("SHAPE_MISMATCH", path, *sizes, fix)
        elif not grid.matches(wanted):
            gap = grid.corner_gap_mm(wanted)
            spacing = f"spacing {times(grid.spacing, 4)} mm"
            got = f"a grid up to {gap:.3g} mm away from {other} ({spacing}; {grid.unlike(wanted)})"
            fix = "if the voxels do match, copy the image's affine; otherwise resample it onto the image"
            same = f"the same affine (spacing {times(wanted.spacing, 4)} mm)"
            self._report("AFFINE_MISMATCH", path, got, same, fix)
        elif (gap := grid.corner_gap_mm(wanted)) > GEOMETRY_TOLERANCE_MM:
            part = wanted.corner_gap_voxels(grid)
            got = f"{grid.unlike(wanted)} as {other} has: up to {gap:.3g} mm or {part:.2g} voxels away"
            fix = "none needed: numbers were rounded on writing, and the image's grid is used"
            self._report("AFFINE_ROUNDED", path, got, "", fix, "warning")

    def _constant(self, paths: list[Path]) -> None:
        total = len(self.finding.case.images)
        for path in paths:
            # One empty channel among several is a missing sequence, which some data sets fill with zeros.
            severity: Severity = "error" if len(paths) == total else "warning"
            fix = "export the scan again, or leave the case out"
            self._report("CONSTANT_IMAGE", path, "the same value in every voxel", "an image", fix, severity)

    def _report(
        self, code: str, path: Path, got: str, wanted: str, fix: str, severity: Severity = "error"
    ) -> None:
        file = relative(path, self.root)
        self.finding.problems.append(Problem(code, got, wanted, fix, self.finding.case.id, file, severity))


def _alike(grid: Grid, wanted: Grid) -> bool:
    """Whether two grids are one, up to the order and direction of their axes."""
    return grid.matches(wanted) or turned(np.broadcast_to(0, grid.shape), grid, wanted) is not None


def _colors(volume: Volume) -> int:
    return int(volume.array.shape[-1]) if volume.array.ndim > len(volume.grid.shape) else 1


Voxels = NDArray[Any]

FEWEST_OF_A_MASK = 100
"""Masks with fewer foreground voxels are equal by chance too easily to tell of one acquisition."""


def is_constant(array: Voxels) -> bool:
    """Whether all voxels are equal (NaN is equal to nothing)."""
    return array.size == 0 or bool((array == array.flat[0]).all())


def add_content(digest: hashlib._Hash, array: Voxels) -> None:
    """Add shape and values to a hash; the type they are stored with does not matter."""
    digest.update(repr(array.shape).encode())
    for part in array:  # one slab at a time: a float copy of the whole would double the memory
        digest.update(np.ascontiguousarray(part, dtype=np.float32).tobytes())


def mask_digest(array: Voxels) -> str | None:
    """Hash of a label map cropped to its foreground, so that padding and cropping of the scan do not matter.

    None where it has fewer than :data:`FEWEST_OF_A_MASK` foreground voxels or is a plain box.
    """
    foreground = array != 0
    if np.count_nonzero(foreground) < FEWEST_OF_A_MASK:
        return None
    cropped = array[box_of(foreground) or ...]
    if is_constant(cropped):
        return None
    digest = hashlib.sha256()
    add_content(digest, cropped)
    return digest.hexdigest()


_FRAME = 0.95
"""Of the outermost voxels: so many of one value make it that of the frame."""


def frame_value(array: Voxels) -> int | None:
    """The value of nearly all voxels at the ends of the axes, None where there is none."""
    long = (axis for axis in range(array.ndim) if array.shape[axis] > 2)
    ends = [np.moveaxis(array, axis, 0)[[0, -1]].ravel() for axis in long]  # take() copies all voxels
    if not ends:
        return None
    values, times = np.unique(np.concatenate(ends), return_counts=True)
    return int(values[times.argmax()]) if times.max() >= _FRAME * times.sum() else None


_AT_ONCE = 2**22


def value_counts(array: Voxels) -> tuple[dict[int, int], list[float]]:
    """Whole values with their voxel counts, and up to five values that are not whole numbers."""
    odd: list[float] = []
    if array.dtype.kind == "f":
        whole = np.rint(array)
        good = np.isfinite(array) & (array == whole)  # exactly, as training wants it
        if not good.all():
            odd = [float(value) for value in np.unique(array[~good])[:5]]
        array = whole[good].astype(np.int64)
    if array.size == 0:
        return {}, odd
    low, high = int(array.min()), int(array.max())
    if high - low < 1 << 16:
        counts = np.zeros(high - low + 1, np.int64)
        flat = array.ravel(order="K")
        for start in range(0, flat.size, _AT_ONCE):  # as int64 the whole would take eight times its memory
            part = flat[start : start + _AT_ONCE].astype(np.int64) - low
            counts += np.bincount(part, minlength=len(counts))
        return {low + int(i): int(counts[i]) for i in np.flatnonzero(counts)}, odd
    values, times = np.unique(array, return_counts=True)
    return {int(v): int(n) for v, n in zip(values, times, strict=True)}, odd


def histogram(counts: dict[int, int], most: int = 8) -> str:
    """``0: 1200, 255: 33``, shortened when there are many values."""
    return some((f"{value}: {count}" for value, count in counts.items()), most)


MOST_CLASSES = 30
"""More classes than this are a question, not a plan."""

_ENDS = 32
"""Gray values this near to 0 and 255 are black and white that was blurred by saving."""


def two_ends(counts: Mapping[int, int], *, lossy: bool = False) -> bool:
    """Whether gray values are those of a 0/255 mask that was blurred, by JPEG or by smooth edges."""
    if not counts or min(counts) < 0 or max(counts) > 255 or set(counts) <= {0, 255}:
        return False
    dark = sum(count for value, count in counts.items() if value <= _ENDS)
    bright = sum(count for value, count in counts.items() if value >= 255 - _ENDS)
    between = sum(counts.values()) - dark - bright
    if not bright or 2 * between > min(dark, bright):
        return False
    near_black = sum(0 < value <= _ENDS for value in counts)
    near_white = sum(255 - _ENDS <= value < 255 for value in counts)
    return lossy or (near_black > 1 and near_white > 1) or len(counts) > MOST_CLASSES


def examine_label(case: LabeledCase, root: Path) -> Finding:
    """Read the label of a case alone, and compare it with the header of its image.

    Raises:
        DataError: the image's header cannot be read.
    """
    look = _Examination(case, root)
    look.grids.append((case.images[0], case_header(case).grid))
    look.label(case.label)
    look.compare_grids()
    return look.finding
