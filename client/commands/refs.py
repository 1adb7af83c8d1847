"""gridwitness refs: reference values of firmware, strategy and setting files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from client.node import Item, Outcome, items, listing, open_signer, require_ok, submit, wait_outcome
from client.options import (
    TIMEOUT_S_DEFAULT,
    URL_VARIABLE,
    JsonOption,
    KeyOption,
    NodeOption,
    NoWaitOption,
    SenderOption,
    TimeoutOption,
)
from client.output import short, show_listing
from client.releases import ReleaseFolder, bytes_in, read_folder
from kit.exitcodes import DataError, UsageError
from kit.files import MODE_PRIVATE, write_atomic
from kit.http import NodeClient
from kit.releasefolder import SALT_FILE, ensure_salt, load_manifest
from kit.terminal import Terminal
from wire import cbor

CONTRACT: Final = "references"
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)

app = typer.Typer(no_args_is_help=True, help="Submit, endorse and list reference values.")


@app.command("submit")
def submit_release(
    folder: Annotated[Path, typer.Argument(help="Release folder: release.toml and the files that it names.")],
    key: KeyOption,
    node: NodeOption,
    sender: SenderOption = None,
    timeout: TimeoutOption = TIMEOUT_S_DEFAULT,
    *,
    no_wait: NoWaitOption = False,
    json: JsonOption = False,
) -> None:
    """Fingerprint a release folder and submit its reference values as their manufacturer.

    The files stay here; their SHA-256, chunk tree, and salted tree of settings or rows go into the ledger. The salt is
    made and kept in the folder, as release.salt: hand it on with the files, and to nobody who may not see them. The
    release counts once a laboratory and a regulator have endorsed it.

    Example: gridwitness refs submit releases/linden-sc-1-2-4-0 --key alder-protection.key --node http://localhost:8080
    """
    terminal = Terminal(as_json=json)
    with NodeClient([node], timeout) as client:
        signer = open_signer(client, key, sender)
        if folder.is_dir():
            ensure_salt(folder)
        found = _read(terminal, folder, signer.sender)
        release = found.package.release
        tx = submit(client, signer.sign(CONTRACT, "submit", {"release": release.encode()}))
        outcome = _follow(terminal, client, tx, None if no_wait else timeout)
    _show(terminal, outcome, {"release": release.release, "digest": release.digest().hex()}, found.notes)


@app.command()
def endorse(
    release: Annotated[str, typer.Argument(help="Digest (64 hex digits) or name of a submitted release.")],
    key: KeyOption,
    node: NodeOption,
    sender: SenderOption = None,
    files: Annotated[
        Path | None,
        typer.Option("--files", metavar="FOLDER", help="Your own copy: endorse only if it has this digest."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE", help="Test report; its SHA-256 goes into the endorsement."),
    ] = None,
    timeout: TimeoutOption = TIMEOUT_S_DEFAULT,
    *,
    no_wait: NoWaitOption = False,
    json: JsonOption = False,
) -> None:
    """Stand behind a release as a laboratory or regulator.

    Name the digest, or give --files, to be sure of what you sign: a name alone is looked up at the node.

    Example: gridwitness refs endorse linden-sc-1-2-4-0 --files tested/linden-sc-1 --key relay-laboratory.key
    """
    terminal = Terminal(as_json=json)
    with NodeClient([node], timeout) as client:
        signer = open_signer(client, key, sender)
        found = _find(client, release)
        digest = bytes.fromhex(found["digest"])
        if files is not None:
            _compare(terminal, files, found)
        report_digest = None if report is None else _report_digest(report)
        args: dict[str, cbor.Value] = {"release": digest, "report": report_digest}
        tx = submit(client, signer.sign(CONTRACT, "endorse", args))
        outcome = _follow(terminal, client, tx, None if no_wait else timeout)
    _show(terminal, outcome, {"release": str(found["release"]), "digest": digest.hex()})


@app.command("package")
def package_release(
    folder: Annotated[Path, typer.Argument(help="Release folder: release.toml, its files, and release.salt.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The package; an older one is replaced.")],
    manufacturer: Annotated[
        str | None,
        typer.Option("--manufacturer", metavar="ID", help="Who submitted it; without it the node is asked."),
    ] = None,
    node: Annotated[
        str | None,
        typer.Option("--node", metavar="URL", envvar=URL_VARIABLE, help="Full node that knows the release."),
    ] = None,
    *,
    json: JsonOption = False,
) -> None:
    """Make a release package, with which gateways name the settings, rows and chunks that differ.

    It holds all values of the setting lists and strategy tables, and the salt: give it to the gateways of the station
    alone, and there to 'gridwitness-agent package add'.

    Example: gridwitness refs package releases/linden-sc-1-2-4-0 --out linden-sc-1.package --manufacturer alder
    """
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
    write_atomic(out, package.encode(), mode=MODE_PRIVATE)
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
        str | None, typer.Option("--status", help="Only those that are pending, effective or superseded.")
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
            item["missing_roles"],
        ),
        empty="no releases",
    )


def _read(terminal: Terminal, folder: Path, manufacturer: str) -> ReleaseFolder:
    if not folder.is_dir():
        raise UsageError(f"{folder} is no release folder")
    with terminal.progress(f"fingerprinting {folder}", bytes_in(folder)) as advance:
        return read_folder(folder, manufacturer, advance)


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
        raise DataError(f"the ledger holds no release {text}; see 'gridwitness refs list'")
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


def _follow(terminal: Terminal, client: NodeClient, tx: str, timeout_s: float | None) -> Outcome:
    if timeout_s is None:
        return Outcome(tx, "pending", None, None)
    with terminal.progress(f"waiting for the outcome of {short(tx)}"):
        return require_ok(wait_outcome(client, tx, timeout_s))


def _show(terminal: Terminal, outcome: Outcome, about: dict[str, str], notes: Sequence[str] = ()) -> None:
    what = f"{about['release']} {about['digest']}"
    state = "sent" if outcome.height is None else f"{outcome.code} in block {outcome.height}"
    value = {**about, **outcome.to_json(), **({"notes": list(notes)} if notes else {})}
    terminal.show(value, lambda: [f"{what}: {state}, transaction {outcome.tx}", *notes])
