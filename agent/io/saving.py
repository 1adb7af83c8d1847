"""What `gridwitness-agent read --save` puts down: the content that a reference value is made from on a bench."""

from __future__ import annotations

from pathlib import Path

from agent.model import Reading
from kit.exitcodes import StorageError
from kit.files import MODE_PRIVATE, write_new


def save(reading: Reading, folder: Path) -> list[Path]:
    """Write every setting list and strategy table that was read whole, each as KIND.content.

    Where a device gives registers or objects instead of files, the manufacturer has no file to fingerprint: what counts
    is the content as docs/spec defines it, read once from a device that was set on the bench as the release says. It
    becomes a reference value only when manufacturer, laboratory and regulator sign it, as any other.

    Args:
        reading: One read of a device.
        folder: Made when missing; holds values, so its files are of mode 0600.

    Returns:
        The files, by kind.

    Raises:
        StorageError: Nothing was read whole, or a file is there already.
    """
    found = {file.kind: file.content for file in reading.files if file.content is not None and not file.errors}
    if not found:
        raise StorageError(
            f"device {reading.device}: no setting list or strategy table of at most 256 KiB was read whole"
        )
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for kind, content in sorted(found.items()):
        paths.append(folder / f"{kind}.content")
        write_new(paths[-1], content, mode=MODE_PRIVATE)
    return paths
