"""What the simulator does and looks at: faults F1-F39, invariants I1-I19, liveness L1-L5, and what is rare.

One line each: where it is done or judged, and under which names runs count it. `missing` lists what a campaign never
reached. An entry without names is not counted by clusters: its place says who holds it instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Entry:
    """One fault, invariant or rare event."""

    name: str
    what: str
    place: str
    """``module:attribute`` (or a test's ``file:function``) that injects or judges it; empty where nothing does yet."""
    counted: tuple[str, ...] = ()
    """Names that must all have been counted by a campaign."""
    elsewhere: str = ""
    """Why no cluster counts it."""


_NET, _NODE, _DISK = "tests.simulation.network:Network", "tests.simulation.node:Node", "tests.simulation.disk:FakeDisk"
_LINKS: Final = "tests.simulation.links:Connections"
_GOVERNOR: Final = "tests.simulation.governor:Governor"
_LIAR, _JUDGE, _TROUBLES = (
    "tests.simulation.liar:Liar",
    "tests.simulation.judge:Judge",
    "tests.simulation.troubles:Troubles",
)
_CLUSTER: Final = "tests.simulation.cluster:Cluster"
_JOINING: Final = "counted by the runs of a joining node, in test_joiner.py"
_LATER: Final = "belongs to contracts that do not exist yet"

FAULTS: Final = (
    Entry("F1", "a message is lost", f"{_NET}.send", ("F1",)),
    Entry("F2", "a message comes twice, or long after", f"{_NET}._replay", ("F2", "F2 replay")),
    Entry("F3", "messages overtake one another", f"{_NET}._later", ("F3",)),
    Entry("F4", "delays with a heavy tail", f"{_NET}._delay_ms", ("F4",)),
    Entry("F5", "links clog one after the other and open in another order", f"{_TROUBLES}._clog", ("F5",)),
    Entry(
        "F6",
        "partitions: symmetric, one-way, partial, a chain, flapping",
        f"{_NET}.split",
        ("F6 halves", "F6 alone", "F6 deaf", "F6 random", "F6 chain", "F6 flapping"),
    ),
    Entry("F7", "links of little bandwidth", f"{_NET}._queue_ms", ("F7",)),
    Entry(
        "F8",
        "frames changed, cut off, too long, not canonical, nested, with something behind",
        f"{_NET}._spoil",
        ("F8 flipped", "F8 truncated", "F8 oversized", "F8 not canonical", "F8 nested", "F8 trailing"),
    ),
    Entry("F9", "a slow reader", f"{_NET}._queue_ms", ("F9",)),
    Entry(
        "F10",
        "a crash at every boundary between effects, in mid-write and in mid-send",
        f"{_NODE}._burns",
        (
            "F10 before Persist",
            "F10 before Seal",
            "F10 before Broadcast",
            "F10 before Send",
            "F10 before Execute",
            "F10 before Build",
            "F10 before Apply",
            "F10 while writing",
            "F10 in mid-send",
            "F10 after Apply, before the log is cleared",
        ),
    ),
    Entry(
        "F11", "rolling restart with software that says more than the old one knows", f"{_TROUBLES}._upgrade", ("F11",)
    ),
    Entry("F12", "a long pause, then stale timers", f"{_TROUBLES}._pause", ("F12",)),
    Entry(
        "F13",
        "clocks are off, drift and jump",
        f"{_TROUBLES}._drift",
        ("F13 skew", "F13 drift", "F13 jump", "F13 jump back"),
    ),
    Entry("F14", "queues of sender and receiver are full", f"{_NET}._queue_ms", ("F14 sender", "F14 receiver")),
    Entry("F15", "the power fails everywhere", f"{_TROUBLES}._outage", ("F15",)),
    Entry("F16", "a write is torn", "tests.simulation.disk:FakeFile.crash", ("F16",)),
    Entry("F17", "what was synchronised is gone: the log's end, or everything", f"{_DISK}.crash", ("F17", "F17 log")),
    Entry("F18", "a read gives a wrong bit", "tests.simulation.disk:FakeFile.read", ("F18",)),
    Entry("F19", "a write goes to a wrong place", "tests.simulation.disk:FakeFile.write", ("F19",)),
    Entry("F20", "the disk is full for a while", f"{_TROUBLES}._fill", ("F20",)),
    Entry(
        "F21",
        "an old backup, as an operator restores it, and as a machine is rolled back with its guard",
        "tests.simulation.disk:Disk.restore",
        ("F21", "F21 with its guard"),
    ),
    Entry(
        "F22",
        "the guard is deleted, alone, with the log, or with everything, so that the node begins anew",
        "tests.simulation.disk:Disk.lose_guard",
        ("F22", "F22 and its log", "F22 and its store"),
    ),
    Entry("F23", "a node is cloned while it runs", f"{_TROUBLES}._clone", ("F23",)),
    Entry("F24", "a leader proposes two blocks", f"{_LIAR}._propose", ("F24",)),
    Entry("F25", "one validator votes for both", f"{_LIAR}._propose", ("F25",)),
    Entry("F26", "twins: two honest nodes with one key", f"{_CLUSTER}.add_node", ("F26",)),
    Entry(
        "F27",
        "bodies withheld, proposals to some alone",
        f"{_LIAR}.hear",
        ("F27 body or block withheld", "F27 selective"),
    ),
    Entry(
        "F28",
        "certificates that prove nothing",
        "tests.simulation.forgeries:forge",
        (
            "F28 short",
            "F28 signer twice",
            "F28 stranger",
            "F28 wrong epoch",
            "F28 wrong signature",
            "F28 another view",
            "F28 another block",
            "F28 new view of forged view changes",
        ),
    ),
    Entry(
        "F29",
        "view changes with a stale certificate, without theirs, for absurd views",
        f"{_LIAR}._change",
        ("F29 stale certificate", "F29 certificate hidden", "F29 view near 2^63"),
    ),
    Entry("F30", "storms of view changes, leaders just in time", f"{_LIAR}._storm", ("F30 storm", "F30 late leader")),
    Entry("F31", "a leader leaves transactions out", f"{_NODE}._build", ("F31",)),
    Entry("F32", "block times far off, before the parent's", f"{_LIAR}._block", ("F32",)),
    Entry("F33", "false heights in STATUS", f"{_LIAR}._status", ("F33",)),
    Entry(
        "F34",
        "a transaction that one node, or half of all, executes otherwise",
        "tests.simulation.poison:PoisonedLedger",
        elsewhere="counted by the runs of test_poison.py",
    ),
    Entry("F35", "validators change while views change", f"{_GOVERNOR}.act", ("F35",)),
    Entry("F36", "the leader is removed", f"{_GOVERNOR}._removal", ("F36",)),
    Entry("F37", "a joiner never comes", f"{_GOVERNOR}._addition", ("F37",)),
    Entry("F38", "some nodes lack the code of an upgrade", "", elsewhere="the code table cannot change yet"),
    Entry("F39", "a node prunes while another one syncs", "tests.simulation.joiner:JoinRun", elsewhere=_JOINING),
)

INVARIANTS: Final = (
    Entry("I1", "one digest per final height", f"{_JUDGE}.applied", ("I1",)),
    Entry("I2", "blocks and state identical at equal height", f"{_JUDGE}.ended", ("I2", "I2 store")),
    Entry(
        "I3",
        "an honest node signs one digest per height, view and step, over all its lives",
        f"{_JUDGE}._state",
        ("I3",),
    ),
    Entry("I4", "no new vote below an announced view", f"{_JUDGE}._on_statement", ("I4",)),
    Entry("I5", "every COMMIT has its certificate on disk first", f"{_JUDGE}._on_statement", ("I5",)),
    Entry("I6", "a final block excludes other certificates in later views", f"{_JUDGE}._on_certificate", ("I6",)),
    Entry("I7", "certificates satisfy a checker that shares no code", f"{_JUDGE}._check_apart", ("I7",)),
    Entry("I8", "what is final stays, after any crash", f"{_JUDGE}.booted", ("I8",)),
    Entry("I9", "a transaction is executed once, and never after its time", f"{_JUDGE}.applied", ("I9", "I9 expiry")),
    Entry(
        "I10", "what a client was told to be final is in the chain for ever", f"{_JUDGE}.ended", ("I10", "I10 receipt")
    ),
    Entry("I11", "the validator set is the one that replay gives", f"{_JUDGE}.applied", ("I11",)),
    Entry(
        "I12",
        "no light client accepts a header that contradicts the chain",
        "tests.simulation.followers:Follower.live",
        ("I12", "I12 old set", "I12 second block", "I12 epochs left out", "I12 another next set"),
    ),
    Entry(
        "I13",
        "a recovered node is byte for byte like one that never failed",
        f"{_JUDGE}.ended",
        ("I13", "I13 store", "I13 tree"),
    ),
    Entry("I14", "queues and memory are bounded", f"{_JUDGE}.stepped", ("I14",)),
    Entry(
        "I15",
        "one seed gives one run, under any hash seed",
        "tests.simulation.test_clusters:test_cluster_same_seed_under_another_hash_seed_gives_the_same_run",
        elsewhere="two processes are compared",
    ),
    Entry("I16", "no honest node runs ahead of the others' views", f"{_JUDGE}._check_pace", ("I16",)),
    Entry("I17", "no honest node is accused by evidence", f"{_JUDGE}.accused", ("I17",)),
    Entry("I18", "sums are conserved (market, settlement)", "", elsewhere=_LATER),
    Entry("I19", "no plaintext of an envelope where it does not belong", "", elsewhere=_LATER),
)

LIVENESS: Final = (
    Entry("L1", "what is pending becomes final after healing", f"{_CLUSTER}._finish", ("L1",)),
    Entry("L2", "all healed nodes reach the head", f"{_CLUSTER}._settle", ("L2",)),
    Entry("L3", "a censored transaction is in after at most f+1 view changes", f"{_CLUSTER}._settle", ("L3",)),
    Entry("L4", "views stop growing", f"{_CLUSTER}._settle", ("L4", "L4 leaders")),
    Entry(
        "L5",
        "each fault is repaired by the mechanism that is meant for it",
        "tests.simulation.test_clusters:test_campaign_repairs_each_fault_by_its_own_mechanism",
        elsewhere="compared over the runs of one profile",
    ),
)

SOMETIMES: Final = (
    *(
        Entry(name, name, place, (name,))
        for name, place in (
            ("value carried over", f"{_JUDGE}.sent"),
            ("view led freely", f"{_JUDGE}.sent"),
            ("committed above view 0", f"{_JUDGE}.applied"),
            ("commit in two views", f"{_JUDGE}.applied"),
            ("jump by f+1", f"{_JUDGE}.reported"),
            ("body fetched after NEW-VIEW", f"{_NODE}._send"),
            ("quarantine", f"{_JUDGE}.reported"),
            ("members beside an evil one", f"{_GOVERNOR}.act"),
            ("epoch ended on the real store", "tests.simulation.verdicts:judge_ledgers"),
            ("quarantine of a new guard", f"{_JUDGE}.reported"),
            ("quarantine-over", f"{_JUDGE}.reported"),
            ("only a quorum heals", f"{_CLUSTER}._choose_core"),
            ("log found damaged", f"{_NODE}.start"),
            ("connection closed for a frame", f"{_LINKS}.refused"),
            ("connection ended with its process", f"{_LINKS}._dead"),
            ("connection ended in a partition", f"{_LINKS}._cut"),
            ("closed connections", f"{_JUDGE}.remembered"),
        )
    ),
    Entry("chunk rejected", "chunk rejected", "tests.simulation.joiner:JoinRun", elsewhere=_JOINING),
)

MECHANISMS: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "calm": ((), ("view change", "quarantine")),
    "censor": (("view change: complaint",), ("quarantine",)),
    "silent": (("view change: timer",), ("quarantine", "view change: invalid proposal")),
    "outage": (("view change: timer",), ("quarantine",)),
    "erased": (("quarantine", "quarantine-over"), ()),
    "torn": (("F17 log",), ("quarantine",)),
    "lossy": (("view change: timer", "jump by f+1"), ("quarantine",)),
}
"""Profile -> what its runs must have used to recover, and what none of them may have used."""

TABLES: Final = (FAULTS, INVARIANTS, LIVENESS, SOMETIMES)


def missing(counts: Mapping[str, int]) -> list[str]:
    """Return what a campaign should have counted and did not."""
    return [name for table in TABLES for entry in table for name in entry.counted if not counts.get(name)]


def summary(counts: Mapping[str, int]) -> list[str]:
    """Return a line for each entry: its name, how often it happened, what it is."""
    lines = []
    for entry in (entry for table in TABLES for entry in table):
        often = ", ".join(f"{name}: {counts.get(name, 0)}" for name in entry.counted) or entry.elsewhere
        lines.append(f"{entry.name:4} {entry.what} | {often}" if entry.name != entry.what else often)
    return lines
