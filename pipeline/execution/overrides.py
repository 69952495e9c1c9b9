"""Validation of a stage's command line before any work starts; each mistake is one line.

``check_command`` wraps the Hydra app: it checks the overrides and turns Hydra's own errors, which have several lines or
a traceback, into one line. ``check_config`` checks each composed config.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pipeline.core import instantiate, paths
from pipeline.core.errors import UserError, format_error, format_line, suggest
from pipeline.core.stage_settings import StageSettings
from pipeline.core.validators import NAME_RULE, is_name
from pipeline.execution import launchers
from pipeline.plan import conf_files, source_paths
from pipeline.plan.load_plan import find_name_mistake, read
from pipeline.plan.plan_check import TEXTS
from pipeline.plan.yaml_versions import find_misread
from pipeline.system import distributed

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig

INHERITED = ("ratio", "teacher", "origin")  # keys that a trial inherits from its source, besides the groups
GROUPS = ("task", "model", "recipe", "distillation", "compression")
MAX_LENGTH = 4000  # characters of an override; Hydra's parser takes seconds for more
FORBIDDEN_FLAGS = ("config_path", "config_name", "config_dir", "experimental_rerun")  # they read files from anywhere
FULL_ERROR = "HYDRA_FULL_ERROR"  # with it Hydra raises errors, which it prints otherwise


@contextmanager
def check_command(stage: str) -> Iterator[None]:
    """Check the overrides of a command, then turn a UserError or an error of Hydra in the block into one line.

    Raises SystemExit.
    """
    from omegaconf import OmegaConf

    # Used by conf/workspace.yaml, so that Hydra writes into the project from any working directory.
    OmegaConf.register_new_resolver("project", lambda path: str(paths.ROOT / path), replace=True)
    previous = os.environ.get(FULL_ERROR)
    os.environ[FULL_ERROR] = "1"
    try:
        check_overrides(stage, sys.argv[1:])
        yield
    except Exception as error:
        mistake = error if isinstance(error, UserError) else _convert_error(error)
        if mistake is None:
            raise
        raise SystemExit(format_error(mistake, f"{stage}: ") if distributed.is_rank_zero() else 1) from None
    finally:
        os.environ.pop(FULL_ERROR)
        os.environ |= {FULL_ERROR: previous} if previous is not None else {}


def _convert_error(error: Exception) -> UserError | None:
    """Return the message for an error of Hydra, of a library that it uses, or of a launcher; None for any other."""
    if type(error).__module__.partition(".")[0] in ("hydra", "omegaconf", "yaml"):
        return UserError(_join_lines(error))
    return launchers.convert_launcher_error(error)


def _join_lines(error: BaseException) -> str:
    """Return an error and its cause in one line, without repeated lines."""
    lines = [text.strip() for each in (error, error.__cause__) for text in str(each or "").splitlines()]
    joined = "; ".join(dict.fromkeys(text.rstrip(".") for text in lines if text)) or type(error).__name__
    return joined.replace(":; ", ": ")


def check_overrides(stage: str, words: list[str]) -> None:
    """Check the overrides of a command one by one.

    Raises UserError for a word that is no override, and for one that changes where Hydra reads or writes.
    """
    from hydra._internal.utils import get_args_parser

    parser = get_args_parser()
    parser.error = _raise_usage_error  # type: ignore[method-assign, assignment]
    arguments = parser.parse_args(words)
    for flag in FORBIDDEN_FLAGS:
        if getattr(arguments, flag):
            raise UserError(f"--{flag.replace('_', '-')}: not allowed: a stage reads its own file of conf/")
    keys = _list_keys(stage)
    launchers.check_launcher(launchers.get_requested_launcher())
    for word in arguments.overrides:
        override = _parse_override(word)
        _check_override(stage, override)
        first = re.split("[./]", override.key_or_group)[0]
        if not override.is_add() and first not in {*keys, "hydra", "sweep"}:
            raise UserError(f"{first}: no key of conf/{stage}.yaml; {suggest(first, keys)}")


def _list_keys(stage: str) -> set[str]:
    """Return the keys of a stage: its own, those of the workspace, and its config groups."""
    own, shared = (read(paths.CONF / f"{file}.yaml", ("defaults",)) for file in (stage, "workspace"))
    groups = {group for entry in own.get("defaults") or [] if isinstance(entry, dict) for group in entry}
    return {*own, *shared, *groups} - {"defaults", "hydra"}


def _raise_usage_error(message: str) -> None:
    raise UserError(f"{format_line(message)}; write key=value, such as ratio=0.5; --help lists the keys")


def _parse_override(word: str) -> Override:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    if len(word) > MAX_LENGTH:
        raise UserError(f"{word[:40]!r}...: {len(word):,} characters; give at most {MAX_LENGTH:,}")
    try:
        (override,) = OverridesParser.create().parse_overrides([word])
        if not override.key_or_group:
            raise ValueError("it has no key")
        override.value()  # raises for a choice without entries, or a number out of range
    except (HydraException, ValueError, RecursionError) as error:
        reason = _join_lines(error).partition("; See https")[0]
        raise UserError(f"got {word!r}, which Hydra cannot read ({reason}); write key=value") from None
    return override


def _check_override(stage: str, override: Override) -> None:
    key, text = override.key_or_group, override.input_line
    if override.package is not None:
        raise UserError(f"got {text!r}; a config group cannot be moved: write {key}=... without @")
    if override.is_delete():
        raise UserError(f"got {text!r}; a stage needs all of its keys: give {key} another value")
    if re.split(r"[./]", key)[0] == "hydra":
        return _check_launcher(key, override)
    is_group = (paths.CONF / key).is_dir() and "." not in key
    for value in _list_values(override):
        if isinstance(value, str) and "${" in value:
            continue
        if is_group and (mistake := find_name_mistake(value, key)):
            raise UserError(f"{key}: {mistake}")
        for value_mistake in () if is_group else conf_files.find_value_mistakes(stage, key, value):
            raise UserError(value_mistake.text)


def _check_launcher(key: str, override: Override) -> None:
    """Check an override of Hydra's own config: only a launcher and some of its settings are allowed."""
    values = _list_values(override)
    value = values[0] if len(values) == 1 else None
    if key == "hydra/launcher":
        launchers.check_launcher(value)
    elif not key.startswith("hydra.launcher."):
        raise UserError(f"{key}: cannot be set here: conf/workspace.yaml decides where a stage writes")
    elif mistake := launchers.check_setting(key.removeprefix("hydra.launcher."), value):
        raise UserError(f"{key}: {mistake}")


def _list_values(override: Override) -> list[Any]:
    """Return every value of an override, except those that are known only after composition."""
    from hydra.core.override_parser.types import ChoiceSweep, Glob, QuotedString, Sweep

    value: Any = override.value()
    listed = value.list if isinstance(value, ChoiceSweep) else [value]
    plain = [each.text if isinstance(each, QuotedString) else each for each in listed]
    return [each for each in plain if each != "???" and not isinstance(each, (Glob, Sweep))]


def check_config(stage: str, cfg: DictConfig) -> None:
    """Check the composed config of a job. Raises UserError for the first mistake."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        raw: Any = OmegaConf.to_container(cfg)
        missing = [key for key, value in raw.items() if value == "???"]
        conf: Any = raw if missing else OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except (OmegaConfBaseException, RecursionError, ValueError, TypeError) as error:
        raise UserError(_join_lines(error)) from None
    if missing:
        raise UserError(f"{missing[0]}: missing; give {missing[0]}=...")
    fields = conf_files.STAGES.get(stage, StageSettings).model_fields
    own = {key: value for key, value in conf.items() if key in fields or key not in INHERITED}
    if stage not in conf_files.STAGES:  # a user's stage has the keys of its file
        own = {key: value for key, value in own.items() if key in fields or key not in _list_keys(stage)}
    mistakes = conf_files.find_stage_mistakes(stage, own)
    for mistake in sorted(mistakes, key=lambda each: each.location == ("cell",)):  # its name is made from other keys
        raise UserError(mistake.text)
    for group in GROUPS:
        if group in conf:
            _check_group(group, conf[group])
    for group, reader in source_paths.STAGES.items():
        if stage == reader and (
            conflict := source_paths.find_mirror_mistake(conf["mirror"], group, conf[group]["name"])
        ):
            raise UserError(conflict)


def _check_group(group: str, conf: object) -> None:
    """Check a part of the config that comes from a file of conf/, with the models that parse it later."""
    if not isinstance(conf, Mapping) or not all(isinstance(key, str) for key in conf):
        raise UserError(f"{group}: got {conf!r}; name a file of conf/{group}/")
    if not is_name(conf.get("name")):
        raise UserError(f"{group}.name: got {conf.get('name')!r}; {NAME_RULE}")
    path = paths.CONF / group / f"{conf['name']}.yaml"
    where = f"conf/{group}/{conf['name']}.yaml"
    for misread in find_misread(path, TEXTS.get(group, ())) if path.is_file() else ():
        raise UserError(f"{where}: {misread}")
    for mistake in conf_files.find_group_mistakes(group, conf):
        raise UserError(f"{where}: {mistake.text}")
    for key in {"task": ("source",), "model": ("source",), "compression": ("method",)}.get(group, ()):
        for wrong in instantiate.find_mistakes(conf.get(key)):
            raise UserError(f"{where}: {key}: {wrong}")
    for conflict in source_paths.list_mistakes(conf["source"], conf["name"]) if group in source_paths.STAGES else ():
        raise UserError(f"{where}: {conflict}")
