"""gridwitness sealed: contents that only their readers can open, kept beside the ledger."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from client.commands.verify import load_genesis
from client.node import (
    Item,
    Outcome,
    Signer,
    bring_blobs,
    items,
    listing,
    require_ok,
    submit_with_blobs,
    wait_outcome,
)
from client.options import GenesisOption, JsonOption, KeyOption, NodeOption
from client.outfiles import ForceOption, check_out, write_out
from client.output import short, show_listing
from client.proven import proven_value
from client.ways import Way, signed
from kit.exitcodes import DataError, UsageError
from kit.files import MODE_PRIVATE, read_bounded
from kit.http import NodeClient
from kit.httpsign import RequestSigner
from kit.keystore import load_signing_key
from kit.sealing import Reader, load_reading_key, open_sealed, rewrap, seal
from kit.terminal import Terminal
from wire import cbor
from wire.errors import FormatError, WireError
from wire.fields import Fields
from wire.genesis import Genesis
from wire.grants import NAMESPACE, check_class, split_reader, split_subject
from wire.sealed import CONTENT_BYTES_MAX, Label, SealedFile, decode_sealed
from wire.types import sha256

_DIGEST: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)

ForOption = Annotated[
    list[str],
    typer.Option(
        "--for", metavar="READER", help="Who can open it: account/ID, organisation/ID or role/ROLE; repeat it for more."
    ),
]
ContentArgument = Annotated[
    str, typer.Argument(metavar="CONTENT", help="Digest of the content, 64 hex digits, or its title.")
]
ReadingKeyOption = Annotated[
    Path, typer.Option("--reading-key", metavar="FILE", help="NAME.reading, for which the content is sealed.")
]

app = typer.Typer(no_args_is_help=True, help="Seal contents to the keys of their readers, and open them.")


@app.command("submit")
@signed
def submit_content(
    file: Annotated[Path, typer.Argument(help="What to seal, such as a release package; at most 31.9 MiB.")],
    data_class: Annotated[str, typer.Option("--class", help="settings, measurements or contracts.")],
    subject: Annotated[str, typer.Option("--subject", help="device/ID, station/ID, organisation/ID or all.")],
    readers: ForOption,
    way: Way,
    genesis: GenesisOption,
    title: Annotated[str | None, typer.Option("--title", help="For people; the name of the file if not told.")] = None,
) -> None:
    """Seal a file for its readers and name it in the ledger; a quorum of nodes holds it before that counts.

    The readers' keys are proven with the genesis file: nobody on the way can put in another one. Nodes give the sealed
    file to the owner of the subject, the gateways of its station, its sealer and whoever has a grant; they cannot open
    it.

    Example: gridwitness sealed submit linden.package --class settings --subject device/linden-sc-1 --for role/auditor
    """
    trusted = load_genesis(genesis)
    try:
        label = Label(trusted.chain(), check_class(data_class), subject, title or file.name)
        split_subject(subject)
    except WireError as error:
        raise UsageError(str(error)) from error
    content = read_bounded(file, bytes_max=CONTENT_BYTES_MAX)
    with way.client() as client:
        signer = way.signer(client)
        made = seal(label, content, _readers(client, trusted, readers))
        outcome = _name(client, signer, made, way.wait_s)
    _show(way.terminal(), made, outcome)


@app.command("open")
def open_content(
    content: ContentArgument,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write it.")],
    reading_key: ReadingKeyOption,
    key: KeyOption,
    node: NodeOption,
    genesis: GenesisOption,
    *,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Fetch a sealed file, which its node logs, and open it with a reading key.

    The request is signed for this ledger and this address alone: whoever answers there can send it on to nobody.

    Example: gridwitness sealed open linden.package --out linden.package --reading-key lab.reading --key lab.key
    --genesis genesis.cbor
    """
    check_out(out, force=force)
    trusted, opener = load_genesis(genesis), load_reading_key(reading_key)
    with NodeClient([node]) as client:
        file = _fetch(client, trusted, content, key)
    opened = open_sealed(file, opener)
    write_out(out, opened, force=force, mode=MODE_PRIVATE)
    value = {"file": str(out), "bytes": len(opened), "content": file.content.hex(), "title": file.label.title}
    Terminal(as_json=json).show(value, lambda: [f"{out}: {len(opened)} bytes of {file.label.title}"])


@app.command("rewrap")
@signed
def rewrap_content(
    content: ContentArgument,
    readers: ForOption,
    reading_key: ReadingKeyOption,
    way: Way,
    genesis: GenesisOption,
) -> None:
    """Wrap a content for the present keys of its readers, as its sealer; what is sealed stays as it is.

    For rotated keys and for more or fewer readers. Who could open it before may have kept what it holds.

    Example: gridwitness sealed rewrap linden.package --for organisation/grid-company --reading-key alder.reading
    """
    trusted, opener = load_genesis(genesis), load_reading_key(reading_key)
    with way.client() as client:
        signer = way.signer(client)
        made = rewrap(_fetch(client, trusted, content, way.key), opener, _readers(client, trusted, readers))
        outcome = _name(client, signer, made, way.wait_s)
    _show(way.terminal(), made, outcome)


@app.command("list")
def list_contents(
    node: NodeOption,
    subject: Annotated[str | None, typer.Option("--subject", help="Only those about exactly this subject.")] = None,
    *,
    json: JsonOption = False,
) -> None:
    """List sealed contents, newest first: what everybody may know of them.

    Example: gridwitness sealed list --subject device/linden-sc-1 --node http://localhost:8080
    """
    with NodeClient([node]) as client:
        found = listing(client, "/v1/sealed", {"subject": subject})
    show_listing(
        Terminal(as_json=json),
        ("content", "title", "class", "subject", "by", "keys"),
        found,
        lambda item: (
            item["content"],
            item["title"],
            item["class"],
            item["subject"],
            item["by"],
            len(item["keys"]),
        ),
        empty="no sealed contents",
    )


def _fetch(client: NodeClient, genesis: Genesis, content: str, key: Path) -> SealedFile:
    """Return the newest sealed file of a content, by a signed request."""
    item = _find(client, content)
    signer = RequestSigner(load_signing_key(key).signing_key, genesis.chain())
    raw = client.get_bytes(f"/v1/blobs/{item['blob']}", signer=signer)
    if sha256(raw).hex() != item["blob"]:
        raise DataError(f"{client.node} sent other bytes than blob {item['blob']}")
    try:
        file = decode_sealed(raw)
    except WireError as error:
        raise DataError(f"blob {item['blob']} is no sealed file: {error}") from error
    if (file.content.hex(), file.label.chain) != (item["content"], genesis.chain()):
        found = f"content {file.content.hex()} of {file.label.chain}"
        raise DataError(f"blob {item['blob']} holds {found}, not {item['content']} of {genesis.chain()}")
    return file


def _find(client: NodeClient, text: str) -> Item:
    if _DIGEST.fullmatch(text) is not None:
        return client.get_json(f"/v1/sealed/{text}")
    found = items(client, "/v1/sealed", {"title": text})
    if not found:
        raise DataError(f"the ledger holds no sealed content {text}; see 'gridwitness sealed list'")
    if len(found) > 1:
        digests = ", ".join(str(item["content"]) for item in found)
        raise UsageError(f"{len(found)} sealed contents are called {text}; name one by its digest: {digests}")
    return found[0]


def _readers(client: NodeClient, genesis: Genesis, named: Sequence[str]) -> list[Reader]:
    """Return whom readers mean, with the reading keys that the ledger has now, proven."""
    accounts: set[str] = set()
    for text in named:
        try:
            kind, name = split_reader(text)
        except FormatError as error:
            raise UsageError(f"--for {text}: {error}") from error
        accounts |= _with_role(client, genesis, name) if kind == "role" else {name}
    return [_reader(client, genesis, account) for account in sorted(accounts)]


def _reader(client: NodeClient, genesis: Genesis, account: str) -> Reader:
    value = proven_value(client, genesis, NAMESPACE, f"key/{account}".encode("ascii"))
    if value is None:
        raise DataError(f"{account} has no reading key: it makes one known with 'gridwitness access register'")
    return Reader(account, Fields(cbor.decode(value), ("key", "height"), "reading key").digest("key"))


def _with_role(client: NodeClient, genesis: Genesis, role: str) -> set[str]:
    """Return the organisations that have a role, each proven: a node can leave one out, and put none in."""
    named = {str(item["organisation"]) for item in items(client, "/v1/members", {"role": role})}
    found = set()
    for name in sorted(named):
        raw = proven_value(client, genesis, "membership", f"organisation/{name}".encode("ascii"))
        value = None if raw is None else cbor.decode(raw)
        if isinstance(value, dict) and value.get("role") == role:
            found.add(name)
    if not found:
        raise DataError(f"no organisation has the role {role}")
    return found


def _name(client: NodeClient, signer: Signer, file: SealedFile, timeout_s: float | None) -> Outcome:
    """Name a sealed file in the ledger and bring it to the node."""
    raw = file.encode()
    args: dict[str, cbor.Value] = {
        "content": file.content,
        "blob": sha256(raw),
        "size": len(raw),
        "class": file.label.data_class,
        "subject": file.label.subject,
        "title": file.label.title,
        "keys": list(file.kids()),
    }
    tx, missing = submit_with_blobs(client, signer.sign(NAMESPACE, "seal", args))
    bring_blobs(client, missing, {sha256(raw).hex(): raw})
    if timeout_s is None:
        return Outcome(tx, "pending", None, None)
    return require_ok(wait_outcome(client, tx, timeout_s))


def _show(terminal: Terminal, file: SealedFile, outcome: Outcome) -> None:
    readers = [wrap.account for wrap in file.wraps]
    value = {**outcome.to_json(), "content": file.content.hex(), "title": file.label.title, "readers": readers}
    line = f"{file.label.title}, content {file.content.hex()}, for {', '.join(readers)}: {outcome.said()}"
    terminal.show(value, lambda: [f"{line}, transaction {short(outcome.tx)}"])
