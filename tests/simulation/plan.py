"""What one seed stands for: the cluster, the mix of faults and their strength."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Any, Final

from wire.certificate import faults

SIZES: Final = (1, 4, 4, 4, 5, 5, 6, 6, 7, 7)
PROFILES: Final = (
    "swarm",
    "calm",
    "delays",
    "crashes",
    "silent",
    "liar",
    "twins",
    "outage",
    "disks",
    "censor",
    "six",
    "lossy",
    "lonely",
    "torn",
    "erased",
    "members",
    "leader",
    "ghost",
)
DISK_FAULTS: Final = ("torn", "guard", "erased", "backup", "snapshot")
"""What a disk suffers before a restart: the newest records of the log are gone; the guard is gone; both are gone; an
operator restored a backup; the machine was rolled back with all that is on it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One run. Times in virtual milliseconds, chances in 0..1."""

    seed: int
    size: int
    is_keyed: bool
    """Votes carry a keyed hash instead of Ed25519."""
    faults_ms: int = 12_000
    """How long faults go on before the cluster is healed."""
    deadline_ms: int = 60_000
    """How long the healed cluster may take to bring everything to an end."""
    loss: float = 0.0
    doubled: float = 0.0
    replayed: float = 0.0
    corrupted: float = 0.0
    delay_ms: int = 10
    """Mean one-way delay."""
    tail: float = 0.0
    """Chance of a delay of up to 5 s."""
    partition_every_ms: int = 0
    """Mean time between partitions; 0 for none."""
    fuse_effects: int = 0
    """Mean number of effects (a message to one peer counts) before a node crashes; 0 for never."""
    pause_every_ms: int = 0
    disk_ms: int = 0
    work_ms: int = 0
    """Longest building, execution and storing."""
    overlaps: bool = False
    """Messages are handled while a block is built, executed or stored."""
    clock_ms: int = 0
    """Clocks differ by at most this from the true time."""
    jumps: bool = False
    """Wall clocks jump in mid-run."""
    outage_ms: int = 0
    """Power fails everywhere at once in mid-run, for so long; 0 for never."""
    lost: int = 0
    """Validators that never come back from the outage."""
    silent: int = 0
    """Validators that are dead all along."""
    liar: bool = False
    twins: bool = False
    disk: str = ""
    """What one validator's disk suffers: one of `DISK_FAULTS`."""
    censor: bool = False
    """One validator, when it leads, leaves half of the transactions out."""
    members: str = ""
    """How validators change: one of `governor.CHANGES`."""
    timeout_ms: int = 400
    timeout_max_ms: int = 3_000
    rotation_blocks: int = 100
    heartbeat_ms: int = 2_000
    transaction_every_ms: int = 150
    reach_all: bool = True
    """Clients give a transaction to every node, otherwise to one, which passes it on."""

    @property
    def faults_max(self) -> int:
        """The number of validators that may do anything."""
        return faults(self.size)


def draw_plan(seed: int, profile: str | None = None) -> Plan:
    """Return the plan of ``seed``; without a profile the seed draws one of them, too."""
    rng = Random(f"plan {seed}")  # a text seeds the same under every PYTHONHASHSEED
    name = profile or rng.choice(("swarm", "swarm", "swarm", *PROFILES))
    size = rng.choice(SIZES)
    plan = Plan(seed, size, is_keyed=seed % 10 != 0)
    plan = replace(
        plan,
        timeout_ms=rng.choice((300, 500, 900)),
        timeout_max_ms=rng.choice((1_500, 4_000)),
        rotation_blocks=rng.choice((2, 5, 100)),
        transaction_every_ms=rng.choice((60, 150, 700)),
        reach_all=rng.random() < 0.6,
        overlaps=rng.random() < 0.5,
        disk_ms=rng.choice((0, 3, 12)),
        work_ms=rng.choice((0, 5, 25)),
        clock_ms=rng.choice((0, 50, 200)),
    )
    return _with_faults(plan, name, rng)


def _with_faults(plan: Plan, name: str, rng: Random) -> Plan:
    if name == "swarm":
        return _swarm(plan, rng)
    has_budget = plan.faults_max > 0
    mixes: dict[str, dict[str, Any]] = {
        "calm": {},
        "delays": {"delay_ms": rng.choice((40, 150)), "tail": 0.08, "doubled": 0.1, "timeout_ms": 300},
        "crashes": {"fuse_effects": rng.choice((15, 60, 250)), "loss": rng.choice((0.0, 0.1))},
        "silent": {
            "silent": plan.faults_max,
            "loss": rng.choice((0.0, 0.05)),
            "fuse_effects": rng.choice((0, 300)),
        },
        "liar": {"liar": has_budget, "loss": rng.choice((0.0, 0.05)), "fuse_effects": rng.choice((0, 200))},
        "twins": {"twins": has_budget, "partition_every_ms": 1_500, "loss": 0.05},
        "outage": {
            "outage_ms": rng.choice((5_000, 3_600_000)),
            "fuse_effects": rng.choice((0, 0, 200)),
            "lost": plan.faults_max,
        },
        "disks": {
            "disk": rng.choice(DISK_FAULTS) if has_budget else "",
            "fuse_effects": rng.choice((80, 250)),
            "loss": rng.choice((0.0, 0.05)),
        },
        "torn": {"disk": "torn" if has_budget else "", "fuse_effects": rng.choice((25, 60)), "loss": 0.05},
        "erased": {"disk": "erased" if has_budget else "", "fuse_effects": rng.choice((25, 60)), "loss": 0.05},
        "censor": {
            "censor": has_budget,
            "rotation_blocks": 100_000,
            "heartbeat_ms": 30_000,
            "timeout_ms": 900,
            "transaction_every_ms": 60,
            "reach_all": True,
        },
        "lonely": {
            "silent": plan.faults_max,
            "loss": 0.3,
            "fuse_effects": rng.choice((20, 60)),
            "timeout_ms": 300,
            "tail": 0.05,
        },
        "lossy": {"loss": 0.3, "fuse_effects": rng.choice((40, 120)), "partition_every_ms": 2_000},
        "members": {
            "members": "members",
            "size": rng.choice((4, 4, 5, 6)),
            "loss": rng.choice((0.0, 0.05, 0.15)),
            "fuse_effects": rng.choice((0, 150, 400)),
            "partition_every_ms": rng.choice((0, 2_000)),
            "timeout_ms": 300,
        },
        "leader": {"members": "leader", "size": rng.choice((4, 5)), "loss": rng.choice((0.0, 0.05))},
        "ghost": {"members": "ghost", "size": 4, "fuse_effects": rng.choice((0, 300))},
        "six": {"size": 6, "partition_every_ms": 800, "delay_ms": 30, "loss": 0.1},
    }
    return replace(plan, **mixes[name])


def _swarm(plan: Plan, rng: Random) -> Plan:
    budget = plan.faults_max
    evil = rng.choice(("", "", "liar", "twins", "disk", "censor")) if budget else ""
    silent = rng.randint(0, budget - bool(evil))
    return replace(
        plan,
        loss=rng.choice((0.0, 0.02, 0.1, 0.3)),
        doubled=rng.choice((0.0, 0.05, 0.4)),
        replayed=rng.choice((0.0, 0.0, 0.2)),
        corrupted=rng.choice((0.0, 0.0, 0.02)),
        delay_ms=rng.choice((5, 30, 100)),
        tail=rng.choice((0.0, 0.01, 0.06)),
        partition_every_ms=rng.choice((0, 1_500, 5_000)),
        fuse_effects=rng.choice((0, 40, 200, 1_000)),
        pause_every_ms=rng.choice((0, 0, 3_000)),
        jumps=rng.random() < 0.3,
        outage_ms=rng.choice((0, 0, 0, 4_000, 3_600_000)),
        liar=evil == "liar",
        twins=evil == "twins",
        disk=rng.choice(DISK_FAULTS) if evil == "disk" else "",
        censor=evil == "censor",
        silent=silent,
        lost=budget - bool(evil) - silent,
    )
