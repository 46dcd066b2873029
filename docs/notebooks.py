"""Make the notebooks of the tutorials of their scripts: `python docs/notebooks.py`.

The scripts in `examples/` are the one source; Jupytext turns their cells into docs/tutorials/NAME.ipynb. A
cell whose code is unchanged keeps its output.

    python docs/notebooks.py --run paper FOLDER     run a notebook in FOLDER, and keep what its cells show

FOLDER may hold what a long tutorial has made already: a finished training is not repeated.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from jupytext.combine import combine_inputs_with_outputs

DOCS = Path(__file__).resolve().parent
EXAMPLES = DOCS.parent / "examples"
TUTORIALS = {"first-run": "first_run.py", "left-atrium": "left_atrium.py", "paper": "paper.py"}
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def main() -> None:
    """Write the notebooks; with --run, run one of them first."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", nargs=2, metavar=("NAME", "FOLDER"), help="keep new outputs of one notebook")
    given = parser.parse_args()
    for name in TUTORIALS:
        made = notebook(name)
        if given.run and given.run[0] == name:
            execute(made, Path(given.run[1]))
        path(name).write_text(text(made), "utf-8")


def path(name: str) -> Path:
    """Where a tutorial's notebook lies."""
    return DOCS / "tutorials" / f"{name}.ipynb"


def notebook(name: str) -> Any:
    """The notebook of a script, with the outputs that are still those of its code."""
    made = jupytext.read(EXAMPLES / TUTORIALS[name], fmt="py:percent")
    made.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": {"name": "python"}})
    if path(name).is_file():
        made = combine_inputs_with_outputs(made, nbformat.read(path(name), as_version=4), fmt="py:percent")
    for number, cell in enumerate(made.cells):
        cell.id = f"cell-{number:02d}"  # the same in every making
    return made


def text(made: Any) -> str:
    """The file of a notebook."""
    return nbformat.writes(made, version=4) + "\n"


def execute(made: Any, folder: Path) -> None:
    """Run every cell in a folder, with the interpreter that runs this; times of execution are not kept."""
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient

    kernel = AsyncKernelManager(kernel_name="python3")
    kernel.kernel_spec.argv[0] = sys.executable
    NotebookClient(
        made, timeout=None, km=kernel, record_timing=False, resources={"metadata": {"path": folder}}
    ).execute()
    for cell in made.cells:
        if cell.cell_type == "code":
            cell.outputs = [shown for output in cell.outputs if (shown := readable(output))]


def readable(output: Any) -> Any:
    """An output as readers see it: no log lines beside the bar, no text where there is a page or picture."""
    if output.output_type == "stream":
        return None if output.name == "stderr" else output
    if len(output.get("data", {})) > 1:
        output.data.pop("text/plain", None)
    return output


if __name__ == "__main__":
    main()
