"""The command `gridwitness-node broker-files`: the broker's access and revocation lists, from the ledger's state."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Final

import typer

from kit.exitcodes import DataError, TryAgainError
from kit.files import read_bounded, write_atomic
from kit.terminal import Terminal
from kit.tls import Authority
from master.broker_list import BrokerList, broker_list
from master.config import load_genesis, load_node_config
from master.io.store_glance import StoreGlance
from master.ledger.call import StateReads
from master.making import STORE_FOLDER
from master.upkeep import DEFAULT_CONFIG, AsJson, Config

ACL: Final = "acl"
REVOKED: Final = "revoked.pem"
MARK: Final = "ledger.json"
"""From which block of which ledger the files are: an older state never replaces them."""
_FILE_BYTES_MAX: Final = 256 * 1024 * 1024
_MARK_BYTES_MAX: Final = 4096


def broker_files(
    ca: Annotated[Path, typer.Option("--ca", metavar="DIR", help="Folder with authority.crt and authority.key.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder that Mosquitto reads; made when missing.")],
    config: Config = DEFAULT_CONFIG,
    *,
    as_json: AsJson = False,
) -> None:
    """Write who may use the broker, as this node's state has it: DIR/acl and DIR/revoked.pem; the node may run on.

    Suspended gateways are out of the access list and their certificates on the revocation list; revoked certificates
    stay on it. Same state, same bytes: a file that would not change is left alone, and the output says so; else have
    Mosquitto read them again (SIGHUP). Exit code 0 either way; 75: the files are of a newer block than this node has.

    Example: gridwitness-node broker-files --ca ca --out /etc/mosquitto/gridwitness --config /etc/gridwitness/node.toml
    """
    loaded = load_node_config(config)
    genesis = load_genesis(loaded)
    authority = Authority.in_folder(ca)
    with StoreGlance(loaded.node.data_dir / STORE_FOLDER, genesis) as state:
        head, found = state.head, broker_list(StateReads(state), state.head.time_ms)
    _check_mark(out, genesis.chain(), head.height)
    ours = {der: is_held for der, is_held in found.revoked.items() if authority.has_issued(der)}
    wanted = {REVOKED: authority.revocation_list(ours), ACL: "\n".join((*found.lines, "")).encode("ascii")}
    changed = [name for name, raw in wanted.items() if _present(out / name) != raw]
    out.mkdir(parents=True, exist_ok=True)
    # the mark goes first: whatever comes in between, no older state replaces what is here
    write_atomic(out / MARK, json.dumps({"chain": genesis.chain(), "height": head.height}).encode("ascii") + b"\n")
    for name in changed:
        write_atomic(out / name, wanted[name])
    value: dict[str, object] = {
        "folder": str(out),
        "height": head.height,
        "time_ms": head.time_ms,
        "gateways": found.gateways,
        "nodes": found.nodes,
        "shut_out": list(found.shut_out),
        "revoked": len(ours),
        "not_ours": len(found.revoked) - len(ours),
        "changed": sorted(changed),
    }
    Terminal(as_json=as_json).show(value, lambda: _lines(value, found))


def _check_mark(out: Path, chain: str, height: int) -> None:
    """Return when the files in a folder may be replaced by those of a state.

    Raises:
        DataError: They are of another ledger.
        TryAgainError: They are of a newer block.
    """
    raw = _present(out / MARK)
    if raw is None:
        return
    try:
        mark = json.loads(raw[:_MARK_BYTES_MAX])
        known, newest = str(mark["chain"]), int(mark["height"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise DataError(f"{out / MARK} is not what this command wrote: {error}; remove it to begin anew") from error
    if known != chain:
        raise DataError(f"{out} is of ledger {known}, not of {chain}; choose another --out")
    if newest > height:
        raise TryAgainError(f"{out} is of block {newest}, this node is at block {height}: let it catch up first")


def _present(path: Path) -> bytes | None:
    return read_bounded(path, bytes_max=_FILE_BYTES_MAX) if path.is_file() else None


def _lines(value: dict[str, object], found: BrokerList) -> list[str]:
    who = f"{value['gateways']} gateways and {value['nodes']} full nodes may use the broker"
    lines = [f"{value['folder']}: as of block {value['height']} {who}; {value['revoked']} certificates are revoked"]
    if found.shut_out:
        lines.append(f"shut out: {', '.join(found.shut_out)}")
    if value["not_ours"]:
        lines.append(f"{value['not_ours']} revoked certificates are not of this authority, and so on no list of it")
    changed = value["changed"]
    if isinstance(changed, list) and changed:
        return [*lines, f"changed: {', '.join(changed)}; have the broker read them again: systemctl reload mosquitto"]
    return [*lines, "nothing changed"]
