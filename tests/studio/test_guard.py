"""What must not be possible from another site, another machine or a file name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient
from tests.studio.conftest import ADDRESS, client_of

from semiseg.images import nifti
from semiseg.images.grid import Grid
from semiseg.studio.desk import Desk

PORT = ADDRESS.rpartition(":")[2]


@pytest.mark.parametrize(
    "headers",
    [
        {"host": f"evil.example:{PORT}"},
        {"host": "127.0.0.1:1"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "cors"},
        {"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors"},
    ],
    ids=lambda headers: " ".join(headers.values()),
)
def test_another_site_is_refused(web: TestClient, headers: dict[str, str]) -> None:
    for answer in (
        web.get("/api/session", headers=headers),
        web.get("/info/", headers=headers),
        web.post("/api/cases/un_00/reject", json={"reason": "x"}, headers=headers),
    ):
        assert answer.status_code == 403
        assert answer.json()["code"] == "FORBIDDEN"
    assert web.get("/api/cases/un_00").json()["state"] == "unlabeled"


def test_a_change_needs_a_header_that_no_form_can_send(web: TestClient) -> None:
    answer = web.post("/api/cases/un_00/reject", json={"reason": "x"}, headers={"X-Semiseg": ""})
    assert (answer.status_code, answer.json()["code"]) == (403, "FORBIDDEN")


def test_the_own_page_may_ask_and_be_opened_from_a_link(web: TestClient) -> None:
    own = {"origin": ADDRESS, "sec-fetch-site": "same-origin"}
    assert web.post("/api/cases/un_00/reject", json={"reason": "motion"}, headers=own).status_code == 200
    link = web.get("/", headers={"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"})
    assert link.status_code in (200, 503)  # 503: the pages are not built here


def test_every_answer_forbids_other_hosts_scripts_and_frames(web: TestClient) -> None:
    for path in ("/", "/api/session", "/api/cases/un_00/image/0.nii", "/nowhere", "/api/cases/nobody"):
        policy = web.get(path).headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "unsafe-eval" not in policy
        assert "script-src 'self'" in policy
        assert "http" not in policy
    assert web.get("/docs").status_code == 404


def test_a_token_is_wanted_once_there_is_one(desk: Desk) -> None:
    web = client_of(desk, token="right")
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Cookie": "semiseg_token=wrong"}):
        answer = web.get("/api/session", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "NO_TOKEN")
    assert web.get("/?token=wrong").status_code == 401
    assert web.get("/api/session?token=right").status_code == 401
    assert web.get("/api/session", headers={"Authorization": "Bearer right"}).status_code == 200
    welcome = web.get("/?token=right", follow_redirects=False)
    assert (welcome.status_code, welcome.headers["location"]) == (303, "/")
    assert "HttpOnly" in welcome.headers["set-cookie"]
    assert "SameSite=Strict" in welcome.headers["set-cookie"]
    assert web.get("/api/session").status_code == 200  # the client keeps the cookie, as a browser does


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e", "un_00%00", "nobody", "un_00_0000"]
)
@pytest.mark.parametrize("what", ["", "/image/0.nii", "/label.nii", "/thumbnail.png", "/draft.nii"])
def test_a_name_that_is_no_case_leads_nowhere(web: TestClient, name: str, what: str) -> None:
    assert web.get(f"/api/cases/{name}{what}").status_code == 404


def test_runs_jobs_and_pages_are_looked_up(web: TestClient, predicted: str) -> None:
    for path in (
        "/api/cases/un_00/prediction.nii?run=../../imagesTr",
        "/api/cases/un_00/prediction.nii?run=..",
        "/api/runs/..%2f..",
        "/api/jobs/..%2f0001/log",
        "/static/..%2f..%2fdesk.py",
        "/static/../desk.py",
    ):
        assert web.get(path).status_code == 404, path


def upload(shape: tuple[int, ...], value: int, path: Path, dtype: Any = np.uint8) -> bytes:
    array = np.full(shape, value, dtype)
    nifti.write(path, array, Grid(shape, np.eye(4)))
    return path.read_bytes()


def test_what_is_too_large_is_not_read(web: TestClient, tmp_path: Path) -> None:
    huge = b"0" * (12 * 13 * 14 * 8 + 2**20 + 1)
    answer = web.put("/api/cases/un_00/label?version=0", content=huge)
    assert (answer.status_code, answer.json()["code"]) == (413, "TOO_LARGE")
    answer = web.put("/api/cases/un_00/draft?version=0", content=huge)
    assert answer.status_code == 413
    said = web.put("/api/cases/un_00/label?version=0", content=b"", headers={"content-length": str(2**40)})
    assert said.status_code == 413
    assert web.get("/api/cases/un_00").json()["version"] == 0


def test_a_packed_upload_of_another_size_is_not_unpacked(web: TestClient, tmp_path: Path) -> None:
    bomb = upload((600, 600, 600), 0, tmp_path / "bomb.nii.gz")
    assert len(bomb) < 2**20
    answer = web.put("/api/cases/un_00/label?version=0", content=bomb)
    assert answer.status_code == 422
    assert "600 x 600 x 600" in answer.json()["message"]


def test_test_cases_cannot_be_drawn_on_and_are_hidden_in_a_blind_study(folder: Path, web: TestClient) -> None:
    answer = web.put("/api/cases/ts_00/label?version=0", content=b"x")
    assert (answer.status_code, answer.json()["code"]) == (403, "TEST_CASE")
    assert web.get("/api/cases/ts_00/label.nii").status_code == 200
    blind = client_of(Desk(folder, blind=True))
    assert blind.get("/api/cases/ts_00/label.nii").json()["code"] == "BLIND"
    shown = blind.get("/api/cases/ts_00").json()
    assert (shown["label_url"], shown["dice"], shown["volumes"]) == (None, None, None)
    assert blind.get("/api/cases/ts_00/image/0.nii").status_code == 200
