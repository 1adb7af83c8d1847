"""Which models in a folder have changed, as a look at it now and then tells."""

from __future__ import annotations

from pathlib import Path

from kit.exitcodes import UsageError

_Mark = tuple[tuple[str, int, int], ...]


class Watch:
    """Remembers what each file looked like; a file that is still being written does not count."""

    def __init__(self, folder: Path, *, is_patient: bool = True) -> None:
        """Begin without having seen anything, so that the first look finds all.

        Args:
            folder: To be looked at.
            is_patient: A model counts only when it looked the same at two looks.

        Raises:
            UsageError: There is no such folder.
        """
        if not folder.is_dir():
            raise UsageError(f"{folder}: there is no such folder")
        self._folder = folder
        self._is_patient = is_patient
        self._seen: dict[Path, _Mark] = {}
        self._told: dict[Path, _Mark] = {}

    def changed(self) -> list[Path]:
        """Return the models that changed since they were returned last."""
        found = []
        for path in sorted(self._folder.iterdir()):
            mark = _mark(path)
            if path.name.startswith(".") or not mark:
                continue
            is_calm = not self._is_patient or self._seen.get(path) == mark
            if is_calm and self._told.get(path) != mark:
                self._told[path] = mark
                found.append(path)
            self._seen[path] = mark
        return found

    def again(self, path: Path) -> None:
        """Return a model at the next look again: it could not be stored."""
        self._told.pop(path, None)


def _mark(path: Path) -> _Mark:
    """Return names, sizes and times of a file, or of the files in a folder."""
    files = [path] if path.is_file() else sorted(one for one in path.glob("*") if one.is_file())
    try:
        return tuple((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files)
    except FileNotFoundError:
        return ()  # it went away meanwhile
