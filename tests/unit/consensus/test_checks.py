from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from master.consensus.checks import Rules, check_proposal, next_base
from master.consensus.events import Head
from master.consensus.messages import Propose
from tests.simulation.toy import CHAIN, EPOCH, GENESIS
from tests.unit.consensus.bench import START_MS, Peers
from wire.block import Block
from wire.certificate import Step
from wire.types import sha256

PEERS = Peers()
RULES = Rules(CHAIN, EPOCH, PEERS.keys.validators, GENESIS, 0, 1_000)
WALL_MS = GENESIS.time_ms + START_MS
BLOCK = PEERS.block(b"one")
OTHER = PEERS.block(b"two", proposer=1)
CHANGES = tuple(PEERS.change(index, 1) for index in (0, 2, 3))
PREPARED = PEERS.certificate(Step.PREPARE, BLOCK)
CARRYING = (PEERS.change(0, 1), PEERS.change(2, 1, PREPARED), PEERS.change(3, 1))


def check(message: Propose, wall_ms: int = WALL_MS) -> str | None:
    verdict = check_proposal(message, RULES, wall_ms)
    return None if verdict is None else verdict.reason


# holds CM-5
@pytest.mark.parametrize(
    "message",
    [
        PEERS.propose(0, BLOCK),
        PEERS.propose(1, OTHER, 1, CHANGES),
        PEERS.propose(1, BLOCK, 1, CARRYING),
    ],
)
def test_proposal_that_fits_may_be_voted_for(message: Propose) -> None:
    assert check(message) is None


def with_header(**fields: Any) -> Block:  # noqa: ANN401
    return Block(replace(BLOCK.header, **fields), BLOCK.transactions)


# holds CM-5
@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (PEERS.propose(0, BLOCK, 0, CHANGES), "view 0 carries view changes"),
        (PEERS.propose(1, OTHER, 1, CHANGES[:2]), "only 2 view changes"),
        (PEERS.propose(1, OTHER, 1), "only 0 view changes"),
        (PEERS.propose(1, OTHER, 1, (*CHANGES, CHANGES[0])), "a view change is doubled or of another view"),
        (PEERS.propose(1, OTHER, 1, (*CHANGES[:2], PEERS.change(3, 2))), "a view change is doubled or of another view"),
        (
            PEERS.propose(1, OTHER, 1, (*CHANGES[:2], PEERS.change(3, 1, height=2))),
            "a view change is doubled or of another view",
        ),
        (
            PEERS.propose(1, OTHER, 1, (*CHANGES[:2], PEERS.change(3, 1, epoch=9))),
            "a view change is doubled or of another view",
        ),
        (PEERS.propose(0, with_header(chain="else")), "another chain"),
        (PEERS.propose(0, with_header(epoch=EPOCH + 1)), "another epoch"),
        (PEERS.propose(0, with_header(height=2)), "another height"),
        (replace(PEERS.propose(0, BLOCK), height=2), "another height"),
        (PEERS.propose(0, with_header(parent=sha256(b"x"))), "another parent"),
        (PEERS.propose(0, with_header(validators_hash=sha256(b"x"))), "other validators"),
        (PEERS.propose(0, with_header(next_validators_hash=sha256(b"x"))), "other next validators"),
        (PEERS.propose(0, with_header(time_ms=GENESIS.time_ms)), "block time does not grow"),
        (PEERS.propose(0, with_header(proposer="node-2")), "a fresh block names another proposer"),
        (PEERS.propose(1, BLOCK, 1, CHANGES), "a fresh block names another proposer"),
        (PEERS.propose(1, OTHER, 1, CARRYING), "the prepared block of the highest view was not proposed again"),
    ],
)
def test_proposal_with_a_fault_that_the_leader_signed_is_refused_as_its_fault(message: Propose, reason: str) -> None:
    verdict = check_proposal(message, RULES, WALL_MS)
    assert verdict is not None
    assert (verdict.reason, verdict.leaders_fault) == (reason, True)


def test_proposal_of_another_member_is_refused_without_blaming_the_leader() -> None:
    verdict = check_proposal(PEERS.propose(2, PEERS.block(proposer=2)), RULES, WALL_MS)
    assert verdict is not None
    assert (verdict.reason, verdict.leaders_fault) == ("node-2 does not lead view 0", False)


# holds CM-5
@pytest.mark.parametrize("off_ms", [-1_001, 1_001])
def test_proposal_fresh_beyond_the_skew_is_refused_and_within_it_is_not(off_ms: int) -> None:
    verdict = check_proposal(PEERS.propose(0, BLOCK), RULES, WALL_MS - off_ms)
    assert verdict is not None
    assert (verdict.reason, verdict.leaders_fault) == (f"block time is {off_ms} ms from this node's clock", False)
    assert check(PEERS.propose(0, BLOCK), WALL_MS - off_ms + (1 if off_ms > 0 else -1)) is None


def test_proposal_of_a_prepared_block_needs_no_freshness() -> None:
    assert check(PEERS.propose(1, BLOCK, 1, CARRYING), WALL_MS + 10**9) is None
    assert check(PEERS.propose(1, OTHER, 1, CHANGES), WALL_MS + 10**9) is not None


# holds CM-13
def test_proposal_must_carry_on_the_certificate_of_the_highest_view() -> None:
    newer = PEERS.certificate(Step.PREPARE, OTHER, view=2)
    changes = (PEERS.change(0, 3, newer), PEERS.change(1, 3, PREPARED), PEERS.change(2, 3))
    assert check(PEERS.propose(3, OTHER, 3, changes)) is None
    assert check(PEERS.propose(3, BLOCK, 3, changes)) is not None


# holds CM-4
@pytest.mark.parametrize(
    ("height", "proposer", "rotation", "base"),
    [
        (0, None, 100, 0),
        (5, "node-2", 100, 2),
        (5, "node-9", 100, 0),
        (99, "node-2", 100, 3),
        (99, "node-3", 100, 0),
        (98, "node-3", 100, 3),
        (1, "node-1", 2, 2),
    ],
)
def test_next_base_sticks_to_the_proposer_and_moves_on_by_rotation(
    height: int, proposer: str | None, rotation: int, base: int
) -> None:
    head = Head(height, sha256(b"head"), 1, proposer)
    assert next_base(head, PEERS.keys.validators, rotation) == base


# holds CM-4
def test_rules_leader_goes_round() -> None:
    rules = replace(RULES, base=3)
    assert [rules.leader(view) for view in range(5)] == ["node-3", "node-0", "node-1", "node-2", "node-3"]
