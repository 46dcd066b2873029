"""The pages in a real browser: see, draw, correct, accept; the loop with a training is in test_journey.py."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from tests.factories import make_dataset
from tests.studio.browser import Studio, Watched, chromium, look, needed, serving
from tests.trained import make_plan, make_run

import semiseg

RUN = "round-001"


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    needed()
    folder = make_dataset(tmp_path_factory.mktemp("studio"), labeled=2, unlabeled=4, test=1)
    turn(folder / "imagesUn" / "un_01_0000.nii.gz")
    run = make_run(folder / "studio" / "runs" / RUN, make_plan())
    out = folder / "studio" / "predictions" / RUN
    semiseg.predict(folder / "imagesUn", out, run, device="cpu", uncertainty=True, workers=0)
    with serving(folder, "--no-browser") as server:
        yield server


@pytest.fixture(scope="module")
def page(studio: Studio) -> Iterator[Watched]:
    with chromium(needed()) as browser:
        yield look(browser, studio.url)


def turn(file: Path) -> None:
    """Store a scan with its axes exchanged and turned around, as scanners do; the patient lies as before."""
    image = nib.load(file)
    turned = image.as_reoriented(np.array([[2, -1], [0, 1], [1, -1]]))
    assert nib.aff2axcodes(turned.affine) != ("R", "A", "S")
    nib.save(nib.Nifti1Image(np.asarray(turned.dataobj), turned.affine), file)


def label_of(studio: Studio, case: str) -> np.ndarray:
    return np.asarray(nib.load(studio.folder / "labelsTr" / f"{case}.nii.gz").dataobj)


def test_the_list_filters_sorts_and_leads_to_cases(page: Watched) -> None:
    page.go("cases")
    rows = page.page.locator(".cases tbody tr")
    rows.nth(6).wait_for()
    page.page.get_by_role("button", name="predicted").click()
    page.page.wait_for_selector(".cases tbody tr:nth-child(4)")
    page.page.locator(".cases tbody tr:nth-child(5)").wait_for(state="detached")
    page.page.get_by_label("Search name or group").fill("un_02")
    page.page.locator(".cases tbody tr:nth-child(2)").wait_for(state="detached")
    assert rows.count() == 1
    rows.first.get_by_role("link").click()
    page.opened("un_02")
    assert page.wrong == []


def test_the_keyboard_keeps_its_place_in_a_list_that_is_drawn_anew(page: Watched) -> None:
    page.go("cases")
    page.page.locator(".cases tbody tr").nth(6).wait_for()
    page.page.get_by_role("button", name="predicted").focus()
    page.press("Enter")
    page.page.locator(".cases tbody tr:nth-child(5)").wait_for(state="detached")
    page.page.locator(".filter[aria-pressed=true]", has_text="predicted").wait_for()
    assert "predicted" in page.page.evaluate("document.activeElement.textContent")


def test_a_narrow_window_and_a_file_that_misses_its_place(page: Watched) -> None:
    before = page.page.viewport_size
    page.page.set_viewport_size({"width": 420, "height": 700})
    for name in ("cases", "training", "about"):
        page.go(name)
        page.page.locator(".page").wait_for()
        assert page.page.evaluate("document.documentElement.scrollWidth") <= 420
    page.page.set_viewport_size(before)
    drop = "new DragEvent('drop', {bubbles: true, cancelable: true, dataTransfer: new DataTransfer()})"
    assert not page.page.evaluate(f"document.querySelector('header').dispatchEvent({drop})")  # not opened
    assert page.wrong == []


def test_what_is_drawn_is_saved_where_it_was_drawn(page: Watched, studio: Studio) -> None:
    page.case("un_01")
    gray = np.asarray(nib.load(studio.folder / "imagesUn" / "un_01_0000.nii.gz").dataobj)
    page.press("x", "t")
    page.page.get_by_label("Lowest gray value").fill("0.75")
    page.page.get_by_label("Highest gray value").fill("9")
    page.page.get_by_label("Ball").check()
    page.press(*"]" * 8)
    page.stroke((0.5, 0.5), (0.52, 0.55))
    page.press("Control+s")
    page.told("Saved as version 1")
    label = label_of(studio, "un_01")
    assert label.shape == gray.shape
    assert label.sum() > 30
    assert gray[label == 1].min() >= 0.75
    assert page.wrong == []


def test_the_browser_asks_before_strokes_are_lost_and_undone_ones_leave_nothing(page: Watched) -> None:
    page.case("un_01")
    classes, state = page.page.locator(".classes"), page.page.locator("section[aria-label=Case]")
    first, asked = classes.inner_text(), []
    page.page.once("dialog", lambda question: (asked.append(question.type), question.dismiss()))
    page.press("x", "p", "Shift+ArrowRight", ".")  # by keys alone
    with contextlib.suppress(Exception):  # a reload that is called off never comes to its end
        page.page.reload(timeout=3000)
    assert asked == ["beforeunload"]
    assert classes.inner_text() != first
    page.press("Control+z")
    state.get_by_text("version 1").first.wait_for()
    assert classes.inner_text() == first
    page.page.reload()
    page.opened("un_01")
    assert classes.inner_text() == first
    assert page.wrong == []


def test_labels_of_another_program_are_dropped_on_the_list(page: Watched, studio: Studio) -> None:
    scan = nib.load(studio.folder / "imagesTr" / "case_01_0000.nii.gz")
    drawn = np.zeros(scan.shape, np.uint8)
    drawn[3:6, 4:8, 5:7] = 1
    content = nib.Nifti1Image(drawn, scan.affine).to_bytes()
    files = [{"name": name, "mimeType": "", "buffer": content} for name in ("case_01.nii", "nobody.nii")]
    page.go("cases")
    page.page.get_by_label("Label files").set_input_files(files)
    page.page.get_by_role("dialog").get_by_role("button", name="Take in").click()
    page.told("1 label taken in")
    page.told("no case is named nobody")
    assert np.array_equal(label_of(studio, "case_01"), drawn)
    assert page.wrong == []


def test_an_empty_label_is_asked_about(page: Watched, studio: Studio) -> None:
    page.case("un_03")
    page.press("Control+s")
    page.page.get_by_role("dialog", name="Nothing is drawn").get_by_role("button", name="Cancel").click()
    assert not (studio.folder / "labelsTr" / "un_03.nii.gz").exists()
    assert page.wrong == []


def test_strokes_survive_a_reload_and_are_undone(page: Watched, studio: Studio) -> None:
    page.case("un_00")
    classes = page.page.locator(".classes")
    page.press("x", "f")
    page.stroke((0.46, 0.45), (0.54, 0.45), (0.54, 0.55), (0.46, 0.55))
    first = classes.inner_text()
    page.press("ArrowUp", "ArrowUp", "ArrowUp")
    page.stroke((0.47, 0.46), (0.53, 0.46), (0.53, 0.54), (0.47, 0.54))
    page.press("Control+z")
    assert classes.inner_text() == first
    page.press("Control+Shift+z", "i")
    page.told("2 slices of")
    drawn = classes.inner_text()
    page.page.locator("section[aria-label=Case]", has_text="draft kept").wait_for()
    page.page.reload()
    page.opened("un_00")
    assert classes.inner_text() == drawn
    page.press("Control+s")
    page.told("Saved as version 1")
    assert page.wrong == []
    label = label_of(studio, "un_00")
    drawn_slices = np.flatnonzero(label.any((0, 1)))
    assert np.array_equal(np.diff(drawn_slices), [1, 1, 1])


def test_a_prediction_is_corrected_another_one_accepted_and_a_scan_rejected(
    page: Watched, studio: Studio
) -> None:
    page.case("un_02")
    page.page.get_by_role("button", name="Correct").click()
    page.told("is in the drawing")
    predicted = np.asarray(nib.load(studio.folder / "studio" / "predictions" / RUN / "un_02.nii.gz").dataobj)
    page.press("x", "e", *"]" * 3)
    page.stroke((0.5, 0.5), (0.55, 0.5))
    page.press("Control+s")
    page.told("Saved as version 1")
    removed = (predicted > 0).sum() - (label_of(studio, "un_02") > 0).sum()
    assert 0 < removed < (predicted > 0).sum()
    page.case("un_03")
    page.page.get_by_role("button", name="Accept").click()
    page.told("The prediction is the label now")
    accepted = np.asarray(nib.load(studio.folder / "studio" / "predictions" / RUN / "un_03.nii.gz").dataobj)
    assert np.array_equal(label_of(studio, "un_03"), accepted)
    page.case("case_00")
    page.page.get_by_role("button", name="Reject").click()
    page.page.locator("dialog input").fill("motion")
    page.page.get_by_role("button", name="OK", exact=True).click()
    page.told("put aside")
    page.page.get_by_role("button", name="Take back").wait_for()
    assert page.wrong == []


def test_a_test_case_is_seen_and_not_drawn_on(page: Watched) -> None:
    page.case("ts_00")
    assert "can be viewed, but not drawn on" in page.facts()
    assert page.page.get_by_role("button", name="Save", exact=True).is_disabled()
    page.press("?")
    assert "Interpolate between drawn slices" in page.page.get_by_role("dialog").inner_text()
    page.press("Escape")
    assert page.wrong == []


def test_the_other_pages(page: Watched) -> None:
    for name, text in (
        ("training", "Start training"),
        ("results", "labels (ZIP"),
        ("about", "nothing from elsewhere"),
    ):
        page.go(name)
        page.page.locator("main", has_text=text).wait_for()
    assert page.wrong == []
