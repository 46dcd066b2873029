"""Run under ``torchrun --nproc-per-node 2``: every method on two gloo ranks; rank 0 writes what it found."""

from __future__ import annotations

import sys

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy

from semiseg import methods
from tests.methods.tiny import batches, loop_for, make

STEPS = 4


def same_data(fabric: Fabric, name: str) -> dict[str, torch.Tensor]:
    """Both ranks get one process's batches."""
    method = make(name, 2, 3)
    loop_for(method, batches(2, 3), STEPS, fabric=fabric).run()
    return method.state_dict()


def split_data(fabric: Fabric, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Each rank its own batches: parameters of rank 0 and of rank 1 afterwards."""
    method = make(name, 2, 3)
    at = batches(2, 3)
    loop = loop_for(method, lambda k: at(2 * k + fabric.global_rank), STEPS, fabric=fabric)
    loop.rank_seed = fabric.global_rank
    loop.run()
    flat = torch.cat([p.detach().flatten() for p in method.parameters()])
    both = fabric.all_gather(flat)
    return both[0], both[1]


def mean_gradient(fabric: Fabric) -> tuple[torch.Tensor, torch.Tensor]:
    """The gradient applied by two ranks with a shared batch, and the mean of the two single gradients."""
    from semiseg.core import Clock
    from semiseg.training.update import Precision, iterate

    at = batches(2, 3)

    def gradient(step: int, alone: bool) -> torch.Tensor:
        method = make("supervised", 2, 3)
        seen: list[torch.Tensor] = []

        class Spy(torch.optim.SGD):
            def step(self, closure: None = None) -> None:
                seen.append(torch.cat([p.grad.flatten() for p in method.net.parameters()]))

        torch.manual_seed(0)
        one = Fabric(accelerator="cpu", devices=1) if alone else fabric
        optimizers = {"net": Spy(method.net.parameters(), 0.1)}
        iterate(one, method, at(step), optimizers, Clock(0, 1), Precision("32", fabric.device))
        return seen[0]

    shared = gradient(fabric.global_rank, alone=False)
    singles = fabric.all_gather(gradient(fabric.global_rank, alone=True))
    return shared, singles.mean(0)


def main(path: str) -> None:
    """Write ``{"same": {method: state}, "split": {method: (rank 0, rank 1)}, "gradient": …}``."""
    torch.set_num_threads(1)
    fabric = Fabric(accelerator="cpu", devices=2, strategy=DDPStrategy(process_group_backend="gloo"))
    fabric.launch()
    found = {
        "same": {name: same_data(fabric, name) for name in methods.names()},
        "split": {name: split_data(fabric, name) for name in methods.names()},
        "gradient": mean_gradient(fabric),
    }
    if fabric.global_rank == 0:
        torch.save(found, path)
    fabric.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
