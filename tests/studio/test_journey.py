"""The whole loop in a browser; two at once, a server that dies, very much at once. Minutes long."""

from __future__ import annotations

import json
import shutil
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from tests.factories import make_dataset
from tests.studio.browser import Studio, Watched, chromium, look, needed, serving

from semiseg import images

pytestmark = pytest.mark.slow

SHARED = Path(__file__).parents[3] / "shared" / "data" / "Dataset104_Hippocampus"
BUSY = 600_000
"""Milliseconds that a training of 30 iterations and the predictions after it may take."""


def hippocampus(root: Path, *, labeled: int = 2, scans: int = 10) -> Path:
    """Scans of the hippocampus, few with a label; synthetic ones where the real ones are not there."""
    if not SHARED.is_dir():
        return make_dataset(root, labeled=labeled, unlabeled=scans - labeled, classes=3, shape=(36, 50, 36))
    folder = root / "Dataset204_Hippocampus"
    names = sorted(p.name.removesuffix("_0000.nii.gz") for p in (SHARED / "imagesTr").iterdir())[:scans]
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    for i, name in enumerate(names):
        shutil.copy(SHARED / "imagesTr" / f"{name}_0000.nii.gz", folder / "imagesTr")
        if i < labeled:
            shutil.copy(SHARED / "labelsTr" / f"{name}.nii.gz", folder / "labelsTr")
    about = json.loads((SHARED / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps(about | {"numTraining": labeled}))
    return folder


def unlabeled(folder: Path) -> list[str]:
    scans = [p for part in ("imagesTr", "imagesUn") for p in sorted((folder / part).glob("*_0000.nii.gz"))]
    names = [p.name.removesuffix("_0000.nii.gz") for p in scans]
    return [name for name in names if not (folder / "labelsTr" / f"{name}.nii.gz").exists()]


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    needed()
    with serving(hippocampus(tmp_path), "--no-browser") as server:
        yield server


def draw_both_classes(page: Watched) -> None:
    """Outlines on two slices of each class, and the slices between them."""
    page.press("x", "f")
    for key, (left, right, upper, lower) in (("1", (0.47, 0.55, 0.44, 0.5)), ("2", (0.47, 0.55, 0.53, 0.6))):
        page.press(key)
        page.stroke((left, upper), (right, upper), (right, lower), (left, lower))
        page.press(*["ArrowUp"] * 3)
        page.stroke((left + 0.01, upper), (right - 0.01, upper), (right - 0.01, lower), (left + 0.01, lower))
        page.press("i", *["ArrowDown"] * 3)


def train(page: Watched, number: int) -> None:
    page.go("training")
    form = page.page.get_by_role("form", name="Start a training")
    form.get_by_label("Method").select_option("supervised")
    form.get_by_label("Iterations").fill("30")
    form.get_by_role("button", name="Start training").click()
    page.told("is in the queue")
    run = page.page.locator(".runs tbody tr", has_text=f"round-{number:03d}")
    run.get_by_role("cell", name="30", exact=True).wait_for(timeout=BUSY)
    done = page.page.locator(".jobs .line", has_text="predict").nth(0).get_by_text("done")
    done.wait_for(timeout=BUSY)


def test_label_train_rank_correct_train_again_take_away(studio: Studio, tmp_path: Path) -> None:
    with chromium(needed()) as browser:
        page = look(browser, studio.url)
        page.go("cases")
        page.page.get_by_role("button", name="Propose which to label").click()
        page.page.locator(".proposed li").first.wait_for(timeout=BUSY)
        first = page.page.locator(".proposed li a").all_inner_texts()[:2]
        for name in first:
            page.case(name)
            draw_both_classes(page)
            page.picture("drawing")
            page.press("Control+s")
            page.told("Saved as version 1")
            assert set(
                np.unique(np.asarray(nib.load(studio.folder / "labelsTr" / f"{name}.nii.gz").dataobj))
            ) == {0, 1, 2}
        train(page, 1)
        assert page.page.locator(".chart .line").count()
        page.picture("training")
        page.go("cases?sort=rank")
        page.page.get_by_role("button", name="Rank again").or_(
            page.page.get_by_role("button", name="Propose")
        ).first.wait_for()
        rank = page.page.get_by_role("button", name="Propose which to label")
        if rank.count():
            rank.click()
        page.page.locator(".proposed li").first.wait_for(timeout=BUSY)
        ranked = page.page.locator(".proposed li").first
        assert ranked.locator("small").inner_text(), "a ranking says why"
        page.picture("cases")
        ranked.get_by_role("link").click()
        page.page.wait_for_selector('.stage[data-ready="true"]')
        page.picture("prediction")
        page.page.get_by_role("button", name="Correct").click()
        page.told("is in the drawing")
        page.press("x", "p", "1")
        page.stroke((0.5, 0.45), (0.55, 0.5))
        page.press("Control+s")
        page.told("Saved as version 1")
        assert "corrected" in (studio.folder / "labels.jsonl").read_text()
        train(page, 2)
        page.go("results")
        with page.page.expect_download() as download:
            page.page.get_by_role("link", name="labels (ZIP").click()
        download.value.save_as(tmp_path / "labels.zip")
        assert (
            len([n for n in zipfile.ZipFile(tmp_path / "labels.zip").namelist() if n.endswith(".nii.gz")])
            == 5
        )
        assert page.wrong == []


def test_two_tabs_keep_both_versions(studio: Studio) -> None:
    name = unlabeled(studio.folder)[0]
    with chromium(needed()) as browser:
        one, two = look(browser, studio.url), look(browser, studio.url)
        two.page.add_init_script("localStorage.setItem('user', 'bob')")
        one.case(name)
        two.case(name)
        for page, place in ((one, 0.45), (two, 0.55)):
            page.press("x", "p")
            page.stroke((place, 0.5), (place + 0.04, 0.5))
        one.press("Control+s")
        one.told("Saved as version 1")
        two.press("Control+s")
        question = two.page.get_by_role("dialog")
        question.get_by_text("saved version 1 while you were drawing").wait_for()
        question.get_by_role("button", name="Mine").click()
        two.told("Saved as version 3")
        assert [m for m in one.wrong + two.wrong if "409" not in m] == []
        two.page.get_by_text("Versions and import (3)").wait_for()


def test_the_server_dies_while_somebody_draws(studio: Studio) -> None:
    name = unlabeled(studio.folder)[0]
    port = int(studio.url.rsplit(":", 1)[1])
    with chromium(needed()) as browser:
        page = look(browser, studio.url)
        page.case(name)
        page.press("x", "p")
        studio.stop(9)
        page.stroke((0.45, 0.5), (0.55, 0.5))
        page.press("Control+s")
        page.told("The server does not answer")
        page.page.get_by_text("server away, kept here").wait_for()
        with serving(studio.folder, "--no-browser", port=port) as again:
            assert again.url == studio.url
            page.page.locator("section[aria-label=Case]", has_text="draft kept").wait_for()
            page.page.reload()
            page.opened(name)
            page.told("Your draft is here again")
            page.press("Control+s")
            page.told("Saved as version 1")
    label = np.asarray(nib.load(studio.folder / "labelsTr" / f"{name}.nii.gz").dataobj)
    assert (label == 1).sum() > 10


def test_a_training_outlives_the_server_and_is_found_again(studio: Studio) -> None:
    port = int(studio.url.rsplit(":", 1)[1])
    with chromium(needed()) as browser:
        page = look(browser, studio.url)
        page.go("training")
        page.page.get_by_label("Iterations").fill("30")
        page.page.get_by_label("Then predict").uncheck()
        page.page.get_by_role("button", name="Start training").click()
        page.page.locator(".jobs .line", has_text="running").or_(
            page.page.locator(".jobs .line", has_text="%")
        ).first.wait_for()
        studio.stop(9)
        page.page.get_by_text("Trainings go on without it").wait_for()
        with serving(studio.folder, "--no-browser", port=port):
            page.page.locator(".jobs .line", has_text="done").wait_for(timeout=BUSY)
            page.page.locator(".runs tbody tr", has_text="round-001").wait_for()


def test_five_thousand_cases(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path, labeled=1, unlabeled=1, test=0, shape=(8, 8, 8))
    scan = next((folder / "imagesUn").iterdir())
    for i in range(5000):
        (folder / "imagesUn" / f"many_{i:04d}_0000.nii.gz").hardlink_to(scan)
    with serving(folder, "--no-browser") as studio, chromium(needed()) as browser:
        page = look(browser, studio.url)
        page.go("cases")
        page.page.get_by_text("of 5,002").wait_for()
        began = time.perf_counter()
        page.page.get_by_label("Search name or group").fill("many_4711")
        page.page.get_by_text("1–1 of 1").wait_for()
        print(f"one of 5,002 cases found after {time.perf_counter() - began:.1f} s")
        assert page.page.locator(".cases tbody tr").count() == 1
        assert page.wrong == []


def test_a_large_ct_opens_as_a_preview_and_a_part_of_it_is_drawn_on(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path, labeled=1, unlabeled=1, test=0, shape=(16, 16, 16))
    rng = np.random.default_rng(0)
    ct = np.repeat(rng.integers(-1000, 1500, (512, 512, 1), np.int16), 400, 2)
    nib.save(nib.Nifti1Image(ct, np.diag([0.8, 0.8, 1, 1])), folder / "imagesUn" / "ct_0000.nii.gz")
    with serving(folder, "--no-browser") as studio, chromium(needed()) as browser:
        page = look(browser, studio.url)
        began = time.perf_counter()
        page.case("ct")
        print(f"preview after {time.perf_counter() - began:.1f} s")
        page.page.locator(".mark", has_text="coarse preview").wait_for()
        page.press("x", "p")
        began = time.perf_counter()
        page.page.locator(".mark", has_text="coarse preview").wait_for(state="detached", timeout=BUSY)
        page.page.get_by_text("You draw on a part of the scan").wait_for()
        print(f"a part to draw on after {time.perf_counter() - began:.1f} s more")
        page.picture("part")
        page.stroke((0.45, 0.5), (0.55, 0.5))
        page.press("Control+s")
        page.page.locator(".toast", has_text="Saved as version 1").wait_for(timeout=BUSY)
        label = np.asarray(nib.load(folder / "labelsTr" / "ct.nii.gz").dataobj)
        assert label.shape == ct.shape
        assert label.any()
        assert np.all(
            np.abs(np.argwhere(label).mean(0) - [256, 256, 200]) < [60, 60, 4]
        )  # a voxel of the preview
        assert page.wrong == []


def test_a_photograph_is_seen_and_labeled_the_right_way_round(tmp_path: Path) -> None:
    scene = np.full((60, 90, 3), 200, np.uint8)
    scene[38:, 68:] = (30, 160, 40)  # green in the lower right corner
    (tmp_path / "photos").mkdir()
    for name in ("one", "two"):
        Image.fromarray(scene).save(tmp_path / "photos" / f"{name}.png")
    with (
        serving(tmp_path / "photos", "--no-browser", "--classes", "leaf") as pile,
        chromium(needed()) as browser,
    ):
        page = look(browser, pile.url)
        page.page.on("dialog", lambda question: question.accept())
        page.case("one")
        page.press("f")
        page.stroke((0.88, 0.75), (0.96, 0.75), (0.96, 0.9), (0.88, 0.9))
        page.press("t")
        page.page.get_by_label("Lowest gray value").fill("100")
        page.page.get_by_label("Highest gray value").fill("130")  # of green; the rest is brighter
        page.stroke((0.6, 0.95), (0.9, 0.95))
        page.press("?")
        assert "Coronal" not in page.page.get_by_role("dialog").inner_text()
        page.press("Escape", "Control+s")
        page.told("Saved as version 1")
        assert page.wrong == []
    made = next(tmp_path.glob("Dataset*"))
    drawn = images.read_label(made / "labelsTr" / "one.png").array
    assert drawn.shape == scene.shape[:2]
    assert drawn.sum() > 20
    assert np.all(scene[drawn == 1] == (30, 160, 40))
