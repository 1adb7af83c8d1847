"""A validator that lies: it knows everything, holds one key and says whatever its dice tell."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Final

from master.consensus.blob_messages import GetBlob
from master.consensus.messages import (
    Blocks,
    Body,
    GetBlocks,
    GetBody,
    Message,
    Propose,
    Status,
    ViewChange,
    Vote,
    prepared_digest,
    proposal_digest,
)
from tests.simulation.blobs import GHOST, lie_about
from tests.simulation.forgeries import KINDS, forge
from tests.simulation.judge import Judge
from tests.simulation.keys import KeyRing
from tests.simulation.node import Node
from tests.simulation.toy import CHAIN, Ledger
from wire.block import Block
from wire.certificate import Step, vote_bytes
from wire.types import sha256

HUGE: Final = (2**62, 2**63 - 2, 2**63 - 1)
_STORM: Final = 12


class Liar:
    """Sends lies to honest nodes whenever it is asked to."""

    def __init__(self, member: str, keys: KeyRing, nodes: list[Node], judge: Judge, rng: Random) -> None:
        self._member = member
        self._keys = keys
        self._target = nodes[0]
        """Whose validators it goes by."""
        self._nodes = nodes
        self._judge = judge
        self._rng = rng
        self._blocks: list[Block] = []
        self._heard: dict[str, ViewChange] = {}
        self.names_ghosts = False
        """Proposes blocks with blobs that it does not have."""

    def hear(self, message: Message) -> Message | None:
        """Remember the view changes of others, to build new views from them; answer nothing, or wrong blocks."""
        if isinstance(message, GetBlocks) and self._rng.random() < 0.5:
            return self._spoiled(message.first_height)
        if isinstance(message, GetBlob):
            return lie_about(message, self._rng)
        if isinstance(message, GetBody | GetBlocks):
            self._judge.count("F27 body or block withheld")
        if isinstance(message, ViewChange):
            self._heard[message.member] = message
        return None

    def _spoiled(self, first_height: int) -> Message | None:
        """Return a block that was changed after it was certified."""
        stored = max((node.disk.ledger.blocks for node in self._nodes), key=len)[first_height - 1 : first_height + 2]
        if not stored:
            return None
        self._judge.count("F28 another block")
        block, certificate = stored[0]
        other = Block(replace(block.header, time_ms=block.header.time_ms + 1), block.transactions)
        return Blocks(((other, certificate), *stored[1:]))

    def lie(self) -> list[tuple[str, Message]]:
        """Return messages, each with the endpoint it is for."""
        up = [node for node in self._nodes if node.is_up]
        if not up:
            return []
        rng, target = self._rng, self._rng.choice(up)
        self._target = target
        kinds = (self._status, self._vote, self._vote, self._view_change, self._stored, self._ask, self._forged)
        choice = rng.randrange(len(kinds) + 3)
        if choice == len(kinds):
            return self._storm(target, up)
        if choice > len(kinds):
            return self._propose(target, up)
        message = kinds[choice](target)
        chosen = up if rng.random() < 0.5 else [target]
        return [(node.endpoint, message) for node in chosen]

    @property
    def _epoch(self) -> int:
        return self._target.disk.ledger.epoch

    def _sign(self, message: bytes) -> bytes:
        own = self._target.disk.ledger.validators.find(self._member)
        return self._keys.sign(self._keys.public(self._member) if own is None else own.vote_key, message)

    def _storm(self, node: Node, up: list[Node]) -> list[tuple[str, Message]]:
        """Announce one view after the other."""
        self._judge.count("F30 storm")
        height = self._height(node)
        changes = [self._change(height, view, self._epoch) for view in range(1, _STORM)]
        return [(other.endpoint, change) for change in changes for other in up]

    def _forged(self, node: Node) -> Message:
        """Show a certificate that proves nothing."""
        rng, height = self._rng, self._height(node)
        kind = rng.choice(KINDS)
        self._judge.count(f"F28 {kind}")
        prepared = [entry for entry in self._judge.certificates if entry.height == height]
        if prepared and (rng.random() < 0.7 or not node.disk.ledger.blocks):
            certificate = forge(rng.choice(prepared), kind, rng)
            view = certificate.view + 1
            signed = vote_bytes(CHAIN, self._epoch, Step.VIEW_CHANGE, height, view, prepared_digest(certificate))
            return ViewChange(self._member, self._epoch, height, view, certificate, self._sign(signed))
        if not node.disk.ledger.blocks:
            return self._status(node)
        block, final = rng.choice(node.disk.ledger.blocks[-3:])
        return Blocks(((block, forge(final, kind, rng)),))

    def _status(self, node: Node) -> Message:
        height = self._height(node)
        self._judge.count("F33")
        chosen = self._rng.choice((height, height + 1, height + 1, height + 9, *HUGE))
        return Status(chosen, self._view(node), self._rng.choice(("new", "proposed", "prepared")))

    def _vote(self, node: Node) -> Message:
        digests = [block.header.digest() for block in self._blocks]
        digests += [certificate.digest for certificate in self._judge.certificates]
        digest = self._rng.choice([*digests, sha256(b"nothing")])
        step = self._rng.choice((Step.PREPARE, Step.COMMIT))
        return self._sign_vote(step, self._height(node) + self._rng.choice((0, 0, 0, 1)), self._view(node), digest)

    def _view(self, node: Node) -> int:
        view = 0 if node.replica is None else node.replica.view
        return self._rng.choice((view, view, view, view + 1, view + 2, self._rng.choice(HUGE)))

    def _sign_vote(self, step: Step, height: int, view: int, digest: bytes) -> Vote:
        signature = self._sign(vote_bytes(CHAIN, self._epoch, step, height, view, digest))
        return Vote(self._member, step, self._epoch, height, view, digest, signature)

    def _height(self, node: Node) -> int:
        return node.disk.ledger.head.height + 1

    def _change(self, height: int, view: int, epoch: int) -> ViewChange:
        fitting = [entry for entry in self._judge.certificates if entry.height == height and entry.view < view]
        prepared = self._rng.choice([None, *fitting]) if epoch == self._epoch else None
        if view in HUGE:
            self._judge.count("F29 view near 2^63")
        elif fitting and prepared is None:
            self._judge.count("F29 certificate hidden")
        elif prepared is not None and prepared.view < max(entry.view for entry in fitting):
            self._judge.count("F29 stale certificate")
        signed = vote_bytes(CHAIN, epoch, Step.VIEW_CHANGE, height, view, prepared_digest(prepared))
        return ViewChange(self._member, epoch, height, view, prepared, self._sign(signed))

    def _view_change(self, node: Node) -> Message:
        view = max(1, self._view(node))
        return self._change(self._height(node), view, self._rng.choice((self._epoch, self._epoch, self._epoch + 1)))

    def _stored(self, node: Node) -> Message:
        rng = self._rng
        stored = node.disk.ledger.blocks
        if rng.random() < 0.5 and self._blocks:
            return Body(rng.choice(self._blocks))
        first = rng.randint(0, len(stored))
        return Blocks(tuple(stored[first : first + 3]))

    def _ask(self, node: Node) -> Message:
        digests = [block.header.digest() for block in self._blocks] or [sha256(b"nothing")]
        if self._rng.random() < 0.5:
            return GetBody(self._rng.choice(digests))
        return GetBlocks(self._rng.choice((1, self._height(node), HUGE[0])))

    def _propose(self, node: Node, up: list[Node]) -> list[tuple[str, Message]]:
        """Propose two blocks for one view, to some the one, to some the other, and vote for both."""
        rng, height = self._rng, self._height(node)
        view = 0 if node.replica is None else node.replica.view
        proof = [entry for entry in self._heard.values() if (entry.height, entry.view) == (height, view)]
        if view:
            proof.append(self._change(height, view, self._epoch))
        proof.sort(key=lambda entry: entry.member)
        if proof and rng.random() < 0.2:
            proof[0] = replace(proof[0], signature=self._sign(b"of something else"))
        said: list[tuple[str, Message]] = []
        if node.replica is not None and node.replica.leader == self._member:
            self._judge.count("F24")
        self._judge.count("F25")
        self._judge.count("F27 selective")
        for _ in range(2):
            block = self._block(node)
            digest = block.header.digest()
            signed = vote_bytes(CHAIN, self._epoch, Step.PROPOSE, height, view, proposal_digest(digest, tuple(proof)))
            message = Propose(self._member, height, view, block, tuple(proof), self._sign(signed))
            votes = [self._sign_vote(step, height, view, digest) for step in (Step.PREPARE, Step.COMMIT)]
            for other in up:
                if rng.random() < 0.6:
                    said.append((other.endpoint, message))
                said += [(other.endpoint, vote) for vote in votes if rng.random() < 0.6]
        return said

    def _block(self, node: Node) -> Block:
        rng, ledger = self._rng, node.disk.ledger
        assert isinstance(ledger, Ledger), "this liar builds toy blocks"
        fitting = [entry for entry in self._blocks if entry.header.parent == ledger.head.digest]
        if fitting and rng.random() < 0.4:
            return rng.choice(fitting)
        chosen = tuple(raw for raw in node.pending if raw not in ledger.done and rng.random() < 0.5)[:8]
        if self.names_ghosts and rng.random() < 0.5:
            chosen = (*chosen[:7], GHOST + rng.randbytes(4))
            self._judge.count("blob named that nobody has")
        off_ms = rng.choice((0, 1, 2, 5_000, -5_000, 10**15))
        if abs(off_ms) > 2:
            self._judge.count("F32")
        block = ledger.block_of(chosen, self._member, max(0, node._now().wall_ms + off_ms))
        self._blocks = [*self._blocks[-8:], block]
        return block
