"""Every kind of failure has its exit code and two lines, and a traceback only with -v."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool

import pytest

from semiseg import errors
from semiseg.cli.failures import explain, nearest_flag
from semiseg.errors import is_out_of_memory

torch = pytest.importorskip("torch")


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Make ``semiseg methods`` raise."""

    def install(error: BaseException) -> None:
        def describe() -> None:
            raise error

        monkeypatch.setattr("semiseg.methods.describe", describe)

    return install


@pytest.mark.parametrize(
    ("error", "code", "word"),
    [
        (errors.SemisegError("it broke", hint="mend it"), 1, "FAILED"),
        (errors.UsageError("wrong flag"), 2, "USAGE"),
        (errors.DataError("bad file", code="LABEL_VALUES"), 3, "LABEL_VALUES"),
        (errors.DeviceError("no device"), 4, "DEVICE"),
        (errors.PartialError("two failed"), 5, "PARTIAL"),
        (errors.Interrupted("stopped"), 130, "INTERRUPTED"),
        (KeyboardInterrupt(), 130, "INTERRUPTED"),
        (MemoryError(), 4, "OUT_OF_MEMORY"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), 4, "OUT_OF_MEMORY"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"), 4, "OUT_OF_MEMORY"),
        (BrokenProcessPool("a child died"), 4, "WORKER_DIED"),
        (ZeroDivisionError("division by zero"), 1, "ZERODIVISIONERROR"),
        (PermissionError(13, "Permission denied", "/somewhere"), 1, "PERMISSIONERROR"),
    ],
)
def test_exit_code_of_every_kind(
    cli: Callable, failing: Callable, error: BaseException, code: int, word: str
) -> None:
    failing(error)
    text = cli("methods")
    assert (text.code, text.out) == (code, "")
    assert "Traceback" not in text.err
    assert 1 <= len(text.err.splitlines()) <= 2
    machine = cli("methods", "--json")
    assert (machine.code, machine.err) == (code, "")
    assert (machine.json["ok"], machine.json["code"]) == (False, word)


def test_message_then_hint(cli: Callable, failing: Callable) -> None:
    failing(errors.DataError("bad file", hint="make it good"))
    assert cli("methods").err == "error: bad file\nhint: make it good\n"


def test_traceback_only_with_v(cli: Callable, failing: Callable) -> None:
    failing(ZeroDivisionError("division by zero"))
    quiet, loud = cli("methods"), cli("methods", "-v")
    assert quiet.err == (
        "error: ZeroDivisionError: division by zero\nhint: run again with -v for the traceback\n"
    )
    assert "Traceback (most recent call last)" in loud.err
    assert loud.err.endswith(quiet.err)


def test_v_names_the_page_of_a_code(cli: Callable, failing: Callable) -> None:
    failing(errors.DataError("bad file", hint="make it good", code="LABEL_VALUES"))
    assert "see: docs/problems.md#label_values\n" in cli("methods", "-v").err
    failing(ZeroDivisionError("no code of ours"))
    assert "see: " not in cli("methods", "-v").err


def test_traceback_does_not_spoil_the_json(cli: Callable, failing: Callable) -> None:
    failing(ZeroDivisionError("division by zero"))
    answer = cli("methods", "--json", "-v")
    assert answer.json["code"] == "ZERODIVISIONERROR"
    assert "Traceback" in answer.err


def test_interruption_is_one_line_that_is_no_error(cli: Callable, failing: Callable) -> None:
    failing(errors.Interrupted("stopped at iteration 7", hint="--resume goes on"))
    assert cli("methods", "-v").err == "stopped at iteration 7; --resume goes on\n"
    failing(KeyboardInterrupt())
    assert cli("methods").err == "interrupted\n"


@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        ("train", ("plan.batch", "plan.patch", "plan.features")),
        ("predict", ("inference.window_batch", "--workers", "--device cpu")),
    ],
)
def test_out_of_memory_names_three_settings_to_lower(command: str, wanted: tuple[str, ...]) -> None:
    told = explain(MemoryError(), [command])
    assert told.exit_code == 4
    assert all(word in told.hint for word in wanted)


def test_out_of_memory_says_where() -> None:
    assert "GPU" in explain(torch.OutOfMemoryError("CUDA out of memory")).message
    assert "main memory" in explain(MemoryError()).message


def test_other_runtime_errors_are_not_out_of_memory() -> None:
    assert not is_out_of_memory(RuntimeError("shape mismatch"))
    assert not is_out_of_memory(ValueError("out of memory"))
    assert is_out_of_memory(OSError(12, "Cannot allocate memory"))


def test_nearest_flag_of_single_dash_words() -> None:
    known = ["-d", "--device", "--devices", "--json"]
    assert nearest_flag("-x", ["--device"], ["-xevice"]) == "--device"
    assert nearest_flag("--devise", known, []) == "--device"
    assert nearest_flag("--zzz", known, []) is None
    assert nearest_flag("-j", known, []) == "--json"  # one letter: the only flag that begins so
    assert nearest_flag("-q", known, []) is None


def test_text_in_place_of_a_number(cli: Callable) -> None:
    for flag, wanted in (("--max-time", "a number"), ("--iterations", "a whole number")):
        text = cli("train", "nowhere", flag, "5s").err
        assert f"'{flag}': wanted {wanted}, got '5s'" in text


def test_failure_details_survive_as_plain_json(cli: Callable, failing: Callable, tmp_path: object) -> None:
    failing(errors.DataError("bad", details={"file": tmp_path, "values": {3, 4}, "share": float("nan")}))
    details = cli("methods", "--json").json["details"]
    assert details == {"file": str(tmp_path), "values": [3, 4], "share": None}


def run(code: str, **kwargs: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kwargs
    )


def test_broken_pipe_is_silent() -> None:
    code = (
        "import semiseg.methods, sys; from semiseg.cli import main\n"
        "line = {'name': 'x', 'summary': 'y' * 1000, 'family': 'Baselines', 'year': '1', 'work': '1'}\n"
        "semiseg.methods.describe = lambda: [line] * 1000\n"
        "sys.exit(main(['methods']))"
    )
    process = run(code)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()
    process.wait(timeout=20)


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c_of_a_real_process() -> None:
    code = (  # a shell that runs the tests in the background has SIGINT ignored, and children inherit that
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import semiseg.methods, sys, time; from semiseg.cli import main\n"
        "def describe(): print('ready', file=sys.stderr, flush=True); time.sleep(60)\n"
        "semiseg.methods.describe = describe\n"
        "sys.exit(main(['methods', '--json']))"
    )
    process = run(code)
    assert process.stderr is not None
    assert process.stderr.readline() == "ready\n"
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err == ""
    assert json.loads(out)["code"] == "INTERRUPTED"
