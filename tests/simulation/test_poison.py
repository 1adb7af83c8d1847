"""F34: what one node sees differently stops that node alone; what half of them see differently is found and named."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.simulation import cluster as simulated
from tests.simulation.cluster import Cluster
from tests.simulation.plan import draw_plan
from tests.simulation.poison import POISON, BlamingNode, PoisonedLedger
from wire.types import sha256

pytestmark = pytest.mark.simulation


class Poisoned:
    """A calm cluster of four in which some nodes are sick."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seed: int, sick: int) -> None:
        monkeypatch.setattr(simulated, "Node", BlamingNode)
        monkeypatch.setattr(simulated, "Ledger", PoisonedLedger)
        plan = replace(draw_plan(seed, "calm"), size=4, is_keyed=True, transaction_every_ms=60, heartbeat_ms=1_000)
        self.cluster = Cluster(plan)
        self.nodes = [node for _, node in sorted(self.cluster.nodes.items()) if isinstance(node, BlamingNode)]
        for node in self.nodes[:sick]:
            assert isinstance(node.disk.ledger, PoisonedLedger)
            node.disk.ledger.is_sick = True
        self.cluster._begin()
        self.live(3_000)

    def live(self, duration_ms: int) -> None:
        self.cluster._agenda.run(self.cluster._agenda.now_ms + duration_ms)

    def give(self, raw: bytes) -> None:
        for node in self.nodes:
            node.take_transaction(raw)

    def heights(self) -> list[int]:
        return [node.disk.ledger.head.height for node in self.nodes]


# holds FP-16
@pytest.mark.parametrize("seed", range(4))
def test_cluster_with_one_node_that_diverges_goes_on_and_that_node_signs_nothing_more(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    poisoned = Poisoned(monkeypatch, seed, 1)
    poisoned.give(POISON)
    poisoned.live(20_000)
    sick, *others = poisoned.nodes
    assert all(POISON in node.disk.ledger.done for node in others)
    assert POISON not in sick.disk.ledger.done
    assert sick.reports["divergence"]
    assert sick.replica is not None
    assert sick.replica.is_halted
    assert all(node.blamed == [] for node in poisoned.nodes), "one node blames nothing"
    assert min(poisoned.heights()[1:]) > poisoned.heights()[0] + 5


# holds FP-16
@pytest.mark.parametrize("seed", range(4))
def test_cluster_of_which_half_diverges_names_the_transaction_and_decides_without_it(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    poisoned = Poisoned(monkeypatch, seed, 2)
    before = max(poisoned.heights())
    poisoned.give(POISON)
    poisoned.live(30_000)
    assert all(set(node.blamed) == {sha256(POISON)} for node in poisoned.nodes)
    assert min(poisoned.heights()) > before + 5, "left out, it holds up nobody"
    assert not any(POISON in node.disk.ledger.done for node in poisoned.nodes)
