"""Compares what every validator signs, and keeps two statements that exclude each other (docs/spec FP-8).

It looks at each verified message, at votes inside certificates and view changes inside proposals, too. What is
remembered is bounded: two heights, eight views, four steps and the number of validators.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from master.consensus.fault_messages import Quote
from master.consensus.messages import Blocks, Message, Propose, Standing, ViewChange, Vote, proposal_digest
from wire.certificate import Certificate, Step
from wire.faultproof import FaultProof, Prepared, Statement

VIEWS_MAX: Final = 8
"""Views of one validator, step and height that are remembered, the newest."""
VIEWS_AHEAD: Final = 1
"""A statement so many views above this node's own is still looked at; a liar would else push out its own past."""


@dataclass(frozen=True, slots=True)
class _Said:
    member: str
    epoch: int
    height: int
    statement: Statement
    prepared: Prepared | None = None


@dataclass(slots=True)
class _Height:
    """What was said at one height."""

    epoch: int
    view_max: int = 0
    """Highest view that this node has been in."""
    said: dict[tuple[str, Step], dict[int, _Said]] = field(default_factory=dict)
    accused: set[tuple[str, int, str]] = field(default_factory=set)


class Witness:
    """Remembers statements of the height that is being decided and of the one before."""

    def __init__(self, member: str, chain: str) -> None:
        self._member = member
        self._chain = chain
        self._heights: dict[int, _Height] = {}

    def look(self, message: Message, height: int, view: int, epoch: int) -> list[FaultProof]:
        """Remember what a verified message says, and return what it proves together with what was said before.

        Args:
            message: Of any kind.
            height: That is being decided.
            view: In which this node is.
            epoch: Whose validators decide that height.
        """
        self._heights = {at: self._heights.get(at) or _Height(epoch) for at in (height - 1, height)}
        present = self._heights[height]
        present.view_max = max(present.view_max, view)
        proofs = []
        for said in _statements(message):
            book = self._heights.get(said.height)
            if book is None or said.member == self._member or said.epoch != book.epoch:
                continue
            if said.statement.view > book.view_max + VIEWS_AHEAD:
                continue
            proof = self._compare(book, said)
            if proof is not None and proof.place not in book.accused:
                book.accused.add(proof.place)
                proofs.append(proof)
        return proofs

    def _compare(self, book: _Height, said: _Said) -> FaultProof | None:
        statement = said.statement
        views = book.said.setdefault((said.member, statement.step), {})
        known = views.get(statement.view)
        if known is not None:
            if known.statement.digest == statement.digest:
                return None
            first, second = sorted((known.statement, statement), key=lambda entry: entry.digest)
            return self._proof(said, first, second)
        views[statement.view] = said
        if len(views) > VIEWS_MAX:
            del views[min(views)]
        return self._find_amnesia(book, said)

    def _find_amnesia(self, book: _Height, said: _Said) -> FaultProof | None:
        """Return the proof that a COMMIT and a VIEW-CHANGE of one validator exclude each other, if they do."""
        if said.statement.step not in (Step.COMMIT, Step.VIEW_CHANGE):
            return None
        commits = book.said.get((said.member, Step.COMMIT), {})
        changes = book.said.get((said.member, Step.VIEW_CHANGE), {})
        for commit in commits.values():
            for change in changes.values():
                prepared_view = -1 if change.prepared is None else change.prepared.view
                if prepared_view < commit.statement.view < change.statement.view:
                    return self._proof(said, commit.statement, change.statement, change.prepared)
        return None

    def _proof(self, said: _Said, first: Statement, second: Statement, prepared: Prepared | None = None) -> FaultProof:
        return FaultProof(self._chain, said.epoch, said.height, said.member, first, second, prepared)


def _statements(message: Message) -> Iterator[_Said]:
    """Yield what validators signed in a message."""
    match message:
        case Vote():
            statement = Statement(message.step, message.view, message.digest, message.signature)
            yield _Said(message.member, message.epoch, message.height, statement)
        case ViewChange():
            prepared = message.prepared
            statement = Statement(Step.VIEW_CHANGE, message.view, message.digest(), message.signature)
            bound = None if prepared is None else Prepared(prepared.view, prepared.digest)
            yield _Said(message.member, message.epoch, message.height, statement, bound)
            yield from _votes(prepared)
        case Propose():
            header = message.block.header
            digest = proposal_digest(header.digest(), message.view_changes)
            statement = Statement(Step.PROPOSE, message.view, digest, message.signature)
            yield _Said(message.member, header.epoch, message.height, statement)
            for entry in message.view_changes:
                yield from _statements(entry)
        case Quote():
            statement = Statement(Step.PROPOSE, message.view, message.digest, message.signature)
            yield _Said(message.member, message.epoch, message.height, statement)
        case Blocks():
            for _, certificate in message.blocks:
                yield from _votes(certificate)
        case Standing():
            yield from _votes(message.certificate)
        case _:
            pass  # signed by nobody, or told of before


def _votes(certificate: Certificate | None) -> Iterator[_Said]:
    if certificate is not None:
        for member, signature in certificate.signatures:
            statement = Statement(certificate.step, certificate.view, certificate.digest, signature)
            yield _Said(member, certificate.epoch, certificate.height, statement)
