"""What SASSNet and its critic must do for every input; numbers are those of the method's list of checks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from semiseg import methods
from semiseg.batches.targets import make_targets
from semiseg.core import Batch, Clock
from semiseg.errors import UsageError
from semiseg.losses import dice_loss, distance_loss
from semiseg.methods.parts.critic import Critic, only_judging, origin_loss, without_trace
from semiseg.methods.sassnet import SASSNet
from semiseg.training.optim import lr_factor
from tests.methods.answers import TwoTasks
from tests.methods.tiny import TinyNet, batches, loop_for

few = settings(max_examples=10, deadline=None)
seeds, classes, dims = st.integers(0, 10**6), st.integers(2, 4), st.integers(2, 3)
END = Clock(99, 100)


def make(seed: int, k: int, dim: int, **options: object) -> SASSNet:
    torch.manual_seed(seed)
    return SASSNet(lambda heads=None: TinyNet(dim, k, heads), critic_width=2, **options)


def given_outputs(seed: int, k: int, dim: int, **options: object) -> tuple[SASSNet, Batch]:
    """A method whose network gives random outputs for 2 + 2 samples, and a batch of these."""
    torch.manual_seed(seed)
    logits, distances = torch.randn(4, k, *[5] * dim), torch.rand(4, k - 1, *[5] * dim) - 0.5
    method = SASSNet(lambda heads=None: TwoTasks(logits, distances), critic_width=2, **options)
    images, labels = torch.randn(4, 1, *[5] * dim), torch.randint(k, (2, *[5] * dim))
    return method, Batch(images[:2], labels, {"weak": images[2:]}, make_targets(["sdf"], labels, k))


def state(module: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in module.state_dict().items()}


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[key], b[key]) for key in a)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=2, max_size=3), st.integers(1, 3), st.integers(1, 3))
def test_property_1_two_answers_whatever_the_size(edges, maps, images):
    critic = Critic(len(edges), maps, images, width=2)
    z, x = torch.randn(3, maps, *edges), torch.randn(3, images, *edges)
    assert critic(z, x).shape == (3, 2)
    assert Critic(len(edges), maps, images, width=2, cells=2)(z, x).shape == (3, 2)


@pytest.mark.parametrize(("dim", "parameters"), [(2, 2_756_610), (3, 11_020_290)])
def test_property_1_size_of_the_published_critic(dim, parameters):
    assert sum(p.numel() for p in Critic(dim, 1, 1).parameters()) == parameters


@given(st.integers(16, 40), dims)
@few
def test_nothing_is_added_to_edges_that_can_be_halved(edge, dim):
    critic = Critic(dim, 1, 1, width=2).eval()
    z, x = torch.randn(1, 1, *[edge] * dim), torch.randn(1, 1, *[edge] * dim)
    h = nn.functional.leaky_relu(critic.of_map(z) + critic.of_image(x), 0.2)
    for layer in critic.deeper:
        h = nn.functional.leaky_relu(layer(h), 0.2)
    torch.testing.assert_close(critic(z, x), critic.classify(h.flatten(2).mean(2)))


@few
@given(seeds, classes, dims, st.booleans())
def test_property_2_each_step_changes_its_own_network_alone(seed, k, dim, reuse):
    method = make(seed, k, dim, reuse_forward=reuse)
    loop = loop_for(method, batches(dim, k, edge=8), 1)
    loop.build_optimizers()
    stream = method.step(batches(dim, k, edge=8)(seed), END)

    def take(name: str) -> None:
        update = next(stream)
        assert update.on == name
        loop.optimizers[name].zero_grad()
        update.loss.backward()
        loop.optimizers[name].step()

    critic = state(method.critic)
    take("net")
    assert equal(critic, state(method.critic))
    assert all(p.grad is None for p in method.critic.parameters())
    net = state(method.net)
    gradients = [p.grad.clone() for p in method.net.parameters()]
    take("critic")
    assert equal(net, state(method.net))  # running statistics included
    assert all(torch.equal(g, p.grad) for g, p in zip(gradients, method.net.parameters(), strict=True))
    assert not equal(critic, state(method.critic))
    assert method.net.training
    assert method.critic.training
    assert all(p.requires_grad for p in method.critic.parameters())


@few
@given(seeds, classes, dims)
def test_property_3_without_weight_only_the_supervised_loss_is_left(seed, k, dim):
    method, batch = given_outputs(seed, k, dim, weight=0.0)
    update = next(method.step(batch, END))
    update.loss.backward()
    p, z = method.net.logits[:2].softmax(1), method.net.distances[:2]
    dice = dice_loss(p, batch.y_l, include_background=False)
    expected = dice + 0.3 * distance_loss(z, batch.targets["sdf"], batch.y_l)
    assert update.loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert (method.net.logits.grad[2:] == 0).all()
    assert (method.net.distances.grad[2:] == 0).all()


@few
@given(seeds, classes, dims)
def test_property_4_the_critic_reaches_unlabeled_distances_alone(seed, k, dim):
    method, batch = given_outputs(seed, k, dim)
    x = torch.cat([batch.x_l, batch.x_u["weak"]])
    method.fool(method.net.distances[2:], x[2:]).backward()
    assert method.net.logits.grad is None
    assert (method.net.distances.grad[:2] == 0).all()
    assert method.net.distances.grad[2:].abs().sum() > 0

    with_it, without = (given_outputs(seed, k, dim, weight=w)[0] for w in (1.0, 0.0))
    for one in (with_it, without):
        next(one.step(batch, END)).loss.backward()
    assert torch.equal(with_it.net.logits.grad, without.net.logits.grad)
    assert torch.equal(with_it.net.distances.grad[:2], without.net.distances.grad[:2])


@few
@given(seeds, st.integers(1, 4), st.integers(1, 4))
def test_property_5_both_sides_mirrored(seed, labeled, unlabeled):
    logits = torch.randn(labeled + unlabeled, 2, generator=torch.Generator().manual_seed(seed))
    mirrored = logits.flip(1)  # the difference of the two, negated
    of_unlabeled = origin_loss(logits[labeled:], unlabeled)
    torch.testing.assert_close(of_unlabeled, origin_loss(mirrored[labeled:], 0))
    other_way = torch.cat([mirrored[labeled:], mirrored[:labeled]])
    torch.testing.assert_close(origin_loss(logits, labeled), origin_loss(other_way, unlabeled))


@few
@given(seeds)
def test_critic_losses_by_hand(seed):
    logits = torch.randn(5, 2, generator=torch.Generator().manual_seed(seed))
    log_p = logits.log_softmax(1)
    expected = -(log_p[:3, 1].sum() + log_p[3:, 0].sum()) / 5
    torch.testing.assert_close(origin_loss(logits, 3), expected)
    assert origin_loss(logits.bfloat16(), 3).dtype == torch.float32


@pytest.mark.parametrize(("reuse", "modes"), [(False, [True, False]), (True, [True])])
def test_what_the_critic_learns_from(reuse, modes):
    method = make(0, 3, 2, reuse_forward=reuse)
    seen, shown = [], []
    method.net.register_forward_hook(lambda net, *_: seen.append(net.training))
    method.critic.register_forward_hook(lambda critic, x, _: shown.append((critic.training, x[0])))
    batch = batches(2, 3)(0)
    stream = method.step(batch, END)
    next(stream)
    with torch.no_grad():
        for p in method.net.parameters():
            p.add_(0.1)  # the optimizer's step
    next(stream)
    assert seen == modes
    assert [training for training, _ in shown] == [False, True]
    (_, fooling), (_, learning) = shown
    assert len(fooling) == 3
    assert len(learning) == 5
    assert not learning.requires_grad
    assert torch.equal(learning[2:], fooling) == reuse
    if not reuse:
        method.net.eval()
        x = torch.cat([batch.x_l, batch.x_u["weak"]])
        torch.testing.assert_close(learning, torch.tanh(method.net(x).heads["sdf"]))


@pytest.mark.parametrize("context", [only_judging, without_trace])
@pytest.mark.parametrize("training", [True, False])
def test_networks_come_back_as_they_were(context, training):
    critic = Critic(2, 1, 1, width=2).train(training)
    critic.classify.bias.requires_grad_(False)

    def fail() -> None:
        with context(critic):
            assert not critic.training
            answer = critic(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8))
            assert not answer.requires_grad
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    assert critic.training == training
    assert torch.is_grad_enabled()
    assert [key for key, p in critic.named_parameters() if not p.requires_grad] == ["classify.bias"]


def test_the_critic_keeps_its_rate():
    method = make(0, 2, 2)
    loop = loop_for(method, batches(2, 2), 10)
    for k in range(4):
        loop.iterate_once()
        (critic,), (net,) = loop.optimizers["critic"].param_groups, loop.optimizers["net"].param_groups
        assert (critic["lr"], critic["betas"], critic["weight_decay"]) == (1e-4, (0.9, 0.99), 0)
        assert net["lr"] == pytest.approx(0.01 * lr_factor(loop.schedule, k, 10))
    assert net["lr"] < 0.01


def test_the_loss_of_the_run_is_the_networks():
    method = make(0, 2, 2)
    loop = loop_for(method, batches(2, 2), 1, log_every=1)
    values = []
    loop.listeners = [lambda e: values.append(e.values) if hasattr(e, "values") else None]
    loop.run()
    (found,) = values
    assert found["critic"] == pytest.approx(0.69, abs=0.1)
    expected = found["dice"] + 0.3 * found["distance"] + found["weight"] * found["adversarial"]
    assert found["loss"] == pytest.approx(expected, rel=1e-5)


def test_images_of_several_channels():
    method = SASSNet(lambda heads=None: TinyNet(3, 4, heads, channels=2), critic_width=2)
    at = batches(3, 4)
    batch = at(0)
    two = [x.expand(-1, 2, *x.shape[2:]) for x in (batch.x_l, batch.x_u["weak"])]
    updates = list(method.step(batch._replace(x_l=two[0], x_u={"weak": two[1]}), END))
    assert [update.on for update in updates] == ["net", "critic"]
    assert method.critic.of_map.in_channels == 3
    assert method.critic.of_image.in_channels == 2


def test_departures_are_named():
    assert make(0, 3, 2).deviations == []
    assert make(0, 3, 2).targets == ("sdf",)
    assert make(0, 3, 2, absent="zeros").targets == ("sdf_published",)
    assert len(make(0, 3, 2, absent="zeros", reuse_forward=True).deviations) == 2


def test_a_network_that_does_not_tell_its_classes():
    with pytest.raises(UsageError, match="sassnet needs a network that says its classes"):
        SASSNet(lambda heads=None: nn.Identity())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": -0.1}, "weight"),
        ({"absent": "zero"}, "absent"),
        ({"critic_width": 0}, "critic_width"),
        ({"reuse_forward": "sometimes"}, "reuse_forward"),
        ({"reuse": True}, "reuse"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(UsageError, match=message):
        methods.check_options(SASSNet, options)
