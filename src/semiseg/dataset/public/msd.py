"""Medical Segmentation Decathlon: its dataset.json says nearly all; 4D images are split into channels."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from semiseg.dataset.adopt.decathlon import draft_decathlon, read_lists
from semiseg.dataset.adopt.draft import Asked, Draft, classes
from semiseg.dataset.public.base import About, Options, Tree, nothing_of
from semiseg.dataset.public.placing import place
from semiseg.errors import UsageError, plural

ABOUT = About(
    name="msd",
    title="Medical Segmentation Decathlon",
    license="CC BY-SA 4.0; cite the reference",
    reference="Antonelli et al., Nature Communications 2022",
    download="Task01_BrainTumour to Task10_Colon",
    size="ten tasks, 30 to 750 scans each",
    tasks={
        **{
            "Task01": "brain tumor (FLAIR, T1, T1c, T2)",
            "Task02": "left atrium",
            "Task03": "liver and tumor",
        },
        **{"Task04": "hippocampus", "Task05": "prostate (T2, ADC)", "Task06": "lung tumor"},
        **{"Task07": "pancreas and tumor", "Task08": "hepatic vessels and tumor", "Task09": "spleen"},
        "Task10": "colon cancer",
    },
)
_OVERLAPS = {
    "Task01": "BraTS 2016 and 2017", "Task03": "LiTS", "Task05": "other prostate sets of its center",
    "Task08": "Task03 and LiTS",
}  # fmt: skip
"""Public sets that may hold the same patients."""


def matches(tree: Tree) -> bool:
    """``Task04_Hippocampus/dataset.json`` with ``imagesTr`` beside it."""
    return tree.has(r"Task\d\d_\w+/(dataset\.json|imagesTr/[^/]+)") or (
        tree.root.resolve().name[:6] in ABOUT.tasks and "dataset.json" in tree.files
    )


def draft(tree: Tree, options: Options) -> Draft:
    """One task, with the names of its dataset.json; ``imagesTs`` are scans whose labels are not public."""
    name, content, base = _task(tree, options)
    root = tree.files[f"{base}dataset.json"].parent
    made, values = draft_decathlon(root, content, options.workers, Asked())
    labels, label_map = classes(values.values(), made.label_names, made)
    made.said = {
        "name": str(content.get("name") or name),
        "channel_names": {str(index): channel for index, channel in enumerate(made.channel_names)},
        "labels": labels,
        **({"label_map": {str(old): new for old, new in label_map.items()}} if label_map else {}),
        "licence": str(content.get("licence") or ABOUT.license),
        "reference": str(content.get("reference") or ABOUT.reference),
        "source": {"adapter": ABOUT.name, "version": 1, "form": "raw", "geometry": "file", "task": name},
    }
    made.decisions.append(f"{ABOUT.title}, {name}: {plural(len(made.items), 'case')} found")
    tests = [item for item in made.items if item.part == "test" and item.label is None]
    for item in tests:
        item.part = "unlabeled" if options.extra == "unlabeled" else "test"
    if tests and options.extra != "unlabeled":
        made.notices.append(
            f"{plural(len(tests), 'scan')} of imagesTs without a public label; --extra unlabeled learns from "
            "them"
        )
    if name in _OVERLAPS:
        made.notices.append(f"{name} may share patients with {_OVERLAPS[name]}: do not test one on the other")
    place(made, ABOUT, options, lists={})
    return made


def _task(tree: Tree, options: Options) -> tuple[str, dict[str, Any], str]:
    found: dict[str, tuple[dict[str, Any], str]] = {}
    for _, path in tree.find(r"dataset\.json"):
        content = read_lists(tree.files[path].parent)
        folder = PurePosixPath(path).parent.name or tree.root.resolve().name
        if content is not None:
            found[folder[:6] if folder[:6] in ABOUT.tasks else folder] = (
                content,
                path[: -len("dataset.json")],
            )
    if not found:
        raise nothing_of(ABOUT, tree, ("dataset.json with a list of training cases",))
    if len(found) > 1 and not options.task:
        raise UsageError(
            f"{len(found)} tasks in one folder", hint=f"add --task {' or '.join(sorted(found))}", code="TASK"
        )
    name = options.task or next(iter(found))
    if name not in found:
        raise UsageError(
            f"no {name} in {tree.root}", hint=f"available: {', '.join(sorted(found))}", code="TASK"
        )
    return name, *found[name]
