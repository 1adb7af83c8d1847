"""The setting list of a device: CSV text, its values as registers, one value changed.

May live here: pure functions over bytes. A line that is not touched keeps its bytes.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

COLUMNS = ("number", "name", "value", "unit", "min", "max")
SETTINGS_MAX = 4_096
_VALUE_INDEX = COLUMNS.index("value")
_MAGNITUDE_MAX = 12
"""Powers of ten; a longer number would only cost memory before it is refused."""
_REGISTER_MIN, _REGISTER_MAX = -(2**15), 2**15 - 1


class SettingsError(ValueError):
    """The setting list is not one, or the change is refused."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One line of the list.

    Attributes:
        number: 1..65,535, unique in the list.
        name: What the value sets.
        text: The value as it stands in the file, in ``unit``.
        unit: Unit of value and range; may be empty.
        low: Smallest value that the device takes, in ``unit``.
        high: Largest value that the device takes, in ``unit``.
        line: Zero-based line in the file.
    """

    number: int
    name: str
    text: str
    unit: str
    low: Decimal
    high: Decimal
    line: int

    @property
    def register(self) -> int:
        """The value without its decimal point, as the register holds it."""
        return scaled(self.text)


@dataclass(frozen=True, slots=True)
class SettingChange:
    """What a changed setting list differs in.

    Attributes:
        content: The new file.
        number: Setting number.
        name: Setting name.
        old: Value text before.
        new: Value text after, with as many decimals as before.
        unit: Unit of both.
        register: Zero-based holding register that changed with it.
        offset: First byte of the file that differs.
    """

    content: bytes
    number: int
    name: str
    old: str
    new: str
    unit: str
    register: int
    offset: int


def _decimal(text: str) -> Decimal:
    """Read a plain decimal number.

    Raises:
        SettingsError: ``text`` is none.
    """
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or abs(number.adjusted()) > _MAGNITUDE_MAX:
        raise SettingsError(f"{text!r} is not a decimal number")
    return number


def _decimals(text: str) -> int:
    """Count the digits after the point."""
    return len(text.partition(".")[2])


def scaled(text: str) -> int:
    """Drop the decimal point: ``"49.00"`` is 4900.

    Raises:
        SettingsError: No number, or one that a signed 16-bit register cannot hold.
    """
    number = int(_decimal(text).scaleb(_decimals(text)))
    if not _REGISTER_MIN <= number <= _REGISTER_MAX:
        raise SettingsError(f"{text!r} does not fit in a 16-bit register")
    return number


def _lines(content: bytes) -> list[str]:
    """Split the file into lines that keep their line ends.

    Raises:
        SettingsError: Not UTF-8, or another heading.
    """
    try:
        lines = content.decode("utf-8").splitlines(keepends=True)
    except UnicodeDecodeError as error:
        raise SettingsError(f"the setting list is not UTF-8: {error.reason}") from error
    if not lines or tuple(lines[0].strip().split(",")) != COLUMNS:
        raise SettingsError(f"the setting list does not start with {','.join(COLUMNS)}")
    if len(lines) - 1 > SETTINGS_MAX:
        raise SettingsError(f"the setting list has more than {SETTINGS_MAX} lines")
    return lines


def _cells(line: str, index: int) -> list[str]:
    """Read the cells of one line.

    Raises:
        SettingsError: Another number of cells than the heading has.
    """
    cells = next(csv.reader([line.rstrip("\r\n")]), [])
    if len(cells) != len(COLUMNS):
        raise SettingsError(f"line {index + 1} has {len(cells)} cells, expected {len(COLUMNS)}")
    return cells


def parse_settings(content: bytes) -> list[Setting]:
    """Read a setting list.

    Args:
        content: CSV in UTF-8 with the heading ``COLUMNS``, at most 4,096 settings.

    Raises:
        SettingsError: Anything that is not such a list, with its line.
    """
    found: dict[int, Setting] = {}
    for index, line in enumerate(_lines(content)[1:], start=1):
        number, name, text, unit, low, high = _cells(line, index)
        if not (number.isascii() and number.isdigit()):
            raise SettingsError(f"line {index + 1}: number {number!r} is not a whole number")
        setting = Setting(int(number), name, text, unit, _decimal(low), _decimal(high), index)
        if setting.number in found:
            raise SettingsError(f"line {index + 1}: setting {number} stands twice")
        found[setting.number] = setting
    return list(found.values())


def values_of(content: bytes) -> tuple[int, ...]:
    """Give the values of a setting list without their decimal points, in file order; each fits a signed register.

    Raises:
        SettingsError: No setting list, or a value that no register can hold.
    """
    return tuple(setting.register for setting in parse_settings(content))


def change_setting(content: bytes, number: int, value: str, *, force: bool = False) -> SettingChange:
    """Put another value into one line of the list.

    Args:
        content: The list as it is.
        number: Which setting.
        value: Decimal text; written with as many decimals as the old one.
        force: Take a value outside the setting's range, too.

    Raises:
        SettingsError: Unknown number, the value that is already there, more
            decimals than the setting has, or a value outside its range.
    """
    settings = parse_settings(content)
    place = next((i for i, item in enumerate(settings) if item.number == number), None)
    if place is None:
        raise SettingsError(f"there is no setting {number}, expected {settings[0].number}..{settings[-1].number}")
    setting = settings[place]
    wanted = _decimal(value)
    decimals = _decimals(setting.text)
    new = f"{wanted:.{decimals}f}"
    scaled(new)
    if Decimal(new) != wanted:
        raise SettingsError(f"setting {number} has {decimals} decimals, {value} has more")
    if new == setting.text:
        raise SettingsError(f"setting {number} is {setting.text} {setting.unit} already")
    if not force and not setting.low <= wanted <= setting.high:
        raise SettingsError(f"{new} is outside the range {setting.low}..{setting.high} of setting {number}")
    lines = _lines(content)
    old_line = lines[setting.line]
    cells = _cells(old_line, setting.line)
    cells[_VALUE_INDEX] = new
    lines[setting.line] = _written(cells, old_line)
    changed = "".join(lines).encode()
    offset = next(i for i, (old, now) in enumerate(zip(content, changed, strict=False)) if old != now)
    return SettingChange(changed, number, setting.name, setting.text, new, setting.unit, place, offset)


def other_value(content: bytes, number: int) -> str:
    """Name a value in the range of a setting that is not its present one.

    Raises:
        SettingsError: No such setting, or its range holds one value alone.
    """
    for setting in parse_settings(content):
        if setting.number == number:
            now = Decimal(setting.text)
            for candidate in (setting.low, setting.high):
                if candidate != now:
                    return f"{candidate:f}"
            raise SettingsError(f"setting {number} has one possible value, {setting.text}")
    raise SettingsError(f"there is no setting {number}")


def _written(cells: list[str], old_line: str) -> str:
    """Write cells with the line end of the line that they replace."""
    end = old_line[len(old_line.rstrip("\r\n")) :]
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator=end).writerow(cells)
    return buffer.getvalue()
