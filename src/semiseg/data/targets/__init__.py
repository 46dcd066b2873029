"""Extra training targets by name, computed from the labels of a batch after augmentation.

``sdf`` is the signed distance to each foreground class, in [-1, 1]; ``sdf_published`` is the form of the
published codes for a class that is not in the crop. See :mod:`semiseg.data.targets.signed_distance`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from semiseg.data.targets.signed_distance import signed_distance
from semiseg.errors import unknown_name

TARGETS: Mapping[str, Callable[[Tensor, int], Tensor]] = {
    "sdf": functools.partial(signed_distance, absent="ones"),
    "sdf_published": functools.partial(signed_distance, absent="zeros"),
}
"""Name -> function of the labels (Bl, *S) and the number of classes K, background included."""


def require_known(names: Sequence[str]) -> None:
    """Refuse names that are not in :data:`TARGETS`.

    Raises:
        UsageError: with the nearest name.
    """
    for name in names:
        if name not in TARGETS:
            raise unknown_name("target", name, TARGETS)


def make_targets(names: Sequence[str], labels: Tensor, classes: int) -> dict[str, Tensor]:
    """Targets of a batch, on the device of the labels.

    Args:
        names: keys of :data:`TARGETS`.
        labels: (Bl, *S) whole numbers in [0, K), :data:`semiseg.core.IGNORE` where nothing is known.
        classes: K.

    Raises:
        UsageError: a name that is not known.
    """
    require_known(names)
    return {name: TARGETS[name](labels, classes) for name in names}
