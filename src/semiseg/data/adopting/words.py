"""The words people use in the names of scans, masks, folders and sequences."""

from __future__ import annotations

import re
from dataclasses import dataclass

_LABEL = """
    label labels lbl labeltr labelstr labelsts labelsva seg segs segm segmentation segmentations mask masks
    msk gt groundtruth truth annotation annotations annot manual contour contours dseg roi laendo
"""
_IMAGE = """
    image images img imgs imaging scan scans volume volumes vol vols imagestr imagests imagesva imagesun
    lgemri orig original
"""
_TRAIN = "train training trainset imagestr labelstr labeled labelled data database"

LABEL_WORDS = frozenset(_LABEL.split())
IMAGE_WORDS = frozenset(_IMAGE.split())
TEST_WORDS = frozenset(["test", "tests", "testing", "testset", "imagests", "labelsts"])
VAL_WORDS = frozenset(["val", "valid", "validation", "validate", "imagesva", "labelsva"])
UNLABELED_WORDS = frozenset(["unlabeled", "unlabelled", "imagesun", "unannotated", "nolabel", "nolabels"])
TRAIN_WORDS = frozenset(_TRAIN.split())

MODALITIES = {
    "ct": "CT", "t1": "T1", "t1w": "T1", "t1n": "T1", "t1c": "T1c", "t1ce": "T1c", "t1gd": "T1c", "t2": "T2",
    "t2w": "T2", "t2f": "FLAIR", "flair": "FLAIR", "pd": "PD", "pdw": "PD", "dwi": "DWI", "adc": "ADC",
    "swi": "SWI", "pet": "PET", "pt": "PET", "suv": "PET", "mr": "MRI", "mri": "MRI",
}  # fmt: skip
"""Words that name a sequence or modality -> channel name, in the order channels get."""

_WORD = re.compile(r"[A-Za-z0-9]+")


def words(text: str) -> list[str]:
    """The letters-and-digits words of a name, lower case."""
    return [word.lower() for word in _WORD.findall(text)]


def plain_word(word: str) -> str:
    """A word without a number at its end, so that ``label248`` counts as ``label``."""
    return word.rstrip("0123456789") or word


@dataclass(frozen=True)
class Stem:
    """A file name taken apart.

    Attributes:
        key: what is left once role and sequence words are gone; tells the case. May be empty.
        is_label: whether a word says that this is a mask.
        modality: the last word, when it names a sequence (``t1``, ``flair``), else None.
    """

    key: str
    is_label: bool
    modality: str | None


def take_apart(stem: str) -> Stem:
    """Separate case, role and sequence in a file name without its ending."""
    spans = [(match.start(), match.end(), match[0].lower()) for match in _WORD.finditer(stem)]
    said = [word for _, _, word in spans]
    is_label = any(word in LABEL_WORDS for word in said)
    kept = [span for span in spans if span[2] not in LABEL_WORDS and span[2] not in IMAGE_WORDS]
    modality = None
    if kept and kept[-1][2] in MODALITIES:
        modality = kept.pop()[2]
    key = "".join(
        (stem[kept[i - 1][1] : start][-1:] if i else "") + stem[start:end]
        for i, (start, end, _) in enumerate(kept)
    )
    return Stem(key, is_label, modality)


def folder_role(name: str) -> str | None:
    """``label`` or ``image`` when a folder's last word says so (``manual_masks``, ``imagesTr``)."""
    said = [plain_word(word) for word in words(name)]
    if not said:
        return None
    if said[-1] in LABEL_WORDS or said[0] in LABEL_WORDS:
        return "label"
    return "image" if said[-1] in IMAGE_WORDS or said[0] in IMAGE_WORDS else None


def folder_part(name: str) -> str | None:
    """``test``, ``val``, ``unlabeled`` or ``train`` when a word of a folder's name says so."""
    said = set(words(name))
    for part, known in (
        ("test", TEST_WORDS),
        ("val", VAL_WORDS),
        ("unlabeled", UNLABELED_WORDS),
        ("train", TRAIN_WORDS),
    ):
        if said & known:
            return part
    return None


def clean_id(text: str) -> str:
    """A case id that is a safe file name everywhere."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("._-") or "case"
