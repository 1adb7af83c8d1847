"""F34: a transaction that comes out differently on some nodes."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from master.consensus.blame import Blame, Findings
from master.consensus.events import Apply, Build, Execute, Flawed
from master.consensus.fault_messages import Divergence
from master.consensus.messages import Message
from master.consensus.state import Settings
from tests.simulation.disk import Disk
from tests.simulation.judge import Judge
from tests.simulation.network import Agenda
from tests.simulation.node import Node
from tests.simulation.plan import Plan
from tests.simulation.toy import Ledger
from tests.simulation.waiting import Post
from wire.block import Block
from wire.certificate import ValidatorSet
from wire.types import Digest, sha256

POISON: Final = b"poison"


class PoisonedLedger(Ledger):
    """The toy application; where it is sick, a poison transaction leads to another state."""

    is_sick = False

    def __init__(self, validators: ValidatorSet) -> None:
        super().__init__(validators)
        self.executed: dict[Digest, tuple[Block, tuple[Digest, ...]]] = {}

    def accepts(self, block: Block) -> bool:
        """Execute a block above the head, and remember what its transactions came to."""
        self.executed[block.header.digest()] = block, tuple(map(self._outcome, block.transactions))
        return super().accepts(block)

    def results(self, digest: Digest) -> tuple[Block, tuple[Digest, ...]] | None:
        """Return a block that was executed, and what its transactions came to."""
        return self.executed.get(digest)

    def _outcome(self, raw: bytes) -> Digest:
        return sha256(raw + b"otherwise" * (self.is_sick and raw.startswith(POISON)))

    def _state_after(self, transactions: tuple[bytes, ...]) -> Digest:
        state = self.state
        for raw in transactions:
            state = sha256(state + self._outcome(raw))
        return state


class BlamingNode(Node):
    """A node whose shell follows up results that differ, as the engine does."""

    def __init__(
        self, endpoint: str, settings: Settings, sign: Callable[[bytes], bytes], disk: Disk, judge: Judge
    ) -> None:
        super().__init__(endpoint, settings, sign, disk, judge)
        assert isinstance(disk.ledger, PoisonedLedger)
        self._blame = Blame(settings.member, lambda _: settings.validators, disk.ledger.results)
        self._left_out: set[Digest] = set()
        self.blamed: list[Digest] = []

    def join(self, post: Post, agenda: Agenda, plan: Plan, rng: Random) -> None:
        """Take the surroundings; done once."""
        super().join(post, agenda, plan, rng)

    def receive(self, sender: str, message: Message | Flawed) -> None:
        """Take a decoded and verified message, as the engine does."""
        if self.is_up and isinstance(message, Divergence):
            height = self.disk.ledger.head.height + 1
            self._follow(self._blame.heard(sender, message, height, self._now().monotonic_ms))
        else:
            super().receive(sender, message)

    def _worked(self, effect: Build | Execute | Apply) -> None:
        super()._worked(effect)
        if not isinstance(effect, Execute):
            return
        digest, now_ms = effect.block.header.digest(), self._now().monotonic_ms
        accepted = self.disk.ledger.accepts(effect.block)
        if accepted or effect.block.header.height != self.disk.ledger.head.height + 1:
            self._follow(self._blame.executed(digest, now_ms))
        else:
            self._follow(self._blame.diverged(digest, now_ms))

    def _build(self, build: Build) -> Block | None:
        """Build a block without what is blamed, once."""
        kept = dict(self.pending)
        for raw in [raw for raw in kept if sha256(raw) in self._left_out]:
            del self.pending[raw]
        self._left_out.clear()
        block = super()._build(build)
        self.pending = kept
        if block is not None:
            self.disk.ledger.accepts(block)
        return block

    def _follow(self, findings: Findings) -> None:
        for message in findings.messages:
            for member in self._post.others(self.endpoint):
                self._post.send(self.endpoint, member, message)
        self._left_out.update(findings.blamed)
        self.blamed += findings.blamed
