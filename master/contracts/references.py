"""Contract `references`, version 1: releases, who stands behind them, and which value is effective for what.

State of the namespace
  release/DIGEST                    the release's bytes, its endorsements, where it is effective
  name/MANUFACTURER/RELEASE         digest of the release of that name
  slot/TARGET/KIND                  the effective reference value
  content/SHA256/TARGET/KIND        whose reference value some content is or was
TARGET is d/DEVICE or m/SHA-256 of the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Final

from master.contracts import membership
from master.contracts.context import (
    OK,
    Context,
    Contract,
    Reads,
    Refused,
    bytes_argument,
    check_arguments,
    digest_argument,
)
from rules.appraisal import Owner, Slot
from wire.cbor import Value
from wire.errors import WireError
from wire.evidence import KINDS
from wire.fields import Fields
from wire.release import Reference, Release, decode_release
from wire.types import Digest, sha256

NAME: Final = "references"
ENDORSEMENTS_MAX: Final = 64
"""Organisations that may stand behind one release."""
EFFECTIVE: Final = "release_effective"
_MANUFACTURER: Final = "manufacturer"
_RECORD: Final = ("release", "endorsements", "effective_height", "kinds")
_SLOT: Final = ("digest", "size", "sha256")


def submit(context: Context, args: dict[str, Value]) -> str:
    """Take a release from its manufacturer, who thereby stands behind it.

    Args:
        context: The sender must be the release's manufacturer.
        args: ``release``: canonical bytes of `wire.release.Release`.

    Raises:
        Refused: bad-args, bad-release, wrong-manufacturer, wrong-role, unknown-device, unknown-model, too-many-devices,
            already-submitted or name-taken.
    """
    check_arguments(args, ("release",))
    raw = bytes_argument(args, "release")
    try:
        release = decode_release(raw)
    except WireError as error:
        raise Refused("bad-release") from error
    if release.manufacturer != context.sender:
        raise Refused("wrong-manufacturer")
    if _role(context) != _MANUFACTURER:
        raise Refused("wrong-role")
    _check_target(context, release)
    digest = sha256(raw)
    name = f"name/{release.manufacturer}/{release.release}".encode("ascii")
    known = context.get(name)
    if known is not None:
        raise Refused("already-submitted" if known == digest else "name-taken")
    context.put(name, digest)
    context.emit("release_submitted", digest.hex(), {"digest": digest, **_fields(release)})
    _endorse(context, digest, release, [], {"release": raw, "effective_height": None, "kinds": []}, None)
    return OK


def endorse(context: Context, args: dict[str, Value]) -> str:
    """Put the sender's organisation behind a release.

    Args:
        context: The sender must be an organisation with a role in the parameter ``endorser_roles``.
        args: ``release``: digest of the release; ``report``: digest of the test report, or null.

    Raises:
        Refused: bad-args, wrong-role, unknown-release, wrong-manufacturer, already-endorsed or too-many-endorsements.
    """
    check_arguments(args, ("release", "report"))
    digest = digest_argument(args, "release")
    report = None if args["report"] is None else digest_argument(args, "report")
    role = _role(context)
    if role not in membership.endorser_roles(context):
        raise Refused("wrong-role")
    record = _record(context, digest)
    if record is None:
        raise Refused("unknown-release")
    endorsements = _endorsements(record)
    if any(entry["organisation"] == context.sender for entry in endorsements):
        raise Refused("already-endorsed")
    release = decode_release(record.octets("release", 1, 1 << 16))
    if role == _MANUFACTURER:
        raise Refused("wrong-manufacturer")
    if len(endorsements) >= ENDORSEMENTS_MAX:
        raise Refused("too-many-endorsements")
    rest = {name: record.raw(name) for name in _RECORD if name != "endorsements"}
    _endorse(context, digest, release, endorsements, rest, report)
    return OK


def release(state: Reads, digest: Digest) -> Release | None:
    """Return a release that was submitted, whether it is effective or not."""
    value = state.namespace(NAME).get(_release_key(digest))
    if not isinstance(value, dict):
        return None
    raw = value["release"]
    assert isinstance(raw, bytes)
    return decode_release(raw)


def slots(state: Reads, device: str, model: str) -> dict[str, Slot]:
    """Return the effective reference value of a device by artefact kind; its own goes before its model's."""
    entries = state.namespace(NAME)
    found: dict[str, Slot] = {}
    for kind in KINDS:
        for target in (_device_target(device), _model_target(model)):
            value = entries.get(_slot_key(target, kind))
            if value is not None:
                fields = Fields(value, _SLOT, "references.slot")
                found[kind] = Slot(fields.integer("size"), fields.digest("sha256"))
                break
    return found


def find_owner(state: Reads, device: str, model: str, kind: str, content: Digest) -> Owner | None:
    """Return whose reference value some content is or was, the device's own slot before all others.

    Of several others, the first by target and kind is named.
    """
    entries = state.namespace(NAME)
    own = [_content_key(content, target, kind) for target in (_device_target(device), _model_target(model))]
    for key in own:
        value = entries.get(key)
        if value is not None:
            return _owner(value, own=True)
    prefix = b"content/" + content + b"/"
    for _, value in islice(entries.scan(prefix), 1):
        return _owner(value, own=False)
    return None


def _role(context: Context) -> str:
    """Return the role of the sender; a gateway has none."""
    organisation = membership.organisation(context, context.sender)
    return "" if organisation is None else organisation.role


def _check_target(context: Context, release: Release) -> None:
    if release.device is not None:
        if membership.device(context, release.device) is None:
            raise Refused("unknown-device")
        return
    assert release.model is not None
    limit = membership.integer_parameter(context, "reappraise_devices_max")
    count = sum(1 for _ in islice(membership.devices_of_model(context, release.model), limit + 1))
    if count == 0:
        raise Refused("unknown-model")
    if count > limit:
        raise Refused("too-many-devices")


def _endorse(
    context: Context,
    digest: Digest,
    release: Release,
    endorsements: list[Mapping[str, Value]],
    rest: Mapping[str, Value],
    report: Digest | None,
) -> None:
    role = _role(context)
    entry: dict[str, Value] = {
        "organisation": context.sender,
        "role": role,
        "height": context.height,
        "report": report,
    }
    everybody = [*endorsements, entry]
    context.emit(
        "release_endorsed",
        digest.hex(),
        {"digest": digest, "organisation": context.sender, "role": role, "report": report},
    )
    record: dict[str, Value] = {**rest, "endorsements": [dict(one) for one in everybody]}
    present = {str(one["role"]) for one in everybody}
    effective = record["effective_height"] is None and present.issuperset(membership.endorser_roles(context))
    if effective:
        record["effective_height"] = context.height
        record["kinds"] = [artefact.kind for artefact in release.artefacts]
    context.put(_release_key(digest), record)
    if effective:
        _make_effective(context, digest, release)


def _make_effective(context: Context, digest: Digest, release: Release) -> None:
    target = _target(release)
    replaced: dict[Digest, list[str]] = {}
    for artefact in release.artefacts:
        before = context.get(_slot_key(target, artefact.kind))
        if before is not None:
            old = Fields(before, _SLOT, "references.slot").digest("digest")
            replaced.setdefault(old, []).append(artefact.kind)
        context.put(
            _slot_key(target, artefact.kind),
            {"digest": digest, "size": artefact.size, "sha256": artefact.sha256},
        )
        context.put(
            _content_key(artefact.sha256, target, artefact.kind),
            {"target": _target_text(release), "kind": artefact.kind, "release": release.release},
        )
    emptied = [old for old in sorted(replaced) if _give_up(context, old, replaced[old])]
    context.emit(
        EFFECTIVE,
        digest.hex(),
        {
            "digest": digest,
            **_fields(release),
            "replaces": [{"digest": old, "kinds": list(replaced[old])} for old in sorted(replaced)],
        },
    )
    for old in emptied:
        context.emit("release_superseded", old.hex(), {"digest": old, "by": digest})


def _give_up(context: Context, digest: Digest, kinds: list[str]) -> bool:
    """Take kinds from an older release and tell whether it is effective for none any more."""
    record = _record(context, digest)
    assert record is not None
    kept: list[Value] = [kind for kind in record.sequence("kinds", len(KINDS)) if kind not in kinds]
    rest = {name: record.raw(name) for name in _RECORD}
    context.put(_release_key(digest), {**rest, "kinds": kept})
    return not kept


def _record(context: Context, digest: Digest) -> Fields | None:
    value = context.get(_release_key(digest))
    return None if value is None else Fields(value, _RECORD, "references.release")


def _endorsements(record: Fields) -> list[Mapping[str, Value]]:
    return [entry for entry in record.sequence("endorsements", ENDORSEMENTS_MAX) if isinstance(entry, dict)]


def _fields(release: Release) -> dict[str, Value]:
    return {
        "release": release.release,
        "manufacturer": release.manufacturer,
        "target": {"device": release.device, "model": release.model},
        "artefacts": [_artefact(artefact) for artefact in release.artefacts],
    }


def _artefact(artefact: Reference) -> dict[str, Value]:
    names = ("kind", "name", "version", "size", "sha256", "chunk_root")
    return {name: getattr(artefact, name) for name in names}


def _owner(value: Value, *, own: bool) -> Owner:
    fields = Fields(value, ("target", "kind", "release"), "references.content")
    return Owner(own, fields.text("target", 512), fields.text("kind"), fields.text("release"))


def _target(release: Release) -> bytes:
    return _device_target(release.device) if release.device is not None else _model_target(str(release.model))


def _target_text(release: Release) -> str:
    return f"device {release.device}" if release.device is not None else f"model '{release.model}'"


def _device_target(device: str) -> bytes:
    return b"d/" + device.encode("ascii")


def _model_target(model: str) -> bytes:
    return b"m/" + sha256(model.encode())


def _release_key(digest: Digest) -> bytes:
    return b"release/" + digest


def _slot_key(target: bytes, kind: str) -> bytes:
    return b"slot/" + target + b"/" + kind.encode("ascii")


def _content_key(content: Digest, target: bytes, kind: str) -> bytes:
    return b"content/" + content + b"/" + target + b"/" + kind.encode("ascii")


REFERENCES: Final = Contract(
    name=NAME,
    version=1,
    methods={"submit": submit, "endorse": endorse},
    reactions={},
    modules=("master.contracts.references", "rules.appraisal", "rules.difference"),
)
