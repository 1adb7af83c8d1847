"""A cluster whose validators change while it runs (faults F35 to F37), over the toy ledger or the real application."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from master.consensus.events import Flawed
from master.consensus.message_checks import FlawedProposalError, UnknownEpochError, known_part, verify_by_epoch
from master.consensus.message_codec import decode_message
from master.consensus.messages import Blocks, Message
from master.consensus.state import Settings
from tests.simulation.cluster import Cluster
from tests.simulation.disk import Disk
from tests.simulation.governor import Governor
from tests.simulation.judge import demand
from tests.simulation.keys import GHOST, JOINER, RingKeys
from tests.simulation.node import Node
from tests.simulation.plan import Plan
from tests.simulation.real import AnyLedger, RealLedger
from tests.simulation.registry import call
from tests.simulation.toy import Ledger
from wire.cbor import Value
from wire.errors import WireError

_GOVERN_MS: Final = 250
_LEAST: Final = 3
_LEAST_WITH_EVIL: Final = 4
"""With fewer validators nobody may do what he likes."""


class ChangingCluster(Cluster):
    """The validators of the genesis file, a node that may join, and an organisation whose node never comes."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self._judge.admit(JOINER)
        self.add_node(JOINER, JOINER)
        self._honest = sorted([*self._honest, JOINER])
        self._healing = tuple(self._honest)
        self._members = sorted([*self._members, JOINER])
        self._calls = 0
        self._governor = Governor(
            plan.members,
            self._keys,
            self.nodes,
            self._rng,
            lambda: self._agenda.now_ms,
            self._judge.count,
            self._call,
            _LEAST_WITH_EVIL if plan.is_evil else _LEAST,
        )

    def _call(self, sender: str, method: str, args: dict[str, Value]) -> bytes:
        if self._genesis is not None:
            return self._callers.govern(sender, method, args)
        self._calls += 1
        return call(sender, method, args, self._calls)

    def _new_ledger(self, member: str) -> AnyLedger:
        if self._genesis is not None:
            return RealLedger(self._genesis, member)
        return Ledger(self._keys.validators, (JOINER, GHOST))

    def _replayed(self) -> AnyLedger:
        return self._new_ledger("")

    def _seat(self, settings: Settings, disk: Disk) -> tuple[Settings, Callable[[bytes], bytes]]:
        keys = RingKeys(self._keys, settings.member)
        disk.hold(keys)
        return replace(settings, vote_keys=keys.public), keys.sign

    def _heard(self, node: Node, raw: bytes, *, is_lie: bool) -> Message | Flawed | None:
        """Verify with what the node's own ledger says of epochs, as the engine does."""
        sets = node.disk.ledger.set_of
        try:
            message = decode_message(raw)
            if isinstance(message, Blocks):
                message = known_part(message, sets)
            verify_by_epoch(message, self._keys.chain, sets, self._keys.verify)
        except UnknownEpochError:
            self._judge.count("epoch not known yet")
            return None
        except FlawedProposalError as error:
            demand(is_lie, "an honest node's proposal was refused")
            return Flawed(error.proposal, str(error))
        except WireError:
            demand(is_lie, "an honest node's message was refused")
            return None
        return message

    def _begin(self) -> None:
        super()._begin()
        self._every(_GOVERN_MS, self._govern)

    def _govern(self) -> None:
        if self._network.is_healed:
            return
        calls = self._governor.act()
        if calls and self._plan.is_evil:
            self._judge.count("members beside an evil one")
        for raw in calls:
            self._given.append(raw)
            for node in self.nodes.values():
                node.take_transaction(raw)
