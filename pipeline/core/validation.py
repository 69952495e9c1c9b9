"""Base class of everything that a user writes in YAML, and pydantic's errors as lines ``place: got X; give Y``.

A model is the one place for a key: its type, bounds, default and meaning. Advice in messages comes from the model's
JSON Schema, which editors read too.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Annotated, Any, NamedTuple, TypeVar

os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # it would scan every installed package, for 0.03 s

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from pipeline.core.errors import UserError, suggest
from pipeline.core.validators import CELL_RULE, MAX_CELL_LENGTH, MAX_INT, MAX_NAME_LENGTH, NAME_RULE, is_cell, is_name

ERROR_MESSAGE = "errorMessage"  # key of a JSON Schema that editors show; it replaces the advice made from the bounds
MAX_SEED = 2**32 - 1
INTERPOLATIONS = ("${", "???")  # parts of values that only Hydra knows

T = TypeVar("T")
M = TypeVar("M", bound="CheckedModel")


class Mistake(NamedTuple):
    """One mistake: where it is, as keys and indices, and a line about it."""

    location: tuple[int | str, ...]
    text: str


class CheckedModel(BaseModel):
    """A frozen mapping that takes no unknown keys, converts no types and rejects NaN and infinity."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, defer_build=True)


def _check_name(value: str) -> str:
    if not is_name(value):
        raise ValueError(f"got {value!r}; {NAME_RULE}")
    return value


def _check_cell(value: str) -> str:
    if not is_cell(value):
        raise ValueError(f"got {value!r}; {CELL_RULE}")
    return value


def read_items(value: object) -> object:
    """Return a list as a tuple: YAML has lists only, and models are frozen."""
    return tuple(value) if isinstance(value, list) else value


Name = Annotated[str, AfterValidator(_check_name), Field(json_schema_extra={"maxLength": MAX_NAME_LENGTH})]
CellName = Annotated[str, AfterValidator(_check_cell), Field(json_schema_extra={"maxLength": MAX_CELL_LENGTH})]
Target = Annotated[
    Any, Field(json_schema_extra={ERROR_MESSAGE: "give a _target_ and its arguments by name", "required": ["_target_"]})
]
Count = Annotated[int, Field(ge=1, le=MAX_INT)]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, le=1)]
Ratio = Annotated[
    Share,
    Field(
        description="Share of the training rows.",
        json_schema_extra={ERROR_MESSAGE: "a ratio is a number above 0 and at most 1"},
    ),
]
Items = Annotated[tuple[T, ...], BeforeValidator(read_items)]


def load(model: type[M], content: object, where: str) -> M:
    """Return the model of a mapping. Raises UserError with a line for each mistake, each beginning with ``where``."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        mistakes = format_errors(error, model)
    raise UserError("\n".join(f"{where}{mistake.text}" for mistake in mistakes))


def find_mistakes(
    model: type[CheckedModel],
    content: object,
    *,
    interpolated: bool = False,
    places: Mapping[str, str] | None = None,
) -> list[Mistake]:
    """Return the mistakes in a mapping, an empty list for a sound one.

    With ``interpolated``, values that Hydra still has to fill in are not judged. ``places`` maps keys to the files in
    which they belong.
    """
    try:
        model.model_validate(content)
    except ValidationError as error:
        return format_errors(error, model, interpolated, places)
    return []


def format_errors(
    error: ValidationError,
    model: type[CheckedModel],
    interpolated: bool = False,
    places: Mapping[str, str] | None = None,
) -> list[Mistake]:
    """Return a mistake ``place: got X; give Y`` for each of pydantic's errors, each place once."""
    details = error.errors(include_url=False)
    bad_keys = {each["loc"][:-1] for each in details if each["loc"][-1:] == ("[key]",)}
    mistakes: dict[str, Mistake] = {}
    for each in details:
        location = each["loc"][:-1] if each["loc"][-1:] == ("[key]",) else each["loc"]
        if interpolated and isinstance(each["input"], str) and any(part in each["input"] for part in INTERPOLATIONS):
            continue
        if location is each["loc"] and any(location[: len(key)] == key for key in bad_keys):
            continue  # the key itself is reported
        if each["type"] == "too_short" and each["input"]:
            continue  # pydantic does not count invalid entries, which are reported themselves
        place, parent, schema = _follow(_schema(model), location)
        message = _format_one(each, str(location[-1]) if location else "", parent, schema, places or {})
        for line in message.split("\n"):
            text = f"{place}: {line}" if place else line
            mistakes.setdefault(text, Mistake(location, text))
    return list(mistakes.values())


def _format_one(each: Any, key: str, parent: dict[str, Any], schema: dict[str, Any], places: Mapping[str, str]) -> str:
    if each["type"] in ("extra_forbidden", "invalid_key"):
        return f"unknown key; {advise_key(key, parent.get('properties', ()), places)}"
    if each["type"] == "missing":
        return f"missing; {describe(schema, None)}"
    if each["type"] == "value_error":
        return str(each["ctx"]["error"])
    value = list(each["input"]) if isinstance(each["input"], tuple) else each["input"]
    return f"got {'nothing' if value is None else repr(value)}; {describe(schema, value)}"


def advise_key(key: str, allowed: Iterable[str], places: Mapping[str, str]) -> str:
    """Return the file in which an unknown key belongs, or the allowed keys with the nearest one first."""
    known = sorted(allowed)
    if key not in places:
        return suggest(key, known)
    if (name := places[key].rpartition(" as ")[2]) in known:  # an abbreviation of a key that is allowed
        return suggest(name, known)
    return f"it belongs in {places[key]} (allowed here: {', '.join(known)})"


@cache
def _schema(model: type[CheckedModel]) -> dict[str, Any]:
    schema = model.model_json_schema()
    inlined: dict[str, Any] = _inline(schema, schema.pop("$defs", {}))
    return inlined


def _inline(node: Any, definitions: dict[str, Any]) -> Any:
    """Return a JSON Schema with its references replaced by what they name."""
    if isinstance(node, list):
        return [_inline(each, definitions) for each in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        node = {**definitions[node["$ref"].rpartition("/")[2]], **node}
        del node["$ref"]
    return {key: _inline(value, definitions) for key, value in node.items()}


def _follow(root: dict[str, Any], location: tuple[int | str, ...]) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Return the place of an error as text, the schema of what holds it, and its own schema.

    Inside a value that may be of several kinds, it is the place of that value.
    """
    place, parent, schema = "", root, root
    for key in location:
        inside = _drop_null(schema)
        if "anyOf" in inside:
            break
        parent = inside
        if inside.get("type") == "array":
            place, schema = f"{place}[{key}]", inside.get("items", {})
        else:
            place = f"{place}.{key}" if place else str(key)
            schema = inside.get("properties", {}).get(key) or inside.get("additionalProperties") or {}
    return place, parent, schema


def _drop_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the only alternative to null, or the schema itself."""
    options = [option for option in schema.get("anyOf", ()) if option.get("type") != "null"]
    return options[0] if len(options) == 1 else schema


def describe(schema: dict[str, Any], value: object) -> str:
    """Return what a schema allows, as advice: ``give a whole number from 1, or null``."""
    if message := schema.get(ERROR_MESSAGE):
        return str(message)
    if (only := _drop_null(schema)) is not schema:
        return f"{describe(only, value)}, or null"
    if "enum" in schema:
        return f"give {' or '.join(schema['enum'])}" if value is None else suggest(value, schema["enum"])
    return f"give {_describe_type(schema, value)}"


def _describe_type(schema: dict[str, Any], value: object) -> str:
    kind = schema.get("type")
    if kind == "array":
        if schema.get("minItems"):
            return "a list with at least one entry"
        items = schema.get("items", {})
        return f"a list of {_describe_items(items)}" if items.get("type") in ("integer", "number") else "a list"
    if kind in ("integer", "number"):
        number = "a whole number" if kind == "integer" else "a number"
        return f"{number}{_describe_bounds(schema, value)}"
    if schema.get("properties"):
        return f"{{{', '.join(f'{key}: ...' for key in schema.get('required') or schema['properties'])}}}"
    return {"boolean": "true or false", "string": "text", "null": "null"}.get(str(kind), "keys and their values")


def _describe_items(schema: dict[str, Any]) -> str:
    return _describe_type(schema, None).removeprefix("a ").replace("number", "numbers", 1)


def _describe_bounds(schema: dict[str, Any], value: object) -> str:
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    if high == MAX_INT and not (isinstance(value, int) and value > MAX_INT):
        high = None  # far beyond what anybody means
    words = []
    words += [f"from {low}"] if low is not None else [f"above {above}"] if above is not None else []
    if high is not None:
        words.append(f"to {high}" if low is not None else f"and at most {high}")
    elif below is not None:
        words.append(f"to below {below}" if low is not None else f"and below {below}")
    return "".join(f" {word}" for word in words)
