"""A folder is there whole or not at all, wherever its writer is killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from semiseg.machine.folders import restore, whole_folder

KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from semiseg.machine.folders import whole_folder

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def die_after_one(self, target, rename=Path.replace):
    rename(self, target)
    die()

place, when = Path(sys.argv[1]), sys.argv[2]
if when == "between the renames":
    Path.replace = die_after_one
if when == "while the earlier one is removed":
    shutil.rmtree = die
with whole_folder(place) as made:
    (made / "what").write_text("new")
    if when == "while it is built":
        die()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is of POSIX systems")
@pytest.mark.parametrize(
    ("when", "left"),
    [
        ("while it is built", "old"),
        ("between the renames", "old"),
        ("while the earlier one is removed", "new"),
    ],
)
def test_whoever_is_killed_leaves_one_whole_folder(when: str, left: str, tmp_path: Path) -> None:
    place, other = tmp_path / "heart", tmp_path / ".heart.v2.01234567.tmp"
    for folder in (place, other):
        folder.mkdir()
        (folder / "what").write_text("old")
    done = subprocess.run([sys.executable, "-c", KILLED, str(place), when])
    assert done.returncode == -9
    assert len(list(tmp_path.iterdir())) > 2 - (when == "between the renames")
    restore(place)
    assert (place / "what").read_text() == left
    assert sorted(tmp_path.iterdir()) == [other, place]  # what is built for heart.v2 stays


def test_what_fails_leaves_the_earlier_folder_and_a_link_stays_one(tmp_path: Path) -> None:
    place, link = tmp_path / "disk" / "heart", tmp_path / "heart"
    with whole_folder(place) as made:
        (made / "what").write_text("old")
    link.symlink_to(place)

    def interrupted() -> None:
        with whole_folder(link) as made:
            (made / "what").write_text("new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (place / "what").read_text() == "old"
    with whole_folder(link) as made:
        (made / "what").write_text("new")
    assert link.is_symlink()
    assert (place / "what").read_text() == "new"
    assert [path.name for path in place.parent.iterdir()] == ["heart"]
