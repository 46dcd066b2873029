"""MONAI Label's own Python client against a studio: `python benchmarks/monai_client.py PYTHON DATASET`.

PYTHON is that of an environment of its own, 3.11 or 3.12 (the client uses `cgi`, gone in 3.13):

    python3.11 -m venv ENV
    ENV/bin/pip install --no-deps monailabel==0.8.5 requests urllib3 idna certifi charset-normalizer
    python benchmarks/monai_client.py ENV/bin/python DATASET

A copy of DATASET is served; the client asks for facts, takes the next sample, saves a label, trains a few
iterations, looks at the progress, stops, infers as NRRD, and sends a scan of its own. Each step is checked.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks._machine import store  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
TITLE = "MONAI Label's client against a studio"
COMMAND = "python benchmarks/monai_client.py PYTHON DATASET"
SAY = """
import json, sys
from monailabel.client.client import MONAILabelClient
client = MONAILabelClient(sys.argv[1], tmpdir=sys.argv[2], client_id="anna")
name, *given = json.loads(sys.argv[3])
print(json.dumps(getattr(client, name)(*given)))
"""


class Client:
    """The published client, one call per process."""

    def __init__(self, python: Path, url: str, place: Path) -> None:
        self.python, self.url, self.place = python, url, place

    def __call__(self, *call: Any) -> Any:
        """What a method of the client returns.

        Raises:
            SystemExit: it raises.
        """
        words = [str(self.python), "-c", SAY, self.url, str(self.place), json.dumps(call)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{call[0]}: {done.stderr.strip().splitlines()[-1]}")
        return json.loads(done.stdout)


def require(true: object, what: object) -> None:
    """End with a word where something is not as the interface has it.

    Raises:
        SystemExit: it is not.
    """
    if not true:
        raise SystemExit(f"not so: {what}")


def serve(dataset: Path) -> tuple[subprocess.Popen[str], str]:
    """A studio on a free port, and its address."""
    command = [
        sys.executable,
        "-m",
        "semiseg",
        "studio",
        str(dataset),
        "--port",
        "0",
        "--json",
        "--no-browser",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    text = ""
    while process.stdout is not None and (line := process.stdout.readline()):
        text += line
        try:
            return process, str(json.loads(text)["url"])
        except ValueError:
            continue
    raise SystemExit("the studio did not start")


def conversation(client: Client, folder: Path, label: Path, scan: Path, place: Path) -> list[str]:
    """Talk to the studio; what was seen, one line per step."""
    seen = []
    facts = client("info")
    require(facts["labels"], facts)
    require(facts["models"] == {}, "nothing was trained yet")
    seen.append(f"info: {len(facts['labels'])} labels, {facts['datastore']}")
    sample = client("next_sample", "random", {})
    require(Path(sample["path"]).is_file(), "Path(sample[path]).is_file()")
    seen.append(f"next_sample: {sample['id']}")
    total = facts["datastore"]["completed"]
    unlabeled = label.name.split(".")[0]
    client("save_label", unlabeled, str(label), "final", {})
    require(
        client("info")["datastore"]["completed"] == total + 1,
        "client(info)[datastore][completed] == total + 1",
    )
    require(
        json.loads((folder / "labels.jsonl").read_text().splitlines()[-1])["by"] == "anna",
        "json.loads((folder / labels.jsonl).read_text().splitlines()[",
    )
    seen.append(f"save_label: {unlabeled}, {total + 1} labels now")
    back = Path(client("download_label", unlabeled, "final"))
    require(back.stat().st_size > 0, "back.stat().st_size > 0")
    require(len(client("datastore")["objects"]) >= total, "len(client(datastore)[objects]) >= total")
    task = client(
        "train_start",
        "segmentation",
        {"method": "supervised", "iterations": 3, "device": "cpu", "then_predict": False},
    )
    require(task["status"] in ("SUBMITTED", "RUNNING"), "task[status] in (SUBMITTED, RUNNING)")
    require(client("train_status", True) is True, "client(train_status, True) is True")
    seen.append(f"train_start: {task['status']}")
    while (task := client("train_status"))["status"] in ("SUBMITTED", "RUNNING"):
        time.sleep(2)
    require(task["status"] == "DONE", task)
    stats = client("info")["train_stats"]["segmentation"]
    require((stats["epoch"], stats["total_epochs"]) == (3, 3), stats)
    seen.append(f"train_status: {task['status']}, {stats['epoch']} of {stats['total_epochs']} iterations")
    other = client("next_sample", "entropy", {})["id"]
    file, told = client(
        "infer", "segmentation", other, {"result_extension": ".nrrd", "result_dtype": "uint8"}
    )
    require(Path(file).read_bytes().startswith(b"NRRD"), file)
    require(told["label_names"], told)
    seen.append(f"infer: {Path(file).name} (NRRD), {told['label_names']}")
    session = client("create_session", str(scan))["session_id"]
    file, _ = client("infer", "segmentation", "", {"result_extension": ".nii.gz"}, None, None, session)
    require(Path(file).read_bytes()[:2] == b"\x1f\x8b", "Path(file).read_bytes()[:2] == b\x1f\x8b")
    require(
        client("get_session", session)["name"] == session, "client(get_session, session)[name] == session"
    )
    client("remove_session", session)
    seen.append("session: a scan of its own was inferred")
    added = client("upload_image", str(scan), "brought_by_the_client", {})
    require(added["image"] == "brought_by_the_client", "added[image] == brought_by_the_client")
    seen.append(f"upload_image: {added['image']}")
    client("train_start", "segmentation", {"method": "supervised", "iterations": 100000, "device": "cpu"})
    while not client("info")["train_stats"]["segmentation"].get("epoch"):
        time.sleep(1)
    client("train_stop")
    while (task := client("train_status"))["status"] in ("SUBMITTED", "RUNNING"):
        time.sleep(1)
    require(task["status"] == "STOPPED", task)
    seen.append(f"train_stop: {task['status']}")
    return seen


def small_copy(dataset: Path, place: Path, labeled: int = 3, unlabeled: int = 3) -> tuple[Path, Path]:
    """A copy with a few labels, and the true label of one of its unlabeled scans."""
    from semiseg.dataset.case import plain
    from semiseg.dataset.dataset import Dataset
    from semiseg.labeling.store import Labels
    from semiseg.studio.rounds import snapshot

    cases = Dataset.open(dataset).annotated[: labeled + unlabeled]
    rest = cases[labeled:]
    folder = snapshot(
        Labels(dataset), place / dataset.name, labeled=cases[:labeled], unlabeled=map(plain, rest)
    )
    label = place / rest[0].label.name
    shutil.copy(rest[0].label, label)
    return folder, label


def main(words: Sequence[str] | None = None) -> None:
    """Serve a copy and let the client talk to it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("python", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as where:
        place = Path(where)
        folder, label = small_copy(options.dataset, place)
        scan = next(iter(sorted((folder / "imagesTr").iterdir())))
        process, url = serve(folder)
        try:
            seen = conversation(Client(options.python, url, place), folder, label, scan, place)
        finally:
            process.terminate()
            process.wait(timeout=60)
    print("\n".join(seen))
    text = "Each step was checked:\n\n" + "\n".join(f"- {line}" for line in seen)
    store(options.results, "monai_client", TITLE, COMMAND, text, {"seen": seen})


if __name__ == "__main__":
    main()
