"""Run under ``torchrun --nproc-per-node 2``: rank 1 has another folder, and needs none."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from tests.training.staged import FromBest, staged_loop


def main(folder: Path) -> None:
    """Each rank writes its state at the beginning of stage 2 and at the end."""
    torch.set_num_threads(1)
    fabric = Fabric(accelerator="cpu", devices=2, strategy=DDPStrategy(process_group_backend="gloo"))
    fabric.launch()
    loop = staged_loop(folder / f"rank-{fabric.global_rank}", fabric=fabric)
    loop.run()
    method = loop.method
    if isinstance(method, FromBest):
        states = (method.began["selftrain"], method.state_dict())
        torch.save(states, folder / f"rank-{fabric.global_rank}.pt")
    fabric.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
