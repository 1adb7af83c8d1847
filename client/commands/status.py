"""gridwitness status: the state of several full nodes at once."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Final

import typer

from client.node import Item
from client.options import URL_VARIABLE, JsonOption
from client.output import short, show_items
from kit.exitcodes import GridwitnessError, UsageError, exit_code_of
from kit.http import NodeClient
from kit.sse import JsonObject
from kit.terminal import Terminal

NODES_MAX: Final = 64


def status(
    node: Annotated[
        list[str],
        typer.Option("--node", metavar="URL", envvar=URL_VARIABLE, help="Full node; repeat it for several."),
    ],
    *,
    json: JsonOption = False,
) -> int:
    """Show height, head, leader and queue of full nodes.

    Exit code 16 if a node's ledger stands still, 69 if a node does not answer and nothing else was found.

    Example: gridwitness status --node http://localhost:8080 --node http://localhost:8081
    """
    terminal = Terminal(as_json=json)
    with terminal.progress("asking the nodes"), ThreadPoolExecutor(min(len(node), NODES_MAX)) as pool:
        found = list(pool.map(_ask, node))
    show_items(
        terminal,
        ("node", "height", "head", "head age ms", "leader", "peers", "queue", "version"),
        found,
        _row,
        empty="no nodes",
    )
    sys.stdout.flush()
    for line in () if json else (line for item in found for line in _troubles(item)):
        sys.stderr.write(f"{line}\n")
    return exit_code_of(
        word
        for item in found
        for word, holds in (("unreachable", "error" in item), ("stale", bool(item.get("ledger_stale"))))
        if holds
    )


def _troubles(item: Item) -> Iterator[str]:
    """Yield what is wrong with a node, a sentence each."""
    if "error" in item:
        yield str(item["error"])
    if item.get("health", "ok") != "ok":
        yield f"{item['node']} takes no part, or not yet: {item['health']}"
    if item.get("broker") == "not connected":
        yield f"{item['node']} has no connection to the broker, so no gateway is heard there; its log says why"


def _ask(url: str) -> Item:
    try:
        with NodeClient([url]) as client:
            found = JsonObject({"url": url, **client.get_json("/v1/status")}, f"the status of {url}")
            _row(found)
            return found
    except UsageError:
        raise
    except (TypeError, AttributeError):
        return {"url": url, "error": f"{url} does not answer as a node does"}
    except GridwitnessError as error:
        return {"url": url, "error": str(error)}


def _row(item: Item) -> tuple[object, ...]:
    if "error" in item:
        return (item["url"], "-", "unreachable", "-", "-", "-", "-", "-")
    peers = item["peers"]
    return (
        item["node"],
        item["height"],
        short(item["head"]),
        f"{item['head_age_ms']}{' (stale)' if item['ledger_stale'] else ''}",
        item["leader"],
        f"{sum(bool(peer['connected']) for peer in peers)} of {len(peers)}",
        item["mempool"]["transactions"],
        item["version"],
    )
