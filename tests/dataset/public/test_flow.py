"""Every public data set from its download to a score: convert, check, train, predict, evaluate."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests import lookalikes
from tests.dataset.public.test_convert import LOOKS

import semiseg
from semiseg.dataset.case import LabeledCase
from semiseg.dataset.check import check
from semiseg.dataset.public.convert import convert
from semiseg.settings.resolve import resolve

RECIPES = {
    "la": "la", "acdc": "acdc", "brats2019": "brats2019", "pancreas-ct": "pancreas",
    "promise12": "promise12", "isles2022": "isles2022",
}  # fmt: skip
QUICK = {"promise12", "kvasir", "la_h5"}
"""Those that every run of the suite goes through: a 2D recipe, pictures, and a 3D recipe on arrays."""
SMALL: dict[str, Any] = {
    "batch.labeled": 1,
    "batch.unlabeled": 1,
    "validation.every": None,
    "train.precision": "32",
    "train.log_every": 1,
}
FLAT = {"acdc", "promise12", "kvasir", "isic", "cadis"}
OWN = {"la_h5", "acdc_h5", "brats_h5", "pancreas_h5"}
"""Those that are trained with the recipe's own network; the others with a small one."""
PAIRS = {"acdc", "cadis"}
"""Two cases are of one patient or video, who is labeled or not as a whole."""
SPLITS = {"kvasir": "random", "isles2022": "random", "lits": "none", "kits19": "none"}
"""Where no list is published, or the few cases of the look-alike fill none of its parts."""


def looks() -> list[Any]:
    marks = {True: (), False: (pytest.mark.slow,)}
    return [pytest.param(look, marks=marks[look in QUICK], id=look) for look in LOOKS]


def flow(
    tmp_path: Path, name: str, source: Path, patch: int = 8, network: str | None = "unet", **options: Any
) -> float:
    """Dice of five iterations on the test cases, or on all labeled ones where the test has no labels."""
    made = convert(name, source, tmp_path / "data", allow_missing=True, **options)
    assert check(made.folder).errors == []
    recipe = RECIPES.get(name, "default")
    flat = name in FLAT
    deep = patch if network else 2 * patch  # a batch of one needs two voxels in the deepest map
    settings = SMALL | {"plan.features": [4, 8]} if network else dict(SMALL)
    settings |= {"plan.patch": [2 * patch] * 2 if flat else [patch, patch, deep], "inference.stride": None}
    if flat:
        settings["inference.slice_size"] = None
    if recipe == "default":
        settings |= {"plan.dim": 2 if flat else 3}
    run = semiseg.train(
        made.folder, recipe=recipe, method=None if recipe != "default" else "mean_teacher", network=network,
        labeled=2 if name in PAIRS else 1, iterations=5,
        run=tmp_path / "run", settings=settings, device="cpu", workers=0,
    )  # fmt: skip
    assert run.finished
    assert (run.config.recipe, run.config.method.name) == (recipe, "mean_teacher")
    assert run.config.network.name == (network or resolve(recipe=recipe, environment={}).network.name)
    held = semiseg.Dataset.open(made.folder)
    cases = [c for c in held.test if isinstance(c, LabeledCase)] or list(held.annotated)
    scans, truth = tmp_path / "scans", tmp_path / "truth"
    for case in cases:
        for path in case.images:
            scans.mkdir(exist_ok=True)
            shutil.copyfile(path, scans / path.name)
        truth.mkdir(exist_ok=True)
        shutil.copyfile(case.label, truth / case.label.name)
    report = semiseg.predict(scans, tmp_path / "maps", run.folder, device="cpu", workers=0)
    assert not report.failed
    assert len(report.done) == len(cases)
    scores = semiseg.evaluate(truth, tmp_path / "maps", dataset=made.folder)
    return scores.mean("Dice")


@pytest.mark.parametrize("look", looks())
def test_from_the_download_to_a_score(tmp_path: Path, look: str) -> None:
    name = LOOKS[look]
    source = getattr(lookalikes, look)(tmp_path / "source")
    split = {"split": SPLITS[name]} if name in SPLITS else {}
    own: dict[str, Any] = {"patch": 16, "network": None} if look in OWN else {}
    dice = flow(tmp_path, name, source, **own, **split)
    assert math.isnan(dice) or 0 <= dice <= 1


def mirrored(sample: Path, place: Path, number: int) -> None:
    """A real file again, flipped along the axes of the bits of ``number``: another case for the check."""
    import h5py

    with h5py.File(sample) as file:
        axes = [axis for axis in range(3) if number >> axis & 1]
        image, label = (np.flip(file[name][()], axes) for name in ("image", "label"))
    lookalikes.save_h5(place, image, label)


@pytest.mark.slow
def test_a_real_file_of_the_left_atrium(tmp_path: Path, shared_data: Path) -> None:
    sample = next((shared_data / "raw-samples" / "la_h5").rglob("*.h5"))
    for number, name in enumerate(lookalikes.LA_IDS):
        mirrored(sample, tmp_path / "source" / name / sample.name, number)
    assert 0 <= flow(tmp_path, "la", tmp_path / "source", patch=64) <= 1


@pytest.mark.slow
def test_real_files_of_acdc(tmp_path: Path, shared_data: Path) -> None:
    for number, patient in enumerate(("patient001", "patient099", "patient028")):
        for sample in (shared_data / "raw-samples" / "acdc_h5").glob("*.h5"):
            mirrored(sample, tmp_path / "source" / sample.name.replace("patient001", patient), number)
    assert 0 <= flow(tmp_path, "acdc", tmp_path / "source", patch=64) <= 1
