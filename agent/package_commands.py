"""gridwitness-agent package: the release packages with which a gateway names what differs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agent.config import load_agent_config
from agent.io.packages import Kept, PackageStore, decode_file
from agent.options import DEFAULT_CONFIG, AsJson, Config
from kit.exitcodes import DataError, UsageError
from kit.terminal import Terminal

package_app = typer.Typer(no_args_is_help=True, help="Release packages: what settings, rows and chunks stand for.")


@package_app.command("add", epilog="Example: gridwitness-agent package add linden-sc-1.package")
def add_command(
    file: Annotated[Path, typer.Argument(help="Package made by 'gridwitness refs package'.")],
    config: Config = DEFAULT_CONFIG,
    *,
    as_json: AsJson = False,
) -> None:
    """Keep a release package; the running agent takes it within seconds.

    From then on the agent names the settings, rows and chunks in which a device differs from this release. Compare the
    digest shown with 'gridwitness refs list': only the ledger says which release was endorsed.

    Exit code 65: it is no package, or one that was changed.
    """
    store = _store(config)
    kept = store.add(decode_file(file))
    Terminal(as_json=as_json).show(_value(kept), lambda: [f"added: {_line(kept)}"])


@package_app.command("list", epilog="Example: gridwitness-agent package list --json")
def list_command(config: Config = DEFAULT_CONFIG, *, as_json: AsJson = False) -> None:
    """List the packages of this gateway, oldest first; of one target the newest counts."""
    kept = _store(config).kept()
    value = {"packages": [_value(entry) for entry in kept]}
    Terminal(as_json=as_json).show(value, lambda: [_line(entry) for entry in kept] or ["no packages"])


@package_app.command("remove", epilog="Example: gridwitness-agent package remove linden-sc-1-2-4-0")
def remove_command(
    release: Annotated[str, typer.Argument(help="Digest (64 hex digits) or name of the release.")],
    config: Config = DEFAULT_CONFIG,
    *,
    as_json: AsJson = False,
) -> None:
    """Forget a release package."""
    store = _store(config)
    found = [kept for kept in store.kept() if release in (kept.release.release, kept.digest.hex())]
    if not found:
        raise DataError(f"there is no package of {release}; see 'gridwitness-agent package list'")
    if len(found) > 1:
        digests = ", ".join(kept.digest.hex() for kept in found)
        raise UsageError(f"{len(found)} packages are of releases called {release}; name one by its digest: {digests}")
    store.remove(found[0])
    Terminal(as_json=as_json).show(_value(found[0]), lambda: [f"removed: {_line(found[0])}"])


def _store(config: Path) -> PackageStore:
    store = PackageStore(load_agent_config(config).agent.state_dir)
    store.refresh()
    return store


def _value(kept: Kept) -> dict[str, object]:
    release = kept.release
    return {
        "release": release.release,
        "digest": kept.digest.hex(),
        "manufacturer": release.manufacturer,
        "device": release.device,
        "model": release.model,
        "items": {entry.kind: 0 if entry.items is None else entry.items.count for entry in release.artefacts},
    }


def _line(kept: Kept) -> str:
    release = kept.release
    target = f"model {release.model}" if release.device is None else f"device {release.device}"
    counts = ", ".join(
        f"{entry.kind} {'without items' if entry.items is None else f'{entry.items.count} items'}"
        for entry in release.artefacts
    )
    return f"{release.release} {kept.digest.hex()} of {release.manufacturer} for {target}: {counts}"
