"""Text files, before they are split into items."""

from __future__ import annotations

from rules.items.model import ItemsError

_MARK = "\ufeff"


def utf8(content: bytes) -> str:
    """Return the text of a file without a byte order mark.

    Raises:
        ItemsError: It is no UTF-8.
    """
    try:
        return content.decode("utf-8").removeprefix(_MARK)
    except UnicodeDecodeError as error:
        raise ItemsError(f"byte {error.start} is no UTF-8") from error
