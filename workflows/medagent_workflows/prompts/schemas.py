# SPDX-License-Identifier: Apache-2.0
"""JSON Schemas as a served model is given them: without what only people or pydantic read, since each word is paid for
in tokens, and in the words that servers' grammars know best."""

from typing import Any

from pydantic import BaseModel

from medagent.model.exchange import JsonObject

_UNTOLD = frozenset({"title", "description", "discriminator"})


def plain_schema(kind: type[BaseModel]) -> JsonObject:
    """The schema of what a model answers: `anyOf` for unions, every slot as it is."""
    schema: JsonObject = _plain(kind.model_json_schema())
    return schema


def told_parameters(arguments: type[BaseModel]) -> JsonObject:
    """The schema of a tool's arguments. What is optional is left out rather than null, and says no default."""
    schema = plain_schema(arguments)
    schema["properties"] = {name: _given(slot) for name, slot in schema.get("properties", {}).items()}
    return schema


def _plain(schema: Any, named: bool = False) -> Any:
    """`named`: the keys of this mapping are names of ours, not words of JSON Schema."""
    if isinstance(schema, list):
        return [_plain(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        "anyOf" if name == "oneOf" and not named else name: _plain(value, name in ("properties", "$defs") and not named)
        for name, value in schema.items()
        if named or name not in _UNTOLD
    }


def _given(slot: JsonObject) -> JsonObject:
    """A slot as it is where it is given."""
    kinds = [kind for kind in slot.get("anyOf", ()) if kind != {"type": "null"}]
    bare = {name: value for name, value in slot.items() if name not in ("anyOf", "default")}
    if not kinds:
        return bare
    return bare | (kinds[0] if len(kinds) == 1 else {"anyOf": kinds})
