"""``semiseg convert`` on the command line, and what ``init`` says of layouts that it knows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests import lookalikes

from semiseg.dataset.public import known


def test_the_list_and_one_data_set(cli: Callable) -> None:
    listed = cli("convert", "--json").json["datasets"]
    assert [each["name"] for each in listed] == list(known())
    one = cli("convert", "cadis")
    assert (one.code, "--task 3" in one.out, "--split half" in one.out) == (0, True, True)


def test_a_conversion_and_its_next_step(cli: Callable, tmp_path: Path) -> None:
    source = lookalikes.la_raw(tmp_path / "la")
    answer = cli("convert", "la", source, "-o", tmp_path / "out", "--allow-missing", "--with", "wall")
    assert answer.code == 0
    assert f"next: semiseg check {tmp_path / 'out'}" in answer.out
    again = cli("convert", "la", source, "-o", tmp_path / "out", "--allow-missing", "--json")
    assert (again.code, again.json["code"]) == (2, "TARGET_EXISTS")
    dry = cli("convert", "la", source, "--allow-missing", "--dry-run")
    assert (dry.code, "would make" in dry.out) == (0, True)


def test_init_says_what_a_folder_looks_like(cli: Callable, tmp_path: Path) -> None:
    answer = cli("init", lookalikes.promise12(tmp_path / "p"), "-o", tmp_path / "out")
    assert answer.code == 0
    assert f"this looks like PROMISE12: `semiseg convert promise12 {tmp_path / 'p'}`" in answer.out
    (tmp_path / "q").mkdir()
    assert "this looks like" not in cli("init", tmp_path / "q", "-o", tmp_path / "other").err
