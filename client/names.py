"""Names that people write: one that the ledger does not know is found before signing, and the nearest one is told."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Final
from urllib.parse import quote

from client.node import items, looks
from kit.exitcodes import DataError
from kit.http import NodeClient, NodeProblemError

_NOT_FOUND: Final = 404


def meant(word: str, known: Iterable[str]) -> str:
    """Return a question for the name that is nearest to a word, or nothing where none is near; letter case aside."""
    by_folded = {name.casefold(): name for name in known}
    near = difflib.get_close_matches(word.casefold(), by_folded, n=1)
    return f" (is {by_folded[near[0]]} meant?)" if near else ""


def require_parameter(client: NodeClient, name: str) -> None:
    """Return if the ledger has a parameter.

    Raises:
        DataError: It has not.
    """
    _require(client, "parameters", "name", name, "parameter", "gridwitness parameters list")


def require_validator(client: NodeClient, member: str) -> None:
    """Return if a member runs a validator, or did.

    Raises:
        DataError: It never did.
    """
    _require(client, "validators", "member", member, "validator", "gridwitness validators list")


def require_organisation(client: NodeClient, name: str) -> None:
    """Return if there is a member of that name.

    Raises:
        DataError: There is none.
    """
    _require(client, "members", "organisation", name, "member", "gridwitness members list")


def require_target(client: NodeClient, device: str | None, model: str | None, where: str = "") -> None:
    """Return if the ledger has a device, and devices of a model; None is not looked for.

    Args:
        client: The node that is asked.
        device: Its id.
        model: As the nameplate says.
        where: What names them, for the error, such as "release.toml: ".

    Raises:
        DataError: It has none.
    """
    see = "gridwitness devices list"
    if device is not None:
        _require(client, "devices", "device", device, "device", see, where, lambda: _has_device(client, device))
    if model is not None:
        _require(client, "devices", "model", model, "device of model", see, where, lambda: _has_model(client, model))


def _require(
    client: NodeClient,
    table: str,
    column: str,
    name: str,
    what: str,
    see: str,
    where: str = "",
    is_there: Callable[[], bool] = lambda: False,
) -> None:
    """Look for a name in a column of a list, more than once, since a list may lag behind its ledger.

    Args:
        client: The node that is asked.
        table: Of its lists.
        column: In which the name is.
        name: The one that is looked for.
        what: What the list holds, for the error.
        see: Command that shows the list.
        where: What names it.
        is_there: A look that costs less than the whole list, and is true only if the name is there.

    Raises:
        DataError: It is not there.
    """
    known: set[str] = set()
    for _ in looks():
        if is_there():
            return
        known = {str(item[column]) for item in items(client, f"/v1/{table}", {})}
        if name in known:
            return
    raise DataError(f"{where}the ledger has no {what} {name}{meant(name, known)}; nothing was signed; see '{see}'")


def _has_device(client: NodeClient, device: str) -> bool:
    try:
        client.get_json(f"/v1/devices/{quote(device, safe='')}")
    except NodeProblemError as error:
        if error.status != _NOT_FOUND:
            raise
        return False
    return True


def _has_model(client: NodeClient, model: str) -> bool:
    return bool(client.get_json("/v1/devices", {"model": model, "limit": "1"}).get("items"))
