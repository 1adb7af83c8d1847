"""What an upgrade would make of the state, before anybody votes on it (docs/spec, clause GV-9)."""

from __future__ import annotations

from master.contracts.membership_decisions import NAMESPACE, Upgrade, write_code
from master.contracts.table import Software
from master.ledger.call import BlockCall
from master.ledger.code import activate, lacking
from master.ledger.preview import Buckets, preview
from master.ledger.refusals import CodeDueError
from master.ledger.state import Overlay
from master.ledger.tree import StateTree
from wire.types import Digest


def rehearse(
    software: Software, state: Overlay, time_ms: int, upgrade: Upgrade, tree: StateTree, reader: Buckets
) -> Digest:
    """Return the state root after the code table names the new versions and they have begun.

    Args:
        software: Must have the new versions.
        state: The state of the base block; takes the writes.
        time_ms: Of the base block.
        upgrade: What is proposed.
        tree: Of the state that lies below ``state``.
        reader: Its buckets.

    Raises:
        CodeDueError: The software lacks one of the versions, or has it with other code.
    """
    lack = software.lack(upgrade.code)
    if lack is not None:
        raise CodeDueError(lacking(upgrade.height, lack))
    write_code(BlockCall(NAMESPACE, state, upgrade.height, time_ms), upgrade)
    contracts = (software.contracts[entry.name, entry.version] for entry in upgrade.code)
    activate(contracts, state, upgrade.height, time_ms)
    _, update = preview(reader, tree, state.writes())
    return update.root
