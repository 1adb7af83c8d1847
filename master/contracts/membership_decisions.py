"""What accepted proposals change in the namespace of `membership`: parameters, and which code runs from which height.

State: "parameter/NAME" -> value; "code/NAME/VERSION" (2 bytes, big-endian) -> {digest, from_height}; 0 stands for what
the genesis file names. At every height the newest version that has begun runs (docs/spec, clauses GV-6 to GV-9).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from master.contracts.context import BlockContext, Context, Reads, Refused
from master.contracts.parameters import BLOCKS_AHEAD_MAX, INTEGERS, VERSIONS_AHEAD_MAX, check_parameters
from wire.cbor import Value
from wire.errors import FormatError
from wire.fields import Fields
from wire.genesis import CodeEntry
from wire.receipt import Event
from wire.types import Digest

NAMESPACE: Final = "membership"
PARAMETERS: Final = "parameters"
UPGRADE: Final = "upgrade"
CODE: Final = b"code/"
VALUES_MAX: Final = 16
"""Parameters that one proposal may set."""
CODE_MAX: Final = 32
"""Contract versions that one proposal may bring."""
VERSION_MAX: Final = 65_535
RESERVED: Final = ("blobs", "faults", "sequence")
"""Namespaces of the ledger itself."""


@dataclass(frozen=True, slots=True, order=True)
class Code:
    """One contract version that the ledger has run, runs or will run."""

    name: str
    version: int
    digest: Digest
    from_height: int
    """First block that it executes; 0 for what the genesis file names."""

    def entry(self) -> CodeEntry:
        """Return what the code table says of it."""
        return CodeEntry(self.name, self.version, self.digest)


@dataclass(frozen=True, slots=True)
class Upgrade:
    """The body of a proposal that brings contract versions."""

    code: tuple[CodeEntry, ...]
    height: int
    """First block that they execute."""
    base_height: int
    """Block on whose state the dry run was made; 0 when none was."""
    state_root: Digest | None
    """That the dry run came to."""


def code_entry(name: str, version: int) -> bytes:
    """Return the key of a contract version."""
    return CODE + name.encode("ascii") + b"/" + version.to_bytes(2, "big")


def code_value(digest: Digest, from_height: int) -> dict[str, Value]:
    """Return what the state holds of a contract version."""
    return {"digest": digest, "from_height": from_height}


def code_of(state: Reads) -> tuple[Code, ...]:
    """Return every contract version that the state names, sorted by name and version.

    Raises:
        FormatError: An entry holds something else.
    """
    return tuple(sorted(_codes(state.namespace(NAMESPACE).scan(CODE))))


def running(codes: Iterable[Code], height: int) -> tuple[Code, ...]:
    """Return the versions that execute block ``height``: of each contract the newest that has begun, sorted by name."""
    newest = {code.name: code for code in sorted(codes) if code.from_height <= height}
    return tuple(newest[name] for name in sorted(newest))


def check_values(_context: Context, body: Mapping[str, Value]) -> None:
    """Refuse values that parameters cannot have.

    Raises:
        Refused: bad-body; bad-value: a name is unknown, or its value out of range.
    """
    values = body.get("values")
    if sorted(body) != ["values"] or not isinstance(values, dict) or not 1 <= len(values) <= VALUES_MAX:
        raise Refused("bad-body")
    try:
        check_parameters(values)
    except FormatError:
        raise Refused("bad-value") from None


def check_upgrade(context: Context, body: Mapping[str, Value]) -> None:
    """Refuse contract versions that cannot begin at the height that is asked for.

    Raises:
        Refused: bad-body; reserved-name; old-version: the ledger knows one that is as new; too-soon: fewer than
            upgrade_blocks_min blocks lie before the height, or an older version begins no sooner; too-far: a height or
            version so far ahead that no other could come for long.
    """
    try:
        upgrade = decode_upgrade(dict(body))
    except FormatError:
        raise Refused("bad-body") from None
    known: dict[str, Code] = {code.name: code for code in code_of(context)}
    for entry in upgrade.code:
        if entry.name in RESERVED:
            raise Refused("reserved-name")
        before = known.get(entry.name)
        if before is not None and entry.version <= before.version:
            raise Refused("old-version")
        if before is not None and upgrade.height <= before.from_height:
            raise Refused("too-soon")
        if entry.version > (0 if before is None else before.version) + VERSIONS_AHEAD_MAX:
            raise Refused("too-far")
    if upgrade.height < context.height + _blocks_min(context):
        raise Refused("too-soon")
    if upgrade.height > context.height + BLOCKS_AHEAD_MAX:
        raise Refused("too-far")


def decode_upgrade(body: Value) -> Upgrade:
    """Return what a proposal's body asks for.

    Args:
        body: ``code``, 1 to 32 of {name, version, digest}, sorted by name, each name once; ``height``;
            ``base_height`` and ``state_root``, 0 and null without a dry run.

    Raises:
        FormatError: It has another form.
    """
    fields = Fields(body, ("code", "height", "base_height", "state_root"), "upgrade")
    rows = [Fields(row, ("name", "version", "digest"), "upgrade.code") for row in fields.sequence("code", CODE_MAX)]
    code = tuple(
        CodeEntry(row.identifier("name"), row.integer("version", 1, VERSION_MAX), row.digest("digest")) for row in rows
    )
    names = [entry.name for entry in code]
    if not names or names != sorted(set(names)):
        raise FormatError("upgrade.code: 1 to 32 entries, sorted by name, each name once")
    height, base_height = fields.integer("height", 1), fields.integer("base_height")
    state_root = None if fields.raw("state_root") is None else fields.digest("state_root")
    if (base_height == 0) != (state_root is None) or base_height >= height:
        raise FormatError("upgrade: base_height and state_root belong together and lie below height")
    return Upgrade(code, height, base_height, state_root)


def encode_upgrade(upgrade: Upgrade) -> dict[str, Value]:
    """Return the body of a proposal."""
    return {
        "code": [{"name": entry.name, "version": entry.version, "digest": entry.digest} for entry in upgrade.code],
        "height": upgrade.height,
        "base_height": upgrade.base_height,
        "state_root": upgrade.state_root,
    }


def write_code(context: BlockContext, upgrade: Upgrade) -> None:
    """Write the versions into the code table; they run from their height on."""
    for entry in upgrade.code:
        context.put(code_entry(entry.name, entry.version), code_value(entry.digest, upgrade.height))


def on_accepted(context: Context, event: Event) -> None:
    """Do what an accepted proposal says; it was checked in the same call."""
    body = event.data["body"]
    assert isinstance(body, dict)
    if event.data["kind"] == PARAMETERS:
        values = body["values"]
        assert isinstance(values, dict)
        for name, value in values.items():
            context.put(b"parameter/" + name.encode("ascii"), value)
    elif event.data["kind"] == UPGRADE:
        write_code(context, decode_upgrade(body))


def _codes(entries: Iterator[tuple[bytes, Value]]) -> Iterator[Code]:
    for key, value in entries:
        fields = Fields(value, ("digest", "from_height"), "membership.code")
        name, version = key[len(CODE) : -3].decode("ascii"), int.from_bytes(key[-2:], "big")
        yield Code(name, version, fields.digest("digest"), fields.integer("from_height"))


def _blocks_min(state: Reads) -> int:
    value = state.namespace(NAMESPACE).get(b"parameter/upgrade_blocks_min")
    return value if isinstance(value, int) else INTEGERS["upgrade_blocks_min"].default
