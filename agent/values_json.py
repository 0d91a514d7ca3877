"""The control plane's values as JSON and back: pure.

A dataclass is {"is": its name, "of": its fields that are not their defaults}, a mapping {"map":
pairs}, a UUID {"uuid": its text}, a tuple a list.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from typing import Any
from uuid import UUID

from agent import access, eth_values, host_model, limits, mirror_model, model, rehearsal

FORMAT = 1                      # of the command vhost/observed; moves with the classes' fields


class FormError(ValueError):
    """What was read are no values of this version."""


@cache
def classes() -> dict[str, type]:
    """All dataclasses that values are made of."""
    return {name: found for module in (
                model, access, eth_values, host_model, limits, mirror_model, rehearsal)
            for name, found in vars(module).items()
            if isinstance(found, type) and is_dataclass(found)}


@cache
def fields_of(kind: type) -> tuple[Field[Any], ...]:
    return fields(kind)


def encode(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {"is": type(value).__name__,
                "of": {field.name: encode(held) for field in fields_of(type(value))
                       if (held := getattr(value, field.name)) is not field.default
                       and (field.default is MISSING or held != field.default)}}
    if isinstance(value, Mapping):
        return {"map": [[encode(key), encode(held)] for key, held in value.items()]}
    if isinstance(value, tuple):
        return [encode(held) for held in value]
    return {"uuid": str(value)} if isinstance(value, UUID) else value


def decode(value: Any) -> Any:
    """Raises FormError."""
    try:
        return _decode(value)
    except (KeyError, TypeError, ValueError) as e:
        raise FormError("the agent and this command are of different versions "
                        f"({type(e).__name__}: {e})") from e


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return tuple([_decode(held) for held in value])
    if not isinstance(value, dict):
        return value
    if "is" in value:
        return classes()[value["is"]](**{key: _decode(held) for key, held in value["of"].items()})
    if "map" in value:
        return {_decode(key): _decode(held) for key, held in value["map"]}
    return UUID(value["uuid"])
