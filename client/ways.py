"""The way from a signed call to its outcome: the options that every such command has, and what they decide together."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from client.node import NO_WORDS, Item, Outcome, Signer, call, open_signer
from client.options import (
    TIMEOUT_S_DEFAULT,
    JsonOption,
    KeyOption,
    NodeOption,
    NoWaitOption,
    SenderOption,
    TimeoutOption,
)
from client.output import lines_of
from kit.http import NodeClient
from kit.keystore import load_signing_key
from kit.terminal import Terminal
from wire import cbor

CommandT = TypeVar("CommandT", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Way:
    """How a call is signed, where it goes, how long its outcome is waited for, and how that is shown."""

    key: Path
    node: str
    sender: str | None
    """Account that the key signs for; None: that of the key's name."""
    timeout_s: float
    no_wait: bool
    json: bool

    @property
    def wait_s(self) -> float | None:
        """How long to wait for an outcome; None: not at all."""
        return None if self.no_wait else self.timeout_s

    @property
    def account(self) -> str:
        """Account that the key signs for."""
        return self.sender or load_signing_key(self.key).name

    def client(self) -> NodeClient:
        """Return a connection to the node."""
        return NodeClient([self.node], self.timeout_s)

    def terminal(self) -> Terminal:
        """Return where results go."""
        return Terminal(as_json=self.json)

    def signer(self, client: NodeClient) -> Signer:
        """Read the key, and learn the ledger's name; raises as ``open_signer``."""
        return open_signer(client, self.key, self.sender)

    def call(
        self,
        client: NodeClient,
        contract: str,
        method: str,
        args: Mapping[str, cbor.Value],
        words: Mapping[str, str] = NO_WORDS,
    ) -> Outcome:
        """Sign one call, hand it to the node and wait for its outcome; raises as ``client.node.call``."""
        return call(client, self.signer(client), contract, method, args, self.wait_s, words)

    def show(self, method: str, outcome: Outcome, told: Mapping[str, str | int | None] | None = None) -> None:
        """Show what came of a call, and what else there is to tell, one name and value a line."""
        value: Item = {"method": method, **outcome.to_json(), **(told or {})}
        self.terminal().show(value, lambda: lines_of(value))


def _option(name: str, annotation: object, default: object = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


_FIRST: Final = (_option("key", KeyOption), _option("node", NodeOption))
_BEHIND_OWN: Final = (_option("sender", SenderOption, None), _option("timeout", TimeoutOption, TIMEOUT_S_DEFAULT))
_NO_WAIT: Final = _option("no_wait", NoWaitOption, default=False)
_LAST: Final = _option("json", JsonOption, default=False)


def signed(command: CommandT) -> CommandT:
    """Give a command the options of ``Way`` in the place of its parameter ``way``.

    ``--key`` and ``--node`` stand where ``way`` does, ``--sender`` and ``--timeout`` behind the command's own options,
    ``--no-wait`` and ``--json`` behind its own flags.
    """
    return _with_options(command, (_NO_WAIT, _LAST))


def signed_and_waited(command: CommandT) -> CommandT:
    """Do as ``signed`` for a command that cannot end before its outcome is known: it has no ``--no-wait``."""
    return _with_options(command, (_LAST,))


def _with_options(command: CommandT, flags: tuple[inspect.Parameter, ...]) -> CommandT:
    signature = inspect.signature(command, eval_str=True)
    options: list[inspect.Parameter] = []
    own_flags: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        if parameter.name == "way":
            options += _FIRST
        elif parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            own_flags.append(parameter)
        else:
            options.append(_option(parameter.name, parameter.annotation, parameter.default))
    parameters = (*options, *_BEHIND_OWN, *own_flags, *flags)

    @functools.wraps(command)
    def run(**given: Any) -> object:  # noqa: ANN401 whatever options hold
        timeout_s, no_wait = given.pop("timeout"), given.pop("no_wait", False)
        way = Way(given.pop("key"), given.pop("node"), given.pop("sender"), timeout_s, no_wait, given.pop("json"))
        return command(way=way, **given)

    described: Any = run  # typer reads both
    described.__signature__ = signature.replace(parameters=parameters)
    described.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return cast("CommandT", run)
