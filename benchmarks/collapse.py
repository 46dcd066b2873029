"""Why a mean teacher loses classes on unlabeled scans: one healthy network, trained on, one thing changed.

    python benchmarks/collapse.py RUN OUT.json --dataset DATASET [--iterations 300] [--only NAME ...]

RUN is a training on a development dataset with a validation list (`benchmarks/development.py --validation`)
whose `best.ckpt` is still healthy. Student and teacher start from it, the weight is full from the first
iteration and the learning rate constant. Written for each: Dice of the held-out frames and
the shares of the classes afterwards.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from semiseg.dataset.dataset import Dataset
from semiseg.networks import checkpoint
from semiseg.preparation.prepare import Prepared, prepare
from semiseg.runs.run import Run
from semiseg.settings.config import Config
from semiseg.training.collapse import Cadence, CollapseMonitor
from semiseg.training.session import Session
from semiseg.training.validation import Validation

VARIANTS: dict[str, dict[str, Any]] = {
    "start": {"iterations": 1},
    "as it was (weight 20, strong view)": {},
    "weight 2": {"weight": 2.0},
    "weight 0.1 (published)": {"weight": 0.1},
    "weight 0": {"weight": 0.0},
    "weak view": {"student_view": "weak"},
    "weak view, no noise": {"student_view": "weak", "noise": 0.0},
    "weight 2, weak view": {"weight": 2.0, "student_view": "weak"},
    "KL divergence, weight 1": {"consistency": "kl", "weight": 1.0},
    "Dice without background": {"include_background": False},
    "twice the labeled patches": {"batch": {"labeled": 8, "unlabeled": 4}},
    "labeled patches strong, too": {"augment": {"labeled": "strong"}},
}


def variant(config: Config, changes: dict[str, Any], lr: float) -> Config:
    """The configuration of a run, trained on at full weight and a constant rate, with the changes."""
    own = {key: value for key, value in changes.items() if key not in ("iterations", "batch", "augment")}
    content = config.model_dump()
    content["method"] = {"name": "mean_teacher", "options": config.method.options | {"ramp": 1} | own}
    content["batch"] |= changes.get("batch", {})
    content["augment"]["options"] |= changes.get("augment", {})
    content["optimizer"]["lr"] = lr
    content["schedule"] = {"name": "constant", "warmup": 20}
    content["train"]["iterations"] = changes["iterations"]
    return Config.model_validate(content)


def train_on(prepared: Prepared, config: Config, weights: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Train on from the weights; Dice of the validation list and shares of the classes afterwards."""
    session = Session(Fabric(accelerator="cpu", devices=1), prepared, config)
    for network in (session.method.net, session.method.teacher):
        network.load_state_dict(weights)  # type: ignore[union-attr]
    loop = session.loop()
    names = list(prepared.plan.labels)[1:]
    look = CollapseMonitor(
        session.batches.of(session.method.stages[0]).drawn_alike((4, 8)),
        names,
        [0.0] * len(names),
        Cadence(every=1, labeled=4, probes=6),
        loop.total,
        session.precision.autocast,
    )
    validation = Validation(prepared, config, session.precision.name)
    if loop.total > 1:
        loop.run()
    told: dict[str, Any] = {"dice": validation(loop.network.eval())}
    for name in ("net", "teacher"):
        look.check(session.fabric, getattr(session.method, name), 0, name)
        told[name] = look.judge.values()
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--iterations", type=int, default=300)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--only", nargs="*", choices=VARIANTS, default=list(VARIANTS))
    args = parser.parse_args()
    run, dataset = Run(args.run), Dataset.open(args.dataset)
    weights = checkpoint.load(run.folder / "checkpoints" / "best.ckpt", checkpoint.MODEL)["predictor"]
    prepared = prepare(dataset, run.config, device="cpu", workers=0, plan=run.plan)
    for name in args.only:
        changes = {"iterations": args.iterations, **VARIANTS[name]}
        config = variant(run.config, changes, args.lr)
        told = train_on(prepared, config, weights)
        rows = json.loads(args.out.read_text(encoding="utf-8")) if args.out.is_file() else {}
        rows[name] = {"iterations": changes["iterations"], "lr": args.lr, **told}
        args.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
