"""The notebook of the documentation runs from its first cell to its last, and shows what it says it shows."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import environment_of_ranks

NOTEBOOK = Path(__file__).parent.parent / "docs" / "notebook.ipynb"


def shown(cell: Any) -> dict[str, str]:
    """The last result of a cell, by kind."""
    found = [output for output in cell.outputs if output.output_type in ("execute_result", "display_data")]
    return dict(found[-1].data) if found else {}


def test_it_runs_and_shows_tables_bars_and_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    manager = pytest.importorskip("jupyter_client.manager")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # one source, without results
    for name, value in environment_of_ranks().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("SEMISEG_DEVICE", "cpu")
    kernel = manager.AsyncKernelManager(kernel_name="python3")
    kernel.kernel_spec.argv[0] = sys.executable
    client = nbclient.NotebookClient(
        notebook, timeout=300, km=kernel, resources={"metadata": {"path": tmp_path}}
    )
    client.execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    said = [shown(cell) for cell in cells]
    assert not [o for cell in cells for o in cell.outputs if o.output_type == "error"]
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
