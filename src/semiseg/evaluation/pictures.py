"""References that are pictures and hold no class numbers: blurred black and white, colors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from semiseg.errors import DataError

if TYPE_CHECKING:
    from semiseg.dataset.adopt.draft import Recode
    from semiseg.images.grid import Volume

_LOOKED_AT = 8
"""Files that tell whether all need a closer look."""
_ALL = 2**16
_WHITE = 255


@dataclass(frozen=True)
class Recoded:
    """How pictures of references become class numbers.

    Attributes:
        recode: of the references' pixels; None leaves them as they are.
        prediction_map: value of a prediction -> class number, for predictions that are black and white.
        names: class number -> name, where colors tell classes apart.
        notices: what was decided, one sentence each.
    """

    recode: Recode | None = None
    prediction_map: Mapping[int, int] = field(default_factory=dict)
    names: Mapping[int, str] = field(default_factory=dict)
    notices: tuple[str, ...] = ()

    def __call__(self, volume: Volume) -> Volume:
        """The label map with class numbers."""
        return volume if self.recode is None else replace(volume, array=self.recode(volume))


def settle_references(pairs: Sequence[tuple[Path, Path]], workers: int | None) -> Recoded:
    """How the references become class numbers, by the rules of ``semiseg init``.

    Args:
        pairs: (reference, prediction); only pictures (PNG, BMP, JPEG, WebP) are opened. Where predictions
            have a palette with all colors of the references, it says which number a color has.
        workers: files read at a time.

    Raises:
        DataError: lossy files that are not black and white, or too many colors for classes.
    """
    from semiseg.dataset.adopt.draft import Draft, Recode, Source
    from semiseg.dataset.adopt.looks import in_threads, look_for_labels
    from semiseg.dataset.adopt.masks import settle_masks
    from semiseg.images import ending_of, picture

    paths = [reference for reference, _ in pairs]
    pictures = [path for path in paths if ending_of(path) in picture.ENDINGS]
    first = in_threads(look_for_labels, [Source(path) for path in pictures[:_LOOKED_AT]], workers)
    alike = len({mask.values - {0} for mask in first if mask.values - {0}}) < 2
    if alike and not any(mask.colors or mask.lossy or len(mask.counts) > 2 for mask in first):
        return Recoded()
    rest = in_threads(look_for_labels, [Source(path) for path in pictures[_LOOKED_AT:]], workers)
    masks = {str(path): mask for path, mask in zip(pictures, [*first, *rest], strict=True)}
    usable = {name: mask for name, mask in masks.items() if not mask.trouble}
    draft = Draft([])
    if not usable:
        return Recoded()
    settle_masks(usable, draft, _ALL)
    if draft.recode is None:
        return Recoded()
    if len(pictures) < len(paths):
        raise DataError(
            f"{len(pictures)} of {len(paths)} references are pictures without class numbers "
            f"({draft.decisions[0]})",
            hint="give references of one kind, or export the pictures again with one number per class",
            code="MIXED_REFERENCES",
        )
    known = look_for_labels(Source(pairs[0][1])).palette if draft.recode.colors else {}
    numbers = {color: value for value, color in known.items()}
    if draft.recode.colors and set(draft.recode.colors) <= set(numbers):
        used = {color: numbers[color] for color in draft.recode.colors}
        return Recoded(Recode(colors=used), notices=("references: colors as in the predictions' palette",))
    bright = {_WHITE: 1} if draft.recode.threshold else {}
    return Recoded(
        draft.recode, bright, draft.label_names, tuple(f"references: {d}" for d in draft.decisions)
    )
