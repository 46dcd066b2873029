"""Put the results together: `python benchmarks/page.py`.

One page per dataset or subject goes to docs/results/, a summary to docs/results.md, the table of gains to
the READMEs and docs/index.md, and a line per method and number of labels to
src/semiseg/methods/measured.csv, from which `semiseg methods NAME` and the pages of the methods have them.
Then run `python docs/generate.py`.
"""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import gain_plots
import gains

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
DOCS = ROOT / "docs"
PAGES = DOCS / "results"
FIGURES = ROOT / "src" / "semiseg" / "methods" / "measured.csv"

SUBJECTS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "left-atrium": (
        "Left atrium MRI, 3D",
        "Which methods help with 8 labeled scans of the left atrium.",
        ("left_atrium_half", "left_atrium_paper"),
    ),
    "hippocampus": (
        "Hippocampus MRI, 3D",
        "Which methods help with 8 labeled scans of a small structure, and what a training step costs.",
        (
            "hippocampus",
            "curves_hippocampus",
            "selection_hippocampus",
            "hippocampus_all_methods",
            "steps_hippocampus",
            "memory_hippocampus",
        ),
    ),
    "acdc": (
        "Cardiac cine MRI, 2D",
        "Whether unlabeled slices help with three labeled patients, on the published split.",
        ("acdc_published", "acdc_one_patient", "curves_acdc", "collapse"),
    ),
    "demo": (
        "The demo",
        "What unlabeled scans gain on the phantoms of `semiseg demo`.",
        ("demo", "demo_chosen"),
    ),
    "many-classes": (
        "Many classes, synthetic",
        "What happens with 13 classes of very different size.",
        ("many_classes", "many_classes_batch_8"),
    ),
    "planning": (
        "Plans",
        "How a plan compares with its neighbors, and what its networks take.",
        ("plans", "network_memory"),
    ),
    "prediction": (
        "Prediction",
        "What the settings of prediction cost and gain, and which scans are reported as unusual.",
        ("quality", "windows", "prediction_time", "prediction_memory", "unlike"),
    ),
    "labeling": (
        "Labeling",
        "What a ranking of scans and an expected Dice are worth, and what the studio bears.",
        ("active_learning", "active_learning_acdc", "expected_dice", "monai_client", "studio"),
    ),
    "speed": (
        "Cost and speed",
        "What training steps, whole runs and commands cost.",
        ("speed", "growth", "ranks", "small_sample", "start_up", "larger_than_memory"),
    ),
    "exports": (
        "Exported models",
        "How exported models compare with `semiseg predict`, and what a trained model is worth as a start.",
        ("export", "fine_tuning"),
    ),
    "damaged-files": (
        "Damaged files, kills",
        "What every reader does with damaged files, and what kills of the commands leave behind.",
        ("fuzz", "kills"),
    ),
}
"""Page of docs/results -> its title, what it says, and the tables of benchmarks/results on it."""

SHORTENED = ("acdc_one_patient",)
"""Tables of runs far below the default's length, made to look for collapse: no figures of a method."""
OTHER_WEIGHT = ("mean_teacher", "ua_mt", "ict", "dycon", "cct", "mcf", "ac_mt")
"""Methods that the recipe gave a weight of 20 (`ac_mt` of 2) when the table of all methods was made. That
collapses in longer runs on other data; with today's 0.1 they are other methods, and their pages do not show
those figures."""

ABOUT = "about.md"
"""What is true of all tables, at the end of each page."""


def files() -> dict[Path, str]:
    """Every page that is made here, and what is in it."""
    made = {PAGES / f"{name}.md": page(name) for name in SUBJECTS}
    made[DOCS / "results.md"] = summary()
    for path in (ROOT / "README.md", DOCS / "index.md", ROOT / "README.zh-CN.md"):
        if path.is_file():
            made[path] = gains.filled(path)
    return made


def page(name: str) -> str:
    """One subject: each table, followed by what was found out about it (NAME.notes.md), if anything."""
    title, purpose, tables = SUBJECTS[name]
    found = [RESULTS / f"{table}{end}" for table in tables for end in (".md", ".notes.md")]
    parts = [path.read_text(encoding="utf-8").replace("# ", "## ", 1) for path in found if path.is_file()]
    return "\n".join([f"# {title}\n", f"{purpose}\n", *parts, (RESULTS / ABOUT).read_text("utf-8")])


def summary() -> str:
    """docs/results.md: five lines per dataset, one plot, and where the full tables are."""
    pages = [
        f"| [{title}](results/{name}.md) | {purpose} |" for name, (title, purpose, _) in SUBJECTS.items()
    ]
    return "\n".join([SUMMARY, *gains.sections(), PLOT, TOO_SHORT, FULL, *pages, LAST])


SUMMARY = """# Results

What semi-supervised training gained in our own runs, and where the full tables are.

Mean Dice on test scans on which nothing was chosen. Gains are over supervised training with the same labels
and the same number of iterations. Settings differ between datasets.
"""
PLOT = """![Difference in Dice to supervised training, with 95 % intervals](assets/gains.svg#only-light)
![Difference in Dice to supervised training, with 95 % intervals](assets/gains-dark.svg#only-dark)

"""
TOO_SHORT = """## Runs that are too short

Too few steps undo the gain. In earlier tables, of 500 to 800 small steps, one labeled patch each, a mean
teacher was 0.005 below supervised training on the hippocampus and 0.10 below on the left atrium, `bcp` 0.03
and 0.19; there even all labels gave less than 8 do. Always train `supervised` too; `semiseg sweep` does it by
itself.
"""
FULL = """## Full tables

| Page | Content |
|---|---|"""
LAST = """| [Gallery](gallery.md) | Pictures of worst, median and best test scans, with their commands |

Next: [which method should I use?](which-method.md) · [compare methods yourself](comparing.md)
"""


def plots() -> list[Path]:
    """The plots that the page shows; it has copies beside it."""
    return sorted((ROOT / "benchmarks" / "results").glob("*.svg"))


def figures() -> str:
    """The CSV of our own figures; see `semiseg.methods.measured` for its columns."""
    rows: list[dict[str, Any]] = []
    for path in sorted((ROOT / "benchmarks" / "results").glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        old = OTHER_WEIGHT if path.stem == "hippocampus_all_methods" else ()
        compared = content.get("comparison", {}).get("convention") == "semiseg"
        if compared and path.stem not in SHORTENED:
            for board in content["comparison"]["boards"]:
                lines = _lines(content["commands"][0], board)
                rows += [{"table": path.stem, **line} for line in lines if line["method"] not in old]
    text = io.StringIO()
    columns = ["method", "table", "dataset", "labeled", "iterations", "batch", "seeds"]
    columns += [f"{metric}{more}" for metric in ("dice", "hd95") for more in ("", "_sd", "_gain")]
    writer = csv.DictWriter(text, [*columns, "command"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _lines(command: str, board: dict[str, Any]) -> list[dict[str, Any]]:
    """A line per arm of a board; variants of a method stay on the page of results."""
    found = {(s["arm"], s["metric"]): s for s in board["summaries"] if s["label"] is None}
    words = re.findall("[A-Z]+(?![a-z])|[A-Z]?[a-z]+", board["dataset"].partition("_")[2])
    dataset, lines = "_".join(words).lower(), []
    for arm in board["arms"]:
        name, labeled = arm["name"], arm["labeled"]
        if arm["bound"] != "upper" and name not in (arm["method"], board["baseline"]):
            continue
        (iterations,) = {run["iterations"] for run in arm["runs"]}
        (batch,) = {run.get("batch", "") for run in arm["runs"]}
        line = {"method": arm["method"], "dataset": dataset, "labeled": labeled}
        line |= {"iterations": iterations, "batch": batch}
        for metric, scale in (("Dice", 100), ("HD95", 1)):
            mine, base = found[name, metric], found.get((board["baseline"], metric))
            sd, compared = mine["sd"], base and base is not mine and arm["bound"] != "upper"
            line[metric.lower()] = f"{scale * mine['mean']:.2f}"
            line[f"{metric.lower()}_sd"] = "" if sd is None else f"{scale * sd:.2f}"
            gain = scale * (mine["mean"] - base["mean"]) if compared else None
            line[f"{metric.lower()}_gain"] = "" if gain is None else f"{gain:+.2f}"
        lines.append({**line, "seeds": len(arm["runs"]), "command": command})
    return lines


if __name__ == "__main__":
    PAGES.mkdir(exist_ok=True)
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")
    FIGURES.write_text(figures(), encoding="utf-8")
    (DOCS / "assets").mkdir(exist_ok=True)
    for name, drawing in gain_plots.drawings().items():
        (DOCS / "assets" / name).write_text(drawing, encoding="utf-8")
    for plot in plots():
        shutil.copy(plot, PAGES / plot.name)
