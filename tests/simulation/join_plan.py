"""What one seed of a joiner's run stands for, and the blocks of all of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from random import Random
from typing import Final

from master.ledger.rows import Execution
from tests.simulation.plan import Plan
from tests.unit.contracts.reports import entry, evidence, item
from tests.unit.ledger.worlds import World, make_genesis
from tests.unit.store.stores import certify
from wire.certificate import Certificate

BLOCKS_MAX: Final = 44


@dataclass(frozen=True, slots=True)
class JoinPlan:
    """What one seed stands for."""

    seed: int
    start: int
    """Height at which the others are when it begins."""
    own: int
    """Height of the joiner's own store; 0 for a wiped one."""
    snapshot_blocks: int
    growth_ms: int
    """Mean time between two blocks."""
    prunes: bool
    lies: bool
    fuse: int
    """Mean number of steps before the joiner is killed; 0 for never."""
    network: Plan


def draw_join(seed: int) -> JoinPlan:
    """Return the plan of a seed."""
    rng = Random(f"join {seed}")
    network = Plan(
        seed,
        4,
        is_keyed=True,
        loss=rng.choice((0.0, 0.05, 0.2)),
        doubled=rng.choice((0.0, 0.2)),
        replayed=rng.choice((0.0, 0.1)),
        spoiled=rng.choice((0.0, 0.05)),
        delay_ms=rng.choice((5, 40)),
        tail=rng.choice((0.0, 0.02)),
    )
    start = rng.randint(14, 24)
    return JoinPlan(
        seed,
        start,
        rng.choice((0, 0, rng.randint(1, start - 8))),
        rng.choice((3, 4, 7)),
        rng.choice((300, 900)),
        rng.random() < 0.7,
        rng.random() < 0.6,
        rng.choice((0, 8, 30)),
        network,
    )


@cache
def chain() -> tuple[tuple[Execution, Certificate], ...]:
    """Return blocks for all runs, with a report each, now and then two."""
    world, found = World(make_genesis()), []
    for height in range(1, BLOCKS_MAX + 1):
        calls = [
            world.sign(
                gateway,
                "consistency",
                "report",
                {
                    "evidence": replace(
                        evidence(entry(device, item(firmware=bytes((height, turn)))), pair=(1, height)), gateway=gateway
                    ).encode()
                },
            )
            for turn, (gateway, device) in enumerate((("gw-1", "dev-1"), ("gw-2", "dev-3")))
            if turn == 0 or height % 3 == 0
        ]
        execution, refused = world.propose(*calls)
        assert not refused
        found.append((execution, certify(world, execution)))
        world.commit(execution)
    return tuple(found)
