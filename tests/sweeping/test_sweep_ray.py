"""Cells as tasks of a real Ray cluster of two nodes: the same weights as on this machine."""

from __future__ import annotations

import socket

import pytest
from tests import sweeps

pytestmark = pytest.mark.slow


@pytest.fixture
def two_nodes(tmp_path, monkeypatch):
    """What ``--on`` takes for a cluster whose two nodes have room for one cell each, from inside and outside.

    No network beyond this host.
    """
    pytest.importorskip("ray", reason="the extra ray is not installed")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("HOME", str(tmp_path / "home"))  # Ray writes a token there
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    cluster = Cluster()
    node = {"num_cpus": 1, "object_store_memory": 80_000_000, "include_dashboard": False}
    door = free_port()
    cluster.add_node(**node, ray_client_server_port=door)
    cluster.add_node(**node)
    cluster.wait_for_nodes()
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    try:
        yield {"member": "ray", "client": f"ray://127.0.0.1:{door}"}
    finally:
        import ray

        ray.shutdown()
        cluster.shutdown()


def free_port() -> int:
    """Above those that Ray gives its workers."""
    for port in range(20500, 21500):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
    raise AssertionError("no free port")


@pytest.mark.parametrize("as_a", ["member", "client"])
def test_two_nodes_give_the_weights_of_this_machine(as_a, two_nodes, tmp_path):
    data = sweeps.tiny_dataset(tmp_path)
    spec = sweeps.tiny_spec(data, iterations=10, ray={"num_cpus": 1, "scheduling_strategy": "SPREAD"})
    together = []
    watch = lambda board: together.append(board.counts["running"])  # noqa: E731
    outcome = sweeps.run_on(two_nodes[as_a], spec, tmp_path / "ray", watch=watch)
    assert outcome.problem() is None
    assert max(together) == 2, "each node has room for one cell, so both have worked"
    sweeps.run_here(spec, tmp_path / "here")
    sweeps.require_same(tmp_path / "ray", tmp_path / "here")
