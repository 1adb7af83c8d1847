"""Version 2 of the contract `notary`, for tests of upgrades alone: it notes who signed, and counts what is noted."""

from __future__ import annotations

from typing import Final

from master.contracts.context import OK, BlockContext, Context, Contract
from master.contracts.notary import NAME
from master.contracts.notary import put as put_1
from wire.cbor import Value

COUNT: Final = b"count"
"""No key of version 1: those hold a slash."""


def begin(ctx: BlockContext) -> None:
    """Count what version 1 has noted."""
    noted = [key for key, _ in ctx.scan(b"") if b"/" in key]
    ctx.put(COUNT, len(noted))


def put(ctx: Context, args: dict[str, Value]) -> str:
    """Note data as version 1 does, and count it."""
    code = put_1(ctx, args)
    if code == OK:
        count = ctx.get(COUNT)
        ctx.put(COUNT, count + 1 if isinstance(count, int) else 1)
        ctx.emit("noted", str(args["key"]), {"sender": ctx.sender})
    return code


NOTARY_2: Final = Contract(
    name=NAME,
    version=2,
    methods={"put": put},
    reactions={},
    modules=("master.contracts.notary", "tests.unit.contracts.notary2"),
    activation=begin,
    speaks_from=1,
)
