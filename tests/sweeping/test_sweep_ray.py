"""Cells as tasks of a real Ray cluster of two nodes: the same weights as on this machine."""

from __future__ import annotations

import os

import pytest
from tests import sweeps

pytestmark = pytest.mark.slow


@pytest.fixture
def two_nodes(tmp_path, monkeypatch):
    """The address of a cluster whose two nodes have room for one cell each; no network beyond this host."""
    pytest.importorskip("ray", reason="the extra ray is not installed")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("HOME", str(tmp_path / "home"))  # Ray writes a token there
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    cluster = Cluster()
    node = {"num_cpus": 1, "object_store_memory": 80_000_000, "include_dashboard": False}
    cluster.add_node(**node)
    cluster.add_node(**node)
    cluster.wait_for_nodes()
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    try:
        yield cluster.address
    finally:
        import ray

        ray.shutdown()
        cluster.shutdown()


def test_two_nodes_give_the_weights_of_this_machine(two_nodes, tmp_path):
    data = sweeps.tiny_dataset(tmp_path)
    spec = sweeps.tiny_spec(data, iterations=10, ray={"num_cpus": 1, "scheduling_strategy": "SPREAD"})
    together = []
    watch = lambda board: together.append(board.counts["running"])  # noqa: E731
    outcome = sweeps.run_on("ray", spec, tmp_path / "ray", watch=watch)
    assert outcome.problem() is None
    assert max(together) == 2, "each node has room for one cell, so both have worked"
    sweeps.run_here(spec, tmp_path / "here")
    sweeps.require_same(tmp_path / "ray", tmp_path / "here")
    assert os.environ["RAY_ADDRESS"] == two_nodes
