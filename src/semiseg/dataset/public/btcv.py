"""BTCV (Synapse), abdominal organs in CT: NIfTI as distributed, or npz and h5 as TransUNet has them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from semiseg.dataset.adopt.draft import Draft, Item
from semiseg.dataset.adopt.looks import in_order
from semiseg.dataset.adopt.name_lists import number_of
from semiseg.dataset.public.base import About, Options, Tree, drafted, lists_beside, missing_files, nothing_of
from semiseg.dataset.public.placing import place

ABOUT = About(
    name="btcv",
    title="BTCV (Synapse)",
    license="see synapse.org/Synapse:syn3193805 (copies name CC BY 4.0); cite the reference",
    reference="Landman et al., MICCAI 2015 Multi-Atlas Labeling Beyond the Cranial Vault (syn3193805)",
    download="syn3193805: RawData (Training, Testing); or train_npz and test_vol_h5 of TransUNet",
    size="30 labeled and 20 unlabeled scans",
    split="dhc",
)
_ORGANS = (
    *("spleen", "right kidney", "left kidney", "gallbladder", "esophagus", "liver", "stomach", "aorta"),
    *("inferior vena cava", "portal and splenic vein", "pancreas", "right adrenal gland"),
    "left adrenal gland",
)
_EIGHT = (*("aorta", "gallbladder", "left kidney", "right kidney", "liver", "pancreas", "spleen", "stomach"),)


def matches(tree: Tree) -> bool:
    """``img0001.nii.gz`` and ``label0001.nii.gz``, or ``case0005_slice000.npz``."""
    raw = tree.has(r"img/img\d{4}\.nii\.gz") and tree.has(r"label/label\d{4}\.nii\.gz")
    return raw or tree.has(r"case\d{4}(_slice\d{3}\.npz|\.npy\.h5)")


def draft(tree: Tree, options: Options) -> Draft:
    """Thirteen organs of the raw data set, or the eight of TransUNet's copy."""
    labels = {match[1]: path for match, path in tree.once(r"label(\d{4})\.nii\.gz")}
    items = [
        tree.case(f"case{match[1]}", path, labels.get(match[1]), extra=match[1] not in labels)
        for match, path in tree.once(r"img(\d{4})\.nii\.gz")
    ]
    if items:
        made = drafted(ABOUT, items, ["CT"], _numbered(_ORGANS), form="raw")
    else:
        items = _arrays(tree)
        if not items:
            raise nothing_of(ABOUT, tree, ("img0001.nii.gz", "case0005_slice000.npz"))
        made = drafted(ABOUT, items, ["noNorm"], _numbered(_EIGHT), form="npz-transunet", geometry="unknown")
        made.notices.append(
            "npz and h5 say no voxel size: distances are in voxels; CT is cut to -125..275 HU"
        )
    place(made, ABOUT, options, lists=lists_beside(tree), case_of=_case)
    return made


def _numbered(organs: tuple[str, ...]) -> dict[str, int]:
    return {name: value for value, name in enumerate(("background", *organs))}


def _case(listed: str) -> str:
    """``0008`` and ``img0008`` as ``case0008``."""
    return f"case{number_of(listed)}"


def _arrays(tree: Tree) -> list[Item]:
    slices: dict[str, dict[int, str]] = defaultdict(dict)
    for match, path in tree.once(r"(case\d{4})_slice(\d{3})\.npz"):
        slices[match[1].lower()][int(match[2])] = path
    torn = [name for name, numbers in slices.items() if not in_order(numbers)]
    if torn:
        raise missing_files(ABOUT, "volumes without all of their slices", torn)
    items = []
    for name, numbers in slices.items():
        paths = tuple(tree.files[numbers[k]] for k in sorted(numbers))
        source = replace(tree.source(numbers[min(numbers)]), slices=paths)
        items.append(Item(name, "train", (source,), source))
    for match, path in tree.once(r"(case\d{4})\.npy\.h5"):
        if match[1].lower() not in slices:
            items.append(tree.case(match[1].lower(), path, path))
    return items
