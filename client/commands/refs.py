"""gridwitness refs: reference values of firmware, strategy and setting files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from client.names import meant, require_target
from client.node import Item, Outcome, Signer, items, listing, octets, require_ok, submit, wait_outcome
from client.options import URL_VARIABLE, JsonOption, NodeOption
from client.outfiles import ForceOption, check_out, write_out
from client.output import lines_of, short, show_listing, when
from client.releases import ReleaseFolder, bytes_in, folders_in, read_folder
from client.ways import Way, signed
from kit.exitcodes import DataError, UsageError
from kit.files import MODE_PRIVATE
from kit.http import NodeClient
from kit.releasefolder import SALT_FILE, ensure_salt, load_manifest
from kit.terminal import Terminal
from wire import cbor
from wire.release import Release

CONTRACT: Final = "references"
ALREADY: Final = "already-submitted"
CONFLICTING: Final = "conflicting-release"
VERDICTS: Final = ("pass", "fail")
_WAITING: Final = ("pending", "approved")
_RIVALS: Final = (*_WAITING, "effective")
_NAMES_MAX: Final = 8
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)

FilesOption = Annotated[
    Path | None,
    typer.Option("--files", metavar="FOLDER", help="Your own copy: go on only if it has this digest."),
]

app = typer.Typer(no_args_is_help=True, help="Submit, test, endorse, revoke and list reference values.")


@app.command("submit")
@signed
def submit_release(
    folders: Annotated[
        list[Path],
        typer.Argument(help="Release folder: release.toml and the files that it names; or a folder of such folders."),
    ],
    way: Way,
) -> None:
    """Fingerprint release folders and submit their reference values as their manufacturer.

    The files stay here; their SHA-256, chunk tree, and salted tree of settings or rows go into the ledger. The salt is
    made and kept in the folder, as release.salt: hand it on with the files, and to nobody who may not see them. A
    release counts once all whom its policy asks for stand behind it, by default a laboratory and a regulator, too, and
    then from the date that release.toml may name.

    One that is refused keeps no other back, and one that the ledger has is no error: give the same command again once
    what stood in the way is gone.

    Example: gridwitness refs submit releases/linden-sc-1-2-4-0 --key alder-protection.key --node http://localhost:8080
    """
    terminal = way.terminal()
    with way.client() as client:
        signer = way.signer(client)
        read = []
        for folder in folders_in(folders):
            if folder.is_dir():
                ensure_salt(folder)
            read.append(_read(terminal, folder, signer.sender))
        for found in read:
            release = found.package.release
            require_target(client, release.device, release.model, f"release {release.release}: ")
        said = [_submit(terminal, client, signer, found, way.wait_s) for found in read]
    refused = [text for text in said if text is not None]
    if refused:
        heading = [f"{len(refused)} of {len(read)} releases were refused:"] if len(read) > 1 else []
        raise DataError("\n  ".join((*heading, *refused)))


@app.command("test")
@signed
def record_test(
    release: Annotated[str, typer.Argument(help="Digest (64 hex digits) or name of a submitted release.")],
    way: Way,
    report: Annotated[Path, typer.Option("--report", metavar="FILE", help="Test report; its SHA-256 is recorded.")],
    verdict: Annotated[str, typer.Option("--verdict", metavar="pass|fail", help="What the test found.")],
    files: FilesOption = None,
) -> None:
    """Record what a laboratory found: a pass is its endorsement, a failure ends the release.

    Name the digest, or give --files, to be sure of what you sign: a name alone is looked up at the node.

    Example: gridwitness refs test linden-sc-1-2-4-0 --report report.pdf --verdict pass --key relay-laboratory.key
    """
    if verdict not in VERDICTS:
        raise UsageError(f"--verdict {verdict}: one of {', '.join(VERDICTS)} is due")
    terminal = way.terminal()
    with way.client() as client:
        args: dict[str, cbor.Value] = {"report": _report_digest(report), "verdict": verdict}
        signer = way.signer(client)
        found = _checked(terminal, client, release, files)
        outcome = _send(terminal, client, signer, "test", found, args, way.wait_s)
    _show(terminal, outcome, {"release": str(found["release"]), "digest": str(found["digest"])})


@app.command("revoke")
@signed
def revoke_release(
    release: Annotated[str, typer.Argument(help="Digest (64 hex digits) or name of a submitted release.")],
    way: Way,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, 1 to 256 characters; all can read it.")],
) -> None:
    """Take a release back for good, as its manufacturer, a laboratory that tested it, or a regulator.

    Devices that hold its files are then alarmed as revoked, with the reason. Nothing takes its place by itself: not
    the release before it either. A release that nobody relies on yet is only withdrawn.

    Example: gridwitness refs revoke linden-sc-1-2-4-0 --reason "stage 2 trips late" --key grid-regulator.key
    """
    terminal = way.terminal()
    with way.client() as client:
        signer = way.signer(client)
        found = _find(client, release)
        outcome = _send(terminal, client, signer, "revoke", found, {"reason": reason}, way.wait_s)
    _show(terminal, outcome, {"release": str(found["release"]), "digest": str(found["digest"])})


@app.command()
@signed
def endorse(
    release: Annotated[str, typer.Argument(help="Digest (64 hex digits) or name of a submitted release.")],
    way: Way,
    files: FilesOption = None,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE", help="The laboratory's test report that you have read."),
    ] = None,
) -> None:
    """Stand behind a release as a regulator, or as whoever else its policy asks for.

    It is refused when it is the last that was missing, another manufacturer's approved release waits for the same
    files, and no dates tell which comes later. 'gridwitness refs show' names such rivals, and so does this command.

    Name the digest, or give --files, to be sure of what you sign: a name alone is looked up at the node.

    Example: gridwitness refs endorse linden-sc-1-2-4-0 --files tested/linden-sc-1 --key grid-regulator.key
    """
    terminal = way.terminal()
    with way.client() as client:
        signer = way.signer(client)
        found = _checked(terminal, client, release, files)
        notes = [f"rival: {rival}" for rival in _rivals(client, found)]
        args: dict[str, cbor.Value] = {"report": None if report is None else _report_digest(report)}
        outcome = _send(terminal, client, signer, "endorse", found, args, way.wait_s)
    _show(terminal, outcome, {"release": str(found["release"]), "digest": str(found["digest"])}, notes)


@app.command("package")
def package_release(
    folder: Annotated[Path, typer.Argument(help="Release folder: release.toml, its files, and release.salt.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The package.")],
    manufacturer: Annotated[
        str | None,
        typer.Option("--manufacturer", metavar="ID", help="Who submitted it; without it the node is asked."),
    ] = None,
    node: Annotated[
        str | None,
        typer.Option("--node", metavar="URL", envvar=URL_VARIABLE, help="Full node that knows the release."),
    ] = None,
    *,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Make a release package, with which gateways name the settings, rows and chunks that differ.

    It holds all values of the setting lists and strategy tables, and the salt: give it to the gateways of the station
    alone, and there to 'gridwitness-agent package add'.

    Example: gridwitness refs package releases/linden-sc-1-2-4-0 --out linden-sc-1.package --manufacturer alder
    """
    check_out(out, force=force)
    terminal = Terminal(as_json=json)
    status = "not compared with a ledger"
    if manufacturer is None:
        if node is None:
            raise UsageError("say who submitted the release with --manufacturer, or name a node with --node")
        with NodeClient([node]) as client:
            item = _find(client, load_manifest(folder).release.release)
        _compare(terminal, folder, item)
        manufacturer, status = str(item["manufacturer"]), str(item["status"])
    found = _read(terminal, folder, manufacturer)
    package = found.package
    write_out(out, package.encode(), force=force, mode=MODE_PRIVATE)
    counts = {part.kind: 0 if part.items is None else len(part.items.items) for part in package.parts}
    value = {
        "release": package.release.release,
        "digest": package.release.digest().hex(),
        "status": status,
        "items": counts,
        "notes": list(found.notes),
    }
    listed = ", ".join(f"{kind} {count} items" for kind, count in counts.items())
    line = f"{out}: release {value['release']} {value['digest']}, {status}; {listed}"
    terminal.show(value, lambda: [line, *found.notes])


@app.command("list")
def list_releases(
    node: NodeOption,
    status: Annotated[
        str | None,
        typer.Option(
            "--status", help="Only those that are pending, approved, effective, superseded, failed or revoked."
        ),
    ] = None,
    *,
    json: JsonOption = False,
) -> None:
    """List releases, who stands behind them and who is missing.

    Example: gridwitness refs list --node http://localhost:8080
    """
    with NodeClient([node]) as client:
        found = listing(client, "/v1/references", {"status": status})
    show_listing(
        Terminal(as_json=json),
        ("release", "digest", "for", "status", "endorsed by", "missing"),
        found,
        lambda item: (
            item["release"],
            short(item["digest"]),
            item["target"].get("device") or item["target"].get("model"),
            item["status"],
            [entry["organisation"] for entry in item["endorsements"]],
            _missing(item),
        ),
        empty="no releases",
    )


@app.command("show")
def show_release(
    release: Annotated[str, typer.Argument(help="Digest (64 hex digits) or name of a submitted release.")],
    node: NodeOption,
    *,
    json: JsonOption = False,
) -> None:
    """Show all about one release: its policy, tests, endorsements, who is missing, its rivals, what became of it.

    Devices that follow it with their next report alone are named as not judged by it. Rivals are releases of other
    manufacturers for the same files of the same device or model.

    Example: gridwitness refs show linden-sc-1-2-4-0 --node http://localhost:8080
    """
    with NodeClient([node]) as client:
        item = _find(client, release)
        rivals, behind = _rivals(client, item), _behind(client, item)
    told = _told(item) | {f"rival {number}": rival for number, rival in enumerate(rivals, start=1)}
    if behind:
        told["not judged by it"] = f"{len(behind)} devices until their next report: {_some(behind)}"
    Terminal(as_json=json).show({**item, "rivals": rivals, "not_judged": behind}, lambda: lines_of(told))


@app.command("policies")
def list_policies(node: NodeOption, *, json: JsonOption = False) -> None:
    """List the endorsement policies that were decided by vote; without one, the ledger's parameters go.

    Example: gridwitness refs policies --node http://localhost:8080
    """
    with NodeClient([node]) as client:
        found = listing(client, "/v1/endorsement-policies", {})
    show_listing(
        Terminal(as_json=json),
        ("for", "endorsements", "decided in"),
        found,
        lambda item: (
            item["subject"],
            "removed" if item["policy"] is None else _policy_text(item["policy"]),
            f"block {item['height']}",
        ),
        empty="no policy was decided: the parameters endorser_roles and endorser_excluded go",
    )


def _policy_text(policy: Item) -> str:
    roles = ", ".join(f"{entry['count']} x {entry['role']}" for entry in policy["roles"])
    excluded = f"; never {', '.join(policy['excluded'])}" if policy["excluded"] else ""
    return f"{policy['endorsements_due']} of: {roles}{excluded}"


def _read(terminal: Terminal, folder: Path, manufacturer: str) -> ReleaseFolder:
    if not folder.is_dir():
        raise UsageError(f"{folder} is no release folder")
    with terminal.progress(f"fingerprinting {folder}", bytes_in(folder)) as advance:
        return read_folder(folder, manufacturer, advance)


def _submit(
    terminal: Terminal, client: NodeClient, signer: Signer, found: ReleaseFolder, timeout_s: float | None
) -> str | None:
    """Submit one release; return why the contract refused it, None where the ledger now has it."""
    release = found.package.release
    tx = submit(client, signer.sign(CONTRACT, "submit", {"release": release.encode()}))
    outcome = _wait(terminal, client, tx, timeout_s)
    about = {"release": release.release, "digest": release.digest().hex()}
    if outcome.code == ALREADY:
        _show(terminal, outcome, about, (f"{release.release}: the ledger had it before; nothing changed",))
        return None
    if outcome.code == CONFLICTING:
        return _conflict(client, release)
    try:
        require_ok(outcome)
    except DataError as error:
        return f"release {release.release}: {error}"
    _show(terminal, outcome, about, found.notes)
    return None


def _find(client: NodeClient, text: str) -> Item:
    """Find the one release that a digest or a name means."""
    by_digest = _DIGEST.fullmatch(text) is not None
    name = "digest" if by_digest else "release"
    known = items(client, "/v1/references", {})
    found = [item for item in known if item[name] == text]
    if not found:
        if text and (near := [item for item in known if str(item["digest"]).startswith(text)]):
            names = ", ".join(f"{item['digest']} ({item['release']})" for item in near)
            raise UsageError(f"{text} is only the beginning of a digest; give the whole one or the name: {names}")
        nearest = meant(text, (str(item["release"]) for item in known))
        raise DataError(f"the ledger holds no release {text}{nearest}; see 'gridwitness refs list'")
    if len(found) > 1:
        digests = ", ".join(str(item["digest"]) for item in found)
        raise UsageError(f"{len(found)} releases are called {text}; name one by its digest: {digests}")
    return found[0]


def _compare(terminal: Terminal, folder: Path, found: Item) -> None:
    own = _read(terminal, folder, str(found["manufacturer"])).package.release.digest().hex()
    if own != found["digest"]:
        salt = "" if (folder / SALT_FILE).is_file() else f"; it lacks the manufacturer's {SALT_FILE}"
        raise DataError(f"{folder} has the digest {own}, the ledger's {found['release']} has {found['digest']}{salt}")


def _report_digest(path: Path) -> bytes:
    with path.open("rb") as stream:  # a missing one is an error of its own, not of a release folder
        return hashlib.file_digest(stream, "sha256").digest()


def _checked(terminal: Terminal, client: NodeClient, release: str, files: Path | None) -> Item:
    """Find the release that is meant, and make sure that the own copy is of it."""
    found = _find(client, release)
    if files is not None:
        _compare(terminal, files, found)
    return found


def _send(
    terminal: Terminal,
    client: NodeClient,
    signer: Signer,
    method: str,
    release: Item,
    args: Mapping[str, cbor.Value],
    timeout_s: float | None,
) -> Outcome:
    """Send one call about a release and require that it is accepted."""
    raw = signer.sign(CONTRACT, method, {"release": octets(release, "digest"), **args})
    return require_ok(_wait(terminal, client, submit(client, raw), timeout_s))


def _wait(terminal: Terminal, client: NodeClient, tx: str, timeout_s: float | None) -> Outcome:
    if timeout_s is None:
        return Outcome(tx, "pending", None, None)
    with terminal.progress(f"waiting for the outcome of {short(tx)}"):
        return wait_outcome(client, tx, timeout_s)


def _conflict(client: NodeClient, release: Release) -> str:
    """Say which own releases wait for the same files of the same target, and what can be done."""
    target = {"device": release.device, "model": release.model}
    kinds = {artefact.kind for artefact in release.artefacts}
    named = [
        f"{item['release']} of {item['manufacturer']} ({', '.join(shared)}; {item['digest']})"
        for item, shared in _sharing(client, target, kinds)
        if item["status"] in _WAITING and item["manufacturer"] == release.manufacturer
    ]
    return (
        f"release {release.release} is in conflict with {' and '.join(named) or 'another one'}, which waits for the "
        "same files of the same device or model: wait until that one counts, take it back with 'gridwitness refs "
        "revoke', or submit releases that name different dates"
    )


def _sharing(client: NodeClient, target: Item, kinds: set[str]) -> Iterator[tuple[Item, list[str]]]:
    """Yield the releases for the same target and some of the same artefact kinds, with these kinds."""
    for item in items(client, "/v1/references", {"target": target["device"] or target["model"]}):
        shared = sorted(kinds & {entry["kind"] for entry in item["artefacts"]})
        if item["target"] == target and shared:
            yield item, shared


def _rivals(client: NodeClient, item: Item) -> list[str]:
    """Tell of other manufacturers' releases for the same files that wait or count: who endorses one should know."""
    return [
        f"{other['release']} of {other['manufacturer']}, {other['status']} ({', '.join(shared)}; {other['digest']})"
        for other, shared in _sharing(client, item["target"], {entry["kind"] for entry in item["artefacts"]})
        if other["status"] in _RIVALS and other["manufacturer"] != item["manufacturer"]
    ]


def _missing(item: Item) -> list[str]:
    """Name who is missing: a role, with a number when it is more than one organisation."""
    counted = ((entry["role"] or "any of the policy", entry["count"]) for entry in item["missing"])
    return [str(role) if count == 1 else f"{count} x {role}" for role, count in counted]


def _behind(client: NodeClient, item: Item) -> list[str]:
    """Return the devices whose verdicts are older than what a release changed; they follow with their next report."""
    changed = {"effective": item["effective_height"], "revoked": (item["revoked"] or {}).get("height")}
    height, device = changed.get(item["status"]), item["target"]["device"]
    if height is None or item["effective_height"] is None:
        return []
    if device is not None:
        found: Sequence[Item] = (client.get_json(f"/v1/devices/{device}"),)
        found = [one for one in found if one["judged_height"] is not None and one["judged_height"] < height]
    else:
        found = items(client, "/v1/devices", {"model": item["target"]["model"], "judged_before": str(height)})
    return [str(one["device"]) for one in found if one["state"] != "retired"]


def _some(names: Sequence[str]) -> str:
    more = "" if len(names) <= _NAMES_MAX else ", ..."
    return ", ".join(names[:_NAMES_MAX]) + more


def _told(item: Item) -> dict[str, object]:
    """Return what is to be said of a release, by heading."""
    start, revoked = item["effective_from"], item["revoked"]
    told: dict[str, object] = {
        "release": f"{item['release']} of {item['manufacturer']}",
        "digest": item["digest"],
        "for": item["target"]["device"] or f"model {item['target']['model']}",
        "status": item["status"],
        "counts for": ", ".join(item["effective_kinds"]) or None,
        "counts from": None
        if start is None
        else f"block {start['height']}"
        if start["height"]
        else when(start["time_ms"]),
        "effective in": None if item["effective_height"] is None else f"block {item['effective_height']}",
        "missing": ", ".join(_missing(item)) or "nobody",
    }
    for policy in item["policies"]:
        told[f"policy of {', '.join(policy['kinds'])}"] = _policy_text(policy)
    for number, entry in enumerate(item["tests"], start=1):
        told[f"test {number}"] = f"{entry['verdict']} by {entry['organisation']}, report {entry['report']}"
    for number, entry in enumerate(item["endorsements"], start=1):
        report = "" if entry["report"] is None else f", report {entry['report']}"
        told[f"endorsed {number}"] = f"by {entry['organisation']} ({entry['role']}) in block {entry['height']}{report}"
    if revoked is not None:
        told["revoked"] = f"by {revoked['organisation']} in block {revoked['height']}: {revoked['reason']}"
    return told


def _show(terminal: Terminal, outcome: Outcome, about: dict[str, str], notes: Sequence[str] = ()) -> None:
    what = f"{about['release']} {about['digest']}"
    value = {**about, **outcome.to_json(), **({"notes": list(notes)} if notes else {})}
    terminal.show(value, lambda: [f"{what}: {outcome.said()}, transaction {outcome.tx}", *notes])
