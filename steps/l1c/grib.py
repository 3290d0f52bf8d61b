"""GRIB edition 1 (WMO FM 92): fields on a regular grid of latitude and longitude, as the granule's auxiliary data have.

Every length and number of the structure is checked before a value is taken: a library's decoder may return memory that
it never wrote where a message is damaged.
"""

from dataclasses import dataclass

import numpy as np

#: Greatest number of rows and columns of a grid; those of a granule have 9.
_MOST = 1000
#: Largest difference between the increments that a grid tells and those of its corners, 1e-3 degrees.
_ROUNDING = 2


@dataclass(frozen=True)
class Message:
    """One field.

    Attributes
    ----------
    centre, table, parameter
        What it is: originating centre, and the parameter in one of its tables.
    latitude, longitude
        Of the rows (north to south) and columns (west to east, ascending, may pass 180), degrees.
    values
        Shape (rows, columns).
    """

    centre: int
    table: int
    parameter: int
    latitude: np.ndarray
    longitude: np.ndarray
    values: np.ndarray


def messages(content: bytes) -> list[Message]:
    """Decode the messages of a file.

    Raises
    ------
    ValueError
        If the file is empty or anything in it is not as the format wants it, or of a kind that is not read here.
    """
    found, position = [], 0
    while position < len(content):
        head = content[position : position + 8]
        length = int.from_bytes(head[4:7])
        if head[:4] != b"GRIB" or head[7:] != b"\1":
            raise ValueError("it is not GRIB of edition 1")
        message = content[position : position + length]
        if len(message) < length or message[-4:] != b"7777":
            raise ValueError("it is truncated or a length in it is wrong")
        found.append(_message(message))
        position += length
    if not found:
        raise ValueError("it is empty")
    return found


def _message(message: bytes) -> Message:
    product, rest = _section(message[8:-4], 28)
    if product[7] != 0x80:
        raise ValueError("it has no grid, or a bit map")
    grid, rest = _section(rest, 32)
    data, rest = _section(rest, 11)
    if rest:
        raise ValueError("a length in it is wrong")
    latitude, longitude = _grid(grid)
    values = _values(data, _signed(product[26:28]), latitude.size * longitude.size)
    return Message(product[4], product[3], product[8], latitude, longitude, values.reshape(latitude.size, -1))


def _section(content: bytes, least: int) -> tuple[bytes, bytes]:
    """Return the section that content begins with, and the rest."""
    length = int.from_bytes(content[:3])
    if not least <= length <= len(content):
        raise ValueError("a length in it is wrong")
    return content[:length], content[length:]


def _signed(octets: bytes) -> int:
    """Return a number whose first bit is its sign."""
    number, sign = int.from_bytes(octets), 1 << (8 * len(octets) - 1)
    return number if number < sign else sign - number


def _grid(section: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Return latitude and longitude of a grid, degrees."""
    columns, rows = (int.from_bytes(section[i : i + 2]) for i in (6, 8))
    north, west, south, east = (_signed(section[i : i + 3]) for i in (10, 13, 17, 20))
    if section[5] != 0 or section[27] != 0:
        raise ValueError("its grid is not one of latitude and longitude from north-west to south-east")
    if not (2 <= rows <= _MOST and 2 <= columns <= _MOST and -90_000 <= south < north <= 90_000):
        raise ValueError("its grid cannot be")
    width, height = (east - west) % 360_000, north - south
    told = [int.from_bytes(section[i : i + 2]) for i in (23, 25)]
    steps = [width / (columns - 1), height / (rows - 1)]
    increments_given = section[16] & 0x80
    if increments_given and any(abs(a - b) > _ROUNDING for a, b in zip(told, steps, strict=True)):
        raise ValueError("the corners of its grid do not fit its increments")
    return np.linspace(north, south, rows) / 1000, np.linspace(west, west + width, columns) / 1000


def _values(section: bytes, decimal: int, count: int) -> np.ndarray:
    """Return the values of simple packing: (reference + number * 2 ** binary) / 10 ** decimal."""
    unused, bits = section[3] & 15, section[10]
    if section[3] >> 4 or bits > 32:
        raise ValueError("its values are not simply packed")
    if bits and (len(section) - 11) * 8 - unused != count * bits:
        raise ValueError("its values are not as many as the points of its grid")
    mantissa = int.from_bytes(section[7:10]) / 2**24
    reference = (-1 if section[6] & 0x80 else 1) * mantissa * 16.0 ** ((section[6] & 0x7F) - 64)
    numbers = np.zeros(count)
    if bits:
        packed = np.unpackbits(np.frombuffer(section, "u1", offset=11))[: count * bits]
        numbers = packed.reshape(count, bits) @ 2.0 ** np.arange(bits - 1, -1, -1)
    with np.errstate(over="ignore", invalid="ignore"):
        return (reference + np.ldexp(numbers, _signed(section[4:6]))) / np.float64(10) ** decimal
