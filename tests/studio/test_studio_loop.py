"""The whole loop with real processes: rank, train, predict, rank, train on; the server is killed, too."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import environment_of_ranks
from tests.factories import make_dataset

pytestmark = pytest.mark.slow

SMALL = {"plan.patch": [16, 16, 16]}


class Server:
    def __init__(self, folder: Path, home: Path) -> None:
        words = [sys.executable, "-m", "semiseg", "studio", str(folder), "--port", "0", "--json"]
        environment = {**environment_of_ranks(), "SEMISEG_HOME": str(home)}
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment)
        text = ""
        while self.process.stdout is not None and not text.endswith("}\n"):
            text += self.process.stdout.readline()
        self.url = json.loads(text)["url"]

    def ask(self, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"X-Semiseg": "1", "Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(self.url + path, data, headers)) as answer:
            return json.load(answer)

    def end(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        self.process.wait(timeout=60)


def until(true: Callable[[], object], seconds: float = 600) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.5)


def test_the_loop(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path, labeled=2, unlabeled=4, test=0, shape=(16, 16, 16))
    server = Server(folder, tmp_path)
    order = {"kind": "train", "method": "supervised", "iterations": 2, "device": "cpu", "settings": SMALL}
    try:
        server.ask("api/ranking", {"n": 2, "device": "cpu"})
        until(lambda: server.ask("api/ranking")["cases"])
        assert server.ask("api/ranking")["strategy"] == "typiclust"
        server.ask("api/jobs", order)
        until(lambda: server.ask("api/jobs")["jobs"][0]["state"] == "running")
        server.end(signal.SIGKILL)  # the training goes on
        server = Server(folder, tmp_path)
        until(
            lambda: (
                [job["kind"] for job in server.ask("api/jobs")["jobs"]]
                == ["rank", "predict", "train", "rank"]
            )
        )
        until(lambda: server.ask("api/jobs")["active"] == 0)
        assert {job["state"] for job in server.ask("api/jobs")["jobs"]} == {"done"}
        row = server.ask("api/cases?state=predicted&sort=rank")["cases"][0]
        assert (row["rank"], row["run"]) == (1, "round-001")
        server.ask(f"api/cases/{row['id']}/accept", {"run": "round-001", "version": 0})
        server.ask("api/jobs", {**order, "start_from": "round-001", "then_predict": False, "accepted": 0.5})
        until(lambda: server.ask("api/jobs")["active"] == 0)
        newest = server.ask("api/runs")["runs"][0]
        assert (newest["labeled"], newest["finished"]) == (3, True)
        assert newest["start_from"] == "round-001"
        manifest = json.loads((folder / "studio" / "runs" / "round-002" / "manifest.json").read_text())
        assert manifest["weights"] == {row["id"]: 0.5}
    finally:
        server.end()
