"""Calls of the contract orders, for tests: a consortium with a release and a planned one."""

from __future__ import annotations

from typing import Final

from tests.unit.contracts.reports import entry, evidence, item, make_effective, release, send, submit
from tests.unit.ledger.worlds import Done, World
from wire.cbor import Value
from wire.evidence import Clock, Entry, Item
from wire.types import Digest, sha256

MINUTE_MS: Final = 60_000
PLANNED_FIRMWARE: Final = b"firmware 2"
PLANNED: Final = release("r-2", firmware=PLANNED_FIRMWARE)
NONCE: Final = sha256(b"nonce")


class Desk:
    """A ledger where the model's release r-1 is effective and r-2 is submitted, and dev-1 was read."""

    def __init__(self, world: World | None = None) -> None:
        self.world = world or World()
        make_effective(self.world, release())
        assert submit(self.world, PLANNED).code == "ok"
        self.seq = 0

    @property
    def now_ms(self) -> int:
        """Block time of the next block."""
        return self.world.head.time_ms + 1000 + self.world.wait_ms

    def wait(self, milliseconds: int) -> None:
        """Let the next block come so long after the newest."""
        self.world.wait_ms = milliseconds - 1000

    def call(self, sender: str, method: str, **args: Value) -> Done:
        return self.world.call(sender, "orders", method, args)

    def open(self, sender: str = "grid", /, **changes: Value) -> Done:
        """Ask for a work order of ten minutes from now on."""
        now_ms = self.now_ms
        args: dict[str, Value] = {
            "device": "dev-1",
            "release": PLANNED.digest(),
            "from_ms": now_ms,
            "to_ms": now_ms + 10 * MINUTE_MS,
            "approver": "dispatch",
            "reason": "update",
        }
        return self.call(sender, "open", **{**args, **changes})

    def approved(self, **changes: Value) -> Digest:
        """Return the id of an approved work order."""
        done = self.open(**changes)
        assert done.code == "ok"
        assert self.call("dispatch", "approve", order=done.tx.id).code == "ok"
        return done.tx.id

    def fill(self, order: Digest, sender: str = "grid", /, **changes: Value) -> Done:
        args: dict[str, Value] = {"device": "dev-1", "release": PLANNED.digest(), "order": order}
        return self.call(sender, "fill", **{**args, **changes})

    def inspect(self, sender: str = "regulator", /, **changes: Value) -> Done:
        args: dict[str, Value] = {
            "gateway": "gw-1",
            "devices": ["dev-1", "dev-2"],
            "nonce": NONCE,
            "deadline_ms": self.now_ms + MINUTE_MS,
        }
        return self.call(sender, "inspect", **{**args, **changes})

    def read(self, made: Item | None = None, device: str = "dev-1", nonce: bytes | None = None) -> Done:
        """Report that one device of gw-1 or gw-2 was read just now."""
        gateway = "gw-1" if device in ("dev-1", "dev-2") else "gw-2"
        now_ms = self.now_ms
        lines = entry(device, made or item(f"s-{device[-1]}"), read_from_ms=now_ms, read_to_ms=now_ms)
        return self.answer(lines, gateway=gateway, nonce=nonce)

    def answer(
        self,
        *lines: Entry,
        gateway: str = "gw-1",
        nonce: bytes | None = NONCE,
        height: int | None = None,
        clock: Clock | None = None,
    ) -> Done:
        """Send evidence, with a clock that is right and the newest block unless told otherwise."""
        self.seq += 1
        right, seen = Clock(self.now_ms, "system", None, "unknown"), self.world.head.height
        made = evidence(
            *lines,
            gateway=gateway,
            pair=(1, self.seq),
            height=seen if height is None else height,
            nonce=nonce,
            clock=clock or right,
        )
        return send(self.world, made)
