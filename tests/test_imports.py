"""What may be imported when: nothing heavy before it is needed, and every module on its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import semiseg

HEAVY = ("torch", "monai", "SimpleITK", "scipy", "matplotlib", "nibabel", "lightning_fabric", "pydicom")
SOURCE = Path(semiseg.__file__).parent

_PROBE = """
import contextlib, io, json, sys
with contextlib.redirect_stdout(io.StringIO()):
    {code}
print(json.dumps([name for name in {heavy!r} if name in sys.modules]))
"""


def loaded_by(code: str) -> list[str]:
    """The heavy packages in ``sys.modules`` after running ``code`` in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", _PROBE.format(code=code, heavy=HEAVY)],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "module",
    [
        *(
            "semiseg",
            "semiseg.errors",
            "semiseg.settings.config",
            "semiseg.settings.resolve",
            "semiseg.settings.environment",
            "semiseg.cli",
        ),
        *(
            "semiseg.preparation.plan",
            "semiseg.dataset.dataset",
            "semiseg.methods",
            "semiseg.networks",
            "semiseg.machine.doctor",
        ),
    ],
)
def test_light_modules_load_nothing_heavy(module: str) -> None:
    assert loaded_by(f"import {module}") == []


LIGHT = (
    ["--help"],
    ["--version"],
    ["methods"],
    ["methods", "ua_mt"],
    ["networks"],
    ["recipes"],
    ["train", "--help"],
    ["tune", "--help"],
)


@pytest.mark.parametrize("arguments", LIGHT)
def test_light_commands_load_nothing_heavy(arguments: list[str]) -> None:
    assert loaded_by(f"from semiseg.cli import main; assert main({arguments!r}) == 0") == []


def test_public_names_resolve() -> None:
    assert len(semiseg.__all__) <= 28  # a command is one function, and little else is public
    assert set(semiseg.__all__) <= set(dir(semiseg))
    for name in semiseg.__all__:
        assert getattr(semiseg, name) is not None


def test_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="trian"):
        _ = semiseg.trian


def test_no_relative_or_parent_escape_of_the_package() -> None:
    """``python -m semiseg`` works from anywhere, so no module may rely on the working directory."""
    done = subprocess.run(
        [sys.executable, "-m", "semiseg", "--version"], capture_output=True, text=True, cwd="/", check=True
    )
    assert done.stdout.strip() == f"semiseg {semiseg.__version__}"
