"""How much one side of a connection may do: token buckets and the bounds of the peer port (docs/spec TP-1 to TP-9)."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

_ADDRESSES_MAX: Final = 1024


@dataclass(frozen=True, slots=True)
class PeerLimits:
    """Bounds of what others may do at the peer port; far above what a correct validator needs."""

    handshakes_max: int = 128
    """Connections that are not authenticated yet; the oldest of them gives way to a new one."""
    handshakes_per_address_max: int = 32
    handshakes_per_s: int = 20
    """Of one address."""
    handshakes_burst: int = 64
    handshake_s: float = 3.0
    """Time for the whole handshake."""
    connections_per_member_max: int = 2
    """Authenticated connections; the oldest gives way, since a member that was cut off dials anew."""
    silence_s: float = 15.0
    """A peer sends its status every second; one that says nothing, or reads nothing, for so long is cut off."""
    frame_s: float = 60.0
    """Time for one whole frame to arrive."""
    messages_per_s: int = 2_000
    messages_burst: int = 8_000
    bytes_per_s: int = 32 * 1024 * 1024
    bytes_burst: int = 64 * 1024 * 1024
    refused_cost: int = 100
    """As so many messages counts one that was refused: it cost work and brought nothing."""


class TokenBucket:
    """Fills steadily, holds at most ``burst``; whoever takes more goes into debt and has to wait."""

    __slots__ = ("_at_s", "_burst", "_rate_per_s", "_tokens")

    def __init__(self, rate_per_s: float, burst: float, now_s: float) -> None:
        """Begin with a full bucket.

        Args:
            rate_per_s: Tokens that flow in.
            burst: Tokens that it holds at most.
            now_s: A clock that never goes back.
        """
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._tokens = burst
        self._at_s = now_s

    def take(self, tokens: float, now_s: float) -> float:
        """Take tokens and return for how many seconds the taker must pause until there is no debt; 0 at best."""
        self._flow(now_s)
        self._tokens -= tokens
        return max(0.0, -self._tokens / self._rate_per_s)

    def try_take(self, tokens: float, now_s: float) -> bool:
        """Take tokens if so many are there, and tell."""
        self._flow(now_s)
        if self._tokens < tokens:
            return False
        self._tokens -= tokens
        return True

    def _flow(self, now_s: float) -> None:
        self._tokens = min(self._burst, self._tokens + (now_s - self._at_s) * self._rate_per_s)
        self._at_s = now_s


class Allowance:
    """What one member may send: messages and bytes."""

    def __init__(self, limits: PeerLimits, now_s: float) -> None:
        """Begin with full buckets."""
        self._refused_cost = limits.refused_cost
        self._messages = TokenBucket(limits.messages_per_s, limits.messages_burst, now_s)
        self._bytes = TokenBucket(limits.bytes_per_s, limits.bytes_burst, now_s)

    def pause_s(self, size_bytes: int, now_s: float, cost: int) -> float:
        """Count one message and return for how long nothing more is to be read from its sender.

        Args:
            size_bytes: Its length.
            now_s: A clock that never goes back.
            cost: As so many short messages; 0 for one that was refused.
        """
        cost = cost or self._refused_cost
        return max(self._messages.take(cost, now_s), self._bytes.take(size_bytes, now_s))


class AddressBook:
    """A bucket for every address or topic; the one that was not heard of for longest is forgotten first."""

    def __init__(self, rate_per_s: float, burst: float) -> None:
        """Begin empty."""
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def admits(self, address: str, now_s: float) -> bool:
        """Tell whether the address may try once more now."""
        bucket = self._buckets.pop(address, None) or TokenBucket(self._rate_per_s, self._burst, now_s)
        self._buckets[address] = bucket
        if len(self._buckets) > _ADDRESSES_MAX:
            self._buckets.popitem(last=False)
        return bucket.try_take(1, now_s)
