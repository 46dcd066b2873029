"""What a training step of a network takes, beside the plan's estimate: `python -m benchmarks.network_memory`.

Each row is a process of its own on a CPU: two iterations (forward, Dice and cross-entropy, backward, AdamW)
on patches of noise; measured is its peak beyond what it had with the network built, estimated is what the
plan says for ``one network`` beyond the libraries. A plan that says too little makes a training end for want
of memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]
RESULTS = HERE / "benchmarks" / "results"
BATCH, CLASSES = 2, 3
ROWS: tuple[tuple[str, int, tuple[int, ...], tuple[int, ...], tuple[int, ...]], ...] = (
    ("unet", 3, (64, 64, 64), (16, 32, 64, 128), ()),
    ("resenc", 3, (64, 64, 64), (16, 32, 64, 128), ()),
    ("resenc", 3, (64, 64, 64), (16, 32, 64, 128), (1, 1, 1, 1)),
    ("resenc", 3, (64, 64, 32), (16, 32, 64, 128), (4, 2)),
    ("unet", 2, (256, 256), (16, 32, 64, 128, 128), ()),
    ("resenc", 2, (256, 256), (16, 32, 64, 128, 128), ()),
)
"""Network, axes, patch, features, blocks of the encoder's stages (none: those of its default)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--row", type=int, help="measure this one, and print it as JSON")
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    if given.row is not None:
        sys.stdout.write(json.dumps(measured(*ROWS[given.row])) + "\n")
        return
    from benchmarks._machine import store

    rows = []
    for number in range(len(ROWS)):
        words = [sys.executable, "-m", "benchmarks.network_memory", "--row", str(number)]
        done = subprocess.run(words, cwd=HERE, capture_output=True, text=True, check=True)
        rows.append(json.loads(done.stdout))
    command = "python -m benchmarks.network_memory"
    store(
        given.results,
        "network_memory",
        "Memory of a step, network by network",
        command,
        page(rows),
        {"rows": rows},
    )


def measured(
    name: str, dim: int, patch: tuple[int, ...], features: tuple[int, ...], blocks: tuple[int, ...]
) -> dict[str, Any]:
    """Gigabytes of the plan, and of a step."""
    import torch

    from semiseg import networks
    from semiseg.losses.segmentation import dice_ce
    from semiseg.preparation.network_size import BASE_GB, Load, budget_for, memory, stages_for
    from semiseg.preparation.plan import NetworkPlan

    spacing = (1.0,) * dim
    strides, kernels = stages_for(patch, spacing, len(features), exact=True)
    plan = NetworkPlan(features=features, strides=strides, kernels=kernels)
    options: dict[str, Any] = {"blocks": blocks} if blocks else {}
    load = Load(1, CLASSES, BATCH, features, 1.0, networks.blocks(name, options))
    said = memory(patch, spacing, budget_for("cpu", dim), load, plan)["one network"] - BASE_GB["cpu"]
    net = networks.build(name, dim=dim, in_channels=1, classes=CLASSES, plan=plan, **options)
    step = torch.optim.AdamW(net.parameters())
    x = torch.randn(BATCH, 1, *patch)
    y = torch.randint(0, CLASSES, (BATCH, *patch))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(2):
        step.zero_grad()
        dice_ce(net(x).logits, y).backward()
        step.step()
    took = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / 1e9
    told = {"network": name, "dim": dim, "patch": patch, "features": features, "blocks": blocks}
    return {**told, "estimated_gb": round(said, 3), "measured_gb": round(took, 3)}


def page(rows: list[dict[str, Any]]) -> str:
    """A row each."""
    lines = [
        "| network | patch | features | blocks | estimated GB | measured GB | ratio |",
        "|---|---|---|---|---:|---:|---:|",
    ]
    for row in rows:
        size, wide, blocks = (", ".join(map(str, row[key])) for key in ("patch", "features", "blocks"))
        said, took = row["estimated_gb"], row["measured_gb"]
        cells = (row["network"], size, wide, blocks or "default", said, took, f"{said / took:.2f}")
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
