"""Tells a demo on a terminal: numbered steps with their times, sentences, and a wheel while something is awaited."""

from __future__ import annotations

import time

from rich.console import Console
from rich.markup import escape
from rich.status import Status


class Narrator:
    """Numbers the steps of all chapters and counts the time since the first.

    Args:
        console: Where it is told.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._step = 0
        self._began_s = time.monotonic()

    def chapter(self, text: str) -> None:
        """Begin a chapter."""
        self.console.print()
        self.console.rule(f"[bold]{escape(text)}[/]", align="left")

    def title(self, text: str) -> None:
        """Begin a step."""
        self._step += 1
        elapsed_s = time.monotonic() - self._began_s
        self.console.print(f"\n[bold]{self._step}. {escape(text)}[/] [dim]{elapsed_s:.1f} s[/]", highlight=False)

    def say(self, text: str) -> None:
        """Say one thing."""
        self.console.print(f"  {escape(text)}", highlight=False, soft_wrap=True)

    def busy(self, text: str) -> Status:
        """Show that something is going on, inside a ``with`` block."""
        return self.console.status(text)
