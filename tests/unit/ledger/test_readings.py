"""What nodes read of the committed state through the application."""

from __future__ import annotations

from master.contracts.validator_records import Admitted
from master.ledger.tree import StateTree
from tests.unit.ledger.worlds import World


def test_application_shows_the_committed_state_to_nodes() -> None:
    world = World()
    application, genesis = world.application, world.genesis
    assert application.validators() == genesis.validator_set()
    assert application.gateways() == tuple(zip(genesis.gateways, genesis.stations, strict=True))
    assert application.parameters().heartbeat_ms == 30_000
    (validator,) = genesis.validators
    assert application.peers(world.head) == (Admitted(validator.member, validator.tls_certificate, ""),)


def test_tree_rebuilt_of_nothing_is_the_empty_one() -> None:
    assert StateTree.rebuild([]).root == StateTree().root
