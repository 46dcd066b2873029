"""NIH Pancreas-CT: DICOM with labels that lie on another grid as distributed, or h5 of three repositories."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from semiseg.dataset.adopt.draft import Draft, Item, Source, notice
from semiseg.dataset.adopt.grids import Sized, around
from semiseg.dataset.adopt.name_lists import number_of
from semiseg.dataset.public.base import About, Options, Tree, drafted, lists_beside, nothing_of
from semiseg.dataset.public.label_flips import FLIPS, Laid, lay, overlay
from semiseg.dataset.public.placing import place
from semiseg.errors import DataError, UsageError, plural
from semiseg.images.dicom import series_in
from semiseg.machine.files import printable

ABOUT = About(
    name="pancreas-ct",
    title="NIH Pancreas-CT",
    license="see doi.org/10.7937/K9/TCIA.2016.tNB1kqBU; cite the reference",
    reference="Roth et al., TCIA 2016 (10.7937/K9/TCIA.2016.tNB1kqBU)",
    download="TCIA: Pancreas-CT and TCIA_pancreas_labels-02-05-2017; or h5 of MC-Net, CoraNet or DyCON",
    size="80 scans (82 before two were withdrawn)",
    split="mc-net",
    options={
        "flip": "how label arrays lie: auto (one way for all, told by HU), each, none, y, z, yz, x, ...",
        "roi": "1 mm voxels, cropped to the mask's box and so many mm in plane (25): uses the ground truth",
    },
)
WITHDRAWN = ("PANCREAS_0025", "PANCREAS_0070")
"""Two more crops of the scan of PANCREAS_0002, which the release of today does not have."""
REPEATED = ("PANCREAS_0002", *WITHDRAWN)
_OVERLAYS = 3
_H5 = r"(?:image(\d{4})(?:_norm)?|PANCREAS_(\d{4})|(\d{4}))\.h5"


def matches(tree: Tree) -> bool:
    """``PANCREAS_0001/.../1-001.dcm`` with ``label0001.nii.gz``, or one of the names of h5 files."""
    raw = tree.has(r"PANCREAS_\d{4}/.*\.dcm") or tree.has(r"TCIA_pancreas_labels[^/]*/.*\.nii\.gz")
    return raw or tree.has(r"(image\d{4}_norm|PANCREAS_\d{4})\.h5")


def draft(tree: Tree, options: Options) -> Draft:
    """Scans by their DICOM positions; label arrays are flipped onto them as the HU inside the mask tell."""
    labels = {match[1]: path for match, path in tree.once(r"label(\d{4})\.nii(?:\.gz)?")}
    scans = _scans(tree)
    if not scans:
        return _h5(tree, options)
    found = {number: scans[number] for number in sorted(scans) if number in labels}
    flip = options.words.get("flip", "auto") or "auto"
    if flip not in ("auto", "each", *FLIPS):
        raise UsageError(f"--with flip={flip}", hint=f"auto, each, {', '.join(FLIPS)}", code="UNKNOWN_OPTION")
    pairs = {_name(n): (source, tree.source(labels[n])) for n, source in found.items()}
    laid = lay(pairs, flip, options.workers)
    items = [_item(name, *pairs[name], laid[name], options) for name in pairs]
    items += [Item(_name(n), "unlabeled", (scans[n],)) for n in sorted(scans) if n not in labels]
    made = drafted(ABOUT, items, ["CT"], {"background": 0, "pancreas": 1}, form="raw")
    _tell(made, laid, flip, options)
    alone = [f"label{number}" for number in sorted(labels) if number not in scans]
    made.notices += notice("left out {} without a scan", alone, "label")
    for name in list(pairs)[:_OVERLAYS]:
        made.pictures[f"overlays/{name}.png"] = overlay(*pairs[name], laid[name].flips)
    _place(made, options, {})
    return made


def _item(name: str, image: Source, label: Source, laid: Laid, options: Options) -> Item:
    steps = around(laid.grid, laid.box, _margin(options)) if "roi" in options.words else ((), ())
    info = {"flip": laid.name, "hu": round(laid.mean), "hu_sd": round(laid.sd)}
    return Item(
        name,
        "train",
        (replace(image, steps=(*image.steps, *steps[0])),),
        replace(label, steps=(*label.steps, laid.step, *steps[1])),
        info=info,
    )


def _margin(options: Options) -> float:
    text = options.words["roi"] or "25"
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"--with roi={text}", hint="wanted millimeters: --with roi=25") from None


def _tell(made: Draft, laid: dict[str, Laid], flip: str, options: Options) -> None:
    kinds: dict[str, list[str]] = defaultdict(list)
    for name, one in laid.items():
        kinds[one.name].append(name)
    told = "; ".join(f"{kind} for {plural(len(names), 'scan')}" for kind, names in kinds.items())
    how = "told by the HU inside the mask" if flip in ("auto", "each") else "as asked"
    made.decisions.append(f"label arrays are flipped ({told}), {how}; their own affine is not used")
    means = sorted(one.mean for one in laid.values())
    made.decisions.append(
        f"HU inside the masks: {means[0]:.0f} to {means[-1]:.0f} on average; overlays/ shows the first scans"
    )
    if "roi" in options.words:
        made.said["source"]["roi_mm"] = _margin(options)
        made.notices.append(
            f"cropped around the ground truth ({_margin(options):g} mm in plane), as published: a deviation"
        )


def _place(made: Draft, options: Options, lists: dict[str, Path]) -> None:
    gone = [name for name in WITHDRAWN if name not in {item.id for item in made.items}]
    repeated = "_".join(REPEATED)
    made.items = [replace(item, group=repeated) if item.id in REPEATED else item for item in made.items]
    place(made, ABOUT, options, lists=lists, case_of=_case, withdrawn=gone)
    if len(gone) < len(WITHDRAWN):
        made.notices.append(
            f"{' and '.join(n for n in WITHDRAWN if n not in gone)}: the scan of {REPEATED[0]} again, "
            "cropped otherwise, and withdrawn since; kept as published"
        )


def _scans(tree: Tree) -> dict[str, Source]:
    """Number -> its series; NIfTI files of the same names are taken, too."""
    files: dict[str, list[str]] = defaultdict(list)
    for match, path in tree.find(r"PANCREAS_(\d{4})/(?:.*/)?[^/]+\.dcm"):
        files[match[1]].append(path)
    scans = {}
    for number, paths in files.items():
        folder = tree.files[paths[0]].parent
        series = series_in([tree.files[path] for path in paths], folder)
        longest = max(series, key=lambda one: len(one.slices))
        shown = printable(paths[0].rpartition("/")[0])
        scans[number] = Source(folder, series=longest, shown=shown, archive=tree.archives.get(paths[0]))
    for match, path in tree.once(r"PANCREAS_(\d{4})\.nii(?:\.gz)?"):
        scans.setdefault(match[1], tree.source(path))
    return scans


def _h5(tree: Tree, options: Options) -> Draft:
    step = Sized((1.0, 1.0, 1.0))
    items = {}
    for match, path in tree.once(_H5):
        name = _name(match[1] or match[2] or match[3])
        if name in items:
            raise DataError(
                f"two h5 files of {name}", hint="keep the files of one repository", code="AMBIGUOUS_NAMES"
            )
        items[name] = tree.case(name, path, path, step)
    if not items:
        raise nothing_of(ABOUT, tree, ("PANCREAS_0001/.../1-001.dcm", "image0001_norm.h5"))
    labels = {"background": 0, "pancreas": 1}
    made = drafted(ABOUT, list(items.values()), ["noNorm"], labels, form="h5", geometry="published")
    made.decisions.append("voxels are 1 mm: published, not in the files")
    made.notices.append("the h5 files are cropped around the ground truth, windowed and z-scored")
    _place(made, options, lists_beside(tree))
    return made


def _name(number: str) -> str:
    return f"PANCREAS_{number}"


def _case(listed: str) -> str:
    """``image0057``, ``0057`` and ``PANCREAS_0057_norm`` as ``PANCREAS_0057``."""
    digits = number_of(listed)
    return _name(digits) if digits.isdigit() else listed
