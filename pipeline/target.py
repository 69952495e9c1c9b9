"""Calling what a conf file names: `_target_` is the function, every other key an argument."""

import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from pipeline.errors import UserError, near


def call(settings: Mapping[str, Any], where: str, **given: Any) -> Any:
    """Call the function that ``settings`` names with its arguments and those of ``given`` that it takes.

    Raises UserError that begins with ``where`` when there is no such function or it takes other arguments. What
    the function raises comes through as it is (Hydra's own ``instantiate`` would wrap a one-line error in three).
    """
    arguments = dict(settings)
    function = locate(arguments.pop("_target_", None), where)
    parameters = inspect.signature(function).parameters
    for key in arguments:
        if key not in parameters:
            raise UserError(f"{where}: {key}: not an argument of {function.__name__}; {near(key, parameters)}")
    arguments |= {key: value for key, value in given.items() if key in parameters}
    for key, parameter in parameters.items():
        if parameter.default is parameter.empty and key not in arguments:
            raise UserError(f"{where}: {key}: missing; {function.__name__} takes {', '.join(parameters)}")
    return function(**arguments)


def locate(path: object, where: str) -> Callable[..., Any]:
    """Return the function at a dotted path such as ``pipeline.data.sources.glue``.

    Raises UserError that begins with ``where``.
    """
    module, _, name = str(path).rpartition(".")
    try:
        found: Any = getattr(import_module(module), name, None)
    except (ImportError, ValueError) as error:
        raise UserError(f"{where}: _target_: got {path!r}, which cannot be imported ({error})") from None
    if not inspect.isfunction(found):
        raise UserError(f"{where}: _target_: got {path!r}, but {module} has no function {name!r}")
    return found
