"""Fixtures that every room uses."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

import semiseg

REPOSITORY = Path(__file__).resolve().parent.parent


def environment_of_ranks() -> dict[str, str]:
    """For processes that a test launches: they import what the test imports, and have a thread each."""
    packages = [str(Path(semiseg.__file__).parents[1]), str(REPOSITORY)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(packages), "OMP_NUM_THREADS": "1"}


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A file or folder that the first of the processes of this test run makes, for all of them."""
    own = factory.getbasetemp()
    path = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / name
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            make(path)
    return path


@pytest.fixture(scope="session")
def monai() -> None:
    """The test builds a network of MONAI, or compares with it; it is skipped without that extra."""
    pytest.importorskip("monai", reason='needs `pip install "semiseg[monai]"`')


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the checkout; the test is skipped where it is absent."""
    folder = Path(os.environ.get("SEMISEG_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data not found at {folder} (set SEMISEG_TEST_DATA)")
    return folder


@pytest.fixture(scope="session")
def golden():
    """``golden("vnet__metrics")`` loads that vector, from ``SEMISEG_GOLDEN`` when it is set."""
    folder = Path(os.environ.get("SEMISEG_GOLDEN", Path(__file__).parent / "golden" / "vectors"))

    def load(name: str) -> dict[str, np.ndarray]:
        path = folder / f"{name}.npz"
        if not path.is_file():
            pytest.skip(f"no golden vector {path}")
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)

    return load


@pytest.fixture
def no_nohup() -> Iterator[None]:
    """SIGHUP as a terminal's children have it, though the test suite itself may run under ``nohup``."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture(autouse=True)
def _private_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep every test out of the user's cache and away from the user's settings."""
    for name in [n for n in os.environ if n.startswith(("SEMISEG_", "nnUNet_")) and n not in _KEPT]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SEMISEG_HOME", str(tmp_path_factory.getbasetemp() / "semiseg-home"))


_KEPT = ("SEMISEG_GOLDEN", "SEMISEG_TEST_DATA")
