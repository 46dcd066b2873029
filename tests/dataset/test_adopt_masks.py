"""Masks as people have them: JPEG, smooth edges, colors, hundreds of values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semiseg.dataset.adopt import adopt
from semiseg.dataset.check import check
from semiseg.dataset.dataset import Dataset
from semiseg.errors import DataError
from semiseg.images import read_label

BALL = np.hypot(*(np.indices((64, 48)) - np.array([30, 22]).reshape(2, 1, 1))) < 14


def smooth() -> np.ndarray:
    """The ball with edges over several pixels."""
    big = np.kron(BALL * np.uint8(255), np.ones((1, 1), np.uint8))
    return np.asarray(Image.fromarray(big).resize((24, 32)).resize((48, 64), Image.Resampling.BICUBIC))


def colored(*colors: tuple[int, int, int]) -> np.ndarray:
    """The first color around the ball, the others in stripes of it."""
    stripes = np.where(BALL, 1 + np.arange(48)[None] * (len(colors) - 1) // 48, 0)
    return np.array(colors, np.uint8)[stripes]


def pile(root: Path, mask: np.ndarray, ending: str = ".png", **options: int) -> Path:
    """Three color pictures, two of them with this mask."""
    rng = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for case in range(3):
        picture = (rng.integers(0, 200, (64, 48, 3)) + 50 * BALL[..., None]).astype(np.uint8)
        Image.fromarray(picture).save(root / "images" / f"p{case}.png")
        if case < 2:
            Image.fromarray(mask).save(root / "masks" / f"p{case}{ending}", **options)
    return root


@pytest.mark.parametrize(
    ("mask", "ending"),
    [(BALL * np.uint8(255), ".jpg"), (np.stack([BALL * np.uint8(255)] * 3, -1), ".jpg"), (smooth(), ".png")],
)
def test_blurred_black_and_white_is_one_class(tmp_path: Path, mask: np.ndarray, ending: str) -> None:
    result = adopt(pile(tmp_path / "pile", mask, ending), tmp_path / "Dataset")
    assert any("blurred by saving" in line for line in result.decisions)
    dataset = Dataset.open(result.folder)
    assert (dataset.labels, dataset.label_map) == ({"background": 0, "foreground": 1}, {})
    label = read_label(dataset.annotated[0].label).array
    assert set(np.unique(label)) == {0, 1}
    assert (label != BALL).mean() < 0.01
    assert check(result.folder).ok


RED, GREEN, BLACK, OTHER = (255, 0, 0), (0, 255, 0), (0, 0, 0), (31, 119, 180)


@pytest.mark.parametrize(
    ("colors", "labels"),
    [
        ((BLACK, RED, GREEN), {"background": 0, "green": 1, "red": 2}),
        ((BLACK, OTHER), {"background": 0, "#1f77b4": 1}),
        ((RED, GREEN), {"background": 0, "green": 1}),
    ],
)
def test_few_colors_are_classes_in_a_stable_order(
    tmp_path: Path, colors: tuple[tuple[int, int, int], ...], labels: dict[str, int]
) -> None:
    mask = colored(*colors)
    result = adopt(pile(tmp_path / "pile", mask), tmp_path / "Dataset")
    dataset = Dataset.open(result.folder)
    assert dataset.labels == labels
    assert len(dataset.annotated) == 2
    label = read_label(dataset.annotated[0].label).array
    assert len(np.unique(label)) == len(colors)
    assert len(
        {(int(n), *map(int, c)) for n, c in zip(label.ravel(), mask.reshape(-1, 3), strict=True)}
    ) == len(colors)
    assert check(result.folder).ok


NOISE = np.random.default_rng(0).integers(0, 256, (64, 48, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    ("mask", "ending", "code", "words"),
    [
        (colored(BLACK, RED, GREEN), ".jpg", "COLOR_LABELS", "2 of 2 masks are in color"),
        (NOISE, ".png", "COLOR_LABELS", "different colors"),
        (BALL * np.uint8(3), ".jpg", "LOSSY_LABELS", "lossy pictures"),
        (np.where(BALL, np.arange(64)[:, None], 0).astype(np.uint8), ".png", "", ""),
        (
            np.arange(64 * 48).reshape(64, 48).astype(np.uint8) // 2,
            ".png",
            "MANY_CLASSES",
            "127 values beside 0",
        ),
    ],
)
def test_what_is_no_label_map_is_refused_whole(
    tmp_path: Path, mask: np.ndarray, ending: str, code: str, words: str
) -> None:
    source = pile(tmp_path / "pile", mask, ending)
    if not code:
        assert len(adopt(source, tmp_path / "Dataset").dataset["labels"]) == len(np.unique(mask))
        return
    with pytest.raises(DataError, match=words) as caught:
        adopt(source, tmp_path / "Dataset")
    assert caught.value.code == code
    assert not (tmp_path / "Dataset").exists()


def test_many_classes_may_be_meant(tmp_path: Path) -> None:
    mask = (np.arange(64 * 48).reshape(64, 48) % 40).astype(np.uint8)
    source = pile(tmp_path / "pile", mask)
    with pytest.raises(DataError, match="39 values beside 0"):
        adopt(source, tmp_path / "Dataset")
    assert len(adopt(source, tmp_path / "Dataset", max_classes=39).dataset["labels"]) == 40


def test_masks_that_are_all_unusable_make_no_unlabeled_dataset(tmp_path: Path) -> None:
    source = pile(tmp_path / "pile", BALL.astype(np.uint8))
    for file in (source / "masks").iterdir():
        Image.fromarray(BALL * np.float32(0.5)).save(file.with_suffix(".tif"))
        file.unlink()
    with pytest.raises(DataError, match=r"none of the 2 masks can be used; 2 files .* such as 0\.5"):
        adopt(source, tmp_path / "Dataset")


def test_nothing_false_follows_a_first_fault(tmp_path: Path) -> None:
    folder = adopt(pile(tmp_path / "pile", BALL.astype(np.uint8)), tmp_path / "Dataset").folder
    for file in (folder / "labelsTr").iterdir():
        Image.fromarray(smooth()).save(file)
    codes = {problem.code for problem in check(folder).problems}
    assert "LABEL_VALUES" in codes
    assert not codes & {"MISSING_CLASS", "EMPTY_LABEL"}
    assert any("blurred by JPEG" in problem.fix for problem in check(folder).problems)


def test_colors_of_masks_are_kept(tmp_path: Path) -> None:
    source = pile(tmp_path / "pile", BALL.astype(np.uint8))
    for file in (source / "masks").iterdir():
        image = Image.fromarray(BALL.astype(np.uint8)).convert("P")
        image.putpalette([0, 0, 0, 200, 10, 30])
        image.save(file)
    folder = adopt(source, tmp_path / "Dataset").folder
    assert Dataset.open(folder).colors == {"background": "#000000", "foreground": "#c80a1e"}
    assert read_label(Dataset.open(folder).annotated[0].label).meta["palette"][1] == (200, 10, 30)
    red = adopt(pile(tmp_path / "red", colored(BLACK, RED)), tmp_path / "Red").folder
    assert Dataset.open(red).colors == {"background": "#000000", "red": "#ff0000"}
    assert Image.open(Dataset.open(red).annotated[0].label).convert("RGB").getpixel((22, 30)) == RED


def pair(root: Path, *masks: Image.Image, ending: str = ".png") -> Path:
    """A gray picture for each mask."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for case, mask in enumerate(masks):
        seen = np.random.default_rng(case).integers(0, 200, BALL.shape).astype(np.uint8)
        Image.fromarray(seen).save(root / "images" / f"p{case}.png")
        mask.save(root / "masks" / f"p{case}{ending}")
    return root


def indexed(*colors: tuple[int, int, int], order: tuple[int, ...] = (0, 1, 2)) -> Image.Image:
    """Background, one half and the other half of the ball as indices of a palette."""
    halves = np.where(BALL, 1 + np.arange(48)[None] // 24, 0)
    made = Image.fromarray(np.array(order, np.uint8)[halves])
    made.putpalette(np.array(colors, np.uint8)[list(order)].tobytes())
    return made


@pytest.mark.parametrize(
    "masks",
    [
        (indexed(BLACK, RED, GREEN), indexed(BLACK, RED, GREEN, order=(0, 2, 1))),
        (indexed(BLACK, RED, GREEN), indexed(BLACK, RED, GREEN).convert("RGB")),
    ],
    ids=["two palettes", "palette and colors"],
)
def test_one_color_is_one_class_however_it_is_stored(tmp_path: Path, masks: tuple[Image.Image, ...]) -> None:
    dataset = Dataset.open(adopt(pair(tmp_path / "pile", *masks), tmp_path / "Dataset").folder)
    assert dataset.labels == {"background": 0, "green": 1, "red": 2}
    first, second = (read_label(case.label).array for case in dataset.annotated)
    assert np.array_equal(first, second)
    assert first[30, 12] == 2


@pytest.mark.parametrize("one", [Image.fromarray(BALL), Image.fromarray(BALL.astype(np.uint8))])
def test_one_and_255_that_never_meet_are_one_class(tmp_path: Path, one: Image.Image) -> None:
    piled = pair(tmp_path / "pile", one, Image.fromarray(BALL * np.uint8(255)))
    dataset = Dataset.open(adopt(piled, tmp_path / "Dataset").folder)
    assert (dataset.labels, dataset.ignore_value) == ({"background": 0, "foreground": 1}, None)
    assert all(np.array_equal(read_label(case.label).array, BALL) for case in dataset.annotated)


HALVES = np.asarray(indexed(BLACK, RED, GREEN))
SHADES = np.kron(np.arange(6, dtype=np.uint8) * 20, np.ones((64, 8), np.uint8))


@pytest.mark.parametrize(
    ("masks", "said"),
    [
        ((HALVES, HALVES * np.uint8(127)), "1, 2 in 1 and 127, 254 in 1"),
        ((HALVES.astype(np.int32) - 1,) * 2, "if it is the background, add --label -1=background"),
        ((SHADES,), "5 values up to 100 (20, 40, 60, 80, 100)"),
    ],
)
def test_numbers_that_may_mean_something_else_are_told(
    tmp_path: Path, masks: tuple[np.ndarray, ...], said: str
) -> None:
    piled = pair(tmp_path / "pile", *map(Image.fromarray, masks), ending=".tif")
    assert said in " ".join(adopt(piled, tmp_path / "Dataset").notices)


@pytest.mark.parametrize(
    ("names", "labels", "label_map"),
    [
        ({}, {}, {}),  # refused
        ({-2: "background"}, {"background": 0, "foreground": 1}, {-2: 0}),
        ({-2: "ignore"}, {"background": 0, "foreground": 1, "ignore": 2}, {-2: 2}),
        ({-2: "air"}, {"background": 0, "air": 1, "structure 2": 2}, {-2: 1, 1: 2}),
        ({-2: "ignore", 1: "background", 0: "none"}, None, {}),
    ],
)
def test_what_values_below_0_mean_has_to_be_said(
    tmp_path: Path, names: dict[int, str], labels: dict[str, int] | None, label_map: dict[int, int]
) -> None:
    halves = HALVES.astype(np.int32)
    mask = np.where(halves == 2, -2, halves)
    piled = pair(tmp_path / "pile", *map(Image.fromarray, (mask, mask)), ending=".tif")
    if not names:
        with pytest.raises(DataError, match=r"values below 0 \(-2\)") as caught:
            adopt(piled, tmp_path / "Dataset")
        assert "--label -2=ignore" in caught.value.hint
        return
    found = adopt(piled, tmp_path / "Dataset", label_names=names).folder
    if labels is not None:
        dataset = Dataset.open(found)
        known = {**dataset.labels, **({"ignore": dataset.ignore_value} if dataset.ignore_value else {})}
        assert (known, dataset.label_map) == (labels, label_map)
        assert not [problem for problem in check(found).problems if problem.severity == "error"]


def test_minus_1_is_ignored_only_beside_a_background(tmp_path: Path) -> None:
    mask = Image.fromarray(np.where(HALVES > 0, 1, -1).astype(np.int32))
    piled = pair(tmp_path / "pile", mask, mask, ending=".tif")
    with pytest.raises(DataError, match=r"values below 0 \(-1\)"):
        adopt(piled, tmp_path / "Dataset")
    found = adopt(piled, tmp_path / "Dataset", label_names={-1: "background"}).folder
    assert Dataset.open(found).label_map == {-1: 0}


def test_masks_that_cannot_be_read_make_no_unlabeled_dataset(tmp_path: Path) -> None:
    piled = pair(tmp_path / "pile", Image.fromarray(HALVES), ending=".tga")
    with pytest.raises(DataError, match=r"1 mask is of formats that are not read \(masks/p0.tga\)"):
        adopt(piled, tmp_path / "Dataset")
