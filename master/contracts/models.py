"""Versions of dispatch models: who stored which bytes when, why, and what they are about (docs/spec, MO-1 to MO-4).

State, values in CBOR:
  "m/" | model -> {organisation: its owner, region, versions: how many, digest: of the newest}
  "v/" | model | "/" | number, 8 bytes, big end first, from 1 on
      -> {digest, size, format, file, region, equipment, voltages_v, reason, parent, organisation, height, time_ms}

The time of a version is the time of its block. What is there is never changed: a version counts from its own time until
that of the next one, so that what was in force at any time follows from the entries, or from their absence.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from master.contracts import access_records, membership
from master.contracts.context import (
    OK,
    BlobArgument,
    Context,
    Contract,
    Reads,
    Refused,
    blob_argument,
    check_arguments,
)
from wire.cbor import Value
from wire.errors import FormatError
from wire.fields import Fields
from wire.types import Digest

NAME: Final = "models"
STORER_ROLES: Final = ("dispatch-centre", "sub-centre")
"""Whose organisations may keep models."""
EQUIPMENT_MAX: Final = 256
EQUIPMENT_CHARACTERS_MAX: Final = 64
VOLTAGES_MAX: Final = 64
VOLTAGE_V_MAX: Final = 2_000_000
REASON_CHARACTERS_MAX: Final = 500
FILE_CHARACTERS_MAX: Final = 128
BLOB: Final = BlobArgument("digest", "size")
_ARGUMENTS: Final = (
    "digest",
    "equipment",
    "file",
    "format",
    "model",
    "parent",
    "reason",
    "region",
    "size",
    "voltages_v",
)
_COPIED: Final = ("digest", "equipment", "file", "format", "parent", "reason", "region", "size", "voltages_v")
_MODEL: Final = ("organisation", "region", "versions", "digest")


def store(ctx: Context, args: dict[str, Value]) -> str:
    """Store the next version of a model; its first one makes the storing organisation the model's owner.

    Args of the call: ``model``, ``region`` and ``format``, identifiers; ``digest`` and ``size`` of the blob;
    ``parent``, the digest of the version before, null for the first; ``file``, its name, and ``reason``, text;
    ``equipment``, at most 256 texts, ascending; ``voltages_v``, at most 64 voltage levels in volts, ascending.

    The digest of the newest version changes nothing and is answered with ``duplicate``.

    Raises:
        Refused: bad-args, bad-blob, wrong-role: a gateway has none, restricted-blob: it is a sealed file, not-owner,
            wrong-region, or stale-parent: another version is newest.
    """
    check_arguments(args, _ARGUMENTS)
    blob = blob_argument(args, BLOB)
    model = _checked(args)
    if membership.gateway(ctx, ctx.sender) is not None or membership.role(ctx, ctx.organisation) not in STORER_ROLES:
        raise Refused("wrong-role")
    if access_records.content_of_blob(ctx, blob.digest) is not None:
        raise Refused("restricted-blob")
    known = ctx.get(_model_key(model))
    number, newest = 1, None
    if known is not None:
        fields = Fields(known, _MODEL, "models.model")
        if fields.identifier("organisation") != ctx.organisation:
            raise Refused("not-owner")
        if fields.identifier("region") != args["region"]:
            raise Refused("wrong-region")
        number, newest = fields.integer("versions") + 1, fields.digest("digest")
    if blob.digest == newest:
        return "duplicate"
    if args["parent"] != newest:
        raise Refused("stale-parent")
    record: dict[str, Value] = {
        **{name: args[name] for name in _COPIED},
        "organisation": ctx.organisation,
        "height": ctx.height,
        "time_ms": ctx.time_ms,
    }
    ctx.put(version_key(model, number), record)
    head: dict[str, Value] = {
        "organisation": ctx.organisation,
        "region": args["region"],
        "versions": number,
        "digest": blob.digest,
    }
    ctx.put(_model_key(model), head)
    ctx.emit("model_stored", model, {**record, "number": number})
    return OK


def newest(state: Reads, model: str) -> tuple[int, Digest] | None:
    """Return number and digest of a model's newest version, None when the ledger has none."""
    known = state.namespace(NAME).get(_model_key(model))
    if known is None:
        return None
    fields = Fields(known, _MODEL, "models.model")
    return fields.integer("versions", 1), fields.digest("digest")


def version_key(model: str, number: int) -> bytes:
    """Return the key of the state entry about one version."""
    return f"v/{model}/".encode("ascii") + number.to_bytes(8, "big")


def _model_key(model: str) -> bytes:
    return f"m/{model}".encode("ascii")


def _checked(args: dict[str, Value]) -> str:
    """Return the model's name when every argument but the blob has its form."""
    fields = Fields(args, _ARGUMENTS, "models.store")
    try:
        for name in ("region", "format"):
            fields.identifier(name)
        fields.text("file", FILE_CHARACTERS_MAX, characters_min=1)
        fields.text("reason", REASON_CHARACTERS_MAX, characters_min=1)
        if not fields.is_null("parent"):
            fields.digest("parent")
        equipment, voltages = fields.sequence("equipment", EQUIPMENT_MAX), fields.sequence("voltages_v", VOLTAGES_MAX)
        for word in equipment:
            Fields({"word": word}, ("word",), "equipment").text("word", EQUIPMENT_CHARACTERS_MAX, characters_min=1)
        model = fields.identifier("model")
    except FormatError as error:
        raise Refused("bad-args") from error
    are_volts = all(type(volts) is int and 1 <= volts <= VOLTAGE_V_MAX for volts in voltages)
    if not (are_volts and _is_ascending(equipment) and _is_ascending(voltages)):
        raise Refused("bad-args")
    return model


def _is_ascending(values: list[Value]) -> bool:
    return all(first < second for first, second in pairwise(values))  # type: ignore[operator]


MODELS: Final = Contract(
    name=NAME,
    version=1,
    methods={"store": store},
    reactions={},
    modules=("master.contracts.models",),
    blobs={"store": (BLOB,)},
)
