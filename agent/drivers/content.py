"""What drivers feed with the bytes of a file; see `rules.content`."""

from __future__ import annotations

from rules.content import FileBytes

__all__ = ["FileBytes"]
