"""A cluster whose validators change while it runs (faults F35 to F37)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from master.consensus.events import Flawed
from master.consensus.message_checks import FlawedProposalError, UnknownEpochError, known_part, verify_by_epoch
from master.consensus.message_codec import decode_message
from master.consensus.messages import Blocks, Message
from master.consensus.state import Settings
from tests.simulation.cluster import Cluster
from tests.simulation.disk import Disk
from tests.simulation.governor import GENERATIONS, GHOST, JOINER, Governor
from tests.simulation.judge import demand
from tests.simulation.node import Node
from tests.simulation.plan import Plan
from tests.simulation.toy import CHAIN, Ledger
from wire.errors import WireError

_GOVERN_MS = 250


class ChangingCluster(Cluster):
    """The validators of the genesis file, a node that may join, and an organisation whose node never comes."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self._judge.admit(JOINER)
        self.add_node(JOINER, JOINER)
        self._honest = sorted([*self._honest, JOINER])
        self._members = sorted([*self._members, JOINER])
        self._governor = Governor(
            plan.members, self._keys, self.nodes, self._rng, lambda: self._agenda.now_ms, self._judge.count
        )

    def _new_ledger(self, member: str) -> Ledger:
        del member
        return Ledger(self._keys.validators, (JOINER, GHOST))

    def _replayed(self) -> Ledger:
        return self._new_ledger("")

    def _seat(self, settings: Settings, disk: Disk) -> tuple[Settings, Callable[[bytes], bytes]]:
        keys, member = self._keys, settings.member
        first = keys.public(member)

        def sign(message: bytes) -> bytes:
            own = _toy(disk).validators.find(member)
            return keys.sign(first if own is None else own.vote_key, message)

        publics = tuple(keys.public(member, generation) for generation in range(GENERATIONS))
        return replace(settings, vote_keys=publics), sign

    def _heard(self, node: Node, raw: bytes, *, is_lie: bool) -> Message | Flawed | None:
        """Verify with what the node's own ledger says of epochs, as the engine does."""
        sets = _toy(node.disk).set_of
        try:
            message = decode_message(raw)
            if isinstance(message, Blocks):
                message = known_part(message, sets)
            verify_by_epoch(message, CHAIN, sets, self._keys.verify)
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
        for raw in self._governor.act():
            self._given.append(raw)
            for node in self.nodes.values():
                node.take_transaction(raw)


def _toy(disk: Disk) -> Ledger:
    assert isinstance(disk.ledger, Ledger), "validators change in the toy ledger alone"
    return disk.ledger
