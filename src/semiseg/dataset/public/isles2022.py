"""ISLES 2022, infarcts in DWI, ADC and FLAIR: the three BIDS-like layouts that go round, or h5."""

from __future__ import annotations

from collections import defaultdict

from semiseg.dataset.adopt.draft import Draft, Item, Source
from semiseg.dataset.adopt.grids import Resampled
from semiseg.dataset.adopt.looks import in_threads, look, look_for_labels
from semiseg.dataset.public.base import About, Options, Tree, drafted, lists_beside, missing_files, nothing_of
from semiseg.dataset.public.placing import place
from semiseg.errors import DataError, UsageError, plural

ABOUT = About(
    name="isles2022",
    title="ISLES 2022",
    license="see isles22.grand-challenge.org; copies name CC BY 4.0; cite the reference",
    reference="Hernandez Petzsche et al., Scientific Data 2022",
    download="ISLES-2022 (rawdata and derivatives)",
    size="250 cases",
    channels=("DWI", "ADC", "FLAIR"),
)
_CASE = r"(sub-strokecase\d{4})"
_NII = r"\.nii(?:\.gz)?"


def matches(tree: Tree) -> bool:
    """``sub-strokecase0001_ses-0001_msk.nii.gz``, or an h5 file of the case."""
    return tree.has(rf"{_CASE}[^/]*_msk{_NII}") or tree.has(rf"{_CASE}[^/]*\.h5")


def draft(tree: Tree, options: Options) -> Draft:
    """On the grid of DWI, which is also the mask's; FLAIR lies on its own and is resampled by its header."""
    channels = options.channels or ("DWI",)
    items, form = _raw(tree, channels), "raw"
    if not items:
        items, form = _h5(tree), "h5"
        if not items:
            raise nothing_of(ABOUT, tree, ("sub-strokecase0001_..._msk.nii.gz",))
        if channels != ("DWI",):
            raise UsageError("the h5 files hold DWI alone", hint="take the raw data set", code="CHANNELS")
    names = channels if form == "raw" else ("noNorm",)
    geometry = "file" if form == "raw" else "unknown"
    made = drafted(ABOUT, items, names, {"background": 0, "infarct": 1}, form=form, geometry=geometry)
    empty = _empty(items, options.workers)
    if empty:
        made.notices.append(
            f"{plural(empty, 'mask is', 'masks are')} empty: a stroke without a visible infarct, not a "
            "mistake"
        )
    if "FLAIR" in channels and channels != ("FLAIR",):
        made.decisions.append(
            "FLAIR is resampled onto the grid of DWI by the headers (linear); it is not registered"
        )
    pictures = sum(1 for _ in tree.find(r"[^/]*_snp\.png"))
    if pictures:
        made.notices.append(f"left out {plural(pictures, 'preview')} (_snp.png)")
    made.notices.append("no split is published (DyCON's is not); --split random draws one and writes it down")
    place(made, ABOUT, options, lists=lists_beside(tree))
    return made


def _raw(tree: Tree, channels: tuple[str, ...]) -> list[Item]:
    files: dict[str, dict[str, str]] = defaultdict(dict)
    for match, path in tree.once(rf"{_CASE}[^/]*_(dwi|adc|flair|msk){_NII}"):
        files[match[1].lower()][match[2].lower()] = path
    wanted = {*(name.lower() for name in channels), "dwi"}
    lacking = [f"{name} ({word})" for name, found in files.items() for word in wanted - set(found)]
    if lacking:
        raise missing_files(ABOUT, "scans without a channel", lacking)
    items = []
    for name, found in sorted(files.items()):
        images = tuple(_channel(tree, found, channel) for channel in channels)
        label = tree.source(found["msk"]) if "msk" in found else None
        items.append(Item(name, "train" if label else "unlabeled", images, label))
    return items


def _channel(tree: Tree, found: dict[str, str], channel: str) -> Source:
    source = tree.source(found[channel.lower()])
    if channel != "FLAIR":
        return source
    grid = look(tree.source(found["dwi"])).grid
    if grid is None:
        raise DataError(f"{found['dwi']} cannot be read", hint="unpack it again", code="UNREADABLE")
    return tree.source(found["flair"], Resampled(grid))


def _h5(tree: Tree) -> list[Item]:
    return [tree.case(match[1].lower(), path, path) for match, path in tree.once(rf"{_CASE}[^/]*\.h5")]


def _empty(items: list[Item], workers: int | None) -> int:
    masks = in_threads(look_for_labels, [item.label for item in items if item.label], workers)
    return sum(not (mask.values - {0}) and not mask.trouble for mask in masks)
