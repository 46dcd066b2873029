"""ACDC, cine MRI of the heart: NIfTI as distributed, or h5 volumes and slices as SSL4MIS has them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from semiseg.dataset.adopt.draft import Draft, Item, Source, notice
from semiseg.dataset.adopt.looks import in_order, look
from semiseg.dataset.public.base import About, Options, Tree, drafted, lists_beside, nothing_of
from semiseg.dataset.public.placing import place
from semiseg.errors import DataError, plural, some

ABOUT = About(
    name="acdc",
    title="ACDC",
    license="see creatis.insa-lyon.fr/Challenge/acdc (a copy names CC BY-NC-SA 4.0); cite the reference",
    reference="Bernard et al., IEEE TMI 2018",
    download="ACDC challenge: database/training and database/testing; or ACDC (h5) of SSL4MIS",
    size="100 + 50 patients, two phases each",
    split="ssl4mis",
    options={"cine": "the other phases of training patients as unlabeled scans (raw form)"},
)
LABELS = {"background": 0, "right ventricle": 1, "myocardium": 2, "left ventricle": 3}
_CASE = r"(patient\d{3})_frame(\d+)"


def matches(tree: Tree) -> bool:
    """``patient001/patient001_frame01_gt.nii.gz`` with an ``Info.cfg``, or ``patient001_frame01.h5``."""
    raw = tree.has(rf"{_CASE}_gt\.nii(\.gz)?") and tree.has(r"Info\.cfg")
    return raw or tree.has(rf"{_CASE}(_slice_\d+)?\.h5")


def draft(tree: Tree, options: Options) -> Draft:
    """End diastole is ``frame01`` and end systole ``frame02``, so that published lists apply."""
    raw = _raw(tree, options)
    if raw:
        made = drafted(ABOUT, raw, ["MRI"], LABELS, form="raw")
        made.decisions.append("phases are told by Info.cfg: frame01 is end diastole, frame02 end systole")
        if "cine" not in options.words:
            cines = sum(1 for _ in tree.find(r"patient\d{3}_4d\.nii(\.gz)?"))
            left = plural(cines, "4D file")
            made.notices.append(f"left out {left}; --with cine makes their phases unlabeled scans")
    else:
        items, notices = _h5(tree)
        if not items:
            raise nothing_of(ABOUT, tree, ("patient001_frame01_gt.nii.gz", "patient001_frame01.h5"))
        made = drafted(ABOUT, items, ["noNorm"], LABELS, form="h5-ssl4mis", geometry="unknown")
        made.notices += notices
        made.notices.append("h5 says no voxel size: distances are in voxels (evaluate --convention ssl4mis)")
    made.group_rule = r"(patient\d+)"
    place(made, ABOUT, options, lists=lists_beside(tree))
    return made


def _raw(tree: Tree, options: Options) -> list[Item]:
    items = []
    phases = {path.rpartition("/")[0]: _info(tree, path) for _, path in tree.find(r"Info\.cfg")}
    for match, path in tree.once(rf"{_CASE}_gt\.nii(?:\.gz)?"):
        folder, frame = path.rpartition("/")[0], int(match[2])
        image = path.replace("_gt.", ".")
        if image not in tree.files:
            raise DataError(
                f"no scan {image} beside its label", hint="unpack the archive again", code="MISSING_FILE"
            )
        info = phases.get(folder, {})
        number = {info.get("ED"): "01", info.get("ES"): "02"}.get(str(frame))
        if number is None:
            raise DataError(
                f"{folder}/Info.cfg does not say whether frame {frame} is end diastole or end systole "
                f"(ED {info.get('ED', 'absent')}, ES {info.get('ES', 'absent')})",
                hint="the frame numbers do not say which; get Info.cfg of the release",
                code="INFO_CFG",
            )
        told = {"phase": "ED" if number == "01" else "ES", "frame": frame, "group": info.get("Group", "")}
        items.append(
            Item(
                f"{match[1].lower()}_frame{number}",
                "train",
                (tree.source(image),),
                tree.source(path),
                group=match[1].lower(),
                extra="testing" in folder.lower().split("/"),
                info=told,
            )
        )
    if "cine" in options.words:
        items += _cine(tree, phases)
    return items


def _info(tree: Tree, path: str) -> dict[str, str]:
    lines = tree.files[path].read_text(encoding="utf-8", errors="replace").splitlines()
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines) if key}


def _cine(tree: Tree, phases: dict[str, dict[str, str]]) -> list[Item]:
    items = []
    for match, path in tree.once(r"(patient\d{3})_4d\.nii(?:\.gz)?"):
        folder = path.rpartition("/")[0]
        info, source = phases.get(folder, {}), tree.source(path)
        for frame in range(look(source).frames):
            if str(frame + 1) not in (info.get("ED"), info.get("ES")):
                images = (replace(source, frame=frame),)
                name = f"{match[1].lower()}_cine{frame + 1:02d}"
                extra = "testing" in folder.lower().split("/")
                items.append(Item(name, "unlabeled", images, group=match[1].lower(), extra=extra))
    return items


def _h5(tree: Tree) -> tuple[list[Item], list[str]]:
    """Volumes where they are whole; else slices, put together by their numbers."""
    whole: dict[str, Source] = {}
    slices: dict[str, dict[int, str]] = defaultdict(dict)
    for match, path in tree.once(rf"{_CASE}\.h5"):
        whole[f"{match[1]}_frame{match[2]}".lower()] = tree.source(path)
    for match, path in tree.once(rf"{_CASE}_slice_(\d+)\.h5"):
        slices[f"{match[1]}_frame{match[2]}".lower()][int(match[3])] = path
    notices: list[str] = []
    torn: list[str] = []
    _as_phases(whole, slices, notices)
    only = {name: numbers for name, numbers in slices.items() if name not in whole}
    for name, numbers in only.items():
        if in_order(numbers):
            ordered = [tree.source(numbers[k]) for k in sorted(numbers)]
            whole[name] = replace(ordered[0], slices=tuple(source.path for source in ordered))
        else:
            torn.append(name)
    notices += notice("left out {} of which slices are missing", torn, "volume")
    if len(only) > len(torn):
        notices.append(f"put together from slices: {plural(len(only) - len(torn), 'volume')}")
    items = [
        Item(name, "train", (source,), source, group=name.partition("_")[0])
        for name, source in sorted(whole.items())
    ]
    return items, notices


def _as_phases(whole: dict[str, Source], slices: dict[str, dict[int, str]], notices: list[str]) -> None:
    """Call end systole ``frame02`` where copies keep the numbers of frames in the cine.

    End diastole is the first frame of all patients of the release but one, whose files say which is which
    only in ``Info.cfg``.
    """
    frames: dict[str, set[str]] = defaultdict(set)
    for name in {*whole, *slices}:
        patient, _, frame = name.partition("_frame")
        frames[patient].add(frame)
    renamed = 0
    for patient, numbers in frames.items():
        other = numbers - {"01"}
        if "01" in numbers and len(other) == 1 and other != {"02"}:
            (old,) = other
            was, now = f"{patient}_frame{old}", f"{patient}_frame02"
            if was in whole:
                whole[now] = whole.pop(was)
            if was in slices:
                slices[now] = slices.pop(was)
            renamed += 1
    unclear = sorted(
        patient for patient, numbers in frames.items() if len(numbers) == 2 and "01" not in numbers
    )
    if renamed:
        notices.append(
            f"frames of {plural(renamed, 'patient')} have their numbers in the cine: the one that is "
            "not 01 is frame02"
        )
    if unclear:
        notices.append(
            f"frames of {some(unclear)}: no number says which is end diastole, but Info.cfg of the release; "
            "name them frame01 and frame02"
        )
