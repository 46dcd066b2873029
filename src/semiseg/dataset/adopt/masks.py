"""What the masks of a pile mean together: class numbers, blurred black and white, or colors."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from semiseg.dataset.adopt.draft import Color, Draft, Recode, some
from semiseg.dataset.check.case import two_ends
from semiseg.errors import DataError

_THRESHOLD = 128
_BLACK = (0, 0, 0)
_COLOR_NAMES = {
    (255, 0, 0): "red", (0, 255, 0): "green", (0, 0, 255): "blue", (255, 255, 0): "yellow",
    (0, 255, 255): "cyan", (255, 0, 255): "magenta", (255, 255, 255): "white",
    (0, 0, 0): "black", (128, 128, 128): "gray",
}  # fmt: skip


@dataclass(frozen=True)
class Mask:
    """What one file holds, as a label map.

    Attributes:
        counts: value -> pixels.
        colors: color -> pixels of a colored one, whose ``counts`` are empty.
        palette: value -> color, where the file has one.
        lossy: whether the format changes values when saved.
        trouble: why it is no label map, without numbers: files with the same trouble are told together.
        detail: of this file.
    """

    counts: Mapping[int, int] = field(default_factory=dict)
    colors: Mapping[Color, int] = field(default_factory=dict)
    palette: Mapping[int, Color] = field(default_factory=dict)
    lossy: bool = False
    trouble: str = ""
    detail: str = ""

    @property
    def values(self) -> frozenset[int]:
        """The values of a gray one."""
        return frozenset(self.counts)


def settle_masks(masks: Mapping[str, Mask], draft: Draft, most_classes: int) -> dict[str, frozenset[int]]:
    """Shown path -> values of each usable mask, once they are recoded as ``draft.recode`` says.

    Args:
        masks: shown path -> mask.
        draft: gets the decision, names of colors, and one notice for each kind of trouble.
        most_classes: more are refused, unless ``draft.label_names`` has a name for each.

    Raises:
        DataError: no mask is usable, more classes than asked for, or colors and lossy files that are none.
    """
    usable = {name: mask for name, mask in masks.items() if not mask.trouble}
    _tell_troubles(masks, draft, none_left=not usable)
    if not usable:
        return {}
    if any(mask.colors for mask in usable.values()):
        return _colored(usable, draft, most_classes)
    together: Counter[int] = Counter()
    for mask in usable.values():
        together.update(mask.counts)
    lossy = [name for name, mask in usable.items() if mask.lossy]
    if two_ends(together, lossy=bool(lossy)):
        draft.recode = Recode(threshold=_THRESHOLD)
        draft.decisions.append(
            f"masks hold {len(together)} gray values, nearly all next to 0 or 255: black and white that was "
            f"blurred by saving; {_THRESHOLD} and more is the class"
        )
        return {
            name: frozenset(int(value >= _THRESHOLD) for value in mask.values)
            for name, mask in usable.items()
        }
    if lossy and not _is_plain(usable[lossy[0]].values):
        raise DataError(
            f"{len(lossy)} masks are lossy pictures ({some(lossy, 3)}) with {len(together)} gray values, "
            "which are not black and white",
            hint="saving as JPEG changed the class numbers: export the masks again as PNG",
            code="LOSSY_LABELS",
        )
    _require_few(set(together), draft, most_classes)
    draft.palette = next((_used(mask) for mask in usable.values() if mask.palette), {})
    return {name: mask.values for name, mask in usable.items()}


def _used(mask: Mask) -> dict[int, Color]:
    """The colors of a palette that is more than gray values by another name."""
    used = {value: color for value, color in mask.palette.items() if value in mask.counts or value < 32}
    return {} if all(color == (v, v, v) for v, color in used.items()) else used


def _is_plain(values: frozenset[int]) -> bool:
    return values <= {0, 255} or values <= {0, 1}


def _require_few(values: set[int], draft: Draft, most_classes: int) -> None:
    found = values - {0}
    if len(found) <= most_classes or found <= set(draft.label_names):
        return
    shown = some([str(value) for value in sorted(found)], 8)
    raise DataError(
        f"the masks hold {len(found)} values beside 0 ({shown}): too many to be taken for classes unasked",
        hint=f"if they are classes, say --max-classes {len(found)}; if not, export one number per class",
        code="MANY_CLASSES",
        details={"values": sorted(found)[:500]},
    )


def _tell_troubles(masks: Mapping[str, Mask], draft: Draft, *, none_left: bool) -> None:
    kinds: dict[str, list[str]] = defaultdict(list)
    for name, mask in masks.items():
        if mask.trouble:
            kinds[mask.trouble].append(name)
    told = [
        f"{len(names)} files named like masks ({some(names, 3)}): {kind}{masks[names[0]].detail}"
        for kind, names in kinds.items()
    ]
    if none_left and told:
        raise DataError(
            f"none of the {len(masks)} masks can be used; {'; '.join(told)}",
            hint="export masks as whole numbers, one per class; without masks, give the scans alone",
            code="NO_USABLE_LABELS",
        )
    draft.notices += [f"left out {text}" for text in told]


def _colored(masks: Mapping[str, Mask], draft: Draft, most_classes: int) -> dict[str, frozenset[int]]:
    """Colors become class numbers: black (else the most common color) is background, others by their code."""
    each = {
        name: mask.colors or {(v, v, v): n for v, n in mask.counts.items()} for name, mask in masks.items()
    }
    together: Counter[Color] = Counter()
    for found in each.values():
        together.update(found)
    colored = sum(bool(mask.colors) for mask in masks.values())
    odd = min(together)[0] < 0 or max(max(color) for color in together) > 255
    if odd or len(together) - 1 > most_classes:
        shown = ", ".join(f"{color_name(c)}: {n}" for c, n in together.most_common(5))
        raise DataError(
            f"{colored} of {len(masks)} masks are in color, with {len(together)} different colors "
            f"(pixels: {shown}, ...)",
            hint="smooth edges and JPEG make colors that are no class; export masks as PNG with one color, "
            "gray value or palette index per class",
            code="COLOR_LABELS",
        )
    background = _BLACK if _BLACK in together else together.most_common(1)[0][0]
    table = {color: number for number, color in enumerate(sorted(set(together) - {background}), start=1)}
    table[background] = 0
    draft.recode = Recode(colors=table)
    draft.palette = {number: color for color, number in table.items()}
    for color, number in table.items():
        if number:
            draft.label_names.setdefault(number, color_name(color))
    draft.decisions.append(
        f"{colored} masks are in color: {color_name(background)} is background, "
        + ", ".join(f"{color_name(color)} = {number}" for color, number in table.items() if number)
    )
    return {name: frozenset(table[color] for color in found) for name, found in each.items()}


def color_name(color: Color) -> str:
    """``red``, or ``#1f77b4``."""
    return _COLOR_NAMES.get(color, "#{:02x}{:02x}{:02x}".format(*color))
