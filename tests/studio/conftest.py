"""A studio on a tiny dataset, asked in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.factories import make_dataset
from tests.trained import make_plan, make_run

pytest.importorskip("fastapi", reason='needs `pip install "semiseg[studio]"`')

from starlette.testclient import TestClient

import semiseg
from semiseg.studio.app import make_app
from semiseg.studio.desk import Desk

ADDRESS = "http://127.0.0.1:8765"
MARK = {"X-Semiseg": "1"}


def client_of(desk: Desk, **guard: object) -> TestClient:
    app = make_app(desk, host="127.0.0.1", port=8765, **guard)  # type: ignore[arg-type]
    return TestClient(app, base_url=ADDRESS, headers=MARK, raise_server_exceptions=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_dataset(tmp_path, labeled=2, unlabeled=3, test=1, shape=(12, 13, 14))


@pytest.fixture
def desk(folder: Path) -> Iterator[Desk]:
    desk = Desk(folder)
    yield desk
    desk.close()


@pytest.fixture
def web(desk: Desk) -> TestClient:
    return client_of(desk)


@pytest.fixture
def predicted(folder: Path) -> str:
    """The unlabeled scans and one labeled scan were predicted by the run of this name."""
    run = make_run(folder / "studio" / "runs" / "round-001", make_plan())
    out = folder / "studio" / "predictions" / "round-001"
    semiseg.predict(folder / "imagesUn", out, run, device="cpu", uncertainty=True, workers=0)
    return "round-001"
