"""Calling what a conf file names: `_target_` is the function, every other key an argument.

Only functions of this package can be named, and only where they are defined or where a package passes them on: not
what a module happens to import, and nothing of Python's or of a library's (``os.system``). A function of your own is a
module that you put into ``pipeline/``; an edit of it then makes the cells stale that use it, too.
"""

import ast
import inspect
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from pipeline.core.errors import UserError, suggest
from pipeline.core.validators import is_number, is_whole

TARGET_RULE = (
    "name a function by its module, such as pipeline.data.dataset_sources.files "
    "or pipeline.models.checkpoint_sources.hub"
)
MODULE = re.compile(r"pipeline(\.[A-Za-z]\w*)+", re.ASCII)
PACKAGE = Path(__file__).resolve().parents[1]
KINDS: dict[str, tuple[Callable[[object], bool], str]] = {  # annotations that can be told to be kept
    "None": (lambda value: value is None, "null"),
    "str": (lambda value: isinstance(value, str) and "\0" not in value, "text"),
    "bool": (lambda value: isinstance(value, bool), "true or false"),
    "int": (lambda value: is_whole(value, -(2**63), 2**63 - 1), "a whole number"),
    "float": (is_number, "a number"),
    "dict[str, int]": (
        lambda value: isinstance(value, Mapping) and all(map(is_whole, value.values())),
        "whole numbers from 0 by name",
    ),
    "Mapping[str, Any]": (lambda value: isinstance(value, Mapping), "keys and their values"),
    "tuple[float, float]": (
        lambda value: isinstance(value, (list, tuple)) and len(value) == 2 and all(map(is_number, value)),
        "a list of two numbers",
    ),
}


def call_target(settings: object, where: str, **given: Any) -> Any:
    """Call the function that ``settings`` names with its arguments and those of ``given`` that it takes.

    What is given is no conf file's to set. Raises UserError that begins with ``where`` when there is no such function
    or it takes other arguments. What the function raises comes through as it is (Hydra's own ``instantiate`` would wrap
    a one-line error in three).
    """
    for mistake in find_mistakes(settings):
        raise UserError(f"{where}: {mistake}")
    assert isinstance(settings, Mapping)
    arguments = {key: value for key, value in settings.items() if key != "_target_"}
    function = find_function(settings["_target_"], where)
    parameters = inspect.signature(function).parameters
    taken = {key: value for key, value in given.items() if key in parameters}
    return function(**validate_arguments(function, arguments, where, without=taken), **taken)


def validate_arguments(
    function: Callable[..., Any], arguments: object, where: str, without: Collection[str] = ()
) -> dict[str, Any]:
    """Return ``arguments`` once they are those that ``function`` takes, of its kinds, but for those in ``without``.

    Raises UserError that begins with ``where``.
    """
    parameters = {
        key: parameter for key, parameter in inspect.signature(function).parameters.items() if key not in without
    }
    if not isinstance(arguments, Mapping):
        raise UserError(f"{where}: got {arguments!r}; give by name: {', '.join(parameters)}")
    for key, value in arguments.items():
        if key not in parameters:
            raise UserError(f"{where}: {key}: not an argument of {function.__name__}; {suggest(key, parameters)}")
        if mistake := _unlike(value, parameters[key].annotation):
            raise UserError(f"{where}: {key}: {mistake}")
    for key, parameter in parameters.items():
        if parameter.default is parameter.empty and key not in arguments:
            raise UserError(f"{where}: {key}: missing; {function.__name__} takes {', '.join(parameters)}")
    return dict(arguments)


def _unlike(value: object, annotation: Any) -> str | None:
    """Say that a value is of none of the kinds that an annotation names, or return None; others are not judged."""
    named = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    kinds = [KINDS.get(name.strip()) for name in named.split("|")]
    known = [kind for kind in kinds if kind is not None]
    if len(known) < len(kinds) or any(holds(value) for holds, _ in known):
        return None
    return f"got {value!r}; give {' or '.join(told for _, told in known)}"


def find_function(path: object, where: str) -> Callable[..., Any]:
    """Return the function at a dotted path such as ``pipeline.data.dataset_sources.glue``.

    Raises UserError that begins with ``where``.
    """
    for mistake in find_mistakes({"_target_": path}):
        raise UserError(f"{where}: {mistake}")
    name, _, last = str(path).rpartition(".")
    found: Any = getattr(import_module(name), last, None)
    if not inspect.isfunction(found) or not found.__module__.startswith("pipeline."):
        raise UserError(f"{where}: _target_: got {path!r}, which is no function of this project; {TARGET_RULE}")
    return found


def find_mistakes(settings: object, package: Path = PACKAGE) -> Iterator[str]:
    """Yield what is wrong with the function that settings name; nothing is imported to tell, which would take seconds.

    ``package`` is the folder of the package ``pipeline``.
    """
    if not isinstance(settings, Mapping):
        yield f"got {settings!r}; give a _target_ and its arguments by name"
        return
    path = settings.get("_target_")
    if path is None:
        yield f"_target_: missing; {TARGET_RULE}"
        return
    module, _, last = str(path).rpartition(".")
    text = read_source(module, package)
    if text is None:
        yield f"_target_: got {path!r}, which is no function of this project; {TARGET_RULE}"
        return
    try:
        known = _functions(*text)
    except SyntaxError as error:
        yield f"_target_: got {path!r}, but {module} is not Python that can be read: {error}"
        return
    if last not in known:
        yield f"_target_: got {path!r}, but {module} has no such function; {suggest(last, known)}"


def read_source(module: str, package: Path = PACKAGE) -> tuple[str, bool] | None:
    """Return the text of a module of the project, and whether it is a package; None where it has no such module."""
    if not MODULE.fullmatch(module):
        return None
    place = package.joinpath(*module.split(".")[1:])
    for file in (place / "__init__.py", place.with_name(f"{place.name}.py")):
        if file.is_file():
            return file.read_text(encoding="utf-8"), file.stem == "__init__"
    return None


@cache
def _functions(text: str, package: bool) -> list[str]:
    """Return the public functions that a module defines, or that a package passes on."""
    found = []
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef):
            found.append(node.name)
        elif package and isinstance(node, ast.ImportFrom):
            found += [alias.asname or alias.name for alias in node.names]
    return [name for name in found if name.islower() and not name.startswith("_")]
