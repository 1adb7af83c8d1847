"""Catching up: asking for committed blocks and bodies, and telling others what they lack."""

from __future__ import annotations

from collections.abc import Iterable

from master.consensus.events import Apply, Effect, Now, Send, Wake
from master.consensus.messages import Blocks, GetBlocks, GetBody, Status
from master.consensus.state import HeightState, Settings
from wire.block import Block
from wire.certificate import Certificate, Step
from wire.types import Digest


class Sync:
    """The blocks that wait to be applied, and when whom was asked or answered."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._waiting: list[tuple[Block, Certificate]] = []
        self._asked_until_ms = 0
        self._answered_ms: dict[str, int] = {}

    @property
    def is_waiting(self) -> bool:
        """Tell whether certified blocks wait to be applied."""
        return bool(self._waiting)

    def opened(self) -> None:
        """Forget whom was answered: a new height has begun."""
        self._answered_ms.clear()

    def answer(self, sender: str, status: Status, state: HeightState, now: Now) -> list[Effect]:
        """Send a replica of the same height what it lacks, at most twice per status interval."""
        last_ms = self._answered_ms.get(sender)
        too_soon_ms = self._settings.status_interval_ms // 2
        if last_ms is not None and now.monotonic_ms - last_ms < too_soon_ms:
            return []
        self._answered_ms[sender] = now.monotonic_ms
        effects: list[Effect] = []
        if status.view < state.view:
            effects += [Send(sender, entry) for entry in state.view_changes.all()]
        elif Step.VIEW_CHANGE in state.own:
            effects.append(Send(sender, state.own[Step.VIEW_CHANGE]))
        behind = status.view < state.view or (status.view == state.view and status.phase == "new")
        if state.proposal is not None and behind:
            effects.append(Send(sender, state.proposal))
        effects += [Send(sender, state.own[step]) for step in (Step.PREPARE, Step.COMMIT) if step in state.own]
        return effects

    def ask_blocks(self, member: str, state: HeightState, now: Now) -> list[Effect]:
        """Ask one member for committed blocks; one request at a time."""
        if now.monotonic_ms < self._asked_until_ms or state.is_applying or self._waiting:
            return []
        self._asked_until_ms = now.monotonic_ms + self._settings.status_interval_ms
        return [Send(member, GetBlocks(state.rules.height))]

    def ask_body(self, digest: Digest, holders: Iterable[str], now: Now) -> list[Effect]:
        """Ask those who must hold a block for it."""
        others = [member for member in holders if member != self._settings.member]
        if now.monotonic_ms < self._asked_until_ms or not others:
            return []
        self._asked_until_ms = now.monotonic_ms + self._settings.pull_after_ms
        return [
            *(Send(member, GetBody(digest)) for member in others),
            Wake(self._asked_until_ms),
        ]

    def take(self, message: Blocks, state: HeightState) -> None:
        """Let the useful blocks of an answer wait."""
        self._asked_until_ms = 0
        self._waiting = [
            (block, certificate) for block, certificate in message.blocks if block.header.height >= state.rules.height
        ]

    def next(self, state: HeightState) -> list[Effect]:
        """Apply the next waiting block that follows the head."""
        while self._waiting and not state.is_applying:
            block, certificate = self._waiting.pop(0)
            header = block.header
            follows = (state.rules.height, state.rules.head.digest)
            certified = (certificate.height, certificate.digest) == (
                header.height,
                header.digest(),
            )
            if certified and (header.height, header.parent) == follows:
                state.is_applying = True
                return [Apply(block, certificate)]
        return []
