"""What one seed stands for: the cluster, the mix of faults and their strength."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Any, Final

from wire.certificate import faults

SIZES: Final = (1, *(4,) * 12, *(5,) * 6, *(6,) * 6, *(7,) * 5, 10, 16)
RARE_SIZES: Final = (2, 3, 8, 9, 11, 12, 13, 14, 15)
_RARELY: Final = 0.06
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
    "reformat",
    "links",
    "small",
    "late",
    "real",
    "members",
    "leader",
    "ghost",
    "turnover",
)
BLOB_PROFILES: Final = ("blobs", "lost-blobs")
"""Drawn by name alone, so that seeds mean what they meant before."""
_CHANGING: Final = 0.3
"""Chance that validators change while one of them is evil."""
DISK_FAULTS: Final = (
    "torn",
    "guard",
    "erased",
    "backup",
    "snapshot",
    "fsync",
    "rot",
    "missed",
    "full",
    "clone",
    "reformat",
)
"""What one disk suffers: the newest records of the log are gone; the guard is gone; both are gone; an operator restored
a backup; the machine was rolled back with all that is on it; it says that bytes are durable and they are not; it gives
wrong bits; it writes to wrong places; it is full for a while; all that is on it runs a second time elsewhere; all that
is on it is gone, and an operator made a new store."""
UNDETECTED: Final = frozenset({"snapshot", "fsync", "clone"})
"""After these a node may contradict itself without knowing: it counts among the f."""


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
    spoiled: float = 0.0
    """Chance that bytes are changed, cut off, too many or not canonical."""
    delay_ms: int = 10
    """Mean one-way delay."""
    tail: float = 0.0
    """Chance of a delay of up to 5 s."""
    flaps: bool = False
    """A partition comes and goes quickly, several times."""
    clog_every_ms: int = 0
    """Mean time between clogs: some links hold everything back, one after the other, and let it go in another order."""
    bytes_per_ms: int = 0
    """Of each link; 0 for no limit."""
    queue_bytes: int = 32 * 1024 * 1024
    """Most that waits on a link with a limit."""
    slow_ms: int = 0
    """Time that one node needs to read a message; 0 for none."""
    events_max: int = 20_000
    """Most events that wait for a replica."""
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
    drift_ppm: int = 0
    """Clocks run faster or slower by at most so many millionths."""
    upgrade: bool = False
    """All nodes are restarted one after the other, with software that says more than the old one understands."""
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
    is_real: bool = False
    """The real application executes real calls on the real store."""
    late: bool = False
    """One validator sends its proposals just before the others lose patience."""
    core: bool = False
    """Only a random quorum heals; the rest stays broken."""
    members: str = ""
    """How validators change: one of `governor.CHANGES`."""
    timeout_ms: int = 400
    timeout_max_ms: int = 3_000
    rotation_blocks: int = 100
    heartbeat_ms: int = 2_000
    transaction_every_ms: int = 150
    blobs: float = 0.0
    """Chance that a transaction names a blob, which one node gets; a liar then names blobs that nobody has."""
    reach_all: bool = True
    """Clients give a transaction to every node, otherwise to one, which passes it on."""

    @property
    def faults_max(self) -> int:
        """The number of validators that may do anything."""
        return faults(self.size)

    @property
    def is_evil(self) -> bool:
        """One validator may do what it likes, or loses what it knows."""
        return bool(self.liar or self.twins or self.disk or self.censor or self.late)

    @property
    def censors_alone(self) -> bool:
        """Nothing but a censor keeps a transaction waiting."""
        others = (self.loss, self.silent, self.fuse_effects, self.partition_every_ms, self.outage_ms, self.tail)
        return self.censor and not any(others)


def draw_plan(seed: int, profile: str | None = None) -> Plan:
    """Return the plan of ``seed``; without a profile the seed draws one of them, too."""
    rng = Random(f"plan {seed}")  # a text seeds the same under every PYTHONHASHSEED
    name = profile or rng.choice(("swarm", "swarm", "swarm", *PROFILES))
    size, rare = rng.choice(SIZES), Random(f"size {seed}")
    if rare.random() < _RARELY:
        size = rare.choice(RARE_SIZES)
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
        plan = _swarm(plan, rng)
        blobs = 0.0 if plan.members else Random(f"blobs {plan.seed}").choice((0.0, 0.0, 0.0, 0.2))
        return replace(plan, blobs=blobs)
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
            "size": max(4, plan.size),
            "disk": DISK_FAULTS[plan.seed % len(DISK_FAULTS)],
            "fuse_effects": rng.choice((80, 250)),
            "loss": rng.choice((0.0, 0.05)),
        },
        "reformat": {"disk": "reformat" if has_budget else "", "fuse_effects": rng.choice((150, 400)), "loss": 0.05},
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
        "links": {
            "clog_every_ms": 1_000,
            "bytes_per_ms": rng.choice((1, 4, 20)),
            "queue_bytes": 4_000,
            "slow_ms": rng.choice((0, 20, 60)),
            "flaps": True,
            "partition_every_ms": 2_500,
            "spoiled": 0.1,
            "loss": 0.05,
        },
        "small": {
            "events_max": rng.choice((4, 8)),
            "work_ms": 25,
            "disk_ms": 12,
            "overlaps": False,
            "upgrade": True,
            "drift_ppm": 20_000,
        },
        "real": {
            "size": 4,
            "is_keyed": False,
            "is_real": True,
            "faults_ms": 5_000,
            "fuse_effects": rng.choice((100, 300)),
            "loss": 0.05,
            "jumps": plan.seed % 2 == 0,
            "disk": ("", "torn", "rot", "full", "backup")[plan.seed % 5],
            "transaction_every_ms": 60,
        },
        "late": {"late": has_budget, "timeout_ms": 500, "jumps": True, "transaction_every_ms": 60},
        "six": {"size": 6, "partition_every_ms": 800, "delay_ms": 30, "loss": 0.1},
        "members": {
            "members": "members",
            "size": rng.choice((4, 4, 5, 6)),
            "loss": rng.choice((0.0, 0.05, 0.15)),
            "fuse_effects": rng.choice((0, 150, 400)),
            "partition_every_ms": rng.choice((0, 2_000)),
            "timeout_ms": 300,
        },
        "blobs": {
            "blobs": 0.5,
            "liar": has_budget,
            "loss": rng.choice((0.0, 0.05)),
            "fuse_effects": rng.choice((0, 200)),
            "reach_all": False,
        },
        "lost-blobs": {
            "blobs": 0.7,
            "silent": plan.faults_max,
            "loss": rng.choice((0.05, 0.2)),
            "partition_every_ms": 2_000,
            "fuse_effects": rng.choice((0, 60)),
            "spoiled": 0.02,
        },
        "leader": {"members": "leader", "size": rng.choice((4, 5)), "loss": rng.choice((0.0, 0.05))},
        "ghost": {"members": "ghost", "size": 4, "fuse_effects": rng.choice((0, 300))},
        "turnover": {
            "members": "members",
            "size": rng.choice((4, 5)),
            "is_keyed": False,
            "is_real": True,
            "faults_ms": 6_000,
            "fuse_effects": rng.choice((0, 200)),
            "loss": rng.choice((0.0, 0.05)),
            "disk": ("", "torn", "backup", "reformat")[plan.seed % 4],
            "transaction_every_ms": 150,
            "timeout_ms": 300,
        },
    }
    return replace(plan, **mixes[name])


def _swarm(plan: Plan, rng: Random) -> Plan:
    budget = plan.faults_max
    evil = rng.choice(("", "", "liar", "twins", "disk", "disk", "censor", "late")) if budget else ""
    changes = "members" if evil and rng.random() < _CHANGING else ""
    if changes:
        plan, budget = replace(plan, size=rng.choice((4, 4, 5, 6)), timeout_ms=300), 1
    silent = rng.randint(0, budget - bool(evil))
    return replace(
        plan,
        members=changes,
        loss=rng.choice((0.0, 0.02, 0.1, 0.3)),
        doubled=rng.choice((0.0, 0.05, 0.4)),
        replayed=rng.choice((0.0, 0.0, 0.2)),
        spoiled=rng.choice((0.0, 0.0, 0.02)),
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
        late=evil == "late",
        flaps=rng.random() < 0.3,
        clog_every_ms=rng.choice((0, 0, 1_500)),
        bytes_per_ms=rng.choice((0, 0, 0, 2, 20)),
        queue_bytes=rng.choice((4_000, 200_000)),
        slow_ms=rng.choice((0, 0, 0, 20)),
        events_max=rng.choice((20_000, 20_000, 50)),
        drift_ppm=rng.choice((0, 0, 20_000)),
        upgrade=rng.random() < 0.15,
        core=not changes and rng.random() < 0.5,
        silent=silent,
        lost=budget - bool(evil) - silent,
    )
