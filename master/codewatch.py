"""A node whose software is not what the ledger goes on with says so in time, and ends before the first block of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from kit.exitcodes import ConfigurationError
from kit.logs import get_logger
from master.contracts.membership_decisions import Code
from master.contracts.table import own_software
from master.ledger.application import Application
from master.ledger.refusals import CodeDueError

_log = get_logger("code")


class CodeWatch:
    """Looks at the code table after every block.

    Args:
        application: Of the node.
    """

    def __init__(self, application: Application) -> None:
        self._application = application
        self._coming: tuple[Code, ...] = ()

    def follow(self) -> None:
        """Say which contract versions have been decided, and whether this software has them.

        Raises:
            ConfigurationError: The next block is executed by code that it does not have.
        """
        coming = self._application.coming_code()
        for code in sorted(set(coming) - set(self._coming)):
            about = {"contract": code.name, "version": code.version, "height": code.from_height}
            lack = own_software().lack([code.entry()])
            if lack is None:
                _log.info("an upgrade is decided; this software has it", **about)
            else:
                _log.error("an upgrade is decided that this software lacks; install it before that height", **about)
        self._coming = coming
        with told():
            self._application.check_code()


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Let the program end with the exit code of a configuration error: another release is to be installed."""
    try:
        yield
    except CodeDueError as error:
        raise ConfigurationError(str(error)) from error
