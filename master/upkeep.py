"""Commands of `gridwitness-node` that look after a store: fsck, rebuild, export, backup, restore, prune."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final

import typer

from kit.clock import SystemClock
from kit.exitcodes import ExitCode, UsageError
from kit.terminal import Terminal
from master.blobsync import ORPHAN_S
from master.blobwiring import BLOBS_FOLDER
from master.config import NodeConfig, load_genesis, load_node_config
from master.io.backups import back_up, compact, read_manifest
from master.io.backups import restore as restore_backup
from master.io.blobs import BlobStore, blob_files, copy_blobs, is_intact
from master.io.store import Store
from master.io.store_records import StoreCorruptError, StoreError
from master.io.store_tools import (
    Damage,
    Fsck,
    blocks_of,
    export_blocks,
    exported_sets,
    has_first_block,
    known_sets,
    read_export,
    whole_from,
)
from master.io.store_tools import prune as prune_blocks
from master.io.store_tools import rebuild as rebuild_store
from master.ledger.blobs import known_blobs
from master.making import STORE_FOLDER, TABLES_FILE
from master.seat import RESTORED_FILE
from wire.genesis import Genesis

Config = Annotated[Path, typer.Option("--config", help="The node's TOML file.", show_default=True)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
DEFAULT_CONFIG: Final = Path("/etc/gridwitness/node.toml")
_SHOWN_MAX: Final = 20


def fsck(config: Config = DEFAULT_CONFIG, *, as_json: AsJson = False) -> int:
    """Check the store of a stopped node: checksums, chain, certificates, indices, state tree, blobs.

    Exit code 0: all is well; 65: something is damaged, and the output says what.

    Example: gridwitness-node fsck --config /etc/gridwitness/node.toml
    """
    loaded, genesis = _load(config)
    terminal = Terminal(as_json=as_json)
    try:
        with _open(loaded, genesis) as store, terminal.progress("checking the store") as progress:
            check = Fsck(store, genesis, progress)
            height, damages, lacks = store.head().height, check.run(), check.lacks
            missing = _check_blobs(store, _blobs_path(loaded), damages)
    except StoreError as error:
        if not isinstance(error, StoreCorruptError):
            raise
        height, damages, lacks, missing = 0, [Damage("meta", "", str(error))], 0, 0
    value = {
        "height": height,
        "lacks": lacks,
        "blobs_missing": missing,
        "damages": [asdict(damage) for damage in damages],
    }
    terminal.show(value, lambda: [*_fsck_lines(height, lacks, damages), *_blob_lines(missing)])
    return ExitCode.DATA if damages else ExitCode.OK


def rebuild(
    config: Config = DEFAULT_CONFIG,
    source: Annotated[
        Path | None, typer.Option("--from", help="Export of another node; else this store's own blocks.")
    ] = None,
    *,
    as_json: AsJson = False,
) -> int:
    """Make the store of a stopped node anew from its blocks, each verified and executed; the old one is kept aside.

    Exit code 0: all blocks are in it; 75: it ends before a damaged block, and the node gets the rest from the others.

    Example: gridwitness-node rebuild --config /etc/gridwitness/node.toml
    """
    loaded, genesis = _load(config)
    terminal = Terminal(as_json=as_json)
    path, aside, new = (_store_path(loaded, suffix) for suffix in ("", ".old", ".rebuilding"))
    for other in (aside, new):
        if other.exists():
            raise StoreError(f"{other} is there from an earlier rebuild; move it away first")
    map_bytes = loaded.node.map_mib << 20
    with terminal.progress("rebuilding the store") as progress:
        if source is None:
            with _open(loaded, genesis) as store:
                if not has_first_block(store):
                    reason = whole_from(store)
                    raise StoreError(f"block 1 is not here; {reason}: rebuild --from an export of another node")
                blocks, sets = blocks_of(store), known_sets(store)
                done = rebuild_store(new, genesis, blocks, sets, progress, map_bytes=map_bytes)
        else:
            blocks, sets = read_export(source, genesis.chain()), exported_sets(source, genesis.chain())
            done = rebuild_store(new, genesis, blocks, sets, progress, map_bytes=map_bytes)
    if path.exists():
        path.rename(aside)
    new.rename(path)
    _drop_tables(loaded)
    value = {
        "height": done.height,
        "stopped": done.stopped,
        "store": str(path),
        "old_store": str(aside) if aside.exists() else None,
    }
    lines = [f"{path}: rebuilt to block {done.height}; the old store is {aside}"]
    if done.stopped is not None:
        lines.append(f"it ends there: {done.stopped}")
    terminal.show(value, lambda: lines)
    return ExitCode.OK if done.stopped is None else ExitCode.TRY_AGAIN


def export(
    out: Annotated[Path, typer.Option("--out", help="File to write; never overwritten.")],
    config: Config = DEFAULT_CONFIG,
    first: Annotated[int, typer.Option("--first", min=1, help="First height.")] = 1,
    last: Annotated[int | None, typer.Option("--last", min=1, help="Last height; the newest if not told.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Write the blocks of a stopped node with their certificates to a file, for an auditor or for rebuild --from.

    Example: gridwitness-node export --out ledger.blocks --config /etc/gridwitness/node.toml
    """
    loaded, genesis = _load(config)
    terminal = Terminal(as_json=as_json)
    with _open(loaded, genesis) as store:
        end = store.head().height if last is None else last
        if not first <= end <= store.head().height:
            raise UsageError(f"blocks {first}..{end}: the store has 1..{store.head().height}")
        heights = range(first, end + 1)
        with terminal.progress("writing blocks", len(heights)) as progress:
            size = export_blocks(store, genesis.chain(), out, heights, progress)
    value = {"file": str(out), "first": first, "last": end, "bytes": size}
    terminal.show(value, lambda: [f"{out}: blocks {first}..{end}, {size} bytes"])


def backup(
    out: Annotated[Path, typer.Option("--out", help="Folder to make.")],
    config: Config = DEFAULT_CONFIG,
    *,
    as_json: AsJson = False,
) -> None:
    """Copy the store as of this moment, also while the node runs. Neither keys nor the signer guard are in it.

    Example: gridwitness-node backup --out /srv/backup/monday --config /etc/gridwitness/node.toml
    """
    loaded, genesis = _load(config)
    terminal = Terminal(as_json=as_json)
    with terminal.progress("copying the store"):
        manifest = back_up(_store_path(loaded), genesis, out)
    with terminal.progress("copying blobs"):
        blobs, damaged = copy_blobs(_blobs_path(loaded), out / BLOBS_FOLDER)
    value = {"folder": str(out), **asdict(manifest), "blobs": blobs, "blobs_damaged": damaged}
    line = f"{out}: {manifest.chain} to block {manifest.height}, {manifest.bytes} bytes, and {blobs} blobs"
    terminal.show(value, lambda: [line, *(f"blob {name} is damaged here and was left out" for name in damaged)])


def restore(
    source: Annotated[Path, typer.Argument(help="Folder that backup made.")],
    config: Config = DEFAULT_CONFIG,
    *,
    as_json: AsJson = False,
) -> None:
    """Put a backup in place of a lost store. The node then stays in quarantine until it is safe to vote again.

    Example: gridwitness-node restore /srv/backup/monday --config /etc/gridwitness/node.toml
    """
    loaded, genesis = _load(config)
    terminal = Terminal(as_json=as_json)
    read_manifest(source)
    loaded.node.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with terminal.progress("restoring the store"):
        manifest = restore_backup(source, genesis, _store_path(loaded), loaded.node.data_dir / RESTORED_FILE)
        copy_blobs(source / BLOBS_FOLDER, _blobs_path(loaded))  # what is damaged in it comes from the other nodes
    _drop_tables(loaded)
    value = {"store": str(_store_path(loaded)), "height": manifest.height, "head": manifest.head, "quarantine": True}
    line = f"{value['store']}: restored to block {manifest.height}; the node votes again once it is safe"
    terminal.show(value, lambda: [line])


def prune(
    keep: Annotated[int, typer.Option("--keep", min=128, help="Newest blocks that stay whole.")],
    config: Config = DEFAULT_CONFIG,
    *,
    as_json: AsJson = False,
) -> None:
    """Give up the bodies of old blocks of a stopped node, and blobs that nobody names, and give their room back.

    Headers, certificates, outcomes and history stay, and with them state, history and consistency proofs and the query
    tables. Receipts and bundles of these blocks can then be had from other nodes alone.

    Example: gridwitness-node prune --keep 100000 --config /etc/gridwitness/node.toml
    """
    loaded, genesis = _load(config)
    terminal = Terminal(as_json=as_json)
    with _open(loaded, genesis) as store:
        before = store.head().height - keep + 1
        with terminal.progress("giving up blocks", max(0, before - 1)) as progress:
            pruned = prune_blocks(store, before, progress)
        freed = _remove_orphans(store, loaded)
    with terminal.progress("compacting the store"):
        size_before, size = compact(_store_path(loaded))
    value = {"blocks": pruned, "bytes_before": size_before, "bytes": size, "blob_bytes": freed}
    line = f"{pruned} blocks given up; the store has {size} bytes, before {size_before}; {freed} bytes of blobs removed"
    terminal.show(value, lambda: [line])


def _load(config: Path) -> tuple[NodeConfig, Genesis]:
    loaded = load_node_config(config)
    return loaded, load_genesis(loaded)


def _blobs_path(loaded: NodeConfig) -> Path:
    return loaded.node.data_dir / BLOBS_FOLDER


def _check_blobs(store: Store, folder: Path, damages: list[Damage]) -> int:
    """Add blobs that are damaged; return how many the ledger names that are not here, 0 if its state is damaged."""
    here, is_sound = set(), not damages
    for path in blob_files(folder):
        if is_intact(path):
            here.add(bytes.fromhex(path.name))
        else:
            damages.append(Damage("blobs", path.name, "its bytes are others than its name says; remove the file"))
    return sum(blob.digest not in here for blob in known_blobs(store)) if is_sound else 0


def _blob_lines(missing: int) -> list[str]:
    return [f"{missing} blobs are not here; the node fetches them when it runs"] if missing else []


def _remove_orphans(store: Store, loaded: NodeConfig) -> int:
    """Remove blobs that the ledger does not name and that have been here for a day; return their bytes."""
    known, blobs = set(known_blobs(store)), BlobStore(_blobs_path(loaded), loaded.node.blobs_mib << 20)
    before_s = SystemClock().now_ms() / 1000 - ORPHAN_S
    return sum(blobs.remove(blob.digest) for blob in tuple(blobs.removable(known.__contains__, before_s)))


def _store_path(loaded: NodeConfig, suffix: str = "") -> Path:
    return loaded.node.data_dir / f"{STORE_FOLDER}{suffix}"


def _open(loaded: NodeConfig, genesis: Genesis) -> Store:
    return Store.open(_store_path(loaded), genesis, map_bytes=loaded.node.map_mib << 20)


def _drop_tables(loaded: NodeConfig) -> None:
    """Remove query tables that may know of blocks that the store no longer has; the node makes them anew."""
    if loaded.node.database_url is None:
        for suffix in ("", "-wal", "-shm", "-journal"):
            (loaded.node.data_dir / f"{TABLES_FILE}{suffix}").unlink(missing_ok=True)


def _fsck_lines(height: int, lacks: int, damages: list[Damage]) -> list[str]:
    if not damages:
        missing = f"; blocks 1..{lacks} have not come yet, since the store began with a snapshot" if lacks else ""
        return [f"all is well, up to block {height}{missing}"]
    lines = [f"{damage.table} {damage.key}: {damage.problem}" for damage in damages[:_SHOWN_MAX]]
    if len(damages) > _SHOWN_MAX:
        lines.append(f"and {len(damages) - _SHOWN_MAX} more; --json shows them")
    return [*lines, "run gridwitness-node rebuild, or restore a backup"]
