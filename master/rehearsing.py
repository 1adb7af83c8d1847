"""The command `gridwitness-node dry-run`: what an upgrade would make of this node's state."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer

from kit.exitcodes import ConfigurationError, DataError, StorageError, UsageError
from kit.files import read_bounded
from kit.terminal import Terminal
from master.config import load_genesis, load_node_config
from master.contracts.membership_decisions import Upgrade, decode_upgrade
from master.contracts.table import own_software
from master.io.backups import copy_store
from master.io.store import Store
from master.io.store_records import unseal
from master.ledger.preview import preview
from master.ledger.refusals import CodeDueError
from master.ledger.rehearsal import rehearse
from master.ledger.state import Overlay
from master.making import STORE_FOLDER
from master.upkeep import DEFAULT_CONFIG, AsJson, Config
from wire.cbor import Value
from wire.errors import FormatError
from wire.genesis import CodeEntry, Genesis
from wire.types import Digest

PLAN_BYTES_MAX: Final = 64 * 1024
_CONTRACT: Final = re.compile(r"([a-z0-9-]{1,64}):([1-9][0-9]{0,4})", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Rehearsed:
    """A state root, and what it came from."""

    upgrade: Upgrade
    """As it is to be proposed."""
    expected: Digest | None
    """What the plan says that was checked."""


def dry_run(
    contracts: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME:VERSION]...", help="Contract versions of this release.")
    ] = None,
    height: Annotated[int, typer.Option("--height", min=0, help="First block that they are to execute.")] = 0,
    base: Annotated[int, typer.Option("--base", min=0, help="Block on whose state to try it; 0: the newest.")] = 0,
    check: Annotated[
        Path | None,
        typer.Option("--check", metavar="FILE", help="Try what a plan says, on its base, and compare the state root."),
    ] = None,
    config: Config = DEFAULT_CONFIG,
    *,
    as_json: AsJson = False,
) -> None:
    """Try an upgrade on a copy of this node's state and print the state root that comes out; the node may run on.

    With --json it prints the plan that 'gridwitness proposals upgrade' takes. Whoever votes runs the same with --check:
    who has the same code and the same block gets the same root. Exit code 65: another root came out.

    Example: gridwitness-node dry-run notary:2 --height 120000 --json > plan.json
    """
    loaded = load_node_config(config)
    genesis, terminal = load_genesis(loaded), Terminal(as_json=as_json)
    wanted = read_plan(check) if check is not None else _wanted(contracts or [], height, base)
    with (
        terminal.progress("copying the store"),
        _copied(loaded.node.data_dir, genesis, loaded.node.map_mib << 20) as store,
    ):
        done = rehearse_on(store, wanted)
    if done.expected not in (None, done.upgrade.state_root):
        assert done.expected is not None
        assert done.upgrade.state_root is not None
        raise DataError(
            f"{check}: on block {done.upgrade.base_height} the upgrade comes to the state root "
            f"{done.upgrade.state_root.hex()} here, not to {done.expected.hex()}: do not vote for it before it is "
            "clear whose code or state differs"
        )
    value = plan_of(done.upgrade)
    terminal.show(value, lambda: _lines(done))


def rehearse_on(store: Store, wanted: Upgrade) -> _Rehearsed:
    """Try an upgrade on the state of a store, which stays as it is.

    Args:
        store: Open; a copy, if its node runs.
        wanted: What to try; base_height 0 stands for the newest block.

    Raises:
        UsageError: The base is not kept any more, has not come yet, or does not lie below the height.
        ConfigurationError: This software lacks one of the versions.
        StorageError: The state of the base cannot be had.
    """
    base = wanted.base_height or store.head().height
    heights = store.past_heights()
    if base not in heights:
        raise UsageError(f"block {base}: the states of blocks {heights.start} to {heights.stop - 1} can be had here")
    if base >= wanted.height:
        raise UsageError(f"--height {wanted.height}: it must lie above block {base}, on which it is tried")
    header, tree = store.header(base), store.state_tree()
    state = past_state(store, base)
    if header is None or preview(store, tree, state.writes())[1].root != header.state_root:
        raise StorageError(f"the state of block {base} cannot be had from this store; run gridwitness-node fsck")
    try:
        root = rehearse(own_software(), state, header.time_ms, wanted, tree, store)
    except CodeDueError as error:
        raise ConfigurationError(str(error)) from error
    return _Rehearsed(Upgrade(wanted.code, wanted.height, base, root), wanted.state_root)


def past_state(store: Store, height: int) -> Overlay:
    """Return the state of a recent block as a layer on the newest one."""
    state = Overlay(store)
    for number in range(store.head().height, height, -1):
        for key, record in store.undo(number).values:
            start = key[0] + 1
            namespace, name = key[1:start].decode("ascii"), key[start:]
            if record is None:
                state.delete(namespace, name)
            else:
                state.put(namespace, name, unseal("state", key, record))
    return state


def plan_of(upgrade: Upgrade) -> dict[str, object]:
    """Return the plan in its JSON form: the body of a proposal with digests in hex."""
    return {
        "code": [{"name": one.name, "version": one.version, "digest": one.digest.hex()} for one in upgrade.code],
        "height": upgrade.height,
        "base_height": upgrade.base_height,
        "state_root": None if upgrade.state_root is None else upgrade.state_root.hex(),
    }


def read_plan(path: Path) -> Upgrade:
    """Return what a plan says.

    Raises:
        DataError: The file holds something else.
    """
    try:
        found = json.loads(read_bounded(path, bytes_max=PLAN_BYTES_MAX))
        code: Value = [{**one, "digest": bytes.fromhex(one["digest"])} for one in found["code"]]
        root = found["state_root"]
        return decode_upgrade({**found, "code": code, "state_root": None if root is None else bytes.fromhex(root)})
    except (ValueError, TypeError, KeyError, RecursionError, FormatError) as error:
        raise DataError(f"{path} is no plan of gridwitness-node dry-run --json: {error}") from error


def _wanted(contracts: Sequence[str], height: int, base: int) -> Upgrade:
    """Return what the command line asks for.

    Raises:
        UsageError: A contract is none of this release, or the height is missing.
    """
    if not contracts or not height:
        raise UsageError("name contract versions and --height, or a plan with --check; see --help")
    own = own_software().digests
    code = []
    for text in contracts:
        match = _CONTRACT.fullmatch(text)
        key = ("", 0) if match is None else (match[1], int(match[2]))
        if key not in own:
            raise UsageError(f"{text!r} is no contract version of this release; see gridwitness-node code-table")
        code.append(CodeEntry(*key, own[key]))
    code.sort(key=lambda entry: entry.name)
    return Upgrade(tuple(code), height, base, None)


@contextmanager
def _copied(data_dir: Path, genesis: Genesis, map_bytes: int) -> Iterator[Store]:
    """Copy a node's store as of this moment beside it, and remove the copy afterwards."""
    if not (data_dir / STORE_FOLDER).is_dir():
        raise StorageError(f"{data_dir / STORE_FOLDER}: there is none; make it with gridwitness-node init")
    folder = Path(tempfile.mkdtemp(prefix="dry-run-", dir=data_dir))
    try:
        copy_store(data_dir / STORE_FOLDER, folder)
        with Store.open(folder, genesis, map_bytes=map_bytes) as store:
            yield store
    finally:
        shutil.rmtree(folder)


def _lines(done: _Rehearsed) -> list[str]:
    upgrade = done.upgrade
    assert upgrade.state_root is not None
    names = ", ".join(f"{one.name} {one.version}" for one in upgrade.code)
    return [
        f"{names} from block {upgrade.height} on, tried on block {upgrade.base_height}",
        f"state root {upgrade.state_root.hex()}{'' if done.expected is None else ', as the plan says'}",
    ]
