"""Consistency that counts less where the predictions are unsure."""

from __future__ import annotations

from torch import Tensor

from semiseg.losses.entropy import entropy_map


def uncl(logits: Tensor, target_logits: Tensor, *, beta: float) -> Tensor:
    """Mean over scans and voxels of ``sum_k (p - q)^2 / (e^(b H_p) + e^(b H_q)) + b (H_p + H_q)``.

    The uncertainty-aware consistency loss of DyCON (Assefa et al. 2025, arXiv:2504.04566), in float32. H is
    the entropy in nats, ``-sum_k p_k ln(p_k + 1e-6)``. A large b silences unsure voxels and asks for a low
    entropy; with b = 0 it is half the squared difference. Nothing of the prediction is held constant, so it
    may also learn by changing its entropy.

    Args:
        logits: (B, K, *S), of p.
        target_logits: (B, K, *S), of q; get no gradient.
        beta: b.

    Returns:
        A scalar, not negative but for ``2e-6 b`` where both are quite sure.
    """
    p, q = logits.float().softmax(1), target_logits.detach().float().softmax(1)
    h_p, h_q = (entropy_map(x, normalized=False).squeeze(1) for x in (p, q))
    distance = (p - q).square().sum(1)
    return (distance / ((beta * h_p).exp() + (beta * h_q).exp()) + beta * (h_p + h_q)).mean()
