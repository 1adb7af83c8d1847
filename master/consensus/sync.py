"""Catching up: asking for committed blocks and bodies, and telling others what they lack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from master.consensus.events import Apply, Effect, Now, Send, Wake
from master.consensus.messages import Blocks, Body, GetBlocks, GetBody, Message, Status
from master.consensus.state import HeightState, Settings
from master.consensus.votes import votes_of
from wire.block import Block
from wire.certificate import Certificate, Step, faults
from wire.types import Digest

_FRESH_INTERVALS: Final = 3


class Sync:
    """The blocks that wait to be applied, and when whom was asked or answered.

    A height that somebody claims costs at most one request per status interval. Who was asked and did not send the
    block asked for is asked again only after the others had their turn, so that a liar delays nobody for long.
    Everything is kept per member and thus bounded by their number.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._waiting: list[tuple[Block, Certificate]] = []
        self._claims: dict[str, int] = {}
        """Height that a member says it is deciding."""
        self._ahead_since_ms: int | None = None
        self._asked: dict[str, int] = {}
        """First height of a request that is not answered yet."""
        self._asked_until_ms = 0
        self._retry_ms: dict[str, int] = {}
        """Not to be asked before this time."""
        self._source: str | None = None
        """Who sent the newest useful answer."""
        self._body_asked_ms: int | None = None
        self._body_turn = 0
        self._heads: dict[str, tuple[int, int]] = {}
        """Head that a member's newest STATUS shows, and when it came."""
        self._answered_ms: dict[str, int] = {}
        self._served_ms: dict[str, int] = {}

    def opened(self) -> None:
        """Forget what belongs to the last height: a new one has begun."""
        self._ahead_since_ms = self._body_asked_ms = None
        self._answered_ms.clear()
        self._served_ms.clear()

    def claim(self, member: str, height: int) -> None:
        """Note which height a member seems to be deciding."""
        self._claims[member] = height

    def heard_head(self, member: str, height: int, now: Now) -> None:
        """Note the head in a member's STATUS."""
        self._heads[member] = height, now.monotonic_ms

    def gone(self, member: str) -> None:
        """Forget what a member said of itself: its connection has ended."""
        self._heads.pop(member, None)
        self._claims.pop(member, None)

    def is_behind(self, state: HeightState, now: Now) -> bool:
        """Tell whether this height is final elsewhere: a certificate waits here, or f+1 fresh STATUS say so.

        What f liars and the dead say silences nobody: a STATUS counts for three intervals.
        """
        since_ms = now.monotonic_ms - _FRESH_INTERVALS * self._settings.status_interval_ms
        fresh = [
            member
            for member, (height, at_ms) in self._heads.items()
            if height >= state.rules.height and at_ms >= since_ms and state.rules.validators.find(member) is not None
        ]
        return bool(self._waiting) or len(fresh) > faults(len(state.rules.validators))

    # ---- telling others -----------------------------------------------------------------------

    def answer(self, sender: str, status: Status, state: HeightState, now: Now) -> list[Effect]:
        """Send a replica of the same height what it lacks, at most twice per status interval.

        This is also how own messages are sent again until the height ends: every replica says every second where it
        stands. Proposal, view changes and the votes of a certificate go out whoever signed them.
        """
        if not _is_due(self._answered_ms, sender, now, self._settings.status_interval_ms // 2):
            return []
        messages: list[Message] = []
        if status.view < state.view:
            messages += state.view_changes.all()
        elif Step.VIEW_CHANGE in state.own:
            messages.append(state.own[Step.VIEW_CHANGE])
        is_behind = status.view < state.view or (status.view == state.view and status.phase == "new")
        if is_behind and state.proposal is not None:
            messages.append(state.proposal)
        messages += [state.own[step] for step in (Step.PREPARE, Step.COMMIT) if step in state.own]
        prepared = state.prepared
        lacks = is_behind or (status.view == state.view and status.phase == "proposed")
        if lacks and prepared is not None and prepared.view == state.view:
            known = (self._settings.member, sender)
            messages += [vote for vote in votes_of(prepared) if vote.member not in known]
        return [Send(sender, message) for message in messages]

    def serve_body(self, sender: str, digest: Digest, state: HeightState, now: Now) -> list[Effect]:
        """Send a block of this height to who asks for it, so often as an honest replica may ask."""
        body = state.bodies.get(digest)
        if body is None or not _is_due(self._served_ms, sender, now, self._settings.pull_after_ms // 2):
            return []
        return [Send(sender, Body(body))]

    # ---- asking others ------------------------------------------------------------------------

    def pull(self, state: HeightState, now: Now) -> list[Effect]:
        """Ask one of those who are ahead for committed blocks, when they stay ahead."""
        ahead = [member for member, height in self._claims.items() if height > state.rules.height]
        if not ahead:
            self._ahead_since_ms = None
            return []
        if self._ahead_since_ms is None and self._source not in ahead:
            self._ahead_since_ms = now.monotonic_ms
            return [Wake(now.monotonic_ms + self._settings.pull_after_ms)]
        since_ms = now.monotonic_ms - (self._ahead_since_ms or 0)
        if self._source not in ahead and since_ms < self._settings.pull_after_ms:
            return []
        ready = [member for member in ahead if self._retry_ms.get(member, 0) <= now.monotonic_ms]
        if self._waiting or now.monotonic_ms < self._asked_until_ms or not ready:
            return []
        member = self._source if self._source in ready else min(ready, key=self._turn)
        assert member is not None
        interval_ms = self._settings.status_interval_ms
        self._asked[member] = state.rules.height
        self._asked_until_ms = now.monotonic_ms + interval_ms
        self._retry_ms[member] = now.monotonic_ms + interval_ms * len(state.rules.validators)
        self._source = None
        return [Send(member, GetBlocks(state.rules.height))]

    def ask_body(self, digest: Digest, signers: Sequence[str], state: HeightState, now: Now) -> list[Effect]:
        """Ask those who signed for a block for it, one after the other."""
        state.wanted.add(digest)
        others = [member for member in signers if member != self._settings.member]
        due_ms = 0 if self._body_asked_ms is None else self._body_asked_ms + self._settings.pull_after_ms
        if not others or now.monotonic_ms < due_ms:
            return []
        self._body_asked_ms = now.monotonic_ms
        self._body_turn += 1
        return [
            Send(others[self._body_turn % len(others)], GetBody(digest)),
            Wake(now.monotonic_ms + self._settings.pull_after_ms),
        ]

    def take(self, sender: str, message: Blocks, state: HeightState) -> None:
        """Let the useful blocks of an answer wait; what nobody asked for is dropped."""
        first = self._asked.pop(sender, None)
        if first is None:
            return
        self._asked_until_ms = 0
        if any(block.header.height == first for block, _ in message.blocks):
            self._retry_ms.pop(sender, None)
            self._source = sender
        useful = [pair for pair in message.blocks if pair[0].header.height >= state.rules.height]
        self._waiting = useful or self._waiting

    def next(self, state: HeightState) -> Apply | None:
        """Return the next waiting block that follows the head, to be applied."""
        rules = state.rules
        while self._waiting and not state.is_applying:
            block, certificate = self._waiting.pop(0)
            header = block.header
            due = (rules.height, rules.epoch, rules.head.digest)
            certified = (certificate.height, certificate.epoch, certificate.digest)
            if (header.height, header.epoch, header.parent) == due and certified == (*due[:2], header.digest()):
                state.is_applying = True
                return Apply(block, certificate)
        return None

    def _turn(self, member: str) -> tuple[int, str]:
        return self._retry_ms.get(member, 0), member


def _is_due(last_ms: dict[str, int], member: str, now: Now, interval_ms: int) -> bool:
    """Tell whether ``interval_ms`` has passed for a member, and if so start it anew."""
    if member in last_ms and now.monotonic_ms - last_ms[member] < interval_ms:
        return False
    last_ms[member] = now.monotonic_ms
    return True
