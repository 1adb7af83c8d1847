"""Two of four nodes lose what their keys signed: nothing moves until organisations unlock them, then all goes on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from master.consensus.guard import SignerGuard
from master.consensus.records import Prepared, decode_record, encode_record
from master.consensus.unlocking import known_at
from tests.simulation.cluster import Cluster
from tests.simulation.plan import draw_plan
from tests.simulation.toy import CHAIN
from wire.header import ZERO_DIGEST
from wire.unlock import REPORT, LockStatement, merge_reports

pytestmark = pytest.mark.simulation


class Broken:
    """A calm cluster of four that has come some way, then lost two guards and logs."""

    def __init__(self, seed: int) -> None:
        plan = replace(draw_plan(seed, "calm"), size=4, is_keyed=True, transaction_every_ms=60, heartbeat_ms=1_000)
        self.cluster = Cluster(plan)
        self.cluster._begin()
        self.nodes = sorted(self.cluster.nodes)
        self.live(4_000)
        for member in self.nodes[:2]:
            node = self.cluster.nodes[member]
            node.crash()
            node.disk.lose_guard()
            node.disk.lose_log()
            self.cluster.boot(member)
        self.live(3_000)

    def live(self, duration_ms: int) -> None:
        self.cluster._agenda.run(self.cluster._agenda.now_ms + duration_ms)

    def height(self) -> int:
        return max(node.disk.ledger.head.height for node in self.cluster.nodes.values())

    def guard(self, member: str) -> SignerGuard:
        guard = self.cluster.nodes[member].disk.guard
        assert guard is not None
        return guard

    def report(self, member: str) -> LockStatement:
        node = self.cluster.nodes[member]
        height = node.disk.ledger.head.height + 1
        view, prepared = known_at(height, node.disk.guard, map(decode_record, node.disk.wal.read()))
        return LockStatement(REPORT, CHAIN, member, bytes(32), self.guard(member).lock, height, view, prepared)

    def statement(self, member: str) -> LockStatement:
        """Return what the organisations sign for a node."""
        return merge_reports(self.report(member), [self.report(other) for other in self.nodes if other != member])

    def unlock(self, statement: LockStatement) -> None:
        """Do what the command does to a stopped node."""
        member = statement.node
        node = self.cluster.nodes[member]
        node.crash()
        view = None
        if statement.prepared is not None:
            view = statement.prepared.view
            self.cluster._judge.persisted(member, Prepared(statement.prepared))
            node.disk.wal.read()
            node.disk.append((encode_record(Prepared(statement.prepared)),))
        guard = self.guard(member).unlocked(statement.resume_height, statement.view, view)
        node.disk.seal(guard)
        self.cluster._judge.sealed(member, guard)
        self.cluster.boot(member)


# holds FP-14
@pytest.mark.parametrize("seed", range(6))
def test_cluster_two_of_four_guards_lost_stands_still_until_both_are_unlocked(seed: int) -> None:
    broken = Broken(seed)
    height = broken.height()
    assert height > 5
    broken.live(20_000)
    assert broken.height() == height, "two of four are no quorum"
    locks = [broken.guard(member).lock for member in broken.nodes[:2]]
    assert ZERO_DIGEST not in locks
    statements = [broken.statement(member) for member in broken.nodes[:2]]
    for statement in statements:
        assert statement.resume_height == height + 1
        broken.unlock(statement)
    broken.live(20_000)
    assert broken.height() > height + 5
    for node in broken.cluster.nodes.values():
        assert node.replica is not None
        assert node.replica.quarantine is None
        assert not node.reports["divergence"]


# holds FP-14
@pytest.mark.parametrize("seed", range(3))
def test_cluster_one_of_two_locked_nodes_unlocked_is_enough_for_a_quorum(seed: int) -> None:
    broken = Broken(seed)
    height = broken.height()
    broken.unlock(broken.statement(broken.nodes[0]))
    broken.live(40_000)
    assert broken.height() > height + 5
    second = broken.cluster.nodes[broken.nodes[1]]
    assert second.replica is not None
    assert second.replica.quarantine is None, "the ledger has left its past behind"
