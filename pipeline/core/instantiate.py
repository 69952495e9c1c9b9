"""Calls of functions that a conf file names: `_target_` is the function, every other key an argument.

Only functions of this package are allowed, under the module that defines them or a package that exports them. Functions
of Python and of libraries (``os.system``) are not. A user's function is a module in ``pipeline/``; an edit of it makes
the cells that use it stale.
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
KINDS: dict[str, tuple[Callable[[object], bool], str]] = {  # annotations that are checked
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

    A conf file cannot set the arguments of ``given``. Raises UserError that starts with ``where`` for an unknown
    function or other arguments. Errors of the function propagate unchanged (Hydra's ``instantiate`` would wrap a line
    in three).
    """
    for mistake in find_mistakes(settings):
        raise UserError(f"{where}: {mistake}")
    assert isinstance(settings, Mapping)
    arguments = {key: value for key, value in settings.items() if key != "_target_"}
    function = find_function(settings["_target_"], where)
    parameters = inspect.signature(function).parameters
    accepted = {key: value for key, value in given.items() if key in parameters}
    return function(**validate_arguments(function, arguments, where, without=accepted), **accepted)


def validate_arguments(
    function: Callable[..., Any], arguments: object, where: str, without: Collection[str] = ()
) -> dict[str, Any]:
    """Check names and types of ``arguments`` against ``function``, except its parameters in ``without``; return them.

    Raises UserError that starts with ``where``.
    """
    parameters = {
        key: parameter for key, parameter in inspect.signature(function).parameters.items() if key not in without
    }
    if not isinstance(arguments, Mapping):
        raise UserError(f"{where}: got {arguments!r}; give by name: {', '.join(parameters)}")
    for key, value in arguments.items():
        if key not in parameters:
            raise UserError(f"{where}: {key}: not an argument of {function.__name__}; {suggest(key, parameters)}")
        if mistake := _find_type_mistake(value, parameters[key].annotation):
            raise UserError(f"{where}: {key}: {mistake}")
    for key, parameter in parameters.items():
        if parameter.default is parameter.empty and key not in arguments:
            raise UserError(f"{where}: {key}: missing; {function.__name__} takes {', '.join(parameters)}")
    return dict(arguments)


def _find_type_mistake(value: object, annotation: Any) -> str | None:
    """Return what is wrong with the type of a value; None if it is valid or the annotation is not in ``KINDS``."""
    names = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    kinds = [KINDS.get(name.strip()) for name in names.split("|")]
    known = [kind for kind in kinds if kind is not None]
    if len(known) < len(kinds) or any(is_kind(value) for is_kind, _ in known):
        return None
    return f"got {value!r}; give {' or '.join(description for _, description in known)}"


def find_function(path: object, where: str) -> Callable[..., Any]:
    """Return the function at a dotted path such as ``pipeline.data.dataset_sources.glue``.

    Raises UserError that starts with ``where``.
    """
    for mistake in find_mistakes({"_target_": path}):
        raise UserError(f"{where}: {mistake}")
    name, _, last = str(path).rpartition(".")
    function: Any = getattr(import_module(name), last, None)
    if not inspect.isfunction(function) or not function.__module__.startswith("pipeline."):
        raise UserError(f"{where}: _target_: got {path!r}, which is no function of this project; {TARGET_RULE}")
    return function


def find_mistakes(settings: object, package: Path = PACKAGE) -> Iterator[str]:
    """Yield what is wrong with the function that settings name, without importing its module, which may take seconds.

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
        known = _list_functions(*text)
    except SyntaxError as error:
        yield f"_target_: got {path!r}, but {module} is not valid Python: {error}"
        return
    if last not in known:
        yield f"_target_: got {path!r}, but {module} has no such function; {suggest(last, known)}"


def read_source(module: str, package: Path = PACKAGE) -> tuple[str, bool] | None:
    """Return the text of a module of the project, and whether it is a package; None if there is no such module."""
    if not MODULE.fullmatch(module):
        return None
    path = package.joinpath(*module.split(".")[1:])
    for file in (path / "__init__.py", path.with_name(f"{path.name}.py")):
        if file.is_file():
            return file.read_text(encoding="utf-8"), file.stem == "__init__"
    return None


@cache
def _list_functions(text: str, package: bool) -> list[str]:
    """Return the public functions that a module defines or that a package exports."""
    names = []
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef):
            names.append(node.name)
        elif package and isinstance(node, ast.ImportFrom):
            names += [alias.asname or alias.name for alias in node.names]
    return [name for name in names if name.islower() and not name.startswith("_")]
