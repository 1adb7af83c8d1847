"""Which transaction comes out differently on which nodes: advice for people and for the next leader (FP-15, FP-16).

Nothing here decides what is voted for. A transaction is blamed only when more than f validators report one result of it
and more than f others another: a leader that lies about its roots can blame nothing. Who is a validator is told by the
epoch of the block; what others report, such as nodes that only follow, is not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from master.consensus.fault_messages import RESULT_BYTES, RESULTS_MAX, Divergence
from master.consensus.message_checks import Sets
from wire.block import Block
from wire.certificate import faults
from wire.types import Digest, sha256

LIST_INTERVAL_MS: Final = 5_000
"""A node sends its results at most once in this time: whoever asks for them must not cost much."""

Lookup = Callable[[Digest], "tuple[Block, Sequence[Digest]] | None"]
"""Block that was executed here on the head, and the leaf digests of its outcomes as they came out."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What came of an event."""

    messages: tuple[Divergence, ...] = ()
    """To be sent to all other validators."""
    blamed: tuple[Digest, ...] = ()
    """Transactions to be left out of one block, by id."""
    reports: tuple[str, ...] = ()
    """For people, with the names of the members."""


@dataclass(slots=True)
class _Case:
    """What members say of one block."""

    heard: dict[str, Divergence] = field(default_factory=dict)
    is_told: bool = False
    """This node has sent its results."""
    blamed: set[int] = field(default_factory=set)


class Blame:
    """Collects reports: of every member those about one block, the newest that it spoke of.

    Args:
        member: This node.
        sets: The validators of each epoch.
        lookup: Finds what this node made of a block.
    """

    def __init__(self, member: str, sets: Sets, lookup: Lookup) -> None:
        self._member = member
        self._sets = sets
        self._lookup = lookup
        self._cases: dict[Digest, _Case] = {}
        self._told_ms: int | None = None

    def diverged(self, digest: Digest, now_ms: int) -> Findings:
        """Tell everybody that a block came out otherwise here."""
        own = self._own(digest)
        if own is None:
            return Findings()
        told = Divergence(own.height, digest, own.root, ())
        found = self.executed(digest, now_ms)
        return Findings((told, *found.messages), found.blamed, found.reports)

    def executed(self, digest: Digest, now_ms: int) -> Findings:
        """Compare a block that has been executed here with what others said of it before."""
        return self._judge(digest, now_ms) if digest in self._cases else Findings()

    def heard(self, sender: str, message: Divergence, height: int, now_ms: int) -> Findings:
        """Take a report.

        Args:
            sender: Member at the other end of the connection.
            message: As decoded.
            height: That is being decided here; reports of others are dropped.
            now_ms: Monotonic time.
        """
        if message.height != height:
            return Findings()
        for digest in [digest for digest in self._cases if digest != message.block]:
            self._forget(digest, sender)
        case = self._cases.setdefault(message.block, _Case())
        known = case.heard.get(sender)
        if known is not None and (known.results or not message.results):
            return Findings()
        case.heard[sender] = message
        return self._judge(message.block, now_ms)

    def _forget(self, digest: Digest, sender: str) -> None:
        heard = self._cases[digest].heard
        heard.pop(sender, None)
        if not heard:
            del self._cases[digest]

    def _own(self, digest: Digest) -> Divergence | None:
        found = self._lookup(digest)
        if found is None:
            return None
        block, leaves = found
        results = tuple(leaf[:RESULT_BYTES] for leaf in leaves[:RESULTS_MAX])
        return Divergence(block.header.height, digest, sha256(b"".join(leaves)), results)

    def _judge(self, digest: Digest, now_ms: int) -> Findings:
        """Send own results once somebody has others, and blame what more than f see so and more than f otherwise."""
        case, own = self._cases[digest], self._own(digest)
        if own is None:
            return Findings()
        others = [said for said in case.heard.values() if said.root != own.root]
        messages: tuple[Divergence, ...] = ()
        is_free = self._told_ms is None or now_ms - self._told_ms >= LIST_INTERVAL_MS
        if others and not case.is_told and is_free:
            case.is_told, self._told_ms = True, now_ms
            messages = (own,)
        found = self._lookup(digest)
        assert found is not None, "it was there a moment ago"
        blamed, reports = self._blame(case, found[0], {**case.heard, self._member: own})
        return Findings(messages, blamed, reports)

    def _blame(
        self, case: _Case, block: Block, said: dict[str, Divergence]
    ) -> tuple[tuple[Digest, ...], tuple[str, ...]]:
        validators = self._sets(block.header.epoch)
        assert validators is not None, "it was executed here"
        faults_max = faults(len(validators))
        counted = [member for member in sorted(said) if validators.find(member) is not None]
        blamed, reports = [], []
        for index, raw in enumerate(block.transactions[:RESULTS_MAX]):
            groups: dict[bytes, list[str]] = {}
            for member in counted:
                if index < len(said[member].results):
                    groups.setdefault(said[member].results[index], []).append(member)
            large = [members for members in groups.values() if len(members) > faults_max]
            if len(large) > 1 and index not in case.blamed:
                case.blamed.add(index)
                blamed.append(sha256(raw))
                sides = " against ".join(", ".join(members) for members in sorted(large))
                reports.append(f"transaction {sha256(raw).hex()} comes out differently: {sides}")
        return tuple(blamed), tuple(reports)
