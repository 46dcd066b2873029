"""Field of view against resolution: what the planner's two limits rest on.

    python benchmarks/plans.py train DATASET OUT --name half --plan 1.25,1.25,1.25@56,56,48
    python benchmarks/plans.py page OUT... --labels DATASET...

`train` takes nothing but the training part of DATASET: its last cases in the published order are held out and
scored, the first are labeled (see development.py). Every plan is trained for the same CPU seconds: the steps
that fit are reckoned from the cost of 20 steps, so that other work on the machine favors no plan, and each
learning rate comes to its end. Windows of prediction have the size of the patch.

`page` writes the table of trained plans, and what coarser voxels cost by themselves: labels of a dataset are
laid on them and brought back, as training and prediction do, and compared with what they were. Last come the
plans of a made-up CT.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks._machine import store  # noqa: E402
from benchmarks.development import development  # noqa: E402

from semiseg import evaluate, predict, train  # noqa: E402
from semiseg.dataset.case import (  # noqa: E402
    LabeledCase,
    load_case,
    load_label,
)
from semiseg.dataset.dataset import Dataset  # noqa: E402
from semiseg.evaluation.tables import write  # noqa: E402
from semiseg.preparation.back import restore_labels  # noqa: E402
from semiseg.preparation.fingerprint import ChannelFacts, Fingerprint, fingerprint  # noqa: E402
from semiseg.preparation.forward import preprocess_image, preprocess_label  # noqa: E402
from semiseg.preparation.layout import lay_out_dataset  # noqa: E402
from semiseg.preparation.measure import CaseFacts  # noqa: E402
from semiseg.preparation.network_size import Load, Memory, budget_for, choose_view, seen  # noqa: E402
from semiseg.preparation.plan import Plan  # noqa: E402
from semiseg.preparation.planner import make_plan  # noqa: E402
from semiseg.runs.events import Event, Stepped  # noqa: E402

WARM, COUNTED = 10, 30
"""Steps after which the clock starts, and stops."""
FACTORS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
LABELS = 4
"""Labels that are laid on coarser voxels."""


def settings_of(plan: str) -> dict[str, Any]:
    """``SPACING@PATCH`` as settings; the spacing of a slice stack has two numbers."""
    spacing, _, patch = plan.partition("@")
    edges = [int(n) for n in patch.split(",")]
    mm: list[float | None] = [float(n) for n in spacing.split(",")]
    return {
        "plan.spacing": [None] * (3 - len(mm)) + mm,
        "plan.patch": edges,
        "inference.stride": [max(1, n // 2) for n in edges],
        "train.compile": False,
        "train.log_every": WARM,
    }


def step_seconds(data: Path, out: Path, given: dict[str, Any]) -> float:
    """CPU seconds of one training step."""
    clock: dict[int, float] = {}

    def listen(event: Event) -> None:
        if isinstance(event, Stepped):
            clock[event.step] = time.process_time()

    train(data, iterations=COUNTED, run=out, listeners=[listen], **given)
    shutil.rmtree(out)
    return (clock[COUNTED] - clock[WARM]) / (COUNTED - WARM)


def trained(dataset: Path, out: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Train one plan and score it on the held-out cases."""
    data = out / "data" / dataset.name
    development(dataset, data, args.cases)
    keep_labeled(data, args.labeled)
    given: dict[str, Any] = {
        "method": "supervised",
        "labeled": args.labeled,
        "seed": args.seed,
        "settings": settings_of(args.plan),
        "device": "cpu",
        "workers": 0,
    }
    cost = step_seconds(data, out / "clock", given)
    steps = max(COUNTED, int(args.seconds / cost))
    run = train(data, iterations=steps, run=out / "run", **given)
    predict(data / "imagesTs", out / "predicted", run.folder, device="cpu")
    scores = evaluate(data / "labelsTs", out / "predicted", dataset=data)
    write(scores, out / "scores")
    summary = json.loads((out / "scores" / "summary.json").read_text(encoding="utf-8"))
    plan = run.plan
    return {
        "dataset": dataset.name,
        "name": args.name,
        "spacing": plan.spacing,
        "patch": plan.patch,
        "batch": plan.batch,
        "labeled": args.labeled,
        "cases": args.cases,
        "seed": args.seed,
        "seconds": args.seconds,
        "step_seconds": cost,
        "iterations": steps,
        "mean": summary["foreground_mean"],
    }


def keep_labeled(data: Path, labeled: int) -> None:
    """Leave out what supervised training does not read, so that it is not prepared either."""
    order = json.loads((data / "splits.json").read_text(encoding="utf-8"))["order"]
    for case in order[labeled:]:
        for file in [*data.glob(f"imagesTr/{case}_*"), *data.glob(f"labelsTr/{case}.*")]:
            file.unlink()
    (data / "splits.json").write_text(json.dumps({"order": order[:labeled]}) + "\n", encoding="utf-8")


def there_and_back(root: Path) -> Iterator[dict[str, Any]]:
    """Dice of labels with themselves after coarser voxels, of the class that suffers most."""
    dataset = Dataset.open(root)
    split = dataset.split(labeled=LABELS)
    plan = make_plan(dataset, split)
    finest = lay_out_dataset(fingerprint(split.labeled, dataset.channel_names))
    axes = slice(3 - plan.dim, 3)
    for factor in FACTORS:
        target = [mm and mm * factor for mm in finest.target]
        coarse = plan.model_copy(update={"spacing": tuple(target)})
        scores = [scored(case, coarse) for case in split.labeled]
        lines = finest.runs[axes] / (np.array(finest.patch_spacing) * factor)
        worst = np.nanmean(scores, axis=0).min()
        yield {"dataset": root.name, "factor": factor, "voxels": float(lines.min()), "dice": float(worst)}


def scored(case: LabeledCase, plan: Plan) -> list[float]:
    """Dice per foreground class; NaN where there is none."""
    image, grid, _ = load_case(case)
    label = load_label(case, grid)
    _, geometry = preprocess_image(image, grid, plan)
    classes = preprocess_label(label, geometry, plan, case=case.id)
    shares = np.stack([classes == k for k in range(plan.classes)]).astype(np.float32)
    back = restore_labels(shares, geometry, plan)
    pairs = [(label == value, back == value) for value in list(plan.labels.values())[1:]]
    return [2 * (a & b).sum() / (a.sum() + b.sum()) if a.any() else np.nan for a, b in pairs]


def ceilings(found: list[dict[str, Any]]) -> Iterator[str]:
    """The second table."""
    yield "| data | spacing, x the scans' | voxels along the shortest lines | Dice there and back |"
    yield "|---|---:|---:|---:|"
    for row in found:
        yield f"| {row['dataset']} | {row['factor']:g} | {row['voxels']:.1f} | {row['dice']:.3f} |"


def large_ct() -> Iterator[str]:
    """Plans of a made-up CT of the trunk, by device, memory and the size of its smallest structure."""
    yield "| plan of | networks | smallest run mm | spacing mm | patch | shows |"
    yield "|---|---:|---:|---|---|---:|"
    for device, gb, networks in (
        ("cpu", 8, 1.25),
        ("cuda", 8, 1.25),
        ("cuda", 21.6, 1.25),
        ("cuda", 21.6, 2),
    ):
        for run in (10.0, 60.0):
            case = CaseFacts("made up", (512, 512, 400), (0.8, 0.8, 1.0), (0, 1, 2), None, (run,) * 3)
            finest = lay_out_dataset(Fingerprint((case,), (ChannelFacts("CT", None, None),)))
            load, memory = Load(1, 2, 4, None, networks), Memory(gb, "")
            layout, patch = choose_view(finest, budget_for(device, 3), memory, load, fixed=False)
            cells = [f"{device}, {gb:g} GB", f"{networks:g}", f"{run:g}"]
            cells += [" x ".join(f"{mm:g}" for mm in layout.patch_spacing), " x ".join(map(str, patch.value))]
            yield f"| {' | '.join(cells)} | {seen(patch.value, layout):.0%} |"


def lines(found: list[dict[str, Any]]) -> Iterator[str]:
    """The table."""
    yield "| data | plan | spacing mm | patch | seed | s/step | steps | Dice | HD95 mm |"
    yield "|---|---|---|---|---:|---:|---:|---:|---:|"
    for row in found:
        spacing = " x ".join(f"{mm:g}" for mm in row["spacing"] if mm is not None)
        patch = " x ".join(map(str, row["patch"]))
        cells = [row["dataset"], row["name"], spacing, patch, str(row["seed"])]
        cells += [f"{row['step_seconds']:.2f}", str(row["iterations"])]
        cells += [f"{row['mean']['Dice']:.3f}", f"{row['mean']['HD95']:.2f}"]
        yield f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("train")
    one.add_argument("dataset", type=Path)
    one.add_argument("out", type=Path)
    one.add_argument("--name", required=True)
    one.add_argument("--plan", required=True, help="SPACING@PATCH, such as 1.25,1.25,1.25@56,56,48")
    one.add_argument("--labeled", type=int, default=8)
    one.add_argument("--cases", type=int, default=10)
    one.add_argument("--seconds", type=float, default=200.0, help="CPU seconds of training")
    one.add_argument("--seed", type=int, default=0)
    many = commands.add_parser("page")
    many.add_argument("folders", type=Path, nargs="*", help="of `train`")
    many.add_argument("--labels", type=Path, nargs="*", default=[], help="datasets")
    many.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    args = parser.parse_args()
    if args.command == "train":
        found = trained(args.dataset, args.out, args)
        (args.out / "plan_scores.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        return
    rows = [json.loads((folder / "plan_scores.json").read_text(encoding="utf-8")) for folder in args.folders]
    labels = [row for root in args.labels for row in there_and_back(root)]
    text = "\n".join([*lines(rows), "", *ceilings(labels), "", *large_ct()])
    command = "OMP_NUM_THREADS=1 python benchmarks/plans.py page OUT... --labels DATASET..."
    store(
        args.results, "plans", "Plans beside their neighbors", command, text, {"rows": rows, "labels": labels}
    )
    print(text)


if __name__ == "__main__":
    main()
