"""Schedules that no dice find soon: four validators, one of them evil, every delivery chosen.

Each plays out the one order of events in which a certain shortcut forks the ledger, and fails only if it does.
Source: the reference's mutation gate, "lowest-view PC wins" and "VIEW-CHANGE signature without its PC".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from master.consensus.events import (
    Applied,
    Apply,
    Broadcast,
    Build,
    Built,
    Effect,
    Event,
    Execute,
    Executed,
    Now,
    Received,
    Send,
    Tick,
)
from master.consensus.guard import SignerGuard
from master.consensus.message_checks import verify_message
from master.consensus.message_codec import decode_message, encode_message
from master.consensus.messages import (
    Body,
    Message,
    Propose,
    Standing,
    ViewChange,
    Vote,
    prepared_digest,
    proposal_digest,
    standing_bytes,
)
from master.consensus.replica import Replica
from master.consensus.state import Settings
from tests.simulation.judge import BrokenError, demand
from tests.simulation.keys import KeyRing
from tests.simulation.toy import CHAIN, EPOCH, GENESIS, Ledger
from wire.block import Block
from wire.certificate import Certificate, Step, vote_bytes
from wire.errors import WireError
from wire.types import Digest, sha256

TIMEOUT_MS: Final = 1_000


class Stage:
    """Four validators; at height 1 node-v leads view v. Only what the script hands over arrives."""

    def __init__(self, evil: int) -> None:
        self.keys = KeyRing(4, is_keyed=True)
        self.now_ms = 10_000
        self.said: list[tuple[int, Message]] = []
        self.final: dict[int, Digest] = {}
        self._ledgers = [Ledger(self.keys.validators) for _ in range(4)]
        self._replicas: dict[int, Replica] = {}
        for index in range(4):
            if index != evil:
                self._replicas[index] = self._start(index)
        for index in self._replicas:
            for other in range(4):
                if other != index:
                    self.hand(self._standing(other, index), index)

    def _start(self, index: int) -> Replica:
        settings = Settings(
            f"node-{index}", CHAIN, EPOCH, self.keys.validators, timeout_ms=TIMEOUT_MS, heartbeat_ms=10**9
        )
        sign = self.keys.signer(settings.member)
        return Replica(
            settings, GENESIS, sign, self._now(), guard=SignerGuard(), nonce=sha256(settings.member.encode())
        )

    def _standing(self, index: int, asker: int) -> Standing:
        frame = (f"node-{index}", sha256(f"node-{asker}".encode()), None)
        signature = self.keys.signer(frame[0])(standing_bytes(CHAIN, *frame, is_quarantined=False))
        return Standing(*frame, is_quarantined=False, spoken=None, signature=signature)

    def _now(self) -> Now:
        return Now(GENESIS.time_ms + self.now_ms, self.now_ms)

    # ---- what happens -------------------------------------------------------------------------

    def hand(self, message: Message, *receivers: int) -> None:
        """Let a message arrive, if it decodes and verifies as the engine demands."""
        try:
            decoded = decode_message(encode_message(message))
            verify_message(decoded, CHAIN, self.keys.validators, self.keys.verify)
        except WireError:
            return
        sender = getattr(message, "member", "node-0")
        for index in receivers:
            self._step(index, Received(sender, decoded))

    def hand_all(self, messages: Iterable[Message], *receivers: int) -> None:
        """Let several arrive, one after the other."""
        for message in messages:
            self.hand(message, *receivers)

    def tick(self, *members: int) -> None:
        """Tell members that transactions wait."""
        for index in members:
            self._step(index, Tick(pending=True))

    def expire(self, *members: int) -> None:
        """Let the view timers of members run out."""
        self.tick(*members)
        self.now_ms += 40 * TIMEOUT_MS
        self.tick(*members)

    def _step(self, index: int, event: Event) -> None:
        self._perform(index, self._replicas[index].step(event, self._now()))

    def _perform(self, index: int, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Broadcast() | Send():
                    self.said.append((index, effect.message))
                case Execute():
                    accepted = self._ledgers[index].accepts(effect.block)
                    self._step(index, Executed(effect.block.header.digest(), accepted))
                case Build():
                    block = self.block(index, f"built by {index} in view {effect.view}".encode())
                    self._step(index, Built(effect.height, effect.view, block))
                case Apply():
                    self._apply(index, effect)
                case _:
                    pass

    def _apply(self, index: int, effect: Apply) -> None:
        digest = effect.block.header.digest()
        self.final[index] = digest
        demand(len(set(self.final.values())) == 1, f"fork: node-{index} stores another block than {sorted(self.final)}")
        self._step(index, Applied(self._ledgers[index].apply(effect.block, effect.certificate)))

    # ---- what was said and what evil says -----------------------------------------------------

    def votes(self, step: Step, view: int) -> list[Vote]:
        """Return the votes of the honest, so far."""
        found = [message for _, message in self.said if isinstance(message, Vote)]
        return [vote for vote in found if (vote.step, vote.view, vote.height) == (step, view, 1)]

    def changes(self, view: int) -> dict[int, ViewChange]:
        """Return the view changes of the honest, so far."""
        return {
            index: message
            for index, message in self.said
            if isinstance(message, ViewChange) and (message.view, message.height) == (view, 1)
        }

    def proposal(self, view: int) -> Propose:
        """Return the honest leader's proposal.

        Raises:
            BrokenError: It made none.
        """
        for _, message in self.said:
            if isinstance(message, Propose) and (message.view, message.height) == (view, 1):
                return message
        raise BrokenError(f"nobody proposed in view {view}")

    def block(self, index: int, transaction: bytes) -> Block:
        """Return a fresh block of a member."""
        return self._ledgers[index].block_of((transaction,), f"node-{index}", GENESIS.time_ms + self.now_ms)

    def _sign(self, index: int, step: Step, view: int, digest: Digest) -> bytes:
        return self.keys.signer(f"node-{index}")(vote_bytes(CHAIN, EPOCH, step, 1, view, digest))

    def vote(self, index: int, step: Step, view: int, digest: Digest) -> Vote:
        """Return a vote of the evil one."""
        return Vote(f"node-{index}", step, EPOCH, 1, view, digest, self._sign(index, step, view, digest))

    def change(self, index: int, view: int, prepared: Certificate | None = None) -> ViewChange:
        """Return a view change of the evil one."""
        signature = self._sign(index, Step.VIEW_CHANGE, view, prepared_digest(prepared))
        return ViewChange(f"node-{index}", EPOCH, 1, view, prepared, signature)

    def propose(self, index: int, view: int, block: Block, proof: Iterable[ViewChange] = ()) -> Propose:
        """Return a proposal of the evil one."""
        chosen = tuple(sorted(proof, key=lambda entry: entry.member))
        digest = proposal_digest(block.header.digest(), chosen)
        return Propose(f"node-{index}", 1, view, block, chosen, self._sign(index, Step.PROPOSE, view, digest))


def play_lowest_pc() -> None:
    """PC(0,d) at node-2 alone, CC(1,d') at node-3 alone; node-2 leads view 2 and must carry on d'.

    Raises:
        BrokenError: A fork.
    """
    stage = Stage(evil=0)
    first = stage.block(0, b"first")
    digest = first.header.digest()
    stage.hand(stage.propose(0, 0, first), 1, 2, 3)
    stage.hand_all([*stage.votes(Step.PREPARE, 0), stage.vote(0, Step.PREPARE, 0, digest)], 2)
    stage.expire(1, 3)
    stage.hand_all([stage.change(0, 1), stage.changes(1)[3]], 1)  # node-1 leads view 1 without node-2's word
    stage.hand(stage.proposal(1), 3)
    second = stage.proposal(1).block.header.digest()
    stage.hand_all([*stage.votes(Step.PREPARE, 1), stage.vote(0, Step.PREPARE, 1, second)], 1, 3)
    stage.hand_all([*stage.votes(Step.COMMIT, 1), stage.vote(0, Step.COMMIT, 1, second)], 3)
    demand(stage.final == {3: second}, f"the script does not reach its commit: {sorted(stage.final)}")
    stage.hand_all([stage.change(0, 1), *stage.changes(1).values()], 1, 2)
    stage.expire(1, 2)
    stage.hand_all([*stage.changes(2).values(), stage.change(0, 2)], 1, 2)
    stage.hand(Body(stage.proposal(1).block), 2)
    proposal = stage.proposal(2)
    stage.hand(proposal, 1)
    third = proposal.block.header.digest()
    stage.hand_all([*stage.votes(Step.PREPARE, 2), stage.vote(0, Step.PREPARE, 2, third)], 1, 2)
    stage.hand_all([*stage.votes(Step.COMMIT, 2), stage.vote(0, Step.COMMIT, 2, third)], 1, 2)
    demand(set(stage.final) == {1, 2, 3}, f"not everybody decides: {sorted(stage.final)}")


def play_stripped_pc() -> None:
    """CC(0,d) at node-0 alone; evil node-2 leads view 2 and hides the certificates in the view changes of others.

    Raises:
        BrokenError: A fork.
    """
    stage = Stage(evil=2)
    stage.tick(0)
    first = stage.proposal(0)
    digest = first.block.header.digest()
    stage.hand(first, 1, 3)
    stage.hand_all([*stage.votes(Step.PREPARE, 0), stage.vote(2, Step.PREPARE, 0, digest)], 0, 1, 3)
    stage.hand_all([*stage.votes(Step.COMMIT, 0), stage.vote(2, Step.COMMIT, 0, digest)], 0)
    demand(stage.final == {0: digest}, f"the script does not reach its commit: {sorted(stage.final)}")
    stage.expire(1, 3)
    stage.hand_all([stage.change(2, 2)], 1, 3)
    stage.hand_all([stage.change(2, 1), *stage.changes(1).values()], 1, 3)
    stage.expire(1, 3)
    stripped = [replace(change, prepared=None) for change in stage.changes(2).values()]
    demand(len(stripped) == 2, "the script does not reach view 2")
    other = stage.propose(2, 2, stage.block(2, b"other"), [*stripped, stage.change(2, 2)])
    stage.hand(other, 1, 3)
    second = other.block.header.digest()
    for step in (Step.PREPARE, Step.COMMIT):
        stage.hand_all([*stage.votes(step, 2), stage.vote(2, step, 2, second)], 1, 3)


SCRIPTS: Final[dict[str, Callable[[], None]]] = {"lowest-pc": play_lowest_pc, "stripped-pc": play_stripped_pc}


def run_script(name: str) -> str | None:
    """Play a script and return what broke, or None."""
    try:
        SCRIPTS[name]()
    except BrokenError as error:
        return f"script {name}: {error}"
    return None
