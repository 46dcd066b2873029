"""The notebooks of the documentation run from their first cell to their last, and show what they say."""

from __future__ import annotations

import json
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY, environment_of_ranks

DOCS = REPOSITORY / "docs"


def executed(path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, **parameters: Any) -> list[Any]:
    """Code cells of a notebook that ran in a folder, with other values than those of its first cell."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    manager = pytest.importorskip("jupyter_client.manager")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    for name, value in environment_of_ranks().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setenv("SEMISEG_DEVICE", "cpu")
    (first,) = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])] or [None]
    if first:
        declared = {line.split(" = ")[0] for line in first.source.splitlines()}
        assert set(parameters) <= declared
        first.source += "".join(f"\n{name} = {value!r}" for name, value in parameters.items())
    kernel = manager.AsyncKernelManager(kernel_name="python3")
    kernel.kernel_spec.argv[0] = sys.executable
    nbclient.NotebookClient(
        notebook, timeout=600, km=kernel, resources={"metadata": {"path": folder}}
    ).execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not [o for cell in cells for o in cell.outputs if o.output_type == "error"]
    return cells


def shown(cell: Any) -> dict[str, str]:
    """The last result of a cell, by kind."""
    found = [output for output in cell.outputs if output.output_type in ("execute_result", "display_data")]
    return dict(found[-1].data) if found else {}


def test_it_runs_and_shows_tables_bars_and_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = executed(DOCS / "notebook.ipynb", tmp_path, monkeypatch)
    said = [shown(cell) for cell in cells]
    assert "3 labeled, 6 unlabeled" in said[1]["text/html"]
    assert "OK" in said[2]["text/html"]
    bars = [
        o.data["text/html"] for o in cells[3].outputs if "<progress" in o.get("data", {}).get("text/html", "")
    ]
    assert len(bars) == 1  # drawn anew in its place
    assert "finished at iteration 60" in bars[0]
    assert "mean_teacher" in said[3]["text/html"]
    assert said[5]["image/png"].startswith("iVBOR")
    assert "core" in said[7]["text/html"]
    assert "1 predicted" in said[8]["text/html"]


@pytest.mark.slow
def test_tutorial_1_as_a_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = executed(DOCS / "tutorials" / "first-run.ipynb", tmp_path, monkeypatch, iterations=1)
    said = [shown(cell) for cell in cells]
    assert "2 labeled, 48 unlabeled" in said[2]["text/html"]
    assert "fixmatch" in said[3]["text/html"]
    assert said[4]["image/png"].startswith("iVBOR")


def test_the_notebooks_are_those_of_their_scripts() -> None:
    pytest.importorskip("jupytext")
    made = runpy.run_path(str(DOCS / "notebooks.py"))
    for name in made["TUTORIALS"]:
        kept = made["path"](name).read_text("utf-8")
        assert kept == made["text"](made["notebook"](name)), "run `python docs/notebooks.py`"
        code = [cell for cell in json.loads(kept)["cells"] if cell["cell_type"] == "code"]
        outputs = [output for cell in code for output in cell["outputs"]]
        assert outputs, f"run `python docs/notebooks.py --run {name} FOLDER`"
        assert not [output for output in outputs if output["output_type"] == "error"]
        assert not re.search(r"/(home|root|tmp|work|Users)/", json.dumps(outputs))


def test_the_tutorials_name_their_notebooks() -> None:
    for name in ("first-run", "left-atrium", "paper"):
        assert f"({name}.ipynb)" in (DOCS / "tutorials" / f"{name}.md").read_text("utf-8")
