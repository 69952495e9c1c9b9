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

from pipeline.compression import recovery
from pipeline.core import conf_keys, instantiate, paths
from pipeline.core.errors import UserError, format_error, format_line, suggest
from pipeline.core.validators import MAX_CELL_LENGTH, MAX_INT, NAME_RULE, is_cell, is_name, is_number, is_whole
from pipeline.evaluation import benchmark_settings
from pipeline.execution import launchers
from pipeline.plan import TRAINED, source_paths
from pipeline.plan.load_plan import read, unknown
from pipeline.plan.named_sections import ratio
from pipeline.plan.plan_check import TEXTS
from pipeline.plan.yaml_versions import find_misread
from pipeline.system import distributed
from pipeline.tasks import task_config
from pipeline.training import recipe
from pipeline.training.distillation import distillation_settings

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig

INHERITED = ("ratio", "teacher", "origin")  # what a trial takes over from its source, besides the groups
GROUPS = ("task", "model", "recipe", "distillation", "compression")
LONGEST = 4000  # characters of a word; Hydra's parser takes seconds for more
FIXED = ("config_path", "config_name", "config_dir", "experimental_rerun")  # flags that would read files from anywhere
FULL = "HYDRA_FULL_ERROR"  # with it Hydra raises what it otherwise prints
PROCESSES = 1024  # or threads: beyond any machine that trains one model together
SOURCE = re.compile(rf"(exploration/)?({'|'.join(TRAINED)})/[^/]+")


def _between(least: int, most: int, else_: str = "") -> Callable[[object], str | None]:
    def mistake(value: object) -> str | None:
        if is_whole(value, least, most) or (else_ and value is None):
            return None
        return f"got {value!r}; give a whole number from {least} to {most}{else_}"

    return mistake


def _source(value: object) -> str | None:
    if isinstance(value, str) and SOURCE.fullmatch(value) and is_cell(value.rpartition("/")[2]):
        return None
    return (
        f"got {value!r}; give <stage>/<cell>, the stage one of {', '.join(TRAINED)}; "
        "exploration/<stage>/<cell> is one outside the plan"
    )


def _cell(value: object) -> str | None:
    if is_cell(value):
        return None
    return f"got {value!r}; a cell is named in letters, digits, '.', '-', '_' and '+', {MAX_CELL_LENGTH} at most"


def _flag(value: object) -> str | None:
    return None if isinstance(value, bool) else f"got {value!r}; give true or false"


def _above(value: object) -> str | None:
    return None if is_number(value) and value > 0 else f"got {value!r}; give a number above 0"


def _place(value: object) -> str | None:
    return None if value is None or isinstance(value, str) else f"got {value!r}; give a folder, or null"


VALUES: dict[str, Callable[[object], str | None]] = {  # what is wrong with the value of a key, whichever stage has it
    "seed": _between(0, 2**32 - 1),
    "ratio": ratio,
    "threads": _between(1, PROCESSES, ", or null for all"),
    "processes": _between(1, PROCESSES),
    "batch": _between(1, MAX_INT),
    "dpi": _between(10, 1200),
    "checkpoint_seconds": _above,
    "source": _source,
    "teacher": _source,
    "cell": _cell,
    "exploration": _flag,
    "mirror": _place,
}


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
        _check_word(override)
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


def _check_word(override: Override) -> None:
    key, written = override.key_or_group, override.input_line
    if override.package is not None:
        raise UserError(f"got {written!r}; a group belongs where it stands: write {key}=... without @")
    if override.is_delete():
        raise UserError(f"got {written!r}; a stage needs all of its keys: give {key} another value")
    if re.split(r"[./]", key)[0] == "hydra":
        return _check_launcher(key, override)
    if (paths.CONF / key).is_dir() and "." not in key:
        mistake: Callable[[object], str | None] = lambda value: unknown(value, key)  # noqa: E731
    elif key in VALUES:
        mistake = VALUES[key]
    else:
        return
    for value in _values(override):
        if not (isinstance(value, str) and "${" in value) and (found := mistake(value)):
            raise UserError(f"{key}: {found}")


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
    own = [key for key in conf if key not in (*GROUPS, *INHERITED)]
    known = conf_keys.STAGES.get(stage) or _keys(stage)  # of a stage of one's own, what its file states
    for unknown_key in conf_keys.find_unknown(own, (*known, *conf_keys.STAGES["workspace"])):
        raise UserError(unknown_key)
    for key, mistake in VALUES.items():
        if key in conf and (found := mistake(conf[key])):
            raise UserError(f"{key}: {found}")
    for group in GROUPS:
        if group in conf:
            _check_group(group, conf[group])
    for group, reader in source_paths.STAGES.items():
        if stage == reader and (found := source_paths.find_mirror_mistake(conf["mirror"], group, conf[group]["name"])):
            raise UserError(found)
    if stage == "benchmark":
        benchmark_settings.parse(conf)
    if "recovery" in conf:
        _check_recovery(conf["recovery"])


def _check_group(group: str, conf: object) -> None:
    """Check what was composed from a file of conf/, by the same functions that read it at work."""
    if not isinstance(conf, Mapping) or not all(isinstance(key, str) for key in conf):
        raise UserError(f"{group}: got {conf!r}; name a file of conf/{group}/")
    if not is_name(conf.get("name")):
        raise UserError(f"{group}.name: got {conf.get('name')!r}; {NAME_RULE}")
    path = paths.CONF / group / f"{conf['name']}.yaml"
    where = f"conf/{group}/{conf['name']}.yaml"
    for mistake in find_misread(path, TEXTS.get(group, ())) if path.is_file() else ():
        raise UserError(f"{where}: {mistake}")
    for unknown_key in conf_keys.find_unknown(conf, conf_keys.GROUPS[group]):
        raise UserError(f"{where}: {unknown_key}")
    if group in READ:
        READ[group](conf)
    for key in {"task": ("source",), "model": ("source",), "compression": ("method",)}.get(group, ()):
        for mistake in instantiate.find_mistakes(conf.get(key)):
            raise UserError(f"{where}: {key}: {mistake}")
    for mistake in source_paths.list_mistakes(conf["source"], conf["name"]) if group in source_paths.STAGES else ():
        raise UserError(f"{where}: {mistake}")
    if group == "compression":
        recovery.parse(conf.get("recovery"), where)
    if group == "model" and (found := _above(conf.get("learning_rate", 1))):
        raise UserError(f"{where}: learning_rate: {found}")


READ: dict[str, Callable[[Mapping[str, Any]], object]] = {
    "task": task_config.parse,
    "recipe": recipe.parse,
    "distillation": distillation_settings.parse,
}


def _check_recovery(conf: object) -> None:
    """Check what conf/compress.yaml states of the training after a compression, whose file states the rest."""
    where, known = "conf/compress.yaml: recovery: ", {"epochs": 1, "learning_rate": 1e-4}
    given = {**conf, **known} if isinstance(conf, Mapping) else conf
    if isinstance(conf, Mapping) and (twice := sorted(set(conf) & set(known))):
        raise UserError(f"{where}{twice[0]}: a file of conf/compression/ states it, or follows from it; leave it out")
    kind = recipe.complete(where, given, recipe.Recipe, "it")
    assert isinstance(given, dict)
    kind(**given)
