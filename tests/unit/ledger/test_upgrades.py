"""Which code executes which block: votes, activation, nodes that lack it, replay and the dry run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from master.contracts.membership_decisions import Upgrade, code_of, decode_upgrade, encode_upgrade, running
from master.contracts.parameters import BLOCKS_AHEAD_MAX
from master.contracts.table import CONTRACTS, Software, own_software, software_of
from master.ledger.call import StateReads
from master.ledger.refusals import BlockRefused, CodeDueError, TxRefused
from master.ledger.rehearsal import rehearse
from master.ledger.rows import Execution
from master.ledger.state import Overlay
from tests.unit.contracts.notary2 import COUNT, NOTARY_2
from tests.unit.contracts.test_governance import Assembly, codes
from tests.unit.ledger.worlds import Done, World, make_genesis
from wire import cbor
from wire.block import Block
from wire.cbor import Value
from wire.errors import FormatError
from wire.genesis import CodeEntry, code_table_hash
from wire.types import Digest

OWN = own_software()
TWO = software_of((*CONTRACTS.values(), NOTARY_2))
NOTARY_2_ENTRY = next(entry for entry in TWO.newest() if entry.name == "notary")
GENESIS = make_genesis({"upgrade_blocks_min": 2})
HEIGHT = 8
"""Where the test upgrade begins; the block that decides it is the fourth or fifth."""


def body(
    height: int = HEIGHT, *code: CodeEntry, base_height: int = 0, state_root: Digest | None = None
) -> dict[str, Value]:
    return encode_upgrade(Upgrade(code or (NOTARY_2_ENTRY,), height, base_height, state_root))


def noted(room: Assembly, key: str, version: int = 1, sender: str = "lab") -> Done:
    args: dict[str, Value] = {"key": key, "data": b"d"}
    return room.world.run(room.world.sign(sender, "notary", "put", args, version=version))[0]


def counted(room: Assembly) -> Value | None:
    raw = room.world.state.get("notary", COUNT)
    return None if raw is None else cbor.decode(raw)


def decided(software: Software | None = TWO) -> Assembly:
    """Return a ledger that has decided to run version 2 of the notary, up to the block before it begins."""
    room = Assembly(World(GENESIS, software))
    noted(room, "before")
    made = room.accept("upgrade", body())
    assert made.event_types[-1] == "proposal_accepted"
    room.pass_blocks(HEIGHT - 1 - room.world.head.height)
    return room


# holds GV-7
def test_upgrade_begins_at_its_height_and_takes_over_what_was_there() -> None:
    room = decided()
    world = room.world
    (coming,) = (code for code in code_of(room.state) if code.from_height)
    assert (coming.name, coming.version, coming.from_height) == ("notary", 2, HEIGHT)
    execution, _ = world.propose()
    assert execution.block.header.height == HEIGHT
    expected = [NOTARY_2_ENTRY if entry.name == "notary" else entry for entry in world.genesis.code_table]
    assert execution.block.header.code_table_hash == code_table_hash(expected)
    assert world.genesis.code_table_hash() != code_table_hash(expected)
    world.commit(execution)
    assert counted(room) == 1
    old, new = noted(room, "old"), noted(room, "new", version=2)
    assert [old.event_types, new.event_types] == [["noted"], ["noted"]], "both by version 2, which speaks version 1"
    assert counted(room) == 3
    with pytest.raises(TxRefused, match="unknown-contract"):
        world.application.check(world.sign("lab", "notary", "put", {}, version=3), world.head.time_ms)


# holds GV-7
def test_before_its_height_an_upgrade_changes_nothing_but_the_table() -> None:
    room = decided()
    assert room.world.head.height == HEIGHT - 1
    assert counted(room) is None
    room = Assembly(World(GENESIS, TWO))
    room.accept("upgrade", body())
    assert noted(room, "k").event_types == []
    assert [code.version for code in room.world.application.coming_code()] == [2]
    signed = room.world.sign("lab", "notary", "put", {"key": "k", "data": b"d"}, version=2)
    with pytest.raises(TxRefused, match="unknown-contract"):
        room.world.application.check(signed, room.world.head.time_ms)


# holds GV-8
def test_software_without_the_version_executes_all_up_to_it_and_not_one_block_more() -> None:
    room, upgraded = decided(None), decided()
    assert room.world.head.digest == upgraded.world.head.digest
    application = room.world.application
    with pytest.raises(
        CodeDueError, match="block 8 is executed by contract notary version 2, which this software"
    ) as due:
        application.check_code()
    assert "install the release that has it" in str(due.value)
    with pytest.raises(CodeDueError):
        room.world.propose()
    execution, _ = upgraded.world.propose()
    with pytest.raises(CodeDueError):
        application.process(room.world.head, execution.block)
    with pytest.raises(CodeDueError):
        room.world.restart(None)
    room.world.restart(TWO)
    assert room.world.application.process(room.world.head, execution.block).writes == execution.writes
    room.world.commit(execution)
    assert counted(room) == 1


# holds GV-8
def test_software_with_other_code_of_the_version_stops_before_it_too() -> None:
    key = ("notary", 2)
    other = replace(TWO, digests={**TWO.digests, key: bytes(32)})
    room = decided(other)
    with pytest.raises(
        CodeDueError, match=r"notary version 2 with the code .*, which this software has with the code 00000000"
    ):
        room.world.application.check_code()


# holds GV-8
def test_old_blocks_are_executed_anew_by_the_versions_of_their_heights(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks: list[Block] = []
    commit = World.commit

    def keep(world: World, execution: Execution) -> None:
        blocks.append(execution.block)
        commit(world, execution)

    with monkeypatch.context() as patch:
        patch.setattr(World, "commit", keep)
        room = decided()
        noted(room, "after")
        noted(room, "later")
    again = Assembly(World(GENESIS, TWO))
    for block in blocks:
        commit(again.world, again.world.application.process(again.world.head, block))
    assert again.world.head.digest == room.world.head.digest
    assert again.world.state.entries == room.world.state.entries
    assert counted(again) == 3


# holds GV-7
def test_block_that_names_another_code_table_than_its_height_has_is_refused() -> None:
    room = decided()
    execution, _ = room.world.propose()
    header = replace(execution.block.header, code_table_hash=room.world.genesis.code_table_hash())
    with pytest.raises(BlockRefused, match="code-table"):
        room.world.application.process(room.world.head, replace(execution.block, header=header))


# holds GV-7
def test_upgrade_may_be_as_near_and_as_far_ahead_as_is_allowed() -> None:
    for height in (3, 1 + BLOCKS_AHEAD_MAX):
        assert Assembly(World(GENESIS)).propose("upgrade", body(height)).code == "ok"
    assert Assembly(World(GENESIS)).propose("upgrade", body(HEIGHT, replace(NOTARY_2_ENTRY, version=17))).code == "ok"


# holds GV-7
@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        (body(2), "too-soon"),
        (body(2 + BLOCKS_AHEAD_MAX), "too-far"),
        (body(2**63 - 1), "too-far"),
        (body(HEIGHT, replace(NOTARY_2_ENTRY, version=18)), "too-far"),
        (body(HEIGHT, replace(NOTARY_2_ENTRY, name="new-one", version=17)), "too-far"),
        (body(HEIGHT, replace(NOTARY_2_ENTRY, version=1)), "old-version"),
        (body(HEIGHT, replace(NOTARY_2_ENTRY, name="sequence")), "reserved-name"),
        (body(HEIGHT, NOTARY_2_ENTRY, NOTARY_2_ENTRY), "bad-body"),
        (body(HEIGHT, base_height=HEIGHT, state_root=bytes(32)), "bad-body"),
        (body(HEIGHT, base_height=1), "bad-body"),
        ({**body(), "code": []}, "bad-body"),
        ({**body(), "state_root": b"short"}, "bad-body"),
        ({"code": []}, "bad-body"),
    ],
)
def test_upgrade_that_cannot_be_is_refused_when_it_is_proposed(wanted: dict[str, Value], code: str) -> None:
    assert Assembly(World(GENESIS)).propose("upgrade", wanted).code == code


# holds GV-3 GV-7
def test_upgrade_that_is_decided_too_late_or_was_overtaken_never_begins() -> None:
    room = Assembly(World(GENESIS, TWO))
    late, slow = (room.propose("upgrade", body(height)) for height in (HEIGHT, 20))
    room.vote(late, "regulator", "lab")
    room.pass_blocks(2)
    last = room.vote(late, "lab-b")[0]
    assert last.events("proposal_closed") == [{"proposal": late.tx.id, "reason": "too-soon"}]
    assert not room.world.application.coming_code()
    room.accept("upgrade", body(18))
    room.vote(slow, "regulator", "lab", "lab-b")
    assert room.status(slow) == "old-version"
    higher = replace(NOTARY_2_ENTRY, version=3)
    assert room.propose("upgrade", body(18, higher)).code == "too-soon", "version 2 begins no sooner"
    assert room.propose("upgrade", body(19, higher)).code == "ok"


def test_upgrade_may_bring_a_contract_that_the_ledger_did_not_have() -> None:
    genesis = replace(GENESIS, code_table=tuple(entry for entry in GENESIS.code_table if entry.name != "notary"))
    room = Assembly(World(genesis))
    with pytest.raises(TxRefused, match="unknown-contract"):
        room.world.application.check(room.world.sign("lab", "notary", "put", {}), room.world.head.time_ms)
    (entry,) = (entry for entry in OWN.newest() if entry.name == "notary")
    assert codes([room.accept("upgrade", body(HEIGHT, entry))]) == ["ok"]
    room.pass_blocks(HEIGHT - 1 - room.world.head.height)
    assert noted(room, "k").code == "ok"


def test_code_of_a_height_is_the_newest_that_has_begun() -> None:
    room = decided()
    table = code_of(room.state)
    versions = {
        height: [code.version for code in running(table, height) if code.name == "notary"] for height in (1, 7, 8)
    }
    assert versions == {1: [1], 7: [1], 8: [2]}
    assert decode_upgrade(body(base_height=3, state_root=bytes(32))).state_root == bytes(32)
    with pytest.raises(FormatError):
        decode_upgrade([])


# holds GV-9
def test_dry_run_gives_the_root_that_the_upgrade_makes_of_the_same_state() -> None:
    room = Assembly(World(GENESIS, TWO))
    noted(room, "before")
    world = room.world

    def root(software: Software, upgrade: Upgrade) -> Digest:
        return rehearse(software, Overlay(world.state), world.head.time_ms, upgrade, world.tree, world.state)

    upgrade = decode_upgrade(body())
    found = root(TWO, upgrade)
    assert found not in (world.head.state_root, root(TWO, replace(upgrade, height=HEIGHT + 1)))
    state = Overlay(world.state)
    rehearse(TWO, state, world.head.time_ms, upgrade, world.tree, world.state)
    assert StateReads(state).namespace("notary").get(COUNT) == 1
    assert {write.namespace for write in state.writes()} == {"membership", "notary"}
    assert world.tree.root == world.head.state_root, "nothing is kept"
    with pytest.raises(CodeDueError, match="notary version 2"):
        root(OWN, upgrade)
    assert root(TWO, upgrade) == found
