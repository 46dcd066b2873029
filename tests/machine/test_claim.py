"""A claim is held by one process, and given up by the system when that dies."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from semiseg.errors import UsageError
from semiseg.machine import claim as claims
from semiseg.machine.claim import LOCK, Claim, contents, held, taken

HOLD = """
import sys, time
from pathlib import Path
from semiseg.machine.claim import Claim
with Claim(Path(sys.argv[1])) as claim:
    print(claim.mine, flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the claim."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=pipe, stdout=pipe, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        yield process
        process.kill()


def test_one_holder_at_a_time_and_none_after_its_death(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "lock"
    assert not taken(path)
    with holder(path) as other:
        assert taken(path)
        with Claim(path) as claim:
            assert not claim.mine
            assert claim.holder["process"] == str(other.pid)
        other.kill()
        other.wait()
        assert path.exists()  # a dead process leaves the file, not the lock
        with Claim(path, patience=5.0) as claim:
            assert claim.mine
    assert not path.exists()
    assert not taken(path)


def test_a_folder_in_use_is_refused_with_the_name_of_who_is_there(tmp_path: Path) -> None:
    with holder(tmp_path / LOCK) as other:
        with pytest.raises(UsageError) as caught, held(tmp_path, "-o"):
            pass
        assert caught.value.code == "IN_USE"
        assert all(word in caught.value.message for word in (str(other.pid), os.uname().nodename, "since"))
        assert "-o" in caught.value.hint


WRITE = """
import sys
from pathlib import Path
from semiseg.machine.files import replacing
with replacing(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print(temporary.name, flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_holder_half_wrote_goes_with_the_next_one_and_what_is_being_written_stays(
    tmp_path: Path,
) -> None:
    left, picture, mine = (tmp_path / name for name in (f".{'0' * 16}.tmp", f".{'1' * 16}.tmp.png", ".x.tmp"))
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", WRITE, str(tmp_path / "plot.png")]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as other:
        assert other.stdout is not None
        written = tmp_path / other.stdout.readline().strip()
        for beside in (True, False):
            for path in (left, picture, mine, written):
                if path != written:
                    path.write_bytes(b"half")
                os.utime(path, (0, 0))
            with held(tmp_path / "out.nii.gz" if beside else tmp_path, "-o", beside=beside):
                assert [left.exists(), picture.exists(), mine.exists()] == [False, False, True]
                assert written.read_text() == "half"
        other.kill()
    with held(tmp_path, "-o"):
        assert not written.exists()


def test_nothing_stays_behind(tmp_path: Path) -> None:
    with held(tmp_path / "a" / "b", "-o"):
        assert (tmp_path / "a" / "b" / LOCK).is_file()
        assert contents(tmp_path / "a" / "b") == []
    assert list(tmp_path.iterdir()) == []
    with held(tmp_path / "c", "-o"):
        (tmp_path / "c" / "result").touch()
    assert [p.name for p in (tmp_path / "c").iterdir()] == ["result"]


def test_a_thread_may_hold_twice_what_no_other_thread_can(tmp_path: Path) -> None:
    seen = []
    with held(tmp_path, "-o"):
        with held(tmp_path, "-o"):
            pass
        thread = threading.Thread(target=lambda: seen.append(taken(tmp_path / LOCK)))
        thread.start()
        thread.join()
        with Claim(tmp_path / LOCK) as claim:
            assert claim.mine
        assert (tmp_path / LOCK).is_file()
    assert seen == [True]
    assert list(tmp_path.iterdir()) == []


def test_whoever_waited_for_a_removed_file_has_the_new_one(tmp_path: Path) -> None:
    """Two processes that hand a claim back and forth never have it at the same time."""
    code = (
        "import sys, os; from pathlib import Path; from semiseg.machine.claim import Claim\n"
        "folder = Path(sys.argv[1])\n"
        "for _ in range(20):\n"
        "    with Claim(folder / 'lock', patience=30.0) as claim:\n"
        "        assert claim.mine\n"
        "        os.close(os.open(folder / 'inside', os.O_CREAT | os.O_EXCL))\n"
        "        os.unlink(folder / 'inside')\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(2)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]


def test_a_file_system_without_locks_is_told_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(stream: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(claims, "_lock", refuse)
    with caplog.at_level(logging.WARNING), held(tmp_path / "out", "-o"):
        assert "cannot lock" in caplog.text


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(UsageError) as caught, held(tmp_path, "-o"):
            pass
    finally:
        tmp_path.chmod(0o700)
    assert caught.value.code == "NOT_WRITABLE"
