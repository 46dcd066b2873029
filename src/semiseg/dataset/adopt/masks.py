"""What the masks of a pile mean together: class numbers, blurred black and white, or colors."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from semiseg.dataset.adopt.draft import Color, Draft, Recode
from semiseg.dataset.check.case import two_ends
from semiseg.errors import DataError, plural, some

_THRESHOLD = 128
_BLACK = (0, 0, 0)
_ONE, _WHITE = frozenset({1}), frozenset({255})
_MOST_UNJUDGED = 0.5
"""Of all voxels: more of them without a class are more likely the background, or scribbles."""
_FEWEST_SHADES = 4
"""Three values up to 255 are classes that somebody wanted to see."""
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
    if any(mask.colors for mask in usable.values()) or _palettes_disagree(list(usable.values())):
        return _colored(usable, draft, most_classes)
    together: Counter[int] = Counter()
    for mask in usable.values():
        together.update(mask.counts)
    if {mask.values - {0} for mask in usable.values() if mask.values - {0}} == {_ONE, _WHITE}:
        ones = sum(1 in mask.values for mask in usable.values())
        whites = sum(255 in mask.values for mask in usable.values())
        draft.recode = Recode(threshold=1)
        draft.decisions.append(
            f"{plural(ones, 'mask shows', 'masks show')} the class with 1 and {whites} with 255, none with "
            "both: one class"
        )
        return {name: frozenset(min(value, 1) for value in mask.values) for name, mask in usable.items()}
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
    if lossy and not any(usable[lossy[0]].values <= plain for plain in ({0, 255}, {0, 1})):
        raise DataError(
            f"{plural(len(lossy), 'mask is a lossy picture', 'masks are lossy pictures')} "
            f"({some(lossy, 3)}) with {len(together)} gray values, which are not black and white",
            hint="saving as JPEG changed the class numbers: export the masks again as PNG",
            code="LOSSY_LABELS",
        )
    _require_few(set(together), draft, most_classes)
    _tell_numberings(usable, draft)
    _tell_unjudged(together, draft)
    _tell_shades(together, draft)
    draft.palette = next((_used(mask) for mask in usable.values() if mask.palette), {})
    return {name: mask.values for name, mask in usable.items()}


def _palettes_disagree(masks: Sequence[Mask]) -> bool:
    """Whether a color has another index in another mask, so that indices are no class numbers."""
    known: dict[Color, int] = {}
    disagree = False
    for mask in masks:
        shown = [(mask.palette[value], value) for value in mask.counts if value in mask.palette]
        if len({color for color, _ in shown}) < len(shown):
            return False  # two indices that look alike differ on purpose
        disagree |= any(known.setdefault(color, value) != value for color, value in shown)
    return disagree


def _tell_numberings(masks: Mapping[str, Mask], draft: Draft) -> None:
    """A notice where masks number several classes in two ways, such as 1, 2 and 127, 254."""
    ways: dict[frozenset[int], int] = {}
    for mask in masks.values():
        values, files = mask.values - {0}, 1
        for other in [way for way in ways if way & values]:
            values, files = values | other, files + ways.pop(other)
        if values:
            ways[values] = files
    if len(ways) > 1 and all(len(values) > 1 for values in ways):
        told = " and ".join(f"{some(sorted(way))} in {n}" for way, n in ways.items())
        draft.notices.append(
            f"masks hold values that never meet in one file ({told}): if they number the same classes, "
            "export the masks again in one way"
        )


def _tell_unjudged(counts: Mapping[int, int], draft: Draft) -> None:
    """A notice where what looks like a mark of voxels to ignore fills most of the masks."""
    total = sum(counts.values())
    for value in (-1, 255):
        if (
            counts.get(value, 0) > _MOST_UNJUDGED * total
            and value not in draft.label_names
            and len(counts) > 2
        ):
            draft.notices.append(
                f"value {value} fills {counts[value] / total:.0%} of the masks: right if few voxels were "
                f"annotated; if it is the background, add --label {value}=background"
            )


def _tell_shades(counts: Mapping[int, int], draft: Draft) -> None:
    """A notice where values may be shades of one class: many, with gaps, up to 100 or 255."""
    values = sorted(set(counts) - {0} - set(draft.label_names))
    if len(values) < _FEWEST_SHADES or values[-1] not in (100, 255) or values[-1] == len(values):
        return
    shown = some(values, 8)
    draft.notices.append(
        f"masks hold {len(values)} values up to {values[-1]} ({shown}), each taken for a class: if they are "
        "probabilities or soft edges of one class, export the masks again with 0 and 1"
    )


def _used(mask: Mask) -> dict[int, Color]:
    """The colors of a palette that is more than gray values by another name."""
    used = {value: color for value, color in mask.palette.items() if value in mask.counts or value < 32}
    return {} if all(color == (v, v, v) for v, color in used.items()) else used


def _require_few(values: set[int], draft: Draft, most_classes: int) -> None:
    found = values - {0}
    if len(found) <= most_classes or found <= set(draft.label_names):
        return
    shown = some(sorted(found), 8)
    raise DataError(
        f"the masks hold {plural(len(found), 'value')} beside 0 ({shown}): too many to be classes by default",
        hint=f"if they are classes, add --max-classes {len(found)}; if not, export one number per class",
        code="MANY_CLASSES",
        details={"values": sorted(found)[:500]},
    )


def _tell_troubles(masks: Mapping[str, Mask], draft: Draft, *, none_left: bool) -> None:
    kinds: dict[str, list[str]] = defaultdict(list)
    for name, mask in masks.items():
        if mask.trouble:
            kinds[mask.trouble].append(name)
    told = [
        f"{plural(len(names), 'file')} named like masks ({some(names, 3)}): {kind}{masks[names[0]].detail}"
        for kind, names in kinds.items()
    ]
    if none_left and told:
        raise DataError(
            f"none of the {plural(len(masks), 'mask')} can be used; {'; '.join(told)}",
            hint="export masks as whole numbers, one per class; without masks, give the scans alone",
            code="NO_USABLE_LABELS",
        )
    draft.notices += [f"left out {text}" for text in told]


def _colored(masks: Mapping[str, Mask], draft: Draft, most_classes: int) -> dict[str, frozenset[int]]:
    """Colors become class numbers: black (else the most common color) is background, others by their code."""
    each = {
        name: mask.colors or {mask.palette.get(v, (v, v, v)): n for v, n in mask.counts.items()}
        for name, mask in masks.items()
    }
    together: Counter[Color] = Counter()
    for found in each.values():
        together.update(found)
    colored = sum(bool(mask.colors or mask.palette) for mask in masks.values())
    odd = min(together)[0] < 0 or max(max(color) for color in together) > 255
    if odd or len(together) - 1 > most_classes:
        shown = ", ".join(f"{color_name(c)}: {n}" for c, n in together.most_common(5))
        raise DataError(
            f"{colored} of {plural(len(masks), 'mask is', 'masks are')} in color, with {len(together)} "
            "different colors "
            f"(pixels: {shown}, ...)",
            hint="smooth edges and JPEG make colors that are not classes; export masks as PNG with one "
            "color, gray value or palette index per class",
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
        f"{plural(colored, 'mask is', 'masks are')} in color: {color_name(background)} is background, "
        + ", ".join(f"{color_name(color)} = {number}" for color, number in table.items() if number)
    )
    return {name: frozenset(table[color] for color in found) for name, found in each.items()}


def color_name(color: Color) -> str:
    """``red``, or ``#1f77b4``."""
    return _COLOR_NAMES.get(color, "#{:02x}{:02x}{:02x}".format(*color))
