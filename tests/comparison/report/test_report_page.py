"""The page: well-formed, complete, honest, harmless, and with nothing fetched from anywhere."""

from __future__ import annotations

import base64
import hashlib
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from tests.compared import CASES, data_for, dices, scored_run, trio

from semiseg.comparison.compare import compare
from semiseg.comparison.report.examples import examples_of
from semiseg.comparison.report.gallery import plates_of_dataset, plates_of_group
from semiseg.comparison.report.page import Drawn
from semiseg.comparison.report.page import page as page_of
from semiseg.comparison.report.write import write_report

VOID = ("img", "link", "meta")
"""Elements without an end tag."""


class Page(HTMLParser):
    """Elements in order, their attributes, the text; complains of what is not nested right."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.faults: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> at {self.getpos()}")

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "script"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).replace("\u00a0", " ").split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with pictures, two seeds, an upper bound."""
    root = tmp_path_factory.mktemp("report")
    data = root / "Dataset001_Tiny"
    runs = [*trio(root, data=data), scored_run(root, "supervised", dices(0.8), labeled=None, data=data)]
    data_for(root, runs)
    write_report(compare(runs), root / "out")
    return root / "out"


@pytest.fixture(scope="module")
def source(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(source: str) -> Page:
    return Page(source)


def build(folder: Path, runs: list[Path]) -> Page:
    return Page(write_report(compare(runs), folder / "out")[0].read_text(encoding="utf-8"))


def without_figures(runs: list[Path]) -> Page:
    """The page alone: figures take most of the time."""
    found = compare(runs)
    groups = {i: [(p, None) for p in plates_of_group(found, group)] for i, group in enumerate(found.groups)}
    datasets = {name: [(p, None) for p in plates_of_dataset(found, name)] for name in found.datasets}
    return Page(
        page_of(found, Drawn(groups, datasets, lambda group, name: examples_of(group.arm(name), "Dice")))
    )


def test_every_figure_is_a_file_twice_and_nothing_is_left_over(folder: Path) -> None:
    names = {path.name for path in (folder / "figures").iterdir()}
    stems = {
        "differences",
        "boxes_Dice",
        "boxes_HD95",
        "boxes_ASSD",
        "critical-difference",
        "pairs",
        "curves_loss",
    }
    assert names == {f"{stem}.{ending}" for stem in stems for ending in ("svg", "pdf")}
    assert {path.name for path in folder.iterdir()} == {"report.html", "figures"}


def test_it_is_well_formed(page: Page, source: str) -> None:
    assert page.faults == []
    assert page.open == []
    assert source.startswith("<!DOCTYPE html>")
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {a["href"][1:] for a in page.all("a") + page.all("use") if a["href"].startswith("#")}
    targets |= set(re.findall(r"url\(#([^)]+)\)", source))
    assert targets <= set(ids)
    for _, attributes in page.elements:
        assert (attributes.get("aria-labelledby") or ids[0]) in ids


def test_nothing_is_fetched(page: Page, source: str) -> None:
    assert "http:" not in source
    assert "https:" not in source
    assert not re.search(r"@import|@font-face|src=[\"'](?!data:)", source)
    for attribute in ("src", "href", "action", "poster", "srcset", "formaction", "ping"):
        for _, attributes in page.elements:
            assert (attributes.get(attribute) or "#").startswith(("#", "data:"))
    assert not page.all("iframe") + page.all("object") + page.all("embed") + page.all("base")


def test_the_policy_allows_our_style_and_script_alone(page: Page, source: str) -> None:
    policy = next(a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert re.sub(r"sha256-[\w+/=]+", "sha256-HASH", policy) == (
        "default-src 'none'; img-src data:; style-src 'sha256-HASH'; script-src 'sha256-HASH'; "
        "base-uri 'none'; form-action 'none'"
    )
    for element in ("style", "script"):
        content = re.search(f"<{element}>(.*?)</{element}>", source, re.DOTALL).group(1)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{element}-src 'sha256-{digest}'" in policy
        assert len(page.all(element)) == 1
    assert not any("style" in a or any(key.startswith("on") for key in a) for _, a in page.elements)


def test_names_of_users_are_text_wherever_they_stand(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    quote = "\"'><img src=x onerror=alert(1)>"
    cases = [*CASES[:6], f"{evil}case", f"{quote}case"]
    data = f"Dataset002_{evil}"
    common = {"cases": cases, "dataset": data, "options": {quote: evil}}
    runs = [
        scored_run(tmp_path, "supervised", dices(0.7), folder="a", **common),
        scored_run(tmp_path, evil, dices(0.8), folder="b", **common),
        scored_run(tmp_path, quote, dices(0.6), folder="c", **common),
    ]
    broken = scored_run(tmp_path, f"{evil}missing", dices(0.7), folder="d", **common)
    (broken / "test" / "summary.json").unlink()
    source = write_report(compare([*runs, broken]), tmp_path / "out")[0].read_text(encoding="utf-8")
    page = Page(source)
    assert page.faults == []
    assert evil not in source
    assert source.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 10
    assert len(page.all("script")) == 1
    assert not [a for a in page.all("img") if not a["src"].startswith("data:")]
    assert not any(key.startswith("on") for _, a in page.elements for key in a)
    for text in (evil, quote, f"{evil}case", f"{evil}missing"):
        assert text in page.text


def test_tables_have_heads_and_pictures_have_words(page: Page) -> None:
    tables = len(page.all("table"))
    assert tables >= 5
    assert len(page.all("caption")) == tables
    assert all(a.get("scope") in ("col", "row", "rowgroup") for a in page.all("th"))
    assert all(a["alt"] for a in page.all("img"))
    drawings = [a for a in page.all("svg") if a.get("role") == "img"]
    assert len(drawings) == 7
    assert all(a["aria-label"] for a in drawings)
    assert all(a.get("aria-hidden") == "true" for a in page.all("svg") if a not in drawings)
    assert page.all("html")[0]["lang"] == "en"
    assert any(a.get("name") == "viewport" for a in page.all("meta"))
    scrolling = [a for _, a in page.elements if a.get("class") == "scroll"]
    assert all(a["tabindex"] == "0" and a["role"] == "region" and a["aria-label"] for a in scrolling)


def test_the_table_has_the_numbers_of_the_comparison(page: Page, folder: Path) -> None:
    group = compare(folder.parent.glob("*_*_*")).groups[0]
    for arm in group.arms:
        summary = group.summary(arm.name, "Dice")
        spread = f" ± {summary.sd:.3f}" if arm.replicates > 1 else ""
        assert f"{arm.name} {summary.mean:.3f}{spread} {summary.interval.low:.3f} to" in page.text
        assert f"{summary.interval.low:.3f} to {summary.interval.high:.3f}" in page.text
    test = group.test("mean_teacher")
    assert f"+{test.difference:.3f}" in page.text
    assert f"{test.p_holm:.3f} ▲ better {test.wins} of {test.n}" in page.text
    assert "no difference shown" in page.text
    assert "upper bound" in page.text


def test_sort_keys_are_numbers_and_missing_values_have_none(page: Page) -> None:
    keys = [
        a["data-key"] for a in page.all("td") if "data-key" in a and a.get("class", "").startswith("number")
    ]
    assert "" in keys
    assert all(np.isfinite(float(key)) for key in keys if key)


def test_all_metrics_are_in_the_page_and_none_is_hidden_without_scripts(page: Page) -> None:
    panels = [a for a in page.all("div") if "data-metric" in a]
    assert [a["data-metric"] for a in panels].count("HD95") == 2  # the table and the boxes
    assert not any("hidden" in a for a in panels)
    assert [a["data-choose"] for a in page.all("button") if "data-choose" in a] == ["Dice", "HD95", "ASSD"]
    switches = [a for a in page.all("div") if a.get("class") == "switch"]
    assert all("hidden" in a for a in switches)  # the script shows what only it can serve


def test_it_says_where_the_numbers_come_from(page: Page) -> None:
    for text in (
        "c0ffee",
        "da7a",
        "5p117",
        "torch 2.13.0",
        "a CPU",
        "bf16",
        "semiseg train Dataset001_Tiny",
        "strict",
    ):
        assert text in page.text
    assert "No run is missing." in page.text
    assert "A curve needs runs with at least two numbers of labels." in page.text


def test_worst_median_and_best_case_are_pictures_inside_the_page(page: Page) -> None:
    pictures = page.all("img")
    assert len(pictures) == 4 * 3
    for picture in pictures:
        content = base64.b64decode(picture["src"].removeprefix("data:image/webp;base64,"))
        assert content[:4] == b"RIFF"
        assert content[8:12] == b"WEBP"
        assert len(content) < 40_000
    values = {case: value for case, value in zip(CASES, dices(0.7, seed=0)[:, 0], strict=True)}
    assert f"worst case of supervised, {min(values, key=values.get)}" in pictures[0]["alt"]


def test_one_arm_one_seed_one_case(tmp_path: Path) -> None:
    page = build(tmp_path, [scored_run(tmp_path, "supervised", dices(0.7, cases=1), cases=CASES[:1])])
    assert page.faults == []
    assert "1 method on Dataset001_Tiny" in page.text
    assert "There is no other method than the baseline supervised." in page.text
    assert "One seed only: the spread between seeds is unknown" in page.text
    assert "an interval needs 5" in page.text


def test_pictures_that_are_not_there_are_said_to_be_missing(tmp_path: Path) -> None:
    page = without_figures(trio(tmp_path, seeds=1))
    assert page.all("img") == []
    assert page.text.count("No picture: the reference nowhere/labelsTs/ts_0") == 9


def test_missing_runs_are_listed_with_what_would_fill_them(tmp_path: Path) -> None:
    runs = trio(tmp_path)
    (runs[-1] / "test" / "summary.json").unlink()
    page = without_figures(runs)
    assert "1 run that should be here is missing." in page.text
    assert "ua_mt Dataset001_Tiny 8 0 / 1 " in page.text
    assert "semiseg train Dataset001_Tiny --method ua_mt --resume" in page.text


def test_several_groups_have_files_of_their_own_and_one_curve(tmp_path: Path) -> None:
    runs = [
        scored_run(tmp_path, name, dices(0.6), labeled=labeled)
        for name in ("supervised", "mean_teacher")
        for labeled in (4, 8)
    ]
    page = build(tmp_path, runs)
    assert page.faults == []
    names = {path.name for path in (tmp_path / "out" / "figures").glob("*.svg")}
    assert {"4-labeled_boxes_Dice.svg", "8-labeled_boxes_Dice.svg", "budget_Dice.svg"} <= names
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    assert "Dataset001_Tiny, 4 labeled" in page.text


def test_datasets_of_similar_names_have_figures_of_their_own(tmp_path: Path) -> None:
    names = ("Dataset001_A b", "Dataset001_A-b", "Dataset001_a b")
    runs = [
        scored_run(tmp_path, method, dices(0.6), dataset=name, folder=f"{method}{i}")
        for method in ("supervised", "mean_teacher")
        for i, name in enumerate(names)
    ]
    page = build(tmp_path, runs)
    figures = {path.name.lower() for path in (tmp_path / "out" / "figures").glob("*boxes_Dice.svg")}
    assert len(figures) == len(names)
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))


def test_the_settings_that_differ_are_told_by_value(tmp_path: Path) -> None:
    runs = [
        scored_run(tmp_path, name, dices(0.7), folder=name, options={"weight": weight})
        for name, weight in (("supervised", 1), ("a", 1), ("b", 1), ("c", 7))
    ]
    page = without_figures(runs)
    assert "config.method.options.weight 7 c 1 all others" in page.text


def test_a_report_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [scored_run(tmp_path, "supervised", dices(0.7))]
    write_report(compare(runs), tmp_path / "out")
    before = (tmp_path / "out" / "report.html").read_bytes()
    monkeypatch.setattr(sys.modules["semiseg.comparison.report.write"], "page", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_report(compare(runs), tmp_path / "out")
    assert (tmp_path / "out" / "report.html").read_bytes() == before
    assert [path.name for path in (tmp_path / "out").rglob(".*")] == []


def test_colors_of_text_have_the_contrast_of_wcag_aa() -> None:
    from importlib import resources

    css = resources.files("semiseg.comparison.report").joinpath("page.css").read_text(encoding="utf-8")
    themes = re.findall(r"\{\s*(?:color-scheme: [a-z ]+;)?\s*(--paper: .*?)\}", css, re.DOTALL)
    assert len(themes) == 4  # light, dark by preference, dark by choice, print
    for theme in themes:
        colors = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", theme))
        for text in ("ink", "muted", "link", "better", "worse"):
            for ground in ("paper", "soft"):
                assert contrast(colors[text], colors[ground]) >= 4.5, (text, ground, theme)
        assert contrast(colors["ink"], colors["mark"]) >= 4.5
        assert contrast(colors["quiet"], colors["paper"]) >= 2.2  # marks, never text


def contrast(one: str, other: str) -> float:
    """WCAG 2.1, success criterion 1.4.3."""

    def luminance(color: str) -> float:
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_published_figures_stand_beside_ours(tmp_path: Path) -> None:
    runs = [
        scored_run(tmp_path, name, dices(0.8), labeled=16, dataset="Dataset101_LeftAtrium", folder=name)
        for name in ("supervised", "mean_teacher")
    ]
    page = without_figures(runs)
    assert "0.881" in page.text
    assert "not comparable" in page.text
    assert "comparison table of SFR" in page.text
