"""What a command line may ask of a stage: checked before any work, and a mistake in it is one line.

``taken`` stands around the Hydra app. It looks at the words first, then at each composed config; Hydra's own refusals,
which are several lines or a traceback, become one.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pipeline.core import instantiate, paths
from pipeline.core.errors import UserError, format_error, format_line, suggest
from pipeline.core.stage_settings import Workspace
from pipeline.core.validators import NAME_RULE, is_name
from pipeline.execution import launchers
from pipeline.plan import conf_files, source_paths
from pipeline.plan.load_plan import read, unknown
from pipeline.plan.plan_check import TEXTS
from pipeline.plan.yaml_versions import find_misread
from pipeline.system import distributed

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig

INHERITED = ("ratio", "teacher", "origin")  # what a trial takes over from its source, besides the groups
GROUPS = ("task", "model", "recipe", "distillation", "compression")
LONGEST = 4000  # characters of a word; Hydra's parser takes seconds for more
FIXED = ("config_path", "config_name", "config_dir", "experimental_rerun")  # flags that would read files from anywhere
FULL = "HYDRA_FULL_ERROR"  # with it Hydra raises what it otherwise prints


@contextmanager
def check_command(stage: str) -> Iterator[Callable[[DictConfig], bool]]:
    """Stand around the Hydra app of a stage; yield what says whether the config of a job can be worked with.

    Ends the process with one line for what it finds in the words, in a config, or what Hydra refuses itself.
    """
    from omegaconf import OmegaConf

    mistakes: list[UserError] = []
    # conf/workspace.yaml says by it where Hydra writes, from whichever folder the command is run
    OmegaConf.register_new_resolver("project", lambda path: str(paths.ROOT / path), replace=True)

    def sound(cfg: DictConfig) -> bool:
        try:
            check_config(stage, cfg)
        except UserError as error:  # Hydra would print a traceback of it
            mistakes.append(error)
        return not mistakes

    before = os.environ.get(FULL)
    os.environ[FULL] = "1"
    try:
        check_overrides(stage, sys.argv[1:])
        yield sound
        if mistakes:
            raise mistakes[0]
    except UserError as error:
        raise SystemExit(format_error(error, f"{stage}: ") if distributed.is_rank_zero() else 1) from None
    except Exception as error:
        mistake = UserError(_joined(error)) if _refusal(error) else launchers.convert_launcher_error(error)
        if mistake is None:
            raise
        raise SystemExit(format_error(mistake, f"{stage}: ") if distributed.is_rank_zero() else 1) from None
    finally:
        os.environ.pop(FULL)
        os.environ |= {FULL: before} if before is not None else {}


def _refusal(error: Exception) -> bool:
    """Say whether an error is Hydra's word, or its libraries', about words, files of conf/ or interpolations."""
    return type(error).__module__.partition(".")[0] in ("hydra", "omegaconf", "yaml")


def _joined(error: BaseException) -> str:
    """Return an error of several lines in one, with what stood behind it where that says more."""
    lines = [text.strip() for each in (error, error.__cause__) for text in str(each or "").splitlines()]
    said = "; ".join(dict.fromkeys(text.rstrip(".") for text in lines if text)) or type(error).__name__
    return said.replace(":; ", ": ")


def check_overrides(stage: str, given: list[str]) -> None:
    """Check the words of a stage's command line one by one.

    Raises UserError where one is no override, or would choose where Hydra writes or from where it reads.
    """
    from hydra._internal.utils import get_args_parser

    parser = get_args_parser()
    parser.error = _raise  # type: ignore[method-assign, assignment]
    asked = parser.parse_args(given)
    for flag in FIXED:
        if getattr(asked, flag):
            raise UserError(f"--{flag.replace('_', '-')}: not taken: a stage reads its own file of conf/")
    keys = _keys(stage)
    launchers.check_launcher(launchers.get_requested_launcher())
    for word in asked.overrides:
        override = _parsed(word)
        _check_word(stage, override)
        first = re.split("[./]", override.key_or_group)[0]
        if not override.is_add() and first not in {*keys, "hydra", "sweep"}:
            raise UserError(f"{first}: no key of conf/{stage}.yaml; {suggest(first, keys)}")


def _keys(stage: str) -> set[str]:
    """Return the keys that a stage has: its own, those of the workspace, and the groups of which it names a file."""
    own, shared = (read(paths.CONF / f"{file}.yaml", ("defaults",)) for file in (stage, "workspace"))
    groups = {group for entry in own.get("defaults") or [] if isinstance(entry, dict) for group in entry}
    return {*own, *shared, *groups} - {"defaults", "hydra"}


def _raise(message: str) -> None:
    raise UserError(f"{format_line(message)}; write key=value, such as ratio=0.5; --help tells the keys")


def _parsed(word: str) -> Override:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    if len(word) > LONGEST:
        raise UserError(f"{word[:40]!r}...: {len(word):,} characters; at most {LONGEST:,} are read")
    try:
        (override,) = OverridesParser.create().parse_overrides([word])
        if not override.key_or_group:
            raise ValueError("it has no key")
        override.value()  # where a choice without entries, or a number beyond all bounds, comes to light
    except (HydraException, ValueError, RecursionError) as error:
        reason = _joined(error).partition("; See https")[0]
        raise UserError(f"got {word!r}, which Hydra cannot read ({reason}); write key=value") from None
    return override


def _check_word(stage: str, override: Override) -> None:
    key, written = override.key_or_group, override.input_line
    if override.package is not None:
        raise UserError(f"got {written!r}; a group belongs where it stands: write {key}=... without @")
    if override.is_delete():
        raise UserError(f"got {written!r}; a stage needs all of its keys: give {key} another value")
    if re.split(r"[./]", key)[0] == "hydra":
        return _check_launcher(key, override)
    is_group = (paths.CONF / key).is_dir() and "." not in key
    for value in _values(override):
        if isinstance(value, str) and "${" in value:
            continue
        if is_group and (mistake := unknown(value, key)):
            raise UserError(f"{key}: {mistake}")
        for found in () if is_group else conf_files.find_value_mistakes(stage, key, value):
            raise UserError(found.text)


def _check_launcher(key: str, override: Override) -> None:
    """Check a word that is Hydra's own: the name of a launcher, or one of its settings that lead nowhere else."""
    values = _values(override)
    value = values[0] if len(values) == 1 else None
    if key == "hydra/launcher":
        launchers.check_launcher(value)
    elif not key.startswith("hydra.launcher."):
        raise UserError(f"{key}: not to be set here: where a stage writes stands in conf/workspace.yaml")
    elif mistake := launchers.check_setting(key.removeprefix("hydra.launcher."), value):
        raise UserError(f"{key}: {mistake}")


def _values(override: Override) -> list[Any]:
    """Return every value that an override takes; those that are known only once it is composed are left out."""
    from hydra.core.override_parser.types import ChoiceSweep, Glob, QuotedString, Sweep

    value: Any = override.value()
    listed = value.list if isinstance(value, ChoiceSweep) else [value]
    plain = [each.text if isinstance(each, QuotedString) else each for each in listed]
    return [each for each in plain if each != "???" and not isinstance(each, (Glob, Sweep))]


def check_config(stage: str, cfg: DictConfig) -> None:
    """Check the composed config of a job. Raises UserError for the first thing that no trial could begin with."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        raw: Any = OmegaConf.to_container(cfg)
        missing = [key for key, value in raw.items() if value == "???"]
        conf: Any = raw if missing else OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except (OmegaConfBaseException, RecursionError, ValueError, TypeError) as error:
        raise UserError(_joined(error)) from None
    if missing:
        raise UserError(f"{missing[0]}: missing; give {missing[0]}=...")
    fields = conf_files.STAGES.get(stage, Workspace).model_fields
    own = {key: value for key, value in conf.items() if key in fields or key not in INHERITED}
    if stage not in conf_files.STAGES:  # a stage that somebody added: its file names its keys
        own = {key: value for key, value in own.items() if key not in _keys(stage)}
    for mistake in conf_files.find_stage_mistakes(stage, own):
        raise UserError(mistake.text)
    for group in GROUPS:
        if group in conf:
            _check_group(group, conf[group])
    for group, reader in source_paths.STAGES.items():
        if stage == reader and (found := source_paths.find_mirror_mistake(conf["mirror"], group, conf[group]["name"])):
            raise UserError(found)


def _check_group(group: str, conf: object) -> None:
    """Check what was composed from a file of conf/, by the same functions that read it at work."""
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
