"""The folder is the registry, and listing it costs no torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from semiseg import networks
from semiseg.errors import UsageError

SMALL = {
    "denseunet": {"growth": 2, "blocks": (1, 2, 1, 1), "stem": 4},
    "resenc": {"features": (4, 8, 8), "blocks": (1, 2)},
    "resvnet": {"filters": 4, "dropout_rate": 0.1},
    "unet": {"features": (4, 8)},
    "vnet": {"filters": 2},
    "vnet2016": {"variant": "mattmacy"},
}


def test_names_are_the_files() -> None:
    folder = Path(networks.__file__).parent
    files = {p.stem for p in folder.glob("*.py") if not p.stem.startswith("_")}
    helpers = {"base", "build_outside", "checkpoint", "checkpointing", "layers", "options", "outside"}
    helpers |= {"registry", "transfer"}
    assert set(networks.names()) == files - helpers
    assert {"unet", "vnet", "unet2d", "unet3d", "vnet2016"} <= files


def test_every_network_says_what_it_is() -> None:
    entries = networks.describe()
    assert [e["name"] for e in entries] == networks.names()
    for entry in entries:
        assert 20 < len(entry["summary"]) < 110, entry
        assert entry["summary"].endswith(".")
        assert any(year in entry["paper"] for year in ("2015", "2016", "2017")), entry
        assert entry["dims"] == [2, 3]
    unet = next(e for e in entries if e["name"] == "unet")
    assert unet["options"]["residual"] == "False"
    assert "heads" not in unet["options"]
    assert "dim" not in unet["options"]


def test_listing_imports_neither_torch_nor_monai() -> None:
    code = (
        "import sys; from semiseg import networks; networks.names(); networks.describe();"
        "sys.exit(any(m in sys.modules for m in ('torch', 'monai', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", networks.names())
@pytest.mark.parametrize("dim", [2, 3])
def test_every_network_answers_in_the_same_form(name: str, dim: int) -> None:
    import torch

    net = networks.build(
        name, dim=dim, in_channels=2, classes=3, heads={"sdf": 2, "edge": 1}, **SMALL.get(name, {})
    )
    size = tuple(2 * d for d in net.divisor)
    out = net.eval()(torch.randn(1, 2, *size))
    assert out.logits.shape == (1, 3, *size)
    assert out.features is not None
    assert out.features.shape[2:] == size
    assert {k: tuple(v.shape) for k, v in out.heads.items()} == {"sdf": (1, 2, *size), "edge": (1, 1, *size)}


@pytest.mark.parametrize("name", networks.names())
@pytest.mark.parametrize("dim", [2, 3])
def test_levels_go_from_the_bottleneck_to_the_features(name: str, dim: int) -> None:
    import torch

    torch.manual_seed(0)  # dropout of half of a few channels may leave nothing of the bottleneck
    net = networks.build(name, dim=dim, in_channels=1, classes=2, **SMALL.get(name, {}))
    size = tuple(2 * d for d in net.divisor)
    out = net.train()(torch.randn(2, 1, *size))
    assert out.levels[-1] is out.features
    assert out.levels[0].shape[2:] == (2,) * dim
    assert tuple(level.shape[1] for level in out.levels) == net.widths
    edges = [level.shape[2] for level in out.levels]
    assert edges == [2 * 2**i for i in range(len(edges))]
    # The logits must depend on the bottleneck, and the bottleneck on the image.
    gradient = torch.autograd.grad(out.logits.square().mean(), out.levels[0])[0]
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize(("name", "index"), [("unet", 0), ("unet3d", 0), ("vnet", 0)])
def test_the_bottleneck_has_had_its_dropout(name: str, index: int) -> None:
    import torch

    rate = {"vnet": {"dropout_rate": 0.9}}.get(name, {"dropout": 0.9})
    net = networks.build(name, dim=2, in_channels=1, classes=2, **SMALL.get(name, {}), **rate).train()
    x = torch.randn(2, 1, *(4 * d for d in net.divisor))
    share = [(level == 0).float().mean() for level in (net(x).levels[index], net.eval()(x).levels[index])]
    assert share[0] > share[1]


@pytest.mark.parametrize("name", networks.names())
def test_heads_change_no_other_key_and_no_other_value(name: str) -> None:
    import torch

    make = {"dim": 2, "in_channels": 1, "classes": 2, **SMALL.get(name, {})}
    plain, headed = networks.build(name, **make), networks.build(name, **make, heads={"sdf": 1})
    extra = [k for k in headed.state_dict() if k not in plain.state_dict()]
    assert extra == ["heads.sdf.weight", "heads.sdf.bias"]
    assert list(headed.state_dict())[: len(plain.state_dict())] == list(plain.state_dict())
    missing, unexpected = headed.load_state_dict(plain.state_dict(), strict=False)
    assert (sorted(missing), unexpected) == (sorted(extra), [])
    x = torch.randn(1, 1, *(2 * d for d in plain.divisor))
    assert torch.equal(plain.eval()(x).logits, headed.eval()(x).logits)
    assert dict(plain(x).heads) == {}


@pytest.mark.parametrize("name", networks.names())
def test_inputs_that_do_not_fit_are_refused_in_words(name: str) -> None:
    import torch

    net = networks.build(name, dim=2, in_channels=1, classes=2, **SMALL.get(name, {}))
    d = net.divisor[0]
    with pytest.raises(UsageError, match="divisible") as caught:
        net(torch.zeros(1, 1, 2 * d, 2 * d + 1))
    assert f"{2 * d}x{3 * d}" in (caught.value.hint or "")
    assert caught.value.code == "INPUT_SIZE"
    with pytest.raises(UsageError, match="1 input channel"):
        net(torch.zeros(1, 3, 2 * d, 2 * d))
    with pytest.raises(UsageError, match="2D"):
        net(torch.zeros(1, 1, 2 * d, 2 * d, 2 * d))


def test_mistakes_name_the_nearest() -> None:
    make = {"dim": 3, "in_channels": 1, "classes": 2}
    with pytest.raises(UsageError, match="Did you mean 'vnet'"):
        networks.build("vnt", **make)
    with pytest.raises(UsageError, match="Did you mean 'dropout_rate'") as caught:
        networks.build("vnet", **make, dropout_rat=0.1)
    assert "filters=16" in (caught.value.hint or "")
    for bad in ({"dim": 4}, {"in_channels": 0}, {"classes": 0}, {"heads": {"sdf": 0}}, {"heads": {"a.b": 1}}):
        with pytest.raises(UsageError):
            networks.build("unet", **{**make, **bad})


def test_a_class_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    (tmp_path / "their_nets.py").write_text(
        "from torch import nn\n"
        "class Half(nn.Module):\n"
        "    def __init__(self, n_channels, n_classes, width=4):\n"
        "        super().__init__()\n"
        "        self.down = nn.Conv2d(n_channels, width, 2, 2)\n"
        "        self.up = nn.ConvTranspose2d(width, n_classes, 2, 2)\n"
        "    def forward(self, x):\n"
        "        return {'aux': x, 'out': self.up(self.down(x))}\n"
        "class Pooled(Half):\n"
        "    def forward(self, x):\n"
        "        return self.down(x)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    make = {"dim": 2, "in_channels": 1, "classes": 3}
    net = networks.build("their_nets:Half", **make, width=5, heads={"sdf": 2})
    assert net.divisor == (2, 2)
    out = net(torch.randn(2, 1, 6, 8))
    assert out.logits.shape == (2, 3, 6, 8)
    assert out.features is not None
    assert out.features.shape == (2, 5, 6, 8)  # interpolated
    assert out.heads["sdf"].shape == (2, 2, 6, 8)
    with pytest.raises(UsageError, match="instead of logits"):
        networks.build("their_nets:Pooled", **make)(torch.randn(1, 1, 8, 8))
    with pytest.raises(UsageError, match="Half"):
        networks.build("their_nets:Halv", **make)
    with pytest.raises(UsageError, match="no_such_package"):
        networks.build("no_such_package.x:Y", **make)


@pytest.mark.parametrize("name", ["denseunet", "unet", "vnet"])
def test_one_graph_for_the_compiler(name: str) -> None:
    """The checks of the input must not break the graph."""
    import torch

    net = networks.build(name, dim=2, in_channels=1, classes=2, heads={"sdf": 1}, **SMALL[name]).eval()
    x = torch.randn(2, 1, 32, 32).contiguous(memory_format=torch.channels_last)
    plain = net(x)
    keys = list(net.state_dict())
    net.compile(backend="eager", fullgraph=True)
    torch.testing.assert_close(net(x).logits, plain.logits)
    torch.testing.assert_close(net(x).heads["sdf"], plain.heads["sdf"])
    assert list(net.state_dict()) == keys
