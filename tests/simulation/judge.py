"""What must hold after every step of every honest node; `tests.simulation.coverage` tells which invariant is where."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from master.consensus.events import Effect, Persist, Report
from master.consensus.guard import SignerGuard, statement_of
from master.consensus.messages import Message, Propose, ViewChange, Vote, proposal_digest
from master.consensus.records import Accepted, Prepared, Record, Signed
from master.consensus.replica import Replica
from master.consensus.state import Settings
from tests.interop.independent_checker import check_certificate
from tests.simulation.keys import KeyRing
from tests.simulation.real import AnyLedger
from tests.simulation.toy import Ledger
from wire.block import Block
from wire.certificate import Certificate, Step, ValidatorSet, faults, verify_certificate
from wire.faultproof import FaultProof, decode_fault_proof, verify_fault_proof
from wire.types import Digest

_MECHANISMS: Final = {
    "no block in time": "view change: timer",
    "leaves a transaction waiting": "view change: complaint",
    "invalid proposal": "view change: invalid proposal",
    "validators are there": "jump by f+1",
}


class BrokenError(Exception):
    """An invariant does not hold; the message names it."""


def demand(holds: object, what: str) -> None:
    """Raise unless ``holds``.

    Raises:
        BrokenError: With ``what``.
    """
    if not holds:
        raise BrokenError(what)


@dataclass
class Memory:
    """What one honest member has on disk or has said, over all its lives."""

    statements: dict[tuple[int, int, Step], Digest] = field(default_factory=dict)
    certified: set[tuple[int, int, Digest]] = field(default_factory=set)
    """(height, view, digest) of prepared certificates on disk."""
    announced: dict[int, int] = field(default_factory=dict)
    """Highest view announced at a height."""
    guard: SignerGuard = field(default_factory=SignerGuard)
    """As it is on disk."""


class Judge:
    """Watches disks, what is sent and what is applied."""

    def __init__(self, keys: KeyRing, honest: frozenset[str], replay: AnyLedger | None = None) -> None:
        self._keys = keys
        self._honest = honest
        self._replay = replay
        self._sets: dict[int, tuple[int, ValidatorSet]] = {}
        self._memories = {member: Memory() for member in honest}
        self.chain: dict[int, Digest] = {}
        self._prepared: dict[tuple[int, int], Digest] = {}
        self._finals: dict[int, list[Certificate]] = {}
        self.certificates: list[Certificate] = []
        """Prepared certificates seen so far; a liar may draw from them."""
        self.counts: dict[str, int] = {}
        """How often something worth reaching was reached, and how often each invariant was looked at."""
        self.view_max = 0
        """Highest view in which a block became final."""
        self._heads: dict[str, int] = {}
        self.censored_max = 0
        """Most views that were changed while one transaction waited."""
        self._changed: list[int] = [0]
        """How many views were changed up to each final height."""
        self._given: dict[bytes, int] = {}
        self._acknowledged: dict[bytes, int] = {}
        """Height of each transaction that a client was told to be final."""

    def admit(self, member: str) -> None:
        """Watch one more honest member: it follows and may become a validator."""
        self._honest |= {member}
        self._memories[member] = Memory()

    def count(self, what: str) -> None:
        """Note that the run reached a situation."""
        self.counts[what] = self.counts.get(what, 0) + 1

    def hold(self, invariant: str, holds: object, what: str) -> None:
        """Look at an invariant once.

        Raises:
            BrokenError: It does not hold.
        """
        self.counts[invariant] = self.counts.get(invariant, 0) + 1
        if not holds:
            raise BrokenError(f"{invariant}: {what}")

    def given(self, raw: bytes) -> None:
        """Note that a client gave a transaction to all."""
        self._given[raw] = self._changed[-1]

    def reported(self, report: Report) -> None:
        """Note by which mechanism a node helped itself."""
        if report.code.startswith("quarantine"):
            self.count(report.code)
        for words, name in _MECHANISMS.items():
            if report.code == "view-change" and words in report.detail:
                self.count(name)

    def booted(self, member: str, ledger: AnyLedger, records: list[Record], guard: SignerGuard | None) -> None:
        """Look at the disk with which a node starts: what was final is final still."""
        for record in records:
            self.persisted(member, record)
        if member not in self._honest:
            return
        if guard is not None:
            self.sealed(member, guard)
        is_older = guard is not None and guard.is_restored
        self.hold("I8", is_older or ledger.head.height >= self._heads.get(member, 0), f"{member} lost a final block")
        self._same_chain(ledger)

    def emptied(self, member: str) -> None:
        """Note that an operator made a node's store anew: what it had stored was taken from it."""
        self._heads.pop(member, None)

    def ended(self, ledgers: list[Ledger]) -> None:
        """Compare all that nodes have stored, whatever happened to them on the way."""
        for ledger in ledgers:
            self._same_chain(ledger)
            told = {raw for raw, height in self._acknowledged.items() if height <= ledger.head.height}
            self.hold("I10", ledger.done >= told, "what a client was told to be final is not everywhere")
            fresh = ledger.copy(ledger.head.height)
            same = (fresh.state, fresh.done) == (ledger.state, ledger.done)
            self.hold("I13", same, "a state is not that of its blocks")
        shortest = min(ledger.head.height for ledger in ledgers)
        stored = {tuple(block.encode() for block, _ in ledger.blocks[:shortest]) for ledger in ledgers}
        states = {ledger.copy(shortest).state for ledger in ledgers}
        self.hold("I2", len(stored) == len(states) == 1, "stored blocks or states differ at one height")

    def _same_chain(self, ledger: AnyLedger) -> None:
        for block, _ in ledger.blocks[-3:]:
            height = block.header.height
            self.hold("I8", self.chain.get(height) == block.header.digest(), f"block {height} on a disk is another one")

    def persisted(self, member: str, record: Record) -> None:
        """Look at a record that has just reached a disk."""
        if member not in self._honest:
            return
        memory = self._memories[member]
        if isinstance(record, Prepared):
            self._on_certificate(memory, record.certificate)
        elif isinstance(record, Signed):
            self._on_statement(member, memory, record.message)
        elif isinstance(record, Accepted) and record.propose.member == member:
            self._state(member, memory, *_statement(record.propose))

    def spoke(self, settings: Settings, height: int, heads: list[int], effects: list[Effect]) -> None:
        """Look at what a step signs: nothing while f+1 fresh STATUS show that the height is final."""
        ahead = sum(head >= height for head in heads)
        if settings.member not in self._honest or ahead < faults(len(settings.validators)) + 1:
            return
        signs = any(isinstance(effect, Persist) for effect in effects)
        self.hold("catching up", not signs, f"{settings.member} votes at {height} while it is catching up")

    def remembered(self, member: str, replica: Replica, heads: Collection[str]) -> None:
        """Look at whose heads a replica goes by: those alone that said them on a connection that is open still."""
        closed = replica._sync._heads.keys() - set(heads)
        self.hold("closed connections", not closed, f"{member} goes by what {sorted(closed)} said before they went")

    def sealed(self, member: str, guard: SignerGuard) -> None:
        """Look at a guard that has just reached a disk."""
        if member in self._honest:
            self._memories[member].guard = guard

    def sent(self, member: str, message: Message) -> None:
        """Look at a message that leaves a node: what it signed must be on its disk."""
        if not isinstance(message, Vote | ViewChange | Propose) or message.member not in self._honest:
            return
        height, view, step, digest = _statement(message)
        known = self._memories[message.member].statements.get((height, view, step))
        demand(known is not None, f"{message.member} sent {step.name} of view {view} before it was on disk")
        self.hold("I3", known == digest, f"{message.member} signed two digests: {step.name} at {height} in {view}")
        guard = self._memories[message.member].guard
        is_known = member != message.member or guard.is_restored or statement_of(message).place <= guard.place
        demand(is_known, f"{message.member} sent {step.name} before its guard knew")
        if isinstance(message, Propose) and message.view_changes:
            carried = any(entry.prepared is not None for entry in message.view_changes)
            self.count("value carried over" if carried else "view led freely")

    def accused(self, proof: FaultProof) -> None:
        """Look at a fault proof that a node made: it must hold, and no honest member may be in it."""
        verify_fault_proof(
            decode_fault_proof(proof.encode()),
            self._keys.chain,
            proof.epoch,
            self._set_of(proof.epoch),
            self._keys.verify,
        )
        self.hold(
            "I17", proof.member not in self._honest, f"{proof.member} is accused of {proof.kind} at {proof.height}"
        )
        self.count(f"proven: {proof.kind}")

    def applied(
        self, member: str, ledger: AnyLedger, guard: SignerGuard, block: Block, certificate: Certificate
    ) -> None:
        """Look at a block that is about to be stored."""
        header = block.header
        height, digest = header.height, header.digest()
        demand(guard.floor >= height, f"block {height} is stored above the floor {guard.floor}")
        self.hold("I9", height == ledger.head.height + 1, f"block {height} applied on head {ledger.head.height}")
        demand(header.parent == ledger.head.digest, f"block {height} does not follow the head")
        demand(header.time_ms > ledger.head.time_ms, f"time runs backwards at {height}")
        self.hold("I1", self.chain.setdefault(height, digest) == digest, f"fork at height {height}")
        if height == len(self._changed):
            self._changed.append(self._changed[-1] + certificate.view)
        for raw in block.transactions:
            self._waited(raw, self._changed[height])
            is_once = self._acknowledged.setdefault(raw, height) == height
            self.hold("I9", is_once, "a transaction was executed twice")
        self._heads[member] = height
        facts = (certificate.step, certificate.epoch, certificate.height, certificate.digest)
        epoch, validators = self._decided_by(block, certificate)
        is_same = header.validators_hash == validators.digest() and header.epoch == epoch
        self.hold("I11", is_same, f"block {height} names another validator set than the replay from genesis")
        demand(facts == (Step.COMMIT, epoch, height, digest), f"the certificate of {height} is of something else")
        verify_certificate(certificate, self._keys.chain, validators, self._keys.verify)
        self._check_apart(block, certificate, validators)
        self._finals.setdefault(height, []).append(certificate)
        if len({final.view for final in self._finals[height]}) > 1:
            self.count("commit in two views")
        self.view_max = max(self.view_max, certificate.view)
        if certificate.view:
            self.count("committed above view 0")
        for (at, view), prepared in self._prepared.items():
            if at == height and view > certificate.view:
                self.hold("I6", prepared == digest, f"height {height}: another block prepared after the commit")

    def _waited(self, raw: bytes, changed: int) -> None:
        before = self._given.pop(raw, None)
        if before is not None:
            self.censored_max = max(self.censored_max, changed - before)

    def _check_apart(self, block: Block, certificate: Certificate, validators: ValidatorSet) -> None:
        """Let the checker that shares no code with ours look at a certificate, where the keys are real."""
        if self._keys.is_keyed:
            return
        entries = validators.validators
        rows = [{"member": at.member, "vote_key": at.vote_key, "tls_digest": at.tls_digest} for at in entries]
        epoch = (block.header.epoch, rows, 1)
        header = check_certificate(self._keys.chain, epoch, block.header.encode(), certificate.to_value())
        self.hold("I7", header["height"] == block.header.height, "the independent checker reads another header")

    def _decided_by(self, block: Block, certificate: Certificate) -> tuple[int, ValidatorSet]:
        """Return who decides a block, replayed from genesis; each block counts when it is final first."""
        header, replay = block.header, self._replay
        if replay is None:
            return self._keys.epoch, self._keys.validators
        if header.height not in self._sets:
            self._sets[header.height] = replay.epoch, replay.validators
            if header.next_validators_hash != header.validators_hash:
                self.count("epoch ended")
                if certificate.view:
                    self.count("F35")
                if replay.following.find(header.proposer) is None:
                    self.count("F36")
            elif replay.head.epoch is not None and certificate.view:
                self.count("F35")
            replay.apply(block, certificate)
        return self._sets[header.height]

    def stepped(self, replica: Replica, settings: Settings) -> None:
        """Look at a replica's memory after a step."""
        size = len(settings.validators)
        state = replica._height
        self.hold("I14", len(state.bodies) <= settings.bodies_max, "too many bodies")
        demand(len(state.later) <= 4 * (size + 1), "too many messages of the next height")
        demand(len(state.votes._slots) <= 2 * size, "too many votes")
        demand(len(state.view_changes.all()) <= size, "too many view changes")
        demand(len(replica._sync._waiting) <= 64, "too many blocks wait")
        demand(len(state.signed) <= 4 * (state.view + 1), "too many statements")

    def _on_certificate(self, memory: Memory, certificate: Certificate) -> None:
        validators = self._set_of(certificate.epoch)
        verify_certificate(certificate, self._keys.chain, validators, self._keys.verify)
        height, view, digest = certificate.height, certificate.view, certificate.digest
        demand(self._prepared.setdefault((height, view), digest) == digest, f"two prepared at {height} in {view}")
        memory.certified.add((height, view, digest))
        self.certificates = [*self.certificates[-20:], certificate]
        for final in self._finals.get(height, ()):
            self.hold(
                "I6",
                view <= final.view or digest == final.digest,
                f"height {height}: another block prepared after the commit",
            )

    def _set_of(self, epoch: int) -> ValidatorSet:
        validators = self._keys.validators if self._replay is None else self._replay.set_of(epoch)
        if validators is None:
            raise BrokenError(f"epoch {epoch} is signed for, and nobody has reached it")
        return validators

    def _on_statement(self, member: str, memory: Memory, message: Vote | ViewChange) -> None:
        height, view, step, digest = _statement(message)
        is_new = (height, view, step) not in memory.statements
        self._state(member, memory, height, view, step, digest)
        if isinstance(message, ViewChange):
            self._check_pace(member, height, view)
            memory.announced[height] = max(view, memory.announced.get(height, 0))
            self.count("view change")
            return
        is_above = not is_new or view >= memory.announced.get(height, 0)
        self.hold("I4", is_above, f"{member} votes below its announced view")
        if step is Step.COMMIT:
            self.hold(
                "I5", (height, view, digest) in memory.certified, f"{member} commits without its certificate on disk"
            )

    def _state(self, member: str, memory: Memory, height: int, view: int, step: Step, digest: Digest) -> None:
        known = memory.statements.setdefault((height, view, step), digest)
        self.hold("I3", known == digest, f"{member} signed two digests: {step.name} at {height} in {view}")

    def _check_pace(self, member: str, height: int, view: int) -> None:
        present = self._keys.validators if self._replay is None else self._replay.validators
        enough = faults(len(self._sets.get(height, (0, present))[1])) + 1
        views = sorted((memory.announced.get(height, 0) for memory in self._memories.values()), reverse=True)
        highest = views[enough - 1] if len(views) >= enough else 0
        self.hold("I16", view <= highest + 1, f"{member} goes to view {view} of {height}, honest nodes are at {views}")


def _statement(message: Vote | ViewChange | Propose) -> tuple[int, int, Step, Digest]:
    if isinstance(message, Vote):
        return message.height, message.view, message.step, message.digest
    if isinstance(message, ViewChange):
        return message.height, message.view, Step.VIEW_CHANGE, message.digest()
    digest = proposal_digest(message.block.header.digest(), message.view_changes)
    return message.height, message.view, Step.PROPOSE, digest
