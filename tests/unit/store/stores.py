"""Stores with blocks in them."""

from __future__ import annotations

from dataclasses import replace

from master.io.store import Store
from master.ledger.proofs import Prover
from master.ledger.rows import Execution, head_after
from tests.unit.contracts.reports import entry, evidence, item, release
from tests.unit.ledger.worlds import World, key_of
from wire.certificate import Certificate, Step, ValidatorSet, build_certificate
from wire.release import EffectiveFrom

MAP_BYTES = 16 * 1024 * 1024


def certify(world: World, execution: Execution) -> Certificate:
    """Return the commit of the one validator."""
    header = execution.block.header
    unsigned = build_certificate(Step.COMMIT, 0, header.height, 0, execution.head.digest, [])
    signature = key_of("vote").sign(unsigned.vote_bytes(world.genesis.chain())).signature
    return build_certificate(Step.COMMIT, 0, header.height, 0, execution.head.digest, [("dispatch", signature)])


def grow(world: World, store: Store, blocks: int = 3) -> list[Execution]:
    """Commit blocks with two transactions each to the world and to the store."""
    executions = []
    for number in range(blocks):
        seq = world.head.height + 1
        made = release(f"r-{seq}-{number}", start=EffectiveFrom(1_000_000 + seq, None))
        calls = (
            world.sign("maker-a", "references", "submit", {"release": made.encode()}),
            world.sign(
                "gw-1",
                "consistency",
                "report",
                {"evidence": evidence(entry("dev-1", item(firmware=bytes((seq,)))), pair=(1, seq)).encode()},
            ),
        )
        execution, refused = world.propose(*calls)
        assert not refused
        store.commit(execution, certify(world, execution))
        world.commit(execution)
        executions.append(execution)
    return executions


def everything(store: Store) -> dict[tuple[str, bytes], bytes]:
    names = ("membership", "sequence", "references", "consistency")
    return {(name, key): value for name in names for key, value in store.scan(name, b"")}


# proofs


def prover(store: Store, world: World) -> Prover:
    return Prover(store, world.tree)


# epochs


def ends_epoch(world: World, following: ValidatorSet) -> tuple[Execution, Certificate]:
    execution, _ = world.propose()
    header = replace(execution.block.header, next_validators_hash=following.digest())
    block = replace(execution.block, header=header)
    execution = replace(execution, block=block, head=head_after(world.head, block))
    return execution, certify(world, execution)
