"""gridwitness models: versions of dispatch models, stored when they change, found, compared and proven."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import quote

import typer

from client.commands.verify import load_genesis
from client.grid.files import read_model_file
from client.grid.model import Change, ModelError, difference
from client.grid.proof import (
    PROOF_BYTES_MAX,
    ModelProof,
    Proven,
    counts_at,
    decode_model_proof,
    verify_model_proof,
    version_key,
)
from client.grid.store import Stored, Told, newest_version, store_model
from client.grid.table import read_model
from client.grid.watch import Watch
from client.names import meant
from client.node import Item, listing
from client.options import TIMEOUT_S_DEFAULT, GenesisOption, JsonOption, NodeOption, TimeoutOption
from client.outfiles import ForceOption, check_out, write_out
from client.output import lines_of, short, show_listing, when
from client.proof import to_json
from client.times import moment_ms
from client.ways import Way, signed, signed_and_waited
from kit.exitcodes import DataError, GridwitnessError, UsageError
from kit.files import read_bounded
from kit.http import NodeClient
from kit.terminal import Terminal, print_json
from wire.blob import BLOB_BYTES_MAX
from wire.errors import WireError
from wire.stateproof import decode_state_proof
from wire.types import INT_MAX

_VERSION: Final = re.compile(r"([a-z0-9-]{1,64})\.([1-9][0-9]{0,17})", re.ASCII)
_NOT_NAMED: Final = re.compile(r"[^a-z0-9]+")
_SHOWN_MAX: Final = 200

ModelOption = Annotated[
    str | None, typer.Option("--model", metavar="ID", help="Name of the model; that of the file if not told.")
]
RegionOption = Annotated[
    str | None, typer.Option("--region", metavar="ID", help="What the model is of; needed for its first version.")
]
VersionArgument = Annotated[str, typer.Argument(help="MODEL.NUMBER, such as north.3, or MODEL for the newest one.")]
AtOption = Annotated[
    int | None,
    typer.Option("--at", metavar="TIME", parser=moment_ms, help="What counted then: 2026-11-23T16:00Z, or ms."),
]

app = typer.Typer(no_args_is_help=True, help="Store, find, compare and prove versions of dispatch models.")


@app.command()
@signed
def store(
    file: Annotated[Path, typer.Argument(help="The model: a file, or a folder of CGMES profiles.")],
    way: Way,
    model: ModelOption = None,
    region: RegionOption = None,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why it changed.")] = "changed",
    format_name: Annotated[
        str | None, typer.Option("--format", metavar="ID", help="Another format than the one that is recognised.")
    ] = None,
    equipment: Annotated[
        list[str] | None, typer.Option("--equipment", metavar="WORD", help="Something that it is about; repeatable.")
    ] = None,
    voltage: Annotated[
        list[int] | None, typer.Option("--voltage", metavar="V", help="A voltage level in volts; repeatable.")
    ] = None,
) -> None:
    """Store a model as the next version, if it changed since the last one.

    Of pandapower JSON and of CGMES the kinds of equipment, the changed pieces and the voltage levels are read from the
    model itself; any other file is stored as it is and found by --equipment and --voltage.

    Example: gridwitness models store north.json --region north --reason 'line 4 out' --key dispatch.key
    """
    told = Told(
        model or _name_of(file), region, reason, file.name, format_name, tuple(equipment or ()), tuple(voltage or ())
    )
    with _client(way.node, way.timeout_s) as client:
        signer = way.signer(client)
        found = store_model(client, signer, read_model_file(file), told, way.wait_s)
    _show_stored(way.terminal(), told.model, found)


@app.command()
@signed_and_waited
def watch(
    folder: Annotated[Path, typer.Argument(help="Folder: each file, and each folder of profiles, is one model.")],
    way: Way,
    region: RegionOption = None,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why a model changed.")] = "changed on disk",
    interval: Annotated[float, typer.Option("--interval", metavar="SECONDS", min=0.1, help="How often to look.")] = 5.0,
    *,
    once: Annotated[bool, typer.Option("--once", help="Look once at everything, then end.")] = False,
) -> None:
    """Store every model in a folder whenever it changes, until Ctrl-C.

    A file counts as changed once it has stayed the same between two looks. What cannot be stored is told and tried
    again at the next look.

    Example: gridwitness models watch /srv/models --region north --key dispatch.key --node http://localhost:8080
    """
    terminal, watched = way.terminal(), Watch(folder, is_patient=not once)
    while True:
        for path in watched.changed():
            told = Told(_name_of(path), region, reason, path.name)
            try:
                with _client(way.node, way.timeout_s) as client:
                    signer = way.signer(client)
                    found = store_model(client, signer, read_model_file(path), told, way.timeout_s)
            except GridwitnessError as error:
                if once:
                    raise
                watched.again(path)
                terminal.show({"model": told.model, "error": str(error)}, lambda said=error: [f"{told.model}: {said}"])  # type: ignore[misc] # noqa: B023
            else:
                _show_stored(terminal, told.model, found)
        if once:
            return
        time.sleep(interval)


@app.command("list")
def list_models(
    node: NodeOption,
    model: Annotated[str | None, typer.Option("--model", help="Only of this model.")] = None,
    region: Annotated[str | None, typer.Option("--region", help="Only of this region.")] = None,
    equipment: Annotated[str | None, typer.Option("--equipment", help="Only about this kind or KIND/NAME.")] = None,
    voltage: Annotated[int | None, typer.Option("--voltage", help="Only with this voltage level, V.")] = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Only stored for this reason.")] = None,
    digest: Annotated[str | None, typer.Option("--digest", help="Only with this SHA-256.")] = None,
    parent: Annotated[str | None, typer.Option("--parent", help="Only those that follow this SHA-256.")] = None,
    at: AtOption = None,
    *,
    json: JsonOption = False,
) -> None:
    """List versions, newest first, by any of their properties; --at shows what counted at a time.

    Example: gridwitness models list --region north --equipment line --at 2026-01-01 --node http://localhost:8080
    """
    filters = {
        "model": model,
        "region": region,
        "equipment": equipment,
        "voltage_v": None if voltage is None else str(voltage),
        "reason": reason,
        "digest": digest,
        "parent": parent,
        "as_of_ms": None if at is None else str(at),
    }
    with NodeClient([node]) as client:
        found = listing(client, "/v1/models", filters)
    show_listing(
        Terminal(as_json=json),
        ("version", "region", "from", "until", "format", "digest", "reason"),
        found,
        lambda item: (
            item["version"],
            item["region"],
            when(item["time_ms"]),
            "now" if item["until_ms"] == INT_MAX else when(item["until_ms"]),
            item["format"],
            short(item["digest"]),
            item["reason"],
        ),
        empty="no models",
    )


@app.command()
def get(
    version: VersionArgument,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write it.")],
    node: NodeOption,
    at: AtOption = None,
    timeout: TimeoutOption = TIMEOUT_S_DEFAULT,
    *,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Fetch the file of a version; it is written only if it has the digest that the ledger names.

    Example: gridwitness models get north --at 2026-01-01 --out north.json --node http://localhost:8080
    """
    check_out(out, force=force)
    with _client(node, timeout) as client:
        item = _version(client, version, at)
        content = _content(client, item)
    write_out(out, content, force=force)
    value = {"version": item["version"], "digest": item["digest"], "size": len(content), "file": str(out)}
    Terminal(as_json=json).show(value, lambda: [f"{out}: {item['version']}, {len(content)} bytes, {item['digest']}"])


@app.command()
def diff(
    before: Annotated[str, typer.Argument(help="MODEL.NUMBER, or a file or folder on this disk.")],
    after: Annotated[str, typer.Argument(help="The same.")],
    node: NodeOption,
    timeout: TimeoutOption = TIMEOUT_S_DEFAULT,
    *,
    json: JsonOption = False,
) -> None:
    """Show which pieces of equipment and which of their parameters differ between two versions.

    Two files of a format that is not understood are compared as bytes.

    Example: gridwitness models diff north.2 north.3 --node http://localhost:8080
    """
    with _client(node, timeout) as client:
        contents = [_bytes_of(client, word) for word in (before, after)]
    changes = _compare(before, after, *contents)
    value = {
        "same": contents[0] == contents[1],
        "understood": changes is not None,
        "changes": [_change_json(change) for change in changes or ()],
    }
    Terminal(as_json=json).show(value, lambda: _difference_lines(changes, *contents))


@app.command()
def prove(
    version: VersionArgument,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The proof.")],
    node: NodeOption,
    at: AtOption = None,
    timeout: TimeoutOption = TIMEOUT_S_DEFAULT,
    *,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Fetch the proof of which bytes a version has and when it counted; 'models verify' checks it offline.

    Example: gridwitness models prove north --at 2026-01-01 --out north.proof --node http://localhost:8080
    """
    check_out(out, force=force)
    with _client(node, timeout) as client:
        item = _version(client, version, at)
        model, number = str(item["model"]), int(item["number"])
        parts = [_state_proof(client, version_key(model, place)) for place in (number, number + 1)]
    try:
        proof = ModelProof(model, number, *map(decode_state_proof, parts))
    except WireError as error:
        raise DataError(f"{node} did not send a state proof: {error}") from error
    write_out(out, proof.encode(), force=force)
    value = {"version": item["version"], "digest": item["digest"], "proof": str(out)}
    Terminal(as_json=json).show(value, lambda: [f"{out}: proof of {item['version']}, {item['digest']}"])


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="The model: a file, or a folder of profiles as it was stored.")],
    proof: Annotated[Path, typer.Option("--proof", metavar="FILE", help="Of 'gridwitness models prove'.")],
    genesis: GenesisOption,
    at: AtOption = None,
    *,
    json: JsonOption = False,
) -> None:
    """Prove offline that a file is the version of a model that counted at a time; only the genesis file is trusted.

    Exit code 0: it is; 65: it is not, or that is not proven, and the message says why.

    Example: gridwitness models verify north.json --proof north.proof --genesis genesis.cbor --at 2026-01-01
    """
    trusted = load_genesis(genesis)
    try:
        claimed = decode_model_proof(read_bounded(proof, bytes_max=PROOF_BYTES_MAX))
        proven = verify_model_proof(claimed, trusted)
    except WireError as error:
        raise DataError(f"{proof} does not verify: {error}") from error
    digest = hashlib.sha256(read_model_file(file)).digest()
    name = f"{claimed.model}.{claimed.number}"
    if digest != proven.digest:
        raise DataError(f"{file} is not {name}: it has the digest {digest.hex()}, the ledger {proven.digest.hex()}")
    if at is not None and not counts_at(proven, at):
        end = "at least " if proven.is_newest else ""
        counted = f"it counted from {when(proven.from_ms)} to {end}{when(proven.until_ms)}"
        raise DataError(f"that {name} counted at {when(at)} is not proven: {counted}")
    value = _proven_json(claimed, proven)
    Terminal(as_json=json).show(value, lambda: lines_of(_proven_lines(file, claimed, proven)))


def _client(node: str, timeout_s: float) -> NodeClient:
    return NodeClient([node], timeout_s, answer_bytes_max=BLOB_BYTES_MAX)


def _name_of(path: Path) -> str:
    """Return the name of a model that is not told: that of its file, in small letters and without its ending."""
    stem = path.name if path.is_dir() else path.name.split(".")[0]
    name = _NOT_NAMED.sub("-", stem.lower()).strip("-")[:64]
    if not name:
        raise UsageError(f"{path} gives no name for the model; choose one with --model")
    return name


def _version(client: NodeClient, word: str, at_ms: int | None) -> Item:
    """Return the version that a person means."""
    numbered = _VERSION.fullmatch(word)
    if numbered is not None:
        if at_ms is not None:
            raise UsageError(f"{word} is one version; --at chooses one of a model, such as {numbered[1]}")
        return client.get_json(f"/v1/models/{quote(word)}")
    if at_ms is None:
        found = newest_version(client, word)
    else:
        items = listing(client, "/v1/models", {"model": word, "as_of_ms": str(at_ms)}).items
        found = items[0] if items else None
    if found is None:
        moment = "" if at_ms is None else f" that counted at {when(at_ms)}"
        nearest = meant(word, {str(item["model"]) for item in listing(client, "/v1/models", {}).items} - {word})
        raise DataError(f"the ledger has no version of model {word!r}{moment}{nearest}; see 'gridwitness models list'")
    return found


def _content(client: NodeClient, item: Item) -> bytes:
    """Fetch the bytes of a version and compare them with its digest."""
    content = client.get_bytes(f"/v1/blobs/{item['digest']}")
    if hashlib.sha256(content).hexdigest() != item["digest"]:
        raise DataError(f"{client.node} sent other bytes than {item['version']} has")
    return content


def _bytes_of(client: NodeClient, word: str) -> bytes:
    path = Path(word)
    return read_model_file(path) if path.exists() else _content(client, _version(client, word, None))


def _state_proof(client: NodeClient, key: bytes) -> bytes:
    return client.get_bytes(f"/v1/state/models/{quote(key, safe='')}", {"proof": "1", "format": "cbor"})


def _compare(before: str, after: str, old: bytes, new: bytes) -> tuple[Change, ...] | None:
    """Return the changes; None when the files can be compared as bytes alone."""
    models = []
    for word, content in ((before, old), (after, new)):
        try:
            models.append(read_model(content))
        except ModelError as error:
            raise DataError(f"{word} is damaged: {error}") from error
    first, second = models
    if first is None or second is None or first.format != second.format:
        return None
    return difference(first, second)


def _change_json(change: Change) -> dict[str, object]:
    parameters = [{"name": name, "before": old, "after": new} for name, old, new in change.parameters]
    return {"kind": change.kind, "name": change.name, "what": change.what, "parameters": parameters}


def _difference_lines(changes: Sequence[Change] | None, old: bytes, new: bytes) -> list[str]:
    if changes is None:
        if old == new:
            return ["the bytes are the same"]
        at = next((place for place, pair in enumerate(zip(old, new, strict=False)) if pair[0] != pair[1]), len(old))
        at = min(at, len(new))
        return [f"the bytes differ: {len(old)} and {len(new)} of them, the first other one is byte {at}"]
    if not changes:
        same = "the bytes are the same" if old == new else "only what is no part of the model differs"
        return [f"no piece of equipment differs; {same}"]
    lines = []
    for change in changes[:_SHOWN_MAX]:
        lines.append(f"{change.what:8} {change.kind} {change.name}")
        if change.what == "changed":
            lines += [f"         {name}: {_shown(old)} -> {_shown(new)}" for name, old, new in change.parameters]
    if len(changes) > _SHOWN_MAX:
        lines.append(f"and {len(changes) - _SHOWN_MAX} more; --json shows them")
    return lines


def _shown(value: str | None) -> str:
    return "-" if value is None else value


def _show_stored(terminal: Terminal, model: str, found: Stored) -> None:
    version = f"{model}.{found.number}"
    outcome = {} if found.outcome is None else found.outcome.to_json()
    value = {"version": version, "digest": found.digest, "stored": found.outcome is not None, **outcome}
    value |= {"equipment": found.equipment, "voltages_v": found.voltages_v}
    state = "has not changed" if found.outcome is None else f"stored, {found.outcome.status}"
    if terminal.as_json:
        print_json(value)
    else:
        terminal.say(f"{version} {short(found.digest)}: {state}")


def _proven_json(claimed: ModelProof, proven: Proven) -> dict[str, object]:
    return {
        "verified": True,
        "model": claimed.model,
        "number": claimed.number,
        "digest": proven.digest.hex(),
        "from_ms": proven.from_ms,
        "until_ms": proven.until_ms,
        "newest": proven.is_newest,
        **{name: to_json(proven.fields.raw(name)) for name in ("region", "organisation", "reason", "height")},
        "signers": list(claimed.next.final.certificate.signers),
    }


def _proven_lines(file: Path, claimed: ModelProof, proven: Proven) -> dict[str, object]:
    end = f"at least {when(proven.until_ms)}, the newest then" if proven.is_newest else when(proven.until_ms)
    return {
        "file": file,
        "is": f"version {claimed.number} of {claimed.model}, {proven.digest.hex()}",
        "counted": f"from {when(proven.from_ms)} to {end}",
        "kept by": f"{proven.fields.identifier('organisation')}, region {proven.fields.identifier('region')}",
        "reason": proven.fields.raw("reason"),
        "signed by": ", ".join(claimed.next.final.certificate.signers),
    }
