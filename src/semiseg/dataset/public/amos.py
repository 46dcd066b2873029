"""AMOS 2022, abdominal organs in CT and MRI: numbers above 500 are MRI, whatever dataset.json says."""

from __future__ import annotations

from semiseg.dataset.adopt.draft import Draft, Item, Part
from semiseg.dataset.public.base import About, Options, Tree, drafted, lists_beside, nothing_of
from semiseg.dataset.public.placing import place

ABOUT = About(
    name="amos",
    title="AMOS 2022",
    license="CC BY-SA 4.0 by its dataset.json (its Zenodo page: CC BY 4.0); cite the reference",
    reference="Ji et al., NeurIPS 2022 Datasets and Benchmarks",
    download="amos22; and its unlabeled parts amos22_unlabeled_ct_5000_5399 and on",
    size="500 CT and 100 MRI scans, 2000 unlabeled CT",
    tasks={
        "ct": "CT alone (usual)",
        "mr": "MRI alone",
        "both": "CT and MRI in one channel, each scan by its own z-score (usual for the splits dhc-...)",
    },
)
_ORGANS = (
    *("spleen", "right kidney", "left kidney", "gallbladder", "esophagus", "liver", "stomach", "aorta"),
    *("postcava", "pancreas", "right adrenal gland", "left adrenal gland", "duodenum", "bladder"),
    "prostate/uterus",
)
_ALIASES = {"aorta": "arota", "postcava": "inferior vena cava", "gallbladder": "gall bladder"}
"""Class name -> what the release or others call it."""
_DAMAGED = (5437, 5514)
_PARTS: dict[str, Part] = {"tr": "train", "va": "val", "ts": "test"}


def matches(tree: Tree) -> bool:
    """``imagesTr/amos_0001.nii.gz``."""
    return tree.has(r"images(Tr|Va)/amos_\d{4}\.nii\.gz")


def draft(tree: Tree, options: Options) -> Draft:
    """One modality unless both are asked for; the unlabeled parts are unlabeled scans."""
    task = options.task or ("both" if options.split.startswith("dhc") else "ct")
    everything = _items(tree)
    if not everything:
        raise nothing_of(ABOUT, tree, ("imagesTr/amos_0001.nii.gz",))
    damaged = [item.id for item in everything if _number(item) in _DAMAGED]
    items = [item for item in everything if _fits(item, task) and item.id not in damaged]
    channel = {"ct": "CT", "mr": "MRI", "both": "CT or MRI"}[task]
    labels = {name: value for value, name in enumerate(("background", *_ORGANS))}
    made = drafted(ABOUT, items, [channel], labels, form="raw", aliases=_ALIASES)
    counts = [sum(_fits(item, each) for item in everything) for each in ("ct", "mr")]
    made.decisions.append(f"{counts[0]} CT and {counts[1]} MRI scans, told by their numbers; taken: {task}")
    if damaged:
        made.notices.append(f"left out {', '.join(damaged)}, which are damaged in the release")
    if options.split.startswith("dhc") and task != "both":
        made.notices.append(f"the lists of {options.split} mix CT and MRI: {task} alone is not that split")
    place(made, ABOUT, options, lists=lists_beside(tree))
    return made


def _items(tree: Tree) -> list[Item]:
    labels = {match[2].lower(): path for match, path in tree.once(r"labels(Tr|Va|Ts)/(amos_\d{4})\.nii\.gz")}
    items = {}
    for match, path in tree.find(r"(amos_\d{4})\.nii\.gz"):
        name, folder = match[1].lower(), path.lower().rpartition("/")[0].rpartition("/")[2]
        if not (folder.startswith("images") or "unlabeled" in folder):
            continue
        part = _PARTS.get(folder.removeprefix("images"), "unlabeled")
        items[name] = tree.case(name, path, labels.get(name))
        if items[name].label or part == "test":
            items[name].part = part
    return list(items.values())


def _number(item: Item) -> int:
    return int(item.id.removeprefix("amos_"))


def _fits(item: Item, task: str) -> bool:
    is_mr = 500 < _number(item) < 5000
    return task == "both" or is_mr == (task == "mr")
