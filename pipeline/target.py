"""Calling what a conf file names: `_target_` is the function, every other key an argument."""

import inspect
from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

from pipeline.errors import UserError, near

NAMED = "name a function by its module, such as pipeline.data.sources.files or pipeline.models.sources.hub"


def call(settings: object, where: str, **given: Any) -> Any:
    """Call the function that ``settings`` names with its arguments and those of ``given`` that it takes.

    What is given is no conf file's to set. Raises UserError that begins with ``where`` when there is no such function
    or it takes other arguments. What the function raises comes through as it is (Hydra's own ``instantiate`` would wrap
    a one-line error in three).
    """
    if not isinstance(settings, Mapping):
        raise UserError(f"{where}: got {settings!r}; give a _target_ and its arguments by name")
    arguments = dict(settings)
    function = locate(arguments.pop("_target_", None), where)
    parameters = inspect.signature(function).parameters
    taken = {key: value for key, value in given.items() if key in parameters}
    return function(**settled(function, arguments, where, without=taken), **taken)


def settled(
    function: Callable[..., Any], arguments: object, where: str, without: Collection[str] = ()
) -> dict[str, Any]:
    """Return ``arguments`` once they are those that ``function`` takes, but for those in ``without``.

    Raises UserError that begins with ``where``.
    """
    parameters = {
        key: parameter for key, parameter in inspect.signature(function).parameters.items() if key not in without
    }
    if not isinstance(arguments, Mapping):
        raise UserError(f"{where}: got {arguments!r}; give by name: {', '.join(parameters)}")
    for key in arguments:
        if key not in parameters:
            raise UserError(f"{where}: {key}: not an argument of {function.__name__}; {near(key, parameters)}")
    for key, parameter in parameters.items():
        if parameter.default is parameter.empty and key not in arguments:
            raise UserError(f"{where}: {key}: missing; {function.__name__} takes {', '.join(parameters)}")
    return dict(arguments)


def locate(path: object, where: str) -> Callable[..., Any]:
    """Return the function at a dotted path such as ``pipeline.data.sources.glue``.

    Raises UserError that begins with ``where``.
    """
    if path is None:
        raise UserError(f"{where}: _target_: missing; {NAMED}")
    name, _, last = str(path).rpartition(".")
    try:
        module = import_module(name)
    except (ImportError, ValueError) as error:
        raise UserError(f"{where}: _target_: got {path!r}, which cannot be imported ({error}); {NAMED}") from None
    found: Any = getattr(module, last, None)
    if not inspect.isfunction(found):
        raise UserError(f"{where}: _target_: got {path!r}, but {name} has no such function; {near(last, _own(module))}")
    return found


def _own(module: ModuleType) -> list[str]:
    """Return the public functions of a module, those of its package that it passes on included."""
    return [
        name
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__.startswith(module.__name__) and not name.startswith("_")
    ]
