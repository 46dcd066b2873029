"""The values of a label map: whole numbers, raw ones turned into declared ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiseg.errors import DataError


def declared_values(
    array: NDArray[Any], path: Path, to_declared: Mapping[int, int]
) -> tuple[NDArray[Any], set[int]]:
    """The label map with declared values, and the values it then holds.

    Args:
        array: any shape; floats are taken when they are whole numbers.
        path: named in errors.
        to_declared: raw value -> declared value; what it does not name stays as it is.

    Raises:
        DataError: a value that is not a whole number (code ``LABEL_VALUES``).
    """
    whole = array
    if array.dtype.kind not in "iu":
        with np.errstate(invalid="ignore"):
            whole = array.astype(np.int64)
        odd = array[whole != array]
        if odd.size:
            raise DataError(
                f"{path} holds {odd.flat[0]}; label values are whole numbers",
                hint="write the label map, not the probabilities",
                code="LABEL_VALUES",
            )
    values = distinct(whole)
    changes = {raw: new for raw, new in to_declared.items() if raw in values and raw != new}
    if not changes:
        return whole, values
    mapped = whole.astype(np.int64)
    for raw, new in changes.items():
        mapped[whole == raw] = new
    return mapped, {to_declared.get(v, v) for v in values}


def distinct(array: NDArray[Any]) -> set[int]:
    """The values of an integer array, without a sort for the usual small ones."""
    if array.size and int(array.min()) >= 0 and int(array.max()) < 2**16:
        counts = np.bincount(array.ravel(order="K").astype(np.int64))
        return {int(v) for v in np.flatnonzero(counts)}
    return {int(v) for v in np.unique(array)}
