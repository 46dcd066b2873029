"""The studio under load and under kills: `python benchmarks/studio.py`.

    python benchmarks/studio.py --part cases     # 5,000 cases: the list, a search, a save
    python benchmarks/studio.py --part ct        # a CT of 512 x 512 x 400: its page, a preview, all of it
    python benchmarks/studio.py --part kills     # the server is killed in the middle of saves

A real server on a port of this machine is asked over HTTP. Seconds are those on the clock and, in brackets,
those of the CPU (the server's; for what is opened in a browser, the browser's, too), which another program
on the machine does not change. After a kill the dataset must pass `semiseg check`, no save that was confirmed
may be lost, and the next save must work.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks._machine import store, table  # noqa: E402
from tests.factories import make_dataset  # noqa: E402
from tests.studio.browser import STATIC, chromium, look, needed  # noqa: E402

import semiseg  # noqa: E402
from semiseg import images  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
TITLE = "The studio under load"
COMMAND = "python benchmarks/studio.py [--part cases|ct|kills]"
TICKS = os.sysconf("SC_CLK_TCK")
CT = (512, 512, 400)
CASES = 5000

Row = dict[str, Any]


class Server:
    """A studio of a dataset on a free port."""

    def __init__(self, dataset: Path) -> None:
        words = ["-m", "semiseg", "studio", str(dataset), "--port", "0", "--json", "--no-browser"]
        self.process = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True)
        text = ""
        while self.process.stdout is not None and not text.endswith("}\n"):
            line = self.process.stdout.readline()
            if not line:
                raise SystemExit("the studio did not start")
            text += line
        self.url = json.loads(text)["url"]

    def ask(self, path: str, body: bytes | None = None, method: str = "GET") -> bytes:
        """An answer's bytes."""
        headers = {"X-Semiseg": "1", "Content-Type": "application/octet-stream"}
        request = urllib.request.Request(self.url + path, data=body, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=600) as answer:
            content: bytes = answer.read()
        return content

    def timed(self, what: str, ask: Callable[[], object]) -> Row:
        """Seconds on the clock and of the server's CPU."""
        cpu, began = self.cpu(), time.perf_counter()
        ask()
        return {"what": what, "seconds": time.perf_counter() - began, "cpu": self.cpu() - cpu}

    def cpu(self) -> float:
        """Seconds of CPU that the server has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def end(self, number: int = signal.SIGTERM) -> None:
        """End it."""
        self.process.send_signal(number)
        self.process.wait(timeout=60)


def cases(place: Path) -> list[Row]:
    """A list of many small cases, hard links of one scan."""
    folder = make_dataset(place, labeled=1, unlabeled=0, test=0, shape=(8, 8, 8))
    (folder / "imagesUn").mkdir(exist_ok=True)
    source = folder / "imagesTr" / "case_00_0000.nii.gz"
    for i in range(CASES - 1):
        (folder / "imagesUn" / f"un_{i:04d}_0000.nii.gz").hardlink_to(source)
    server = Server(folder)
    try:
        rows = [server.timed("the first list after the start", lambda: server.ask("api/cases?size=60"))]
        wait_until_known(server)
        rows.append(
            server.timed("a page of the list", lambda: server.ask("api/cases?size=60&page=40&sort=size"))
        )
        rows.append(server.timed("a search", lambda: server.ask("api/cases?size=60&search=_123")))
        rows.append(server.timed("all 500 rows of a page", lambda: server.ask("api/cases?size=500")))
        rows.append(server.timed("a save", lambda: save(server, "un_0000", 0)))
        rows.append(server.timed("the list after the save", lambda: server.ask("api/cases?size=60")))
    finally:
        server.end()
    return rows


def wait_until_known(server: Server) -> None:
    """Until all headers were read."""
    while (
        json.loads(server.ask("api/cases?size=1&sort=size&order=asc&page=5000"))["cases"][0]["shape"] is None
    ):
        time.sleep(0.5)


def ct(place: Path) -> list[Row]:
    """A CT as large as they come."""
    folder = make_dataset(place, labeled=1, unlabeled=1, test=0, shape=(8, 8, 8))
    rng = np.random.default_rng(0)
    plane = rng.normal(0, 300, CT[:2]).astype(np.int16)
    scan = np.stack([np.roll(plane, k, 0) for k in range(CT[2])], -1)
    for name in ("un_00", "un_01"):
        path = folder / "imagesUn" / f"{name}_0000.nii.gz"
        nib.save(nib.Nifti1Image(scan, np.diag([0.8, 0.8, 1.0, 1.0])), path)
    server = Server(folder)
    try:
        url, listed = "api/cases/un_00", "api/cases/un_01"
        preview = "image/0.nii?size=preview"
        rows = [
            server.timed("its picture in the list", lambda: server.ask(f"{listed}/thumbnail.png")),
            server.timed("its page after the list", lambda: server.ask(listed)),
            server.timed("its preview after the list", lambda: server.ask(f"{listed}/{preview}")),
            server.timed("the page of one that was not in a list", lambda: server.ask(url)),
            server.timed("its preview", lambda: server.ask(f"{url}/{preview}")),
            *in_browser(server, "un_01"),
            server.timed("all voxels", lambda: server.ask(f"{url}/image/0.nii")),
            server.timed("a save", lambda: save(server, "un_00", 0)),
        ]
    finally:
        server.end()
    return rows


def in_browser(server: Server, name: str) -> list[Row]:
    """From the list to a scan that can be looked at, in Chromium without a graphics card, if it is there."""
    if not (STATIC / "index.html").is_file() or importlib.util.find_spec("playwright") is None:
        return []
    rows = []
    with chromium(needed()) as browser:
        page = look(browser, server.url.rstrip("/"))
        page.go("cases")
        page.page.locator(".cases tbody tr").first.wait_for()
        page.page.wait_for_timeout(3000)  # the viewer is fetched while the list is looked at
        for what in ("opened in a browser without a graphics card", "opened again"):
            cpu, began = server.cpu() + browser_cpu(), time.perf_counter()
            page.case(name)
            seconds = time.perf_counter() - began
            rows.append({"what": what, "seconds": seconds, "cpu": server.cpu() + browser_cpu() - cpu})
            page.go("about")
            page.page.locator("main", has_text="This machine").wait_for()
    return rows


def browser_cpu() -> float:
    """Seconds of CPU of all processes below this one, but the server's own."""
    used: dict[int, tuple[int, float, str]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            head, _, rest = path.read_text().rpartition(")")
            fields = rest.split()
            used[int(path.parent.name)] = (int(fields[1]), (int(fields[11]) + int(fields[12])) / TICKS, head)
    below, own = {os.getpid()}, 0
    while len(below) > own:
        own = len(below)
        below |= {process for process, (parent, _, _) in used.items() if parent in below}
    return sum(used[process][1] for process in below if "chrom" in used[process][2])


def drawing(server: Server, name: str, value: int = 1) -> bytes:
    """A label on the grid of a case, as the page sends it."""
    header = nib.Nifti1Header.from_fileobj(_stream(server.ask(f"api/cases/{name}/image/0.nii")[:348]))
    label = np.zeros(header.get_data_shape(), np.uint8)
    label[1:5, 1:5, 1:5] = value
    content: bytes = nib.Nifti1Image(label, header.get_best_affine()).to_bytes()
    return content


def save(server: Server, name: str, version: int, value: int = 1) -> int:
    """Save a label; its version."""
    content = drawing(server, name, value)
    answer = server.ask(f"api/cases/{name}/label?version={version}", content, "PUT")
    return int(json.loads(answer)["version"])


def kills(place: Path, count: int) -> list[Row]:
    """The server is killed at random moments while labels are saved."""
    folder = make_dataset(place, labeled=1, unlabeled=2, test=0, shape=(10, 10, 10))
    rng, confirmed, lost, broken = np.random.default_rng(0), {"un_00": 0, "un_01": 0}, 0, 0
    for round_ in range(count):
        server = Server(folder)
        name = f"un_{round_ % 2:02d}"
        there = int(json.loads(server.ask(f"api/cases/{name}"))["version"])
        lost += there < confirmed[name]
        began = time.perf_counter()
        version = confirmed[name] = save(server, name, there)
        took = time.perf_counter() - began
        killer = threading.Timer(float(rng.uniform(0.0, 3 * took)), server.process.kill)
        killer.start()
        try:
            while True:
                version = save(server, name, version, value=int(version % 2))
                confirmed[name] = version
        except (OSError, http.client.HTTPException):  # it is gone
            pass
        server.process.wait(timeout=60)
        after = semiseg.check(folder, workers=1) if opened(folder) else None
        broken += after is None or not after.ok
        for path in (folder / "labelsTr").glob("*.nii.gz"):
            images.read_label(path)
    server = Server(folder)
    try:
        for name, version in confirmed.items():
            there = int(json.loads(server.ask(f"api/cases/{name}"))["version"])
            lost += there < version
            save(server, name, there)
    finally:
        server.end()
    return [
        {
            "what": f"{count} kills while saving",
            "lost": lost,
            "broken": broken,
            "saved": sum(confirmed.values()),
        }
    ]


def opened(folder: Path) -> bool:
    """Whether the dataset can be opened after the next start has finished what was broken off."""
    from semiseg.labeling.store import Labels

    try:
        Labels(folder)
    except semiseg.SemisegError:
        return False
    return True


def page(parts: dict[str, list[Row]]) -> str:
    """Seconds, and what was lost."""
    titles = {"cases": f"{CASES} cases", "ct": f"A CT of {' x '.join(map(str, CT))}"}
    text = []
    for part, title in titles.items():
        rows = [[r["what"], f"{r['seconds']:.2f} ({r['cpu']:.2f})"] for r in parts.get(part, [])]
        if rows:
            text.append(f"**{title}**\n\n" + table(["request", "s (CPU s)"], rows))
    for row in parts.get("kills", []):
        text.append(
            f"**Kills**: {row['what']}, {row['saved']} saves were confirmed, {row['lost']} of them lost; "
            f"{row['broken']} times the dataset did not pass `semiseg check` afterwards."
        )
    text.append(
        "Where other programs keep the cores busy, the clock tells how busy they are; "
        "the seconds of CPU do not depend on them."
    )
    return "\n\n".join(text)


def _stream(content: bytes) -> Any:
    import io

    return io.BytesIO(content)


def main(words: Sequence[str] | None = None) -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--part", choices=("cases", "ct", "kills"), nargs="+", default=["cases", "ct", "kills"]
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(words)
    file = options.results / "studio.json"
    parts: dict[str, list[Row]] = json.loads(file.read_text())["parts"] if file.is_file() else {}
    for part in options.part:
        with tempfile.TemporaryDirectory() as where:
            place = Path(where)
            parts[part] = (
                kills(place, options.kills) if part == "kills" else {"cases": cases, "ct": ct}[part](place)
            )
        store(options.results, "studio", TITLE, COMMAND, page(parts), {"parts": parts})


if __name__ == "__main__":
    main()
