"""Stores a changed model: what the ledger has, what the file is about, the signed call, and the upload."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from client.grid.model import GridModel, ModelError, equipment_of, voltages_of
from client.grid.table import UNKNOWN, format_of, read_model
from client.names import meant
from client.node import Item, Outcome, Signer, bring_blobs, items, require_ok, submit_with_blobs, wait_outcome
from kit.exitcodes import DataError, GridwitnessError, UsageError
from kit.http import NodeClient
from wire import cbor

CONTRACT: Final = "models"


@dataclass(frozen=True, slots=True)
class Told:
    """What a person says about a model."""

    model: str
    region: str | None
    """None takes that of the version before."""
    reason: str
    file: str
    format: str | None = None
    equipment: Sequence[str] = ()
    voltages_v: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of it."""

    digest: str
    number: int
    """Number of the version that has these bytes."""
    outcome: Outcome | None
    """None when nothing had changed."""
    equipment: list[str]
    voltages_v: list[int]


def newest_version(client: NodeClient, model: str) -> Item | None:
    """Return the newest version of a model, None when the ledger has none."""
    found = client.get_json("/v1/models", {"model": model, "limit": "1"}).get("items")
    if not isinstance(found, list):
        raise DataError(f"{client.node} does not answer with a list of models")
    return dict(found[0]) if found else None


def store_model(client: NodeClient, signer: Signer, content: bytes, told: Told, timeout_s: float | None) -> Stored:
    """Store bytes as the next version of a model, if they changed.

    Args:
        client: The node that takes the transaction and the blob.
        signer: Of the organisation that keeps the model.
        content: 1 byte to 32 MiB.
        told: About the model.
        timeout_s: How long to wait for the outcome; None does not.

    Raises:
        UsageError: The first version of a model needs a region.
        DataError: The contract or the node refused it.
    """
    digest, before = hashlib.sha256(content).digest(), newest_version(client, told.model)
    if before is not None and before["digest"] == digest.hex():
        return Stored(digest.hex(), int(before["number"]), None, before["equipment"], before["voltages_v"])
    region = told.region or (None if before is None else str(before["region"]))
    if region is None:
        nearest = meant(told.model, {str(item["model"]) for item in items(client, "/v1/models", {})})
        raise UsageError(f"{told.model} is new{nearest}: name its region with --region")
    equipment, voltages = _about(client, content, told, before)
    args: dict[str, cbor.Value] = {
        "model": told.model,
        "region": region,
        "format": told.format or format_of(content),
        "file": told.file,
        "reason": told.reason,
        "equipment": list(equipment),
        "voltages_v": list(voltages),
        "parent": None if before is None else bytes.fromhex(str(before["digest"])),
        "digest": digest,
        "size": len(content),
    }
    tx, missing = submit_with_blobs(client, signer.sign(CONTRACT, "store", args))
    bring_blobs(client, missing, {digest.hex(): content})
    outcome = Outcome(tx, "pending", None, None)
    if timeout_s is not None:
        outcome = require_ok(wait_outcome(client, tx, timeout_s))
    number = 1 if before is None else int(before["number"]) + 1
    return Stored(digest.hex(), number, outcome, equipment, voltages)


def _about(client: NodeClient, content: bytes, told: Told, before: Item | None) -> tuple[list[str], list[int]]:
    """Return equipment and voltage levels: from the model itself where its format is known, and what a person adds."""
    equipment, voltages = set(told.equipment), set(told.voltages_v)
    if told.format in (None, *_known(content)):
        try:
            model = read_model(content)
        except ModelError as error:
            raise DataError(f"{told.file} is damaged: {error}; --format {UNKNOWN} stores it as it is") from error
        if model is not None:
            equipment |= set(equipment_of(model, _parent(client, before)))
            voltages |= set(voltages_of(model))
    return sorted(equipment), sorted(voltages)


def _known(content: bytes) -> tuple[str, ...]:
    name = format_of(content)
    return () if name == UNKNOWN else (name,)


def _parent(client: NodeClient, before: Item | None) -> GridModel | None:
    """Return the version before, if it can be had and understood; else no changed piece is named."""
    if before is None:
        return None
    try:
        return read_model(client.get_bytes(f"/v1/blobs/{before['digest']}"))
    except (GridwitnessError, ModelError):
        return None
