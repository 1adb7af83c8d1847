"""gridwitness ledger: ask several nodes for their newest block and believe none of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from client.commands.verify import load_genesis
from client.options import URL_VARIABLE, GenesisOption, JsonOption
from client.output import lines_of, short, when
from kit.exitcodes import DataError, exit_code_of
from kit.files import write_new
from kit.http import NodeClient
from kit.terminal import Terminal
from wire import cbor
from wire.certificate import decode_certificate
from wire.epochs import EPOCHS_MAX, EpochEnd, decode_epoch_ends
from wire.finality import FinalHeader
from wire.header import decode_header
from wire.lightclient import ConflictError, LightState, accept, age_ms, begin, is_fresh, verify_conflict
from wire.types import sha256

MAX_AGE_S: Final = 90.0
_MS_PER_S: Final = 1000

app = typer.Typer(no_args_is_help=True, help="Ask nodes how the ledger stands, and check what they say.")


@app.command()
def check(
    node: Annotated[
        list[str],
        typer.Option("--node", metavar="URL", envvar=URL_VARIABLE, help="Full node; name two or more."),
    ],
    genesis: GenesisOption,
    max_age: Annotated[
        float, typer.Option("--max-age", metavar="SECONDS", min=1.0, help="Older than this is stale.")
    ] = MAX_AGE_S,
    evidence: Annotated[
        Path, typer.Option("--evidence", metavar="FILE", help="Where evidence of a conflict is written.")
    ] = Path("conflict.cbor"),
    *,
    json: JsonOption = False,
) -> int:
    """Fetch the newest block of each node, verify it from the genesis file on, and compare.

    Exit code 16: the newest block is stale. 65: a node's answer does not verify, or two certified blocks contradict
    each other; then the evidence is written, which proves to anybody that validators signed twice.

    Example: gridwitness ledger check --node http://a:8080 --node http://b:8080 --genesis genesis.cbor
    """
    trusted = load_genesis(genesis)
    state = begin(trusted)
    try:
        for final in _finals(node):
            state = accept(state, final)
    except ConflictError as error:
        evidence = _keep(evidence, error.conflict.encode())
        culprits = ", ".join(verify_conflict(error.conflict, trusted)) or "known only from the view changes in between"
        raise DataError(f"{error}; signed twice: {culprits}; the evidence is in {evidence}") from error
    except (KeyError, TypeError, ValueError) as error:  # every WireError is a ValueError
        raise DataError(f"what the nodes say does not verify: {error}") from error
    now_ms = time.time_ns() // 1_000_000
    fresh = is_fresh(state, now_ms, int(max_age * _MS_PER_S))
    shown = _shown(state, now_ms, nodes=len(node), is_fresh=fresh)
    Terminal(as_json=json).show(shown, lambda: _lines(shown))
    return exit_code_of(() if fresh else ("stale",))


def _finals(urls: Sequence[str]) -> list[FinalHeader]:
    """Return from every node its newest header, and that of the greatest height that all of them have."""
    with_heights = []
    for url in urls:
        with NodeClient([url]) as client:
            with_heights.append((url, int(client.get_json("/v1/status")["height"])))
    common = min(height for _, height in with_heights)
    if common < 1:
        raise DataError("there is no block yet")
    finals = []
    for url, height in with_heights:
        with NodeClient([url]) as client:
            ends = _epoch_ends(client)
            finals += [_final(client, at, ends) for at in sorted({common, height})]
    return finals


def _keep(path: Path, conflict: bytes) -> Path:
    """Write evidence of a conflict and return where it is: beside what another conflict left under that name."""
    if path.exists():
        path = path.with_name(f"{path.stem}-{short(sha256(conflict).hex())}{path.suffix}")
    if not path.exists():  # its name says what it holds
        write_new(path, conflict)
    return path


def newest_final(client: NodeClient) -> FinalHeader:
    """Return a node's newest header with its certificate and all epochs; nothing of it has been verified.

    Raises:
        DataError: There is none yet, or the answer is malformed.
    """
    height = int(client.get_json("/v1/status")["height"])
    if height < 1:
        raise DataError("there is no block yet")
    try:
        return _final(client, height, _epoch_ends(client))
    except (KeyError, TypeError, ValueError) as error:  # every WireError is a ValueError
        raise DataError(f"what the node says cannot be read: {error}") from error


def _epoch_ends(client: NodeClient) -> tuple[EpochEnd, ...]:
    items: list[Any] = []
    following: object = 0
    while following is not None and len(items) <= EPOCHS_MAX:
        page = client.get_json("/v1/epochs", {"from": str(following)})
        items += page["items"]
        following = page["next"]
    return decode_epoch_ends([cbor.decode(bytes.fromhex(item["end"])) for item in items])


def _final(client: NodeClient, height: int, ends: tuple[EpochEnd, ...]) -> FinalHeader:
    items = client.get_json("/v1/headers", {"from": str(height), "limit": "1"})["items"]
    if len(items) != 1:
        raise DataError(f"{client.node} says that it has block {height}, but does not show it")
    header = decode_header(bytes.fromhex(items[0]["header"]))
    certificate = decode_certificate(cbor.decode(bytes.fromhex(items[0]["certificate"])))
    return FinalHeader(header, certificate, ends[: header.epoch])


def _shown(state: LightState, now_ms: int, *, nodes: int, is_fresh: bool) -> dict[str, object]:
    newest = state.newest
    assert newest is not None, "every node has a block"
    return {
        "chain": state.chain,
        "nodes": nodes,
        "height": newest.header.height,
        "digest": newest.header.digest().hex(),
        "time_ms": newest.header.time_ms,
        "age_ms": age_ms(state, now_ms),
        "fresh": is_fresh,
        "epoch": newest.header.epoch,
        "signers": list(newest.certificate.signers),
    }


def _lines(shown: dict[str, Any]) -> list[str]:
    return lines_of(
        {
            "ledger": f"{shown['chain']}: {shown['nodes']} nodes agree, verified from the genesis file on",
            "newest block": f"{shown['height']} ({short(shown['digest'])}) of {when(shown['time_ms'])}",
            "age": f"{shown['age_ms'] / _MS_PER_S:.1f} s{'' if shown['fresh'] else ', stale'}",
            "signed by": ", ".join(shown["signers"]),
        }
    )
