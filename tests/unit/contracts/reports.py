"""Builds releases and evidence for tests of contracts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rules.fingerprint import fingerprint
from tests.unit.ledger.worlds import Done, World
from wire.cbor import Value
from wire.evidence import Artefact, Clock, Entry, Evidence, Identity, Item, SeenBlock
from wire.release import EffectiveFrom, Reference, Release
from wire.types import Digest, sha256

FIRMWARE: Final = b"firmware 1"
SETTINGS: Final = b"settings 1"
STRATEGY: Final = b"strategy 1"
FILES: Final = {"firmware": FIRMWARE, "settings": SETTINGS, "strategy": STRATEGY}


def reference(kind: str, content: bytes) -> Reference:
    digest = fingerprint(content)
    return Reference(kind, f"{kind}.bin", "1.0", digest.size, digest.sha256, digest.chunk_root)


def release(
    name: str = "r-1",
    *,
    manufacturer: str = "maker-a",
    device: str | None = None,
    model: str | None = None,
    start: EffectiveFrom | None = None,
    **files: bytes,
) -> Release:
    """Return a release; for model SC-2 unless it is told otherwise, of `FILES` unless files are given."""
    return Release(
        release=name,
        manufacturer=manufacturer,
        device=device,
        model=model if model is not None or device is not None else "SC-2",
        artefacts=tuple(reference(kind, content) for kind, content in sorted((files or FILES).items())),
        effective_from=start,
    )


def submit(world: World, made: Release) -> Done:
    return world.call(made.manufacturer, "references", "submit", {"release": made.encode()})


def lab_test(world: World, digest: Digest, verdict: str = "pass", sender: str = "lab") -> Done:
    args: dict[str, Value] = {"release": digest, "report": sha256(b"report"), "verdict": verdict}
    return world.call(sender, "references", "test", args)


def revoke(world: World, sender: str, digest: Digest, reason: str = "a flaw in stage 2") -> Done:
    return world.call(sender, "references", "revoke", {"release": digest, "reason": reason})


def endorse(world: World, sender: str, digest: Digest, report: Digest | None = None) -> Done:
    return world.call(sender, "references", "endorse", {"release": digest, "report": report})


def make_effective(world: World, made: Release) -> Done:
    """Submit a release, let a laboratory test and a regulator endorse it; return the call that made it effective."""
    assert submit(world, made).code == "ok"
    assert lab_test(world, made.digest()).code == "ok"
    done = endorse(world, "regulator", made.digest())
    assert done.code == "ok"
    return done


def artefact(kind: str, content: bytes, **changes: object) -> Artefact:
    digest = fingerprint(content)
    fields: dict[str, object] = {
        "kind": kind,
        "name": f"{kind}.bin",
        "version": "1.0",
        "size": digest.size,
        "read_size": digest.size,
        "sha256": digest.sha256,
        "chunk_root": digest.chunk_root,
        "method": "full-file",
        "read_from_ms": 1000,
        "read_to_ms": 1500,
        "errors": (),
    }
    return Artefact(**{**fields, **changes})  # type: ignore[arg-type]


def truncated(kind: str, content: bytes, size: int) -> Artefact:
    """Return an artefact of which only ``content`` could be read."""
    return artefact(kind, content, size=size, errors=("short-read",))


def item(
    serial: str = "s-1",
    *,
    model: str = "SC-2",
    artefacts: Sequence[Artefact] | None = None,
    **files: bytes,
) -> Item:
    """Return an item with the given artefacts, or with `FILES` where ``files`` do not say otherwise."""
    made = (
        artefacts
        if artefacts is not None
        else [artefact(kind, content) for kind, content in {**FILES, **files}.items()]
    )
    return Item(Identity("maker-a", "SC", "1.0", serial, model), tuple(sorted(made, key=lambda one: one.kind)))


def entry(
    device: str,
    content: Item | None,
    *,
    whole: bool = True,
    status: str = "read",
    read_from_ms: int = 1000,
    read_to_ms: int = 1500,
) -> Entry:
    """Return one device's line in a report; without an item, of a device that was never read."""
    if content is None:
        return Entry(device, status, None, None, None, None)
    return Entry(device, status, read_from_ms, read_to_ms, content.digest(), content if whole else None)


def evidence(
    *entries: Entry,
    gateway: str = "gw-1",
    pair: tuple[int, int] = (1, 1),
    grade: str = "unknown",
    height: int = 0,
    nonce: bytes | None = None,
    clock: Clock | None = None,
) -> Evidence:
    return Evidence(
        gateway,
        pair[0],
        pair[1],
        clock or Clock(1_800_000_000_000, "system", None, grade),
        SeenBlock(height, bytes(32)),
        tuple(sorted(entries, key=lambda one: one.device)),
        nonce,
    )


def send(world: World, made: Evidence, sender: str | None = None) -> Done:
    return world.call(sender or made.gateway, "consistency", "report", {"evidence": made.encode()})


def alarm_events(done: Done) -> list[tuple[str, str, str]]:
    """Return (event type, device, cause) of all events of one alarm."""
    return [
        (event.type, event.subject, str(event.data["cause"]))
        for event in done.outcome.events
        if event.type.startswith("alarm_") and event.type != "alarm_flood"
    ]


def verdicts(done: Done) -> dict[str, Value]:
    """Return the verdicts by device of all verdict_changed events."""
    return {str(data["device"]): data["verdicts"] for data in done.events("verdict_changed")}
