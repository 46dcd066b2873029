"""A recipe of a published protocol and the data that it meets: what differs is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests import lookalikes
from tests.factories import make_dataset

import semiseg
from semiseg import recipes
from semiseg.dataset.dataset import Dataset
from semiseg.dataset.public.convert import convert
from semiseg.dataset.public.published import departures, lists, splits
from semiseg.preparation.prepare import with_departures
from semiseg.settings.changes import changes
from semiseg.settings.config import Config
from semiseg.settings.resolve import named_methods, resolve

PAPERS = [name for name in recipes.names() if name != "default"]


def config(recipe: str, method: str = "supervised") -> Config:
    return resolve(recipe=recipe, environment={}, flags={"method.name": method})


def test_every_paper_recipe_names_its_data() -> None:
    for name in PAPERS:
        published = config(name).published
        assert published.data
        assert published.channels
        assert published.classes
        if published.split:
            known = splits(published.data)[published.split]
            assert published.sha256 in {lists(published.data)[each].sha256 for each in known.sha256}


@pytest.mark.parametrize(
    ("look", "name", "recipe", "found"),
    [
        ("la_raw", "la", "la", ["scans are whole; the published", "split is not the published one"]),
        ("la_h5", "la", "la", ["scans are cropped around the ground truth in plane, test", "split"]),
        ("brats_raw", "brats2019", "la", ["channel FLAIR, recipe la is for LGE", "scans are whole", "split"]),
        ("brats_h5", "brats2019", "brats2019", ["split"]),
        (
            *("acdc_raw", "acdc", "pancreas"),
            ["channel MRI, recipe pancreas is for CT", "3 classes", "scans are whole", "split"],
        ),
        ("isles", "isles2022", "isles2022", []),
    ],
)
def test_what_differs(tmp_path: Path, look: str, name: str, recipe: str, found: list[str]) -> None:
    source = getattr(lookalikes, look)(tmp_path / "source")
    dataset = Dataset.open(convert(name, source, tmp_path / "out", allow_missing=True).folder)
    told = departures(dataset, recipe, config(recipe).published)
    assert len(told) == len(found)
    assert all(text.startswith(start) for text, start in zip(told, found, strict=True)), told


@pytest.mark.parametrize("prefix", ["", "LA_"])
def test_the_published_split_is_recognized_by_its_order(tmp_path: Path, prefix: str) -> None:
    folder = make_dataset(tmp_path, labeled=1, unlabeled=0, test=0)
    split = splits("la")["ua-mt"]
    for name in (*split.order, *split.test):
        part = "Tr" if name in split.order else "Ts"
        for kind, end in (("images", "_0000"), ("labels", "")):
            (folder / f"{kind}{part}" / f"{prefix}{name}{end}.nii.gz").write_bytes(b"x")
    for kind, end in (("images", "_0000"), ("labels", "")):
        (folder / f"{kind}Tr" / f"case_00{end}.nii.gz").unlink()

    def told(order: list[str]) -> list[str]:
        given = {"order": [prefix + name for name in order], "test": [prefix + name for name in split.test]}
        (folder / "splits.json").write_text(json.dumps(given))
        return departures(Dataset.open(folder), "la", published)[1:]

    published = config("la").published
    order = list(split.order)
    assert told(order) == []
    (text,) = told([order[1], order[0], *order[2:]])
    assert "ua-mt: 645317acc6" in text


def test_a_method_without_published_setting_is_said(tmp_path: Path) -> None:
    dataset = Dataset.open(make_dataset(tmp_path))
    found = with_departures(config("promise12", "urpc"), dataset).deviations
    assert "no published setting of urpc in recipe promise12" in found
    assert sum("no published setting" in text for text in found) == 1
    for recipe, method in (("promise12", "ict"), ("acdc", "upc"), ("la", "cps"), ("isles2022", "bcp")):
        found = with_departures(config(recipe, method), dataset).deviations
        assert any(text.startswith("no published setting on this data: ") for text in found)
    assert not any("no published" in text for text in with_departures(config("default"), dataset).deviations)


@pytest.mark.parametrize("recipe", PAPERS)
def test_settings_that_are_not_the_recipe_s_are_said(recipe: str) -> None:
    for method in named_methods(recipe):
        assert changes(config(recipe, method)) == ""
    tree = {"optimizer.lr": 0.5, "batch.labeled": 7, "train.seed": 3, "network.checkpointing": True}
    told = changes(resolve(recipe=recipe, environment={}, flags={"method.name": "supervised", **tree}))
    assert told.startswith(f"set otherwise than in recipe {recipe}: batch.labeled 7 (")
    assert told.endswith("), optimizer.lr 0.5 (0.01)")


def test_a_loss_that_is_not_the_published_one_is_said_and_the_published_one_is_not(tmp_path: Path) -> None:
    dataset = Dataset.open(make_dataset(tmp_path))

    def told(*settings: str) -> str:
        asked = resolve(recipe="acdc", environment={}, settings=["method.name=bcp", *settings])
        return " ".join(with_departures(asked, dataset).deviations)

    assert "published with dice=acdc_legacy, here acdc" in told()
    assert "dice" not in told("method.options.dice=acdc_legacy")
    other = told("method.options.dice=la")
    assert "published with dice=acdc_legacy, here la" in other
    assert "set otherwise than in recipe acdc: method.options.dice la (acdc)" in other


def test_the_manifest_lists_it(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path, labeled=1, unlabeled=1, test=1)
    run = semiseg.train(
        folder,
        method="supervised",
        recipe="brats2019",
        iterations=1,
        network="unet",
        settings={"plan.features": [4, 8], "plan.patch": [8, 8, 8], "inference.stride": None},
        runs=tmp_path / "runs",
        device="cpu",
        workers=0,
    )
    said = " ".join(run.manifest["deviations"])
    assert "split is not the published one" in said
