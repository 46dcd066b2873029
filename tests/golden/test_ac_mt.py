"""AC-MT against the original scripts: four selections with their losses and gradients, and the schedules."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.golden.replay import Answers
from torch import nn

from semiseg.core import Batch, Clock, SegOutput
from semiseg.errors import UsageError
from semiseg.losses import dice_ce, dice_loss, entropy_map
from semiseg.methods.ac_mt import ACMT
from semiseg.methods.ac_mt.confident_learning import class_thresholds, confident_joint, label_issues
from semiseg.methods.parts.prototypes import Spread, scan_prototypes, squared_distances, upsampled
from semiseg.schedules import ema_update, poly, warm_decay

FILTERS = ["both", "prune_by_class", "prune_by_noise_rate"]


class Passes(Answers):
    """Stored logits, and stored features as the last decoder level but one."""

    def __init__(self, logits, features):
        super().__init__(*logits)
        self.features = [torch.from_numpy(f) for f in features]

    def forward(self, x):
        features = self.features[len(self.asked) % len(self.features)]
        logits = super().forward(x).logits
        return SegOutput(logits, levels=(features, logits))


class Weight(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.weight = nn.Parameter(torch.from_numpy(value.copy()))


def method_and_batch(v, teacher, *, student=(), **options):
    """The stored logits as answers of both networks, and empty images of the right size."""
    options = {"ramp": 40 * 150, "ramp_unit": 150, **options}
    method = ACMT(lambda: Answers(v["student_logits"], *student), **options)
    method.teacher = (teacher if isinstance(teacher, nn.Module) else Answers(*teacher)).requires_grad_(False)
    z = v["student_logits"]
    unlabeled = len(v.get("teacher_logits", v.get("teacher_noisy_logits")))
    n = len(z) - unlabeled
    images = torch.zeros((len(z), 1, *z.shape[2:]))
    return method, Batch(images[:n], torch.zeros((n, *z.shape[2:]), dtype=torch.int64), {"weak": images[n:]})


def consistency_and_gradient(method, batch, t):
    """Logs of one step, and the gradient of its consistency term alone, before the weight."""
    (update,) = method.step(batch, t)
    weight = update.logs["weight"].item()
    supervised = dice_ce(method.net.logits[0][: len(batch.x_l)], batch.y_l)
    (gradient,) = torch.autograd.grad(update.loss - supervised, method.net.logits[0])
    return update.logs, gradient / weight


def same(ours, stored, atol=1e-7):
    np.testing.assert_allclose(ours, stored, rtol=1e-3, atol=atol)


def test_supervised(golden):
    v = golden("acmt__supervised")
    z, label = torch.from_numpy(v["logits"]).requires_grad_(), torch.from_numpy(v["label"])
    n = len(z) // 2
    loss = dice_ce(z[:n], label[:n])
    loss.backward()
    assert loss.item() == pytest.approx(float(v["supervised"]), rel=1e-5)
    assert dice_loss(z[:n].softmax(1), label[:n]).item() == pytest.approx(float(v["loss_dice"]), rel=1e-5)
    same(z.grad, v["grad"])
    p, y = torch.from_numpy(v["logits4"]).softmax(1), torch.from_numpy(v["label4"])
    assert dice_loss(p, y).item() == pytest.approx(float(v["dice4"]), rel=1e-5)


def test_entropy(golden):
    v = golden("acmt__entropy_selection")
    for i, k in enumerate(v["iters"].tolist()):
        method, batch = method_and_batch(v, [v["teacher_logits"]])
        t = Clock(k, int(v["max_iterations"]))
        p = method.net.logits[0].detach()[len(batch.x_l) :].softmax(1)
        same(entropy_map(p)[:, 0], v["entropy_map"], 1e-6)
        assert method.threshold(t) == pytest.approx(float(v["threshold"][i]), rel=1e-7)
        np.testing.assert_array_equal(method.select(p, batch, t)[:, 0], v["mask"][i].astype(bool))
        logs, gradient = consistency_and_gradient(method, batch, t)
        assert logs["consistency"].item() == pytest.approx(float(v["loss"][i]), rel=1e-4)
        assert logs["weight"].item() == pytest.approx(float(v["weight"][i]), rel=1e-5)
        assert len(method.teacher.asked) == 1  # the original asks once more, for nothing
        same(gradient, v["grad"][i])


def test_uncertainty(golden, caplog):
    v = golden("acmt__uncertainty_selection")
    passes = 2 * len(v["mc_logits"])
    for i, k in enumerate(v["iters"].tolist()):
        for released in (True, False):
            method, batch = method_and_batch(
                v,
                [v["teacher_logits"]],
                student=v["mc_logits"],
                selection="uncertainty",
                passes=passes,
                sum_over_classes=released,
            )
            t = Clock(k, int(v["max_iterations"]))
            classes = v["student_logits"].shape[1]
            threshold = method.threshold(t) * np.log(classes)
            assert threshold == pytest.approx(float(v["threshold"][i]), rel=1e-7)
            logs, gradient = consistency_and_gradient(method, batch, t)
            divisor = 1 if released else classes
            assert logs["consistency"].item() == pytest.approx(float(v["loss"][i]) / divisor, rel=1e-4)
            assert logs["ambiguous"].item() == pytest.approx(v["mask"][i].mean(), abs=1e-6)
            same(gradient * divisor, v["grad"][i])
            assert [len(x) for x in method.net.asked[1:]] == [v["mc_logits"].shape[1]] * len(v["mc_logits"])
            assert len(method.deviations) == released
    method.net.asked = [torch.empty(0)]
    same(method.uncertainty(batch.x_u["weak"]), v["uncertainty"], 1e-6)


def test_parts_of_the_prototype_selection(golden):
    v = {k: torch.from_numpy(a) for k, a in golden("acmt__prototype_selection").items() if k != "doc"}
    scores = Spread()
    for z in v["mc_preds"]:
        scores.add((z / 2).sigmoid())
    same(scores.std(), v["uncertainty"], 1e-6)
    q = v["teacher_clean_logits"].softmax(1)
    np.testing.assert_array_equal(((scores.std() < float(v["uncertainty_th"])) * q).argmax(1), v["rect"])
    features = upsampled(v["mc_feats"].mean(0), q)
    prototypes, present = scan_prototypes(features, v["rect"], q)
    assert present.all()
    same(prototypes[:, 1], v["proto_obj"], 1e-6)
    same(prototypes[:, 0], v["proto_bg"], 1e-6)
    distances = squared_distances(features, prototypes)
    same(distances[:, 1:], v["dist_obj"], 1e-5)
    same(distances[:, :1], v["dist_bg"], 1e-5)


def prototype(v, **options):
    answers = [v["teacher_noisy_logits"], v["teacher_clean_logits"], *v["mc_preds"]]
    features = [v["mc_feats"][0]] * 2 + list(v["mc_feats"])
    options = {"passes": len(v["mc_preds"]), "certain_below": float(v["uncertainty_th"]), **options}
    return method_and_batch(v, Passes(answers, features), selection="prototype", **options)


def test_prototype(golden):
    v = golden("acmt__prototype_selection")
    t = Clock(8000, 8000)
    method, batch = prototype(v, entropy_term="released")
    logs, gradient = consistency_and_gradient(method, batch, t)
    assert logs["consistency"].item() == pytest.approx(float(v["consistency"]), rel=1e-4)
    assert logs["ambiguous"].item() == pytest.approx(v["noisy_mask"].mean(), abs=1e-6)
    same(gradient, v["grad"])
    assert len(method.deviations) == 1


@pytest.mark.parametrize(("term", "stored"), [("aligned", "entropy_term_fixed"), ("none", None)])
def test_our_entropy_term_meets_its_own_scan(golden, term, stored):
    v = golden("acmt__prototype_selection")
    method, batch = prototype(v, entropy_term=term)
    logs, gradient = consistency_and_gradient(method, batch, Clock(8000, 8000))
    expected = float(v["noisy_term"]) + (float(v[stored]) if stored else 0.0)
    assert logs["consistency"].item() == pytest.approx(expected, rel=1e-4)
    assert not np.allclose(gradient, v["grad"], atol=1e-6)
    assert method.deviations == []
    assert prototype(v)[0].entropy_term == "aligned"


@pytest.mark.parametrize("by", FILTERS)
def test_confident_learning(golden, by):
    v = golden("acmt__confident_learning_selection")
    method, batch = method_and_batch(
        v,
        [v["teacher_noisy_logits"], v["teacher_clean_logits"]],
        selection="confident_learning",
        filter_by=by,
    )
    n = len(batch.x_l)
    z, q = torch.from_numpy(v["student_logits"][n:]), torch.from_numpy(v["teacher_clean_logits"]).softmax(1)
    same(class_thresholds(z.argmax(1), q), v["thresholds"])
    np.testing.assert_array_equal(confident_joint(z.argmax(1), q), v["confident_joint"])
    np.testing.assert_array_equal(label_issues(z.argmax(1), q, by), v[f"mask_{by}"])
    logs, gradient = consistency_and_gradient(method, batch, Clock(8000, 8000))
    assert logs["consistency"].item() == pytest.approx(float(v[f"loss_{by}"]), rel=1e-4)
    assert logs["ambiguous"].item() == pytest.approx(v[f"mask_{by}"].mean(), abs=1e-6)
    if f"grad_{by}" in v:
        same(gradient, v[f"grad_{by}"])


def test_a_student_that_sees_one_class_falls_back_to_every_voxel(golden):
    v = golden("acmt__confident_learning_selection")
    n = len(v["student_logits"]) - len(v["teacher_noisy_logits"])
    v["student_logits"][n:, 0] += np.float32(v["fallback_logits_shift"])
    method, batch = method_and_batch(
        v, [v["teacher_noisy_logits"], v["teacher_clean_logits"]], selection="confident_learning"
    )
    logs, _ = consistency_and_gradient(method, batch, Clock(8000, 8000))
    assert logs["consistency"].item() == pytest.approx(float(v["fallback_loss"]), rel=1e-4)
    assert logs["ambiguous"].item() == 1


@pytest.mark.parametrize("by", FILTERS)
def test_confident_learning_of_many_classes(golden, by):
    v = golden("acmt__confident_learning_multiclass")
    labels, p = torch.from_numpy(v["labels"]).long(), torch.from_numpy(v["probs"])
    same(class_thresholds(labels, p), v["thresholds"])
    np.testing.assert_array_equal(confident_joint(labels, p), v["confident_joint"])
    np.testing.assert_array_equal(label_issues(labels, p, by), v[f"mask_{by}"])


def test_schedules(golden):
    v = golden("acmt__schedules")
    teacher = Weight(v["teacher0"])
    for k, student, expected in zip(v["steps"], v["student_hist"], v["teacher_hist"], strict=True):
        ema_update(teacher, Weight(student), warm_decay(int(k), 0.99))
        np.testing.assert_allclose(teacher.weight.detach(), expected, rtol=1e-5, atol=1e-7)
    method = ACMT(lambda: Weight(v["teacher0"]), ramp=40 * 150, ramp_unit=150)
    for k, lr, weight in zip(v["iters"].tolist(), v["lr"], v["weight"], strict=True):
        assert method.consistency_weight(Clock(k, 8000)) == pytest.approx(float(weight), rel=1e-6)
        assert 0.01 * poly(k + 1, 8000, 0.9, lag=1) == pytest.approx(float(lr), rel=1e-6)


def test_a_network_without_levels_is_refused(golden):
    v = golden("acmt__prototype_selection")
    answers = [v["teacher_noisy_logits"], v["teacher_clean_logits"], *v["mc_preds"]]
    method, batch = method_and_batch(v, answers, selection="prototype")
    with pytest.raises(UsageError, match="levels"):
        next(method.step(batch, Clock(0, 10)))
