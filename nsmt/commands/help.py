"""`nsmt COMMAND --help`: what the command does, and every group and key that it takes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError

from nsmt.commands.compose import conf_folder, described, group_choices
from nsmt.commands.registry import COMMANDS, Command
from nsmt.settings import flat

_FLAGS: Final = """\
flags:
  --check        validate the configuration, run nothing
  -m             a sweep: key=1,2,3 are three jobs
  --cfg job      show the composed configuration
"""


def overview() -> str:
    """All commands, a line each."""
    lines = [f"  {name:<19}{command.summary}" for name, command in COMMANDS.items()]
    return (
        "usage: nsmt COMMAND [key=value …]\n\n"
        + "\n".join(lines)
        + "\n\nnsmt COMMAND --help lists the groups and keys of a command;\n"
        "nsmt COMMAND --check … validates a configuration without running it;\n"
        "nsmt train -m key=1,2,3 … runs a sweep.\n"
    )


def example(command: Command, overrides: Sequence[str]) -> list[str]:
    """The overrides, with a choice before them for each group that needs one and has none."""
    chosen = {word.partition("=")[0] for word in overrides}
    return [*(w for w in command.example if w.partition("=")[0] not in chosen), *overrides]


def help_of(name: str, command: Command, config: DictConfig) -> str:
    """The help of one command; `config` is composed, with Hydra's own node."""
    usage = f"usage: nsmt {name} [key=value …]\n       {command.summary}\n"
    choices = _groups(config)
    keys = "keys, with their values here:\n" + "".join(_keys(command, config))
    return "\n".join((usage, _comment(command.root), _FLAGS, choices, keys))


def _comment(root: str) -> str:
    """What the file of the configuration says of itself, which has commands to begin with."""
    text = (conf_folder() / f"{root}.yaml").read_text(encoding="utf-8")
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").removeprefix(" "))
    return "".join(f"{line}\n" for line in lines)


def _groups(config: DictConfig) -> str:
    known = group_choices()
    lines = []
    for group, choice in OmegaConf.select(config, "hydra.runtime.choices").items():
        if str(group).startswith("hydra/"):
            # They are chosen by ours: launcher, hparams_search.
            continue
        options = known.get(str(group).partition("@")[0], [])
        if others := [option for option in options if option != choice]:
            lines.append(f"  {group}={_shown(choice)}  ({', '.join(others)})\n")
    if not lines:
        return "it has no groups\n"
    return "groups, each with what is chosen and what else there is:\n" + "".join(sorted(lines))


def _keys(command: Command, config: DictConfig) -> Iterator[str]:
    for key, value in flat(_values(command, config)):
        word = f"  {key}={_shown(value)}"
        said = described(key, command.schema)
        yield f"{word:<48}  {said}\n" if said else f"{word}\n"


def _values(command: Command, config: DictConfig) -> dict[str, Any]:
    """What is composed, with the defaults of keys that no file mentions where it is valid."""
    own = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    try:
        composed = OmegaConf.to_container(own, resolve=True)
        return command.schema.model_validate_json(json.dumps(composed)).model_dump(mode="json")
    except (OmegaConfBaseException, ValidationError):
        return cast("dict[str, Any]", OmegaConf.to_container(own, resolve=False))


def _shown(value: object) -> str:
    """A value as it can be given on the command line."""
    if isinstance(value, list):
        return f"[{','.join(map(_shown, value))}]"
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
