"""TCSeg against the released script: prototype maps, losses, exchanged boxes, whole steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.golden.replay import Vector, stepped, tensor
from torch import Tensor, nn

from semiseg.core import Batch, Clock, SegOutput
from semiseg.methods.parts.mixing import columns
from semiseg.methods.tcseg import Said, TCSeg
from semiseg.methods.tcseg.prototypes import prototype_maps, regions
from semiseg.settings.config import OptimizerConfig

TOTAL = 20_000


def single(v: Vector, key: str) -> Tensor:
    """Stored in half precision."""
    return torch.from_numpy(v[key]).float()


class Stored(nn.Module):
    """Stored logits and features of both decoders, call after call."""

    encoder_parts = ()

    def __init__(self, *calls: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
        super().__init__()
        self.calls = nn.ModuleList([nn.ParameterList(call) for call in calls])
        self.asked: list[Tensor] = []

    def forward(self, x: Tensor) -> SegOutput:
        z1, z2, f1, f2 = (value * 1.0 for value in self.calls[len(self.asked)])
        assert len(x) == len(z1)
        self.asked.append(x)
        return SegOutput(z1, f1, {"decoder2": z2, "features2": f2})


class Replayed(TCSeg):
    """The released settings with the draws of a vector, whose names begin with ``prefix``."""

    def __init__(self, v: Vector, net: nn.Module, teacher: nn.Module, **options) -> None:
        nn.Module.__init__(self)
        made = TCSeg(
            lambda **choice: _Split(),
            weight=float(v["consistency"]),
            high=float(v["max_t"]),
            low=float(v["min_t"]),
            tolerance=float(v["p_t"]),
            ramp=int(v["rampup"]) * 150,
            ramp_unit=150,
            box_axes="released",
            **options,
        )
        self.__dict__.update({k: value for k, value in vars(made).items() if not k.startswith("_")})
        self.net, self.teacher = net, teacher.requires_grad_(False)
        self.v, self.masks = v, []

    def start(self, prefix: str) -> None:
        self.prefix = prefix
        self.shares = iter(self.v.get(f"{prefix}beta", ()))
        self.elements = iter([self.v[f"{prefix}dil_struct{i}"] for i in range(2) if self.has("dil_struct0")])

    def has(self, name: str) -> bool:
        return f"{self.prefix}{name}" in self.v

    def draw_element(self, dim: int) -> Tensor:
        return torch.from_numpy(next(self.elements))

    def draw_share(self) -> float:
        return float(next(self.shares))

    def random_boxes(self, count: int, size) -> Tensor:
        """The last of the draws; a region that was not found has taken those before."""
        share = float(self.v[f"{self.prefix}beta"][-1])
        half = [int(edge * np.sqrt(1 - share)) // 2 for edge in size[1:]]
        return columns(size, self.v[f"{self.prefix}centre"].T.tolist(), [half] * count, limits=size[1:])

    def boxes(self, own: Said, taught: Said, t: Clock) -> Tensor:
        self.masks.append(super().boxes(own, taught, t))
        return self.masks[-1]


class _Split(nn.Module):
    """Just enough for the constructor."""

    encoder_parts = ("enc",)

    def __init__(self) -> None:
        super().__init__()
        self.enc = nn.Identity()


def test_prototype_maps(golden):
    v = golden("tcseg__prototypes")
    f = single(v, "f").requires_grad_()
    maps = prototype_maps(single(v, "z"), f, high=float(v["max_t"]), low=float(v["min_t"]))
    np.testing.assert_allclose(maps.detach(), v["m"], rtol=1e-4, atol=1e-6)
    assert (maps[1, 1] == 0).all()
    (maps * single(v, "w")).sum().backward()
    np.testing.assert_allclose(f.grad, v["grad_f"], rtol=1e-3, atol=1e-6)


def test_what_one_decoder_teaches_the_other(golden):
    v = golden("tcseg__semi_loss")
    n = int(v["labeled_bs"])
    for source in (0, 1):
        z = [single(v, f"z{k}")[n:].requires_grad_() for k in (1, 2)]
        own = Said(z, [x.softmax(1) for x in z], [single(v, f"m{k}")[n:] for k in (1, 2)])
        taught = Said([], [], [single(v, f"em{k}") for k in (1, 2)])
        method = Replayed(v, nn.Identity(), nn.Identity())
        agree = method.agreement(own, taught)
        loss = method.lesson(z[1 - source], z[source], agree[source])
        loss.backward()
        assert loss.item() == pytest.approx(float(v[f"loss_target{source}"]), rel=1e-5)
        np.testing.assert_allclose(z[1 - source].grad, v[f"grad_target{source}"], rtol=1e-3, atol=1e-8)
        assert z[source].grad is None
        assert method.lesson(z[0], z[1], torch.zeros_like(agree[0])).item() == float(v["loss_none"])


def given(v: Vector, *mixed: Tensor) -> tuple[Stored, Stored]:
    """Student and teacher."""
    calls = [tuple(single(v, f"{name}{k}") for name in "zf" for k in (1, 2))]
    if mixed:
        calls.append((*mixed, torch.zeros(2, 1), torch.zeros(2, 1)))
    return Stored(*calls), Stored(tuple(single(v, f"e{name}{k}") for name in "zf" for k in (1, 2)))


def batch_of(images: Tensor, label: Tensor, n: int) -> Batch:
    return Batch(images[:n], label[:n], {"weak": images[n:]})


def test_losses_and_gradients_before_boxes_are_exchanged(golden):
    v = golden("tcseg__losses")
    student, teacher = given(v)
    method = Replayed(v, student, teacher)
    label = tensor(v, "label").long()
    images = torch.zeros((len(label), 1, *label.shape[1:]))
    t = Clock(int(v["iter_num"]), TOTAL)
    (update,) = method.step(batch_of(images, label, int(v["labeled_bs"])), t)
    update.loss.backward()
    assert update.logs["weight"].item() == pytest.approx(float(v["weight"]), rel=1e-6)
    assert update.logs["lesson"].item() == pytest.approx(float(v["crc"].sum()), rel=1e-5)
    assert update.loss.item() == pytest.approx(float(v["loss"]), rel=1e-5)
    for value, key in zip(student.calls[0], ("z1", "z2", "f1", "f2"), strict=True):
        np.testing.assert_allclose(value.grad, v[f"grad_{key}"], rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("case", ["c0_", "c1_", "c2_"])
def test_exchanged_boxes(golden, case):
    """At a region, anywhere, and anywhere because an image has no region."""
    v = golden("tcseg__mix")
    if case == "c2_":  # the last image is sure background throughout
        for key in ("z1", "z2"):
            v[key][3], v[f"e{key}"][1] = (np.array([6.0, -6.0])[:, None, None, None],) * 2
        for key in ("f1", "f2"):
            v[key][3], v[f"e{key}"][1] = 1.0, 1.0
    student, teacher = given(v, *(single(v, f"{case}mz{k}") for k in (1, 2)))
    method = Replayed(v, student, teacher)
    method.start(case)
    n = int(v["labeled_bs"])
    t = Clock(int(v[f"{case}iter"]), TOTAL)
    (update,) = method.step(batch_of(single(v, "vol"), tensor(v, "label").long(), n), t)
    assert update.logs["weight"].item() == pytest.approx(float(v[f"{case}weight"]), rel=1e-6)
    both = 2 * update.logs["mixed"].item()  # the vector has the sum over decoders
    assert both == pytest.approx(float(v[f"{case}mix_loss"]), rel=1e-5)
    assert update.loss.item() == pytest.approx(float(v[f"{case}loss"]), rel=1e-4)
    np.testing.assert_allclose(student.asked[1], v[f"{case}mixed"])
    update.loss.backward()
    for k in (0, 1):
        wanted = v[f"{case}grad_mz{k + 1}"] / (2.0 if case == "c2_" else 1.0)  # there that of the sum
        np.testing.assert_allclose(student.calls[1][k].grad, wanted, rtol=1e-3, atol=1e-8)
    with torch.no_grad():
        student.asked, teacher.asked = [], []
        said = method.say(student, single(v, "vol"))
        own = Said(*([part[n:] for part in parts] for parts in said))
        taught = method.say(teacher, single(v, "vol")[n:])
    unreliable = method.unreliable(own, taught)
    np.testing.assert_array_equal(unreliable, v[f"{case}uncertain_or_diff"])
    elements = [torch.from_numpy(v[f"{case}dil_struct{i}"]) for i in (0, 1)]
    np.testing.assert_array_equal(regions(unreliable, elements), v[f"{case}region"])


class Small(nn.Module):
    """The two-decoder network of the steps."""

    def __init__(self, v: Vector, prefix: str) -> None:
        super().__init__()
        for name in ("enc", "d1", "d2", "h1", "h2"):
            w = v[f"{prefix}_{name}_weight"]
            layer = nn.Conv3d(w.shape[1], w.shape[0], w.shape[2], padding=w.shape[2] // 2)
            layer.weight.data, layer.bias.data = (
                tensor(v, f"{prefix}_{name}_weight"),
                tensor(v, f"{prefix}_{name}_bias"),
            )
            setattr(self, name, layer)

    def forward(self, x: Tensor) -> SegOutput:
        e = torch.tanh(self.enc(x))
        f1, f2 = torch.tanh(self.d1(e)), torch.tanh(self.d2(e))
        return SegOutput(self.h1(f1), f1, {"decoder2": self.h2(f2), "features2": f2})

    def check(self, v: Vector, prefix: str) -> None:
        for name, p in self.named_parameters():
            wanted = v[f"{prefix}_{name.replace('.', '_')}"]
            np.testing.assert_allclose(p.detach(), wanted, rtol=1e-4, atol=1e-6, err_msg=prefix + name)


def test_optimizer_steps_equal_the_released_loop(golden):
    v = golden("tcseg__steps")
    method = Replayed(v, Small(v, "s0"), Small(v, "t0"))
    n, first = int(v["labeled_bs"]), int(v["iter0"])

    def steps():
        for s in range(int(v["n"])):
            method.start(f"step{s}_")
            batch = batch_of(single(v, f"vol{s}"), tensor(v, f"label{s}").long(), n)
            yield batch, Clock(first + s, TOTAL), float(v["lr"])

    kind = OptimizerConfig(
        name="sgd", lr=0.01, momentum=float(v["momentum"]), weight_decay=float(v["weight_decay"])
    )
    for s, logs in enumerate(stepped(method, steps(), kind)):
        assert logs["loss"].item() == pytest.approx(float(v["losses"][s]), rel=1e-4)
        if s == 0:
            method.net.check(v, "s1")
            method.teacher.check(v, "t1")
    method.net.check(v, f"s{int(v['n'])}")
    method.teacher.check(v, f"t{int(v['n'])}")
