"""Checkpointed networks: the same outputs, gradients and statistics, less memory."""

from __future__ import annotations

import copy

import pytest
import torch

from semiseg import networks
from semiseg.errors import UsageError
from semiseg.networks.checkpointing import blocks, checkpoint_blocks

SIZES: dict[str, dict[str, object]] = {
    "unet": {"features": (4, 8, 16)},
    "vnet": {"filters": 4, "dropout_rate": 0.3},
    "resenc": {"features": (4, 8, 16), "blocks": (1, 2, 2)},
}
OWN = [name for name in networks.names() if ":" not in name]


def pair(name: str, dim: int) -> list[torch.nn.Module]:
    torch.manual_seed(0)
    plain = networks.build(name, dim=dim, in_channels=1, classes=2, **SIZES.get(name, {}))
    other = copy.deepcopy(plain)
    checkpoint_blocks(other)
    return [plain, other]


def dim_of(name: str) -> int:
    return 2 if name in ("unet2d", "denseunet") else 3


def learn(network: torch.nn.Module, x: torch.Tensor, precision: torch.dtype | None) -> torch.Tensor:
    torch.manual_seed(1)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision is not None):
        logits = network(x).logits
    logits.float().square().mean().backward()
    return logits


@pytest.mark.parametrize(("name", "precision"), [*((name, None) for name in OWN), ("unet", torch.bfloat16)])
def test_nothing_but_the_memory_changes(name, precision):
    plain, other = pair(name, dim_of(name))
    assert list(blocks(other))
    shape = [max(16, d) for d in plain.divisor]
    shape[0] = max(16, 2 * plain.divisor[0])  # two voxels at the bottom: instance norms need more than one
    x = torch.randn(2, 1, *shape)
    torch.testing.assert_close(learn(plain, x, precision), learn(other, x, precision), rtol=0, atol=0)
    for (key, a), b in zip(plain.named_parameters(), other.parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None), key
        if a.grad is not None:
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-5, atol=1e-7, msg=key)
    state = plain.state_dict()
    assert state.keys() == other.state_dict().keys()
    for key, value in other.state_dict().items():  # running statistics among them
        assert torch.equal(state[key], value), key


def kept(network: torch.nn.Module, x: torch.Tensor) -> int:
    """Bytes that a forward pass keeps for the backward pass, weights left out."""
    weights = {p.untyped_storage().data_ptr() for p in network.parameters()}
    found: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        answer = network(x)
    assert answer.logits.requires_grad
    return sum(found.values())


@pytest.mark.parametrize("name", ["unet", "vnet"])
def test_less_is_kept(name):
    plain, other = pair(name, 3)
    x = torch.randn(1, 1, 32, 32, 32)
    assert kept(other, x) < 0.6 * kept(plain, x)


def test_a_copy_is_checkpointed_and_has_its_own_weights():
    _, network = pair("unet", 3)
    teacher = copy.deepcopy(network)
    x = torch.randn(1, 1, 16, 16, 16)
    before = teacher(x).logits
    with torch.no_grad():
        for p in network.parameters():
            p.add_(1)
    assert torch.equal(teacher(x).logits, before)
    assert kept(teacher, x) == kept(network, x)


def test_without_gradients_there_is_no_checkpoint():
    plain, other = pair("vnet", 3)
    x = torch.randn(2, 1, 16, 16, 16)
    with torch.no_grad():
        torch.manual_seed(0)
        a = plain(x).logits
        torch.manual_seed(0)
        assert torch.equal(a, other(x).logits)


@pytest.mark.usefixtures("monai")
def test_networks_of_others_are_refused():
    with pytest.raises(UsageError, match="checkpointing"):
        checkpoint_blocks(networks.build("monai:BasicUNet", dim=2, in_channels=1, classes=2))


def test_the_factory_makes_them():
    made = networks.Factory("unet", 3, 1, 2, {"features": (4, 8)}, checkpointing=True)
    plain = networks.Factory("unet", 3, 1, 2, {"features": (4, 8)})
    x = torch.randn(1, 1, 16, 16, 16)
    assert kept(made(), x) < kept(plain(), x)
    assert made().described == plain().described
