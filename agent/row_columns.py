"""Columns of the replica's rows."""
from __future__ import annotations

from typing import Any

# Values straight from what the replica holds: reading attributes of python-ovs's rows converts
# them several times over, which is most of the time that a thousand ports take. A column that the
# server lacks is empty.

def atoms(row: Any, column: str) -> dict[Any, Any]:
    datum = row._data.get(column)
    return {} if datum is None else datum.values


def values(row: Any, column: str) -> list[Any]:
    """The members of a set."""
    return [atom.value for atom in atoms(row, column)]


def numbers(row: Any, column: str) -> tuple[int, ...]:
    """A set of integers, ascending."""
    return tuple(sorted(values(row, column)))


def first(row: Any, column: str) -> Any:
    """The value of a column that holds one; None where it holds none."""
    return next((atom.value for atom in atoms(row, column)), None)


def pairs(row: Any, column: str) -> dict[str, str]:
    """The pairs of a map."""
    return {key.value: value.value for key, value in atoms(row, column).items()}
