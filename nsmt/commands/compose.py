"""From the command line to a checked configuration, with errors that name the key and the fix."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, get_args, get_origin

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, OverrideType
from hydra.errors import HydraException
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

import nsmt
from nsmt.commands.safety import unusable
from nsmt.errors import ConfigurationError, did_you_mean
from nsmt.settings import Settings, flat

S = TypeVar("S", bound=Settings)
# What of Hydra's own node is the user's; the rest would put files where nobody looks for them.
_HYDRA_KEYS = (
    *("hydra/launcher", "hydra/sweeper", "hydra.launcher.", "hydra.sweeper.", "hydra.sweep.dir"),
    *("hydra.mode", "hydra.job.env_set", "hydra.job.env_copy"),
)
# Experiments: of a family, the file without a method of its own; and those put on top of others.
_EXPERIMENT, _BASE, _LAYERS = "experiment", "base", "study/"
# What Hydra raises over overrides that it did not expect: some of it is of no type of its own.
COMPOSITION_ERRORS = (HydraException, OmegaConfBaseException, ValueError, TypeError, KeyError)


def conf_folder() -> Path:
    """`conf/` of the checkout, or the copy inside an installed package."""
    package = Path(nsmt.__file__).parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def composed(root: str, overrides: Sequence[str], schema: type[S]) -> S:
    """Compose `conf/ROOT.yaml` with command-line overrides and check the result."""
    overrides = checked_overrides(root, overrides, schema)
    require_one_run(overrides, fix="give one value, or a list as in key=[a,b]")
    with initialize_config_dir(config_dir=str(conf_folder().resolve()), version_base="1.3"):
        try:
            config = compose(root, overrides=overrides)
        except COMPOSITION_ERRORS as error:
            raise plain_error(error) from None
    return checked(config, schema)


def checked(config: DictConfig, schema: type[S]) -> S:
    """The typed settings of a composed configuration; every fault in one ConfigurationError."""
    # As written: what refers to a missing value cannot be resolved.
    written = flat(cast("dict[str, Any]", OmegaConf.to_container(config, resolve=False)))
    if missing := [key for key, value in written if value == MISSING]:
        raise ConfigurationError(
            _listed("the configuration has", [_missing(key, schema) for key in missing]),
            fix=f"add {' '.join(f'{key}=…' for key in missing)}",
        )
    try:
        container = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except (OmegaConfBaseException, ValueError) as error:
        raise plain_error(error) from None
    if faults := list(unusable(container)):
        raise ConfigurationError(
            _listed("the configuration has", faults), fix="correct the keys above"
        )
    try:
        # JSON mode is strict about types and still knows lists from tuples.
        return schema.model_validate_json(json.dumps(container))
    except ValidationError as error:
        faults = [_describe(fault, schema) for fault in error.errors(include_url=False)]
        raise ConfigurationError(
            _listed("the configuration has", faults),
            fix="correct the keys above; `--check` tries a configuration without running it",
        ) from None


def checked_overrides(root: str, overrides: Sequence[str], schema: type[Settings]) -> list[str]:
    """Find misspelt keys and group choices before Hydra does, and suggest the right ones.

    Returns the overrides with `++` before the keys that the schema knows: Hydra itself only lets
    those through that some YAML file happens to mention.
    """
    parsed = _parsed(overrides)
    faults = [fault for override in parsed for fault in _override_faults(override, root, schema)]
    if faults:
        raise ConfigurationError(
            _listed("the command line has", faults), fix="correct the overrides above"
        )
    known = key_paths(schema)
    return [
        f"++{text}"
        if override.type == OverrideType.CHANGE
        and (key := override.key_or_group) not in group_choices()
        and (key in known or _open_ended(schema, key.split(".")))
        else text
        for override, text in zip(parsed, overrides, strict=True)
    ]


def require_one_run(overrides: Sequence[str], *, fix: str) -> None:
    """Raise a ConfigurationError that names the words which are for a sweep."""
    plain = set(without_swept(overrides))
    if swept := [word.lstrip("+") for word in overrides if word not in plain]:
        raise ConfigurationError(f"{', '.join(swept)}: several values for one run", fix=fix)


def without_swept(overrides: Sequence[str]) -> list[str]:
    """The overrides that have one value."""
    return [
        word
        for word, override in zip(overrides, _parsed(overrides), strict=True)
        if not override.is_sweep_override()
    ]


def _parsed(overrides: Sequence[str]) -> list[Override]:
    try:
        parsed: list[Override] = OverridesParser.create().parse_overrides(list(overrides))
    except HydraException as error:
        raise ConfigurationError(
            f"cannot read the command line: {str(error).splitlines()[0]}",
            fix="write overrides as key=value; quote values with special characters",
        ) from None
    return parsed


def _override_faults(override: Override, root: str, schema: type[Settings]) -> Iterator[str]:
    key = override.key_or_group
    if key.split(".")[0].split("/")[0] == "hydra":
        if not key.startswith(_HYDRA_KEYS):
            allowed = ", ".join(f"{name}*" if name.endswith(".") else name for name in _HYDRA_KEYS)
            yield f"{override.input_line} is decided by nsmt (of hydra: {allowed})"
        return
    if override.is_force_add():
        return
    groups = _offered(root)
    if key in groups:
        yield from _choice_faults(override, key, group_choices()[key])
        return
    known = key_paths(schema) | groups
    if key not in known and not _open_ended(schema, key.split(".")):
        near = did_you_mean(key, sorted(known), cutoff=0.5)
        hint = f"; {near.rstrip()}" if near else f"; see conf/{root}.yaml"
        if others := [other for other in _roots() if key in _offered(other)]:
            hint = f"; it is a group of conf/{'.yaml, conf/'.join(others)}.yaml"
        yield f"unknown key '{key}'{hint}"


def _choice_faults(override: Override, group: str, options: Sequence[str]) -> Iterator[str]:
    if override.is_delete():
        return
    chosen = _chosen(override, options)
    if not chosen:
        yield f"{override.input_line} chooses nothing (choices: {', '.join(options)})"
    if group == _EXPERIMENT:
        yield from _layer_faults(override, [choice for choice in chosen if choice in options])
    for choice in chosen:
        if choice not in options:
            near = did_you_mean(choice, options)
            hint = f"; {near.rstrip()}" if near else ""
            hint = _base_and_method(group, choice) or hint
            yield f"{group}={choice} is not there{hint} (choices: {', '.join(options)})"


def _base_and_method(group: str, choice: str) -> str | None:
    """How to have a method for which a family of experiments has no file of its own."""
    family, _, method = choice.rpartition("/")
    base = f"{family}/{_BASE}"
    if (
        group != _EXPERIMENT
        or base not in group_choices()[group]
        or method not in group_choices()["method"]
    ):
        return None
    return f"; {_EXPERIMENT}={base} method={method} is that row"


def _layer_faults(override: Override, chosen: Sequence[str]) -> Iterator[str]:
    """Of experiments that are there, layers with none below: they would change the default run."""
    layers = [choice for choice in chosen if choice.startswith(_LAYERS)]
    # Each choice of a sweep is a run of its own.
    if layers and (override.is_sweep_override() or len(layers) == len(chosen)):
        named = ",".join(layers[:1] if override.is_sweep_override() else layers)
        yield (
            f"{override.input_line} is a layer on another experiment, and there is none; give one "
            f"before it: '{_EXPERIMENT}=[bible8/{_BASE},{named}]'"
        )


def _chosen(override: Override, options: Sequence[str]) -> list[str]:
    """The choices that an override of a group makes, one after the other if it is swept."""
    value = override.value()
    if isinstance(value, Glob):
        found: list[str] = value.filter(list(options))
        return found
    if override.is_interval_sweep():
        return []
    if override.is_sweep_override():
        return list(override.sweep_string_iterator())
    values = value if isinstance(value, list) else [value]
    return ["null" if each is None else str(each) for each in values]


@cache
def group_choices() -> dict[str, list[str]]:
    """Every configuration group and its choices, nested ones by path."""
    conf = conf_folder()
    found: dict[str, list[str]] = {}
    for path in sorted(conf.rglob("*.yaml")):
        relative = path.relative_to(conf).with_suffix("")
        for depth in range(1, len(relative.parts)):
            group = "/".join(relative.parts[:depth])
            found.setdefault(group, []).append("/".join(relative.parts[depth:]))
    return found


def _roots() -> list[str]:
    """The configurations of the commands."""
    return sorted(path.stem for path in conf_folder().glob("*.yaml"))


@cache
def _offered(root: str) -> set[str]:
    """The groups that a command's configuration is composed of."""
    config = cast("DictConfig", OmegaConf.load(conf_folder() / f"{root}.yaml"))
    entries = [entry for entry in config.get("defaults", ()) if not isinstance(entry, str)]
    return {str(key).partition("@")[0] for entry in entries for key in entry}


@cache
def key_paths(schema: type[BaseModel]) -> frozenset[str]:
    """Every dotted key of a schema, of all variants where there are several."""
    return frozenset(_key_paths(schema, ""))


def _key_paths(schema: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in schema.model_fields.items():
        yield prefix + name
        for model in _models(field.annotation):
            yield from _key_paths(model, f"{prefix}{name}.")


def _models(annotation: Any) -> Iterator[type[BaseModel]]:  # noqa: ANN401 -- any type expression
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) not in (dict, Mapping):
        for argument in get_args(annotation):
            yield from _models(argument)


def _open_ended(schema: type[BaseModel], path: Sequence[str]) -> bool:
    """Whether the path leads into a mapping whose keys are the user's own."""
    field = schema.model_fields.get(path[0])
    if field is None or len(path) == 1:
        return False
    if get_origin(field.annotation) is dict:
        return True
    return any(_open_ended(inner, path[1:]) for inner in _models(field.annotation))


def _missing(key: str, schema: type[BaseModel]) -> str:
    """That a key has no value, and what it is if the schema says so in one way."""
    what = described(key, schema)
    return f"'{key}' has no value" + (f": {what}" if what else "")


def described(key: str, schema: type[BaseModel]) -> str | None:
    """What the schema says of a dotted key; None if it says nothing, or several things."""
    models: list[type[BaseModel]] = [schema]
    fields: list[FieldInfo] = []
    for part in key.split("."):
        fields = [model.model_fields[part] for model in models if part in model.model_fields]
        models = [inner for field in fields for inner in _models(field.annotation)]
    said = {field.description for field in fields}
    return said.pop() if len(said) == 1 else None


def _describe(fault: Any, schema: type[Settings]) -> str:  # noqa: ANN401 -- pydantic's TypedDict
    key = ".".join(str(part) for part in _without_tags(fault["loc"], schema))
    if fault["type"] == "extra_forbidden":
        siblings = [
            path
            for path in sorted(key_paths(schema))
            if path.count(".") == key.count(".") and path != key
        ]
        if key in key_paths(schema):
            return f"key '{key}' does not belong to the choice made for '{key.rpartition('.')[0]}'"
        near = did_you_mean(key, siblings, cutoff=0.5)
        hint = f"; {near.rstrip()}" if near else ""
        return f"unknown key '{key}'{hint}"
    if fault["type"] == "missing":
        return f"missing key '{key}'"
    value = json.dumps(fault["input"], default=str)
    value = value if len(value) <= 60 else f"{value[:57]}..."
    message = fault["msg"].removeprefix("Value error, ")
    return f"{key}={value}: {message[0].lower()}{message[1:]}"


def _without_tags(location: Sequence[str | int], schema: type[BaseModel]) -> Iterator[str | int]:
    """The keys of a pydantic location, which also names the variants it went through."""
    models: list[type[BaseModel]] = [schema]
    for part in location:
        fields = [model.model_fields[part] for model in models if part in model.model_fields]
        if fields or isinstance(part, int) or not _is_tag(part, models):
            yield part
        if fields:
            models = [inner for field in fields for inner in _models(field.annotation)]


def _is_tag(part: str, models: Sequence[type[BaseModel]]) -> bool:
    """Whether `part` is the discriminating value of one of the variants."""
    return any(
        part in get_args(field.annotation)
        for model in models
        for field in model.model_fields.values()
        if get_origin(field.annotation) is Literal
    )


def _listed(opening: str, faults: Sequence[str]) -> str:
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    return f"{opening} {count}:\n" + "\n".join(f"  - {fault}" for fault in faults)


def plain_error(error: Exception) -> ConfigurationError:
    """What Hydra or OmegaConf refuses, in its first lines."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if lines[1:2] == ["Available options:"]:
        fix = f"choose one of {', '.join(lines[2:])}"
    else:
        fix = " ".join(lines[1:3]) or "see conf/ for the groups and their choices"
    return ConfigurationError(lines[0] if lines else type(error).__name__, fix=fix)
