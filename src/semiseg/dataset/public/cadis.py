"""CaDIS, frames of cataract surgery: three tasks on the same frames, no background, split by video."""

from __future__ import annotations

from dataclasses import replace

from semiseg.dataset.adopt.draft import Draft
from semiseg.dataset.adopt.name_lists import plain_id
from semiseg.dataset.public.base import About, Options, Tree, drafted, lists_beside, nothing_of
from semiseg.dataset.public.placing import place
from semiseg.dataset.public.published import lists
from semiseg.errors import UsageError, plural

ABOUT = About(
    name="cadis",
    title="CaDIS",
    license="see cataracts.grand-challenge.org; cite the reference",
    reference="Grammatikopoulou et al., Medical Image Analysis 2021",
    download="CaDIS challenge: segmentation/Video01 to Video25",
    size="4670 frames of 25 videos",
    split="official",
    tasks={
        "1": "8 classes: anatomy and one class of instruments",
        "2": "17 classes: anatomy, instruments by kind (usual)",
        "3": "25 classes: anatomy, instruments and their handles",
        "all": "a dataset of each, with the same frames on disk",
    },
    options={
        "clean": "leave out the 179 frames that were found to be mislabeled",
        "relabeled": "take the 40 corrected labels of the folder relabelled of RViMLab's repository",
    },
)
_ANATOMY = ("pupil", "surgical tape", "hand", "eye retractors", "iris", "skin", "cornea")
_TOOLS = (
    *("hydrodissection cannula", "viscoelastic cannula", "capsulorhexis cystotome", "Rycroft cannula"),
    *("Bonn forceps", "primary knife", "phacoemulsifier handpiece", "lens injector", "I/A handpiece"),
    *("secondary knife", "micromanipulator", "I/A handpiece handle", "capsulorhexis forceps"),
    *("Rycroft cannula handle", "phacoemulsifier handpiece handle", "cystotome handle"),
    *("secondary knife handle", "lens injector handle"),
)
"""Values 7 to 24."""
_KINDS = {
    "cannula": (7, 8, 10, 20, 27, 32), "cystotome": (9, 22), "tissue forceps": (11, 33),
    "primary knife": (12, 28), "phacoemulsifier handpiece": (13, 21), "lens injector": (14, 24),
    "I/A handpiece": (15, 18), "secondary knife": (16, 23), "micromanipulator": (17,),
    "capsulorhexis forceps": (19,),
}  # fmt: skip
_LAST, _VOID = 35, 255


def matches(tree: Tree) -> bool:
    """``Video01/Images/Video1_frame000090.png`` and the same below ``Labels``."""
    return tree.has(r"Video\d+/Labels/Video\d+_frame\d+\.png")


def classes(task: str) -> tuple[dict[str, int], dict[int, int]]:
    """The names of a task with their values, and the values in files that become others."""
    names = {name: value for value, name in enumerate(_ANATOMY)}
    if task == "1":
        grouped = {"instrument": tuple(range(7, _LAST + 1))}
    elif task == "2":
        grouped = _KINDS
    else:
        grouped = {name: (value,) for value, name in enumerate(_TOOLS, start=7)}
    label_map: dict[int, int] = {}
    for name, values in grouped.items():
        names[name] = len(names)
        label_map |= {value: names[name] for value in values if value != names[name]}
    named = {value for values in grouped.values() for value in values} | set(range(7))
    ignored = [value for value in (*range(_LAST + 1), _VOID) if value not in named]
    names["ignore"] = len(names)
    return names, label_map | {value: names["ignore"] for value in ignored if value != names["ignore"]}


def draft(tree: Tree, options: Options) -> Draft:
    """RGB frames of one task; the pupil has value 0 and is a class like the others."""
    labels = {
        (int(match[1]), int(match[2])): path
        for match, path in tree.once(r"Video\d+/Labels/Video(\d+)_frame(\d+)\.png")
    }
    corrected = {
        (int(match[1]), int(match[2])): path
        for match, path in tree.once(r"relabelled/Video(\d+)_frame(\d+)\.png")
    }
    if "relabeled" in options.words:
        labels |= _required(corrected)
    items = []
    for match, path in tree.once(r"Video\d+/Images/Video(\d+)_frame(\d+)\.png"):
        video, label = f"Video{int(match[1]):02d}", labels.get((int(match[1]), int(match[2])))
        items.append(tree.case(f"{video}_frame{int(match[2]):06d}", path, label, group=video))
    if not items:
        raise nothing_of(ABOUT, tree, ("Video01/Images/Video1_frame000090.png",))
    task = options.task or "2"
    names, label_map = classes(task)
    new = {f"video{video:02d}_frame{frame:06d}" for video, frame in corrected}
    done = new if "relabeled" in options.words else set()
    flagged = [
        {_case(each).lower() for each in lists("cadis")[name].ids} for name in ("mislabeled", "doubtful")
    ]
    found, doubtful = ([item for item in items if item.id.lower() in ids - done] for ids in flagged)
    if "clean" in options.words:
        items = [item for item in items if item not in found]
    made = drafted(
        ABOUT, items, ["R", "G", "B"], names, form="raw", label_map=label_map, background=None, task=task
    )
    made.colors, made.group_rule = True, r"(Video\d+)"
    made.decisions.append(
        f"task {task}: {len(names) - 1} classes, no background; frames of a video stay together"
    )
    if found and "clean" in options.words:
        made.decisions.append(f"left out {plural(len(found), 'mislabeled frame')}, as asked")
    elif found:
        made.notices.append(
            f"mislabeled, as is known: {plural(len(found), 'frame')}; --with clean leaves them out"
        )
    if doubtful:
        made.notices.append(
            f"flagged as doubtful by RViMLab and kept: labels of {plural(len(doubtful), 'frame')}"
        )
    if done:
        made.decisions.append(f"{plural(len(done), 'label')} of the folder relabelled taken, as asked")
    elif new:
        left = plural(len(new), "label")
        made.notices.append(f"left out {left} of the folder relabelled; --with relabeled takes them")
    place(made, ABOUT, replace(options, task=task), lists=lists_beside(tree), case_of=_case)
    return made


def _required(corrected: dict[tuple[int, int], str]) -> dict[tuple[int, int], str]:
    if not corrected:
        raise UsageError(
            "--with relabeled wants a folder relabelled, with Video8_frame007860.png and others",
            hint="copy it from RViMLab's MICCAI2021_Cataract_semantic_segmentation to beside segmentation",
            code="NO_SOURCE",
        )
    return corrected


def _case(listed: str) -> str:
    """``Video2_frame001630`` as ``Video02_frame001630``."""
    video, _, frame = plain_id(listed).partition("_frame")
    number = video.lower().removeprefix("video")
    return f"Video{int(number):02d}_frame{frame}" if number.isdigit() and frame else listed
