"""Keeps digests of what a member wants to prove later: that it had certain bytes by a certain time.

State, values in CBOR: (sender | "/" | key) -> {digest: SHA-256 of the data, height, time_ms, data_centre: through which
it entered, null when the sender's organisation is attached to none}. What is there is never changed. The data itself
stands in the transaction.
"""

from __future__ import annotations

from typing import Final

from master.contracts import membership
from master.contracts.context import OK, Context, Contract, Refused, bytes_argument, check_arguments
from wire.cbor import Value
from wire.note import DATA_BYTES_MAX, NAMESPACE, entry_key
from wire.types import IDENTIFIER_PATTERN, sha256

NAME: Final = NAMESPACE


def put(ctx: Context, args: dict[str, Value]) -> str:
    """Note ``data``, 1..1,024 bytes or the digest of more, under the sender's ``key``, an identifier.

    The same again changes nothing and is answered with ``duplicate``.

    Raises:
        Refused: bad-args; bad-key: no identifier; bad-data: empty or too long; taken: other data stands there.
    """
    check_arguments(args, ("data", "key"))
    data, name = bytes_argument(args, "data"), args["key"]
    if not isinstance(name, str) or IDENTIFIER_PATTERN.fullmatch(name) is None:
        raise Refused("bad-key")
    if not 1 <= len(data) <= DATA_BYTES_MAX:
        raise Refused("bad-data")
    key, digest = entry_key(ctx.sender, name), sha256(data)
    known = ctx.get(key)
    if known is None:
        centre = membership.data_centre(ctx, ctx.organisation)
        ctx.put(key, {"digest": digest, "height": ctx.height, "time_ms": ctx.time_ms, "data_centre": centre})
        return OK
    if not isinstance(known, dict) or known["digest"] != digest:
        raise Refused("taken")
    return "duplicate"


NOTARY: Final = Contract(
    name=NAME,
    version=1,
    methods={"put": put},
    reactions={},
    modules=("master.contracts.notary", "wire.note"),
)
