"""One cluster for all tests that leave it as they found it: one gateway with two devices, a broker, four nodes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from client.demo.cluster import Cluster, open_cluster
from client.demo.references import register
from client.demo.topology import SMALL

POLL_MS = 400


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Start everything, register the references and wait until all devices match."""
    folder = tmp_path_factory.mktemp("e2e") / "cluster"
    with open_cluster(folder, SMALL, poll_ms=POLL_MS) as made:
        made.start_simulator()
        made.start_broker()
        made.start_nodes()
        register(made, made.layout.old_releases())
        register(made, made.layout.new_releases())
        made.start_agents()
        made.wait_matched()
        yield made


@pytest.fixture
def cluster(running: Cluster) -> Cluster:
    """Give the running cluster once all of it is well."""
    running.check()
    running.wait_connected()
    running.wait_matched()
    return running
