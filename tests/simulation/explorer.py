"""Every schedule of one height within bounds: ``python -m tests.simulation.explorer [--rounds N] [--cuts N]``.

Four validators, one of which is a pair of twins that lead view 0 with two values. Messages go in rounds; in each round
the five endpoints fall into two groups in every possible way, and what was said in the round before arrives within a
group and is lost between groups; or only some endpoints hear what was said, in every possible way.
After the third round all timers run out once, so that view 1 follows. The core is the
real one; nothing is drawn.

What is left out, and why nothing is lost by it: deliveries to different validators commute, so one order of them stands
for all (partial order reduction); of one validator's messages only two proposals for one view do not commute, and
where both arrive both orders are followed. Paths that lead to the same state are followed once, with the fewest cuts.

With one cut it sees a thousand states in seconds, with two 39,000 in about four minutes; three would take hours. From
view 2 on nothing is seen at all: that is for the simulator and for tests/model.

Source: the partitions of the Twins paper (Bano et al. 2020), explored breadth first instead of at random.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

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
    Head,
    Now,
    Received,
    Send,
    Tick,
)
from master.consensus.guard import SignerGuard
from master.consensus.message_codec import encode_message
from master.consensus.messages import GetStanding, Message, Propose, Status
from master.consensus.replica import Replica
from master.consensus.state import Settings
from tests.simulation.__main__ import say
from tests.simulation.judge import demand
from tests.simulation.keys import KeyRing
from tests.simulation.toy import CHAIN, EPOCH, GENESIS, Ledger
from wire.types import Digest, sha256

ENDPOINTS: Final = ("node-0+", "node-0", "node-1", "node-2", "node-3")
"""The first two are the twins."""
TIMEOUT_AFTER: Final = 3
ROUNDS: Final = 7
CUTS: Final = 2
_GROUPS: Final = 1 << (len(ENDPOINTS) - 1)
"""Ways to fall into two groups; 0 is all together."""
CHOICES: Final = _GROUPS + (1 << len(ENDPOINTS)) - 1
"""And ways in which not everybody hears."""
_T0_MS: Final = 1_000
_KEYS: Final = KeyRing(4, is_keyed=True)


class Path:
    """One run along a path of choices."""

    def __init__(self) -> None:
        self._now_ms = 10_000
        self._ledgers = {endpoint: Ledger(_KEYS.validators) for endpoint in ENDPOINTS}
        self._replicas = {endpoint: self._start(endpoint) for endpoint in ENDPOINTS}
        self._said: list[tuple[str, str | None, Message]] = []
        self.final: dict[str, Digest] = {}
        self.proposers: set[str] = set()
        """Of the blocks that were decided."""
        self._now_ms += _T0_MS
        self._tick()

    def _start(self, endpoint: str) -> Replica:
        member = endpoint.rstrip("+")
        times: dict[str, Any] = {"timeout_ms": _T0_MS, "timeout_max_ms": _T0_MS, "heartbeat_ms": 10**9}
        settings = Settings(member, CHAIN, EPOCH, _KEYS.validators, **times)
        sign = _KEYS.signer(member)
        return Replica(settings, GENESIS, sign, self._now(), guard=SignerGuard(), nonce=sha256(member.encode()))

    def _now(self) -> Now:
        return Now(GENESIS.time_ms + 10_000, self._now_ms)

    def _tick(self) -> None:
        for endpoint in ENDPOINTS:
            self._step(endpoint, Tick(pending=True))

    def expire(self) -> None:
        """Let every timer run out."""
        self._now_ms += 2 * _T0_MS
        self._tick()

    @property
    def orders(self) -> int:
        """In how many orders what was said last can make a difference."""
        proposals = {(said.view, said.signature) for _, _, said in self._said if isinstance(said, Propose)}
        views = [view for view, _ in proposals]
        return 2 if len(views) > len(set(views)) else 1

    def play(self, choice: int, *, receivers: Sequence[str] = ENDPOINTS) -> None:
        """Deliver what was said to whom a choice lets hear it, from the last to the first above `CHOICES`."""
        said, self._said = self._said, []
        order, choice = divmod(choice, CHOICES)
        if order:
            said.reverse()
        bits = choice if choice < _GROUPS else choice - _GROUPS
        side = {endpoint: bits >> place & 1 for place, endpoint in enumerate(ENDPOINTS)}
        for sender, member, message in said:
            for receiver in receivers:
                is_meant = member in (None, receiver.rstrip("+")) and receiver != sender
                is_heard = side[sender] == side[receiver] if choice < _GROUPS else side[receiver]
                if is_meant and is_heard:
                    self._step(receiver, Received(sender.rstrip("+"), message))

    def _step(self, endpoint: str, event: Event) -> None:
        replica = self._replicas[endpoint]
        if replica.head.height == 0:
            self._perform(endpoint, replica.step(event, self._now()))

    def _perform(self, endpoint: str, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Broadcast() | Send() if not isinstance(effect.message, Status | GetStanding):
                    self._said.append((endpoint, getattr(effect, "member", None), effect.message))
                case Execute():
                    self._step(endpoint, Executed(effect.block.header.digest(), accepted=True))
                case Build():
                    self._build(endpoint, effect)
                case Apply():
                    self._apply(endpoint, effect)
                case _:
                    pass

    def _build(self, endpoint: str, build: Build) -> None:
        block = self._ledgers[endpoint].block_of((endpoint.encode(),), endpoint.rstrip("+"), build.time_ms_min + 10_000)
        self._step(endpoint, Built(build.height, build.view, block))

    def _apply(self, endpoint: str, effect: Apply) -> None:
        self.final[endpoint] = effect.block.header.digest()
        demand(len(set(self.final.values())) == 1, f"fork between {sorted(self.final)}")
        header = effect.block.header
        self.proposers.add(header.proposer)
        self._step(endpoint, Applied(Head(1, header.digest(), header.time_ms, header.proposer)))

    def state(self) -> bytes:
        """Return a digest of all that decides what can still happen."""
        parts: list[str] = [repr(sorted(self.final.items()))]
        for endpoint in ENDPOINTS:
            state = self._replicas[endpoint]._height
            votes = sorted((vote.step, vote.member, vote.view, vote.digest) for vote in state.votes.all())
            changes = [(entry.member, entry.view, entry.digest()) for entry in state.view_changes.all()]
            proposal = None if state.proposal is None else state.proposal.signature
            prepared = None if state.prepared is None else (state.prepared.view, state.prepared.digest)
            bodies = sorted(state.bodies)
            parts.append(repr((state.view, votes, changes, proposal, prepared, bodies, sorted(state.signed))))
        parts.append(repr(sorted((sender, member or "", encode_message(said)) for sender, member, said in self._said)))
        return sha256("|".join(parts).encode())


@dataclass(frozen=True, slots=True)
class Reached:
    """A state, by one path that leads to it."""

    path: tuple[int, ...]
    spent: int
    """Cuts on the path."""
    orders: int


def walk(path: tuple[int, ...]) -> Path:
    """Run along a path from the start."""
    run = Path()
    for place, choice in enumerate(path):
        if place == TIMEOUT_AFTER:
            run.expire()
        run.play(choice)
    return run


def explore(rounds: int = ROUNDS, cuts: int = CUTS) -> Iterator[tuple[int, int, int]]:
    """Yield (round, paths tried, states seen in it); raises BrokenError where two endpoints disagree.

    Args:
        rounds: How many rounds of messages.
        cuts: In how many of them messages may be lost.
    """
    frontier = [Reached((), 0, Path().orders)]
    for number in range(1, rounds + 1):
        found: dict[bytes, Reached] = {}
        tried = 0
        for place in frontier:
            for choice in range(CHOICES if place.spent < cuts else 1):
                for order in range(place.orders):
                    tried += 1
                    path, spent = (*place.path, choice + order * CHOICES), place.spent + bool(choice)
                    run = walk(path)
                    state = run.state()
                    # who has more cuts left can do all that the other one can
                    if state not in found or spent < found[state].spent:
                        found[state] = Reached(path, spent, run.orders)
        frontier = list(found.values())
        yield number, tried, len(frontier)


def main() -> int:
    """Explore and print bounds and counts."""
    parser = argparse.ArgumentParser(prog="explorer")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--cuts", type=int, default=CUTS, help="in how many rounds messages may be lost")
    arguments = parser.parse_args()
    say("4 validators, 1 of them twins, 1 height, views 0 and 1, 2 values in view 0")
    say("one order of deliveries to different validators, both orders of two proposals, each state once")
    say(f"{arguments.rounds} rounds, {CHOICES} ways to lose messages in each, in at most {arguments.cuts} of them")
    start_s = time.monotonic()
    states = 1
    for number, tried, seen in explore(arguments.rounds, arguments.cuts):
        states += seen
        say(f"round {number}: {tried} paths, {seen} states, {time.monotonic() - start_s:.0f} s")
    say(f"{states} states, no two validators disagree")
    return 0


if __name__ == "__main__":
    sys.exit(main())
