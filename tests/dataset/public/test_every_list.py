"""A folder with every published case gives exactly the published split, whatever the split."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from tests import lookalikes

from semiseg.dataset.public.convert import convert
from semiseg.dataset.public.published import FOLDER, REST, lists, splits

VOXELS = np.arange(27, dtype=np.int16).reshape(3, 3, 3)


class Form(NamedTuple):
    """How the files of a data set are called, and its cases.

    Attributes:
        files: places of the files of a published name, relative to the source.
        case: the case id of a published name.
    """

    files: Callable[[str], Iterable[str]]
    case: Callable[[str], str] = str


def _frames(video: str) -> list[str]:
    name = f"Video{int(video[5:])}_frame"
    return [f"{video}/{kind}/{name}{n:06d}.png" for kind in ("Images", "Labels") for n in (10, 20)]


FORMS = {
    "la": Form(lambda name: [f"x/{name}/mri_norm2.h5"]),
    "acdc": Form(lambda name: [f"data/{name}.h5"]),
    "brats2019": Form(lambda name: [f"data/{name}.h5"]),
    "pancreas-ct": Form(lambda name: [f"h5/image{name[-4:]}_norm.h5"], lambda name: f"PANCREAS_{name[-4:]}"),
    "amos": Form(lambda name: [f"imagesTr/{name}.nii", f"labelsTr/{name}.nii"]),
    "btcv": Form(
        lambda name: [f"img/img{name[-4:]}.nii", f"label/label{name[-4:]}.nii"], lambda n: f"case{n[-4:]}"
    ),
    "promise12": Form(
        lambda name: [f"TrainingData_Part1/{name}.nii", f"TrainingData_Part1/{name}_segmentation.nii"]
    ),
    "kits19": Form(lambda name: [f"{name}/imaging.nii", f"{name}/segmentation.nii"]),
    "lits": Form(lambda name: [f"{name}.nii", f"segmentation-{name[7:]}.nii"]),
    "isic": Form(
        lambda name: [f"Training/{name}", f"Training/{name[:-4]}_segmentation.png"], lambda name: name[:-4]
    ),
}
MORE = {"promise12": [f"Case{n:02d}" for n in range(50)], "btcv": [f"{n:04d}" for n in range(1, 41)]}
ROWS = [(path.stem, name) for path in sorted(FOLDER.glob("*.json")) for name in splits(path.stem)]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a data set with every case that any list names; all files are one file on disk."""
    root = tmp_path_factory.mktemp("every")
    arrays = root / "one.h5"
    lookalikes.save_h5(arrays, VOXELS, VOXELS > 20)
    lookalikes.save_nii(root / "one.nii", VOXELS)
    lookalikes.save_picture(root / "one.png", VOXELS[0].astype(np.uint8))
    lookalikes.save_picture(root / "one.jpg", np.zeros((3, 3, 3), np.uint8))

    def make(dataset: str) -> Path:
        folder = root / dataset
        if not folder.exists():
            names = {name: None for one in lists(dataset).values() for name in one.ids}
            for name in [*names, *MORE.get(dataset, [])]:
                for place in FORMS[dataset].files(name):
                    path = folder / place.replace(".nii", ".nii.gz" if dataset != "lits" else ".nii")
                    path.parent.mkdir(parents=True, exist_ok=True)
                    if not path.exists():
                        os.link(root / f"one{path.suffixes[-1] if path.suffix != '.gz' else '.nii'}", path)
        return folder

    return make


@pytest.mark.parametrize(("dataset", "name"), [row for row in ROWS if row[0] in FORMS])
def test_each_split(sources: Callable[[str], Path], dataset: str, name: str) -> None:
    split, case = splits(dataset)[name], FORMS[dataset].case
    task = {"amos": "both"}.get(dataset)
    result = convert(
        dataset, sources(dataset), split=name, task=task, dry_run=True, allow_missing=bool(split.strangers)
    )
    if name == "pymic":  # lists of patients
        ids = [f"{patient}_frame0{k}" for patient in split.test for k in (1, 2)]
        assert result.splits["test"] == ids
        assert result.splits["order"][:2] == ["patient016_frame01", "patient016_frame02"]
        assert len(result.splits["order"]) == 140
        return
    order = [case(each) for each in split.order if each != REST and each not in split.strangers]
    found = result.splits["order"]
    assert found[: len(order)] == order
    assert len(found) == len(order) or REST in split.order
    assert result.splits.get("val", []) == [case(each) for each in split.val]
    assert result.splits.get("test", []) == [case(each) for each in split.test]
    assert result.splits["published"]["sha256"] == dict(split.sha256)
    assert "missing" not in result.splits["published"]
    assert not set(found) & {*result.splits.get("val", []), *result.splits.get("test", [])}


COUNTS = {"abd": (35, 5, 10), "transunet": (28, 0, 12), "ssl4mis": (250, 25, 60), "dhc-5": (216, 24, 120)}


def test_the_rest_is_every_other_labeled_case(sources: Callable[[str], Path]) -> None:
    result = convert("promise12", sources("promise12"), split="abd", dry_run=True)
    assert result.splits["order"] == [f"Case{n:02d}" for n in range(35)]


def test_videos_of_cadis(tmp_path: Path) -> None:
    lookalikes.save_picture(tmp_path / "one.png", np.zeros((4, 4), np.uint8))
    for name in {*lists("cadis")["train"].ids, *lists("cadis")["val"].ids, *lists("cadis")["test"].ids}:
        for place in _frames(name):
            (tmp_path / "s" / place).parent.mkdir(parents=True, exist_ok=True)
            os.link(tmp_path / "one.png", tmp_path / "s" / place)
    for name, split in splits("cadis").items():
        result = convert("cadis", tmp_path / "s", split=name, dry_run=True)
        for part in ("order", "val", "test"):
            videos = list(dict.fromkeys(id[:7] for id in result.splits[part]))
            assert videos == list(getattr(split, part))
            assert len(result.splits[part]) == 2 * len(videos)
