"""gridwitness records: prove later that an account had a file by a certain time."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Final

import typer

from client.commands.verify import load_genesis
from client.options import GenesisOption, JsonOption, NodeOption
from client.outfiles import ForceOption, check_out, write_out
from client.output import lines_of, when
from client.proven import proven_entry
from client.ways import Way, signed
from kit.exitcodes import DataError, UsageError
from kit.files import storage_error
from kit.http import NodeClient
from kit.terminal import Terminal
from wire import cbor
from wire.fields import Fields
from wire.note import DATA_BYTES_MAX, ENTRY_FIELDS, NAMESPACE, entry_key
from wire.stateproof import StateProof
from wire.types import IDENTIFIER_PATTERN, sha256

_WORDS: Final = {
    "taken": "the account has noted something else under this name, which stays; choose another --name",
    "duplicate": "it is noted already, with the same bytes; see 'gridwitness records check'",
}

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="What is to be proven.")]
NameOption = Annotated[
    str, typer.Option("--name", metavar="NAME", help="Of the record: small letters, digits and hyphens.")
]

app = typer.Typer(no_args_is_help=True, help="Note that you have a file, and prove it later.")


@app.command()
@signed
def put(
    file: FileArgument,
    name: NameOption,
    way: Way,
) -> None:
    """Note a file in the ledger under a name of your account: up to 1,024 bytes as they are, of more the SHA-256.

    Everybody can read what is noted; seal what others must not read ('gridwitness sealed submit'). What is noted never
    changes, and names the data centre through which it came.

    Example: gridwitness records put contract.pdf --name contract-17 --key wind.key --node http://localhost:8080
    """
    _check_identifier(name, "name of a record")
    data = _data(file)
    with way.client() as client:
        args: dict[str, cbor.Value] = {"data": data, "key": name}
        outcome = way.call(client, NAMESPACE, "put", args, _WORDS)
    account = way.account
    value = {"account": account, "name": name, "tx": outcome.tx, "height": outcome.height}
    end = "" if outcome.height is None else f", block {outcome.height}"
    said = f"{file}: noted as {account}/{name}, transaction {outcome.tx}{end}"
    way.terminal().show(value, lambda: [said])


@app.command()
def check(
    file: FileArgument,
    name: NameOption,
    account: Annotated[str, typer.Option("--account", metavar="ID", help="Who is said to have had it.")],
    genesis: GenesisOption,
    node: NodeOption,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Where to write the proof.")] = None,
    *,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Prove with the genesis file that an account noted exactly the bytes of a file, when, and through whom.

    Exit code 65: it noted nothing under that name, or other bytes, or the proof does not verify.

    Example: gridwitness records check contract.pdf --name contract-17 --account wind --genesis genesis.cbor --node URL
    """
    _check_identifier(name, "name of a record")
    _check_identifier(account, "account")
    check_out(out, force=force)
    digest, trusted = sha256(_data(file)), load_genesis(genesis)
    with NodeClient([node]) as client:
        proof = proven_entry(client, trusted, NAMESPACE, entry_key(account, name))
    if out is not None:
        write_out(out, proof.encode(), force=force)
    if proof.value is None:
        raise DataError(f"{account} has noted nothing as {name} up to block {proof.final.header.height}")
    entry = Fields(cbor.decode(proof.value), ENTRY_FIELDS, "notary.record")
    if entry.digest("digest") != digest:
        raise DataError(f"{account} noted other bytes as {name} in block {entry.integer('height')} than {file} has")
    _show(Terminal(as_json=json), file, proof, entry)


def _show(terminal: Terminal, file: Path, proof: StateProof, entry: Fields) -> None:
    account, _, name = proof.key.decode("ascii").partition("/")
    centre = None if entry.is_null("data_centre") else entry.identifier("data_centre")
    noted_ms, header = entry.integer("time_ms"), proof.final.header
    value = {
        "account": account,
        "name": name,
        "digest": entry.digest("digest").hex(),
        "height": entry.integer("height"),
        "time_ms": noted_ms,
        "data_centre": centre,
        "proven_height": header.height,
        "signers": list(proof.final.certificate.signers),
    }
    terminal.show(
        value,
        lambda: [
            f"{account} had the bytes of {file} by {when(noted_ms)}",
            *lines_of(
                {
                    "noted as": f"{name}, block {entry.integer('height')}",
                    "through": centre,
                    "proven by": f"block {header.height} of {header.chain}",
                    "signed by": ", ".join(proof.final.certificate.signers),
                }
            ),
        ],
    )


def _check_identifier(text: str, what: str) -> None:
    if IDENTIFIER_PATTERN.fullmatch(text) is None:
        raise UsageError(f"{text!r} is no {what}; use small letters, digits and hyphens, such as contract-17")


def _data(file: Path) -> bytes:
    """Return what the ledger takes of a file: its bytes, or the SHA-256 of more than ``DATA_BYTES_MAX``.

    Raises:
        UsageError: It is empty.
        StorageError: It cannot be read.
    """
    try:
        with file.open("rb") as opened:
            start = opened.read(DATA_BYTES_MAX + 1)
            if len(start) <= DATA_BYTES_MAX:
                data = start
            else:
                opened.seek(0)
                data = hashlib.file_digest(opened, "sha256").digest()
    except OSError as error:
        raise storage_error(file, error) from error
    if not data:
        raise UsageError(f"{file} is empty: there is nothing to note")
    return data
