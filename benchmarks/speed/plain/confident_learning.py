"""Confident learning in the usual way: NumPy thresholds and cuts, sparse counts, a loop over all voxels."""

from __future__ import annotations

import numpy as np
from scipy import sparse


def label_issues(labels: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Which of the labels (n,) are wrong, by class and by noise rate, given probabilities (n, K)."""
    n, classes = p.shape
    counts = np.bincount(labels, minlength=classes)
    joint = confident_joint(labels, p, counts)
    by_class, by_rate = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    for k in range(classes):
        of_class = labels == k
        wrong = counts[k] - joint[k, k]
        by_class |= of_class & (p[:, k] < np.partition(p[of_class, k], wrong)[wrong])
        for j in range(classes):
            if j != k and joint[k, j] > 0:
                margin = p[:, j] - p[:, k]
                cut = -np.partition(-margin[of_class], joint[k, j] - 1)[joint[k, j] - 1]
                by_rate |= of_class & (margin >= cut)
    issues = by_class & by_rate
    for i, likeliest in enumerate(p.argmax(axis=1)):
        if likeliest == labels[i]:
            issues[i] = False
    return issues


def confident_joint(labels: np.ndarray, p: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """How many labels of each class (rows) are of each true class, calibrated, in whole numbers."""
    classes = p.shape[1]
    thresholds = np.array([p[labels == k, k].mean() for k in range(classes)])
    confident = p >= thresholds - 1e-6
    reached = confident.sum(axis=1)
    guess = np.where(reached > 1, p.argmax(axis=1), confident.argmax(axis=1))[reached > 0]
    pairs = (np.ones(len(guess), dtype=np.int64), (labels[reached > 0], guess))
    joint = sparse.coo_matrix(pairs, shape=(classes, classes)).toarray().astype(float)
    np.fill_diagonal(joint, np.maximum(joint.diagonal(), 1))
    joint = joint / joint.sum(axis=1, keepdims=True) * counts[:, None]
    joint = joint / joint.sum() * counts.sum()
    whole = np.round(joint)
    for row, exact in zip(whole, joint, strict=True):
        missing = int(np.round(exact.sum()) - row.sum())
        order = np.argsort(exact - row)
        row[order[len(row) - missing :] if missing > 0 else order[: -missing or 0]] += np.sign(missing)
    return np.maximum(whole, np.eye(classes)).astype(int)
