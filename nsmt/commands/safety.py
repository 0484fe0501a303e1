"""What no configuration may hold: code to run, and secrets that would end up in a run folder.

A configuration is data. The two nodes in which Hydra needs the name of a class, and the loggers of
its own configuration, are held to lists of names; everywhere else such a name is refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from omegaconf import DictConfig, OmegaConf

from nsmt.errors import ConfigurationError

TARGETS: Final[Mapping[str, frozenset[str]]] = {
    "hydra.launcher._target_": frozenset(
        {
            "hydra._internal.core_plugins.basic_launcher.BasicLauncher",
            "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher",
            "hydra_plugins.nsmt_launchers.NsmtLocalLauncher",
            "hydra_plugins.nsmt_launchers.NsmtSlurmLauncher",
        }
    ),
    "hydra.sweeper._target_": frozenset(
        {
            "hydra._internal.core_plugins.basic_sweeper.BasicSweeper",
            "hydra_plugins.nsmt_search.SearchSweeper",
        }
    ),
}
_LOGGING: Final = ("hydra.hydra_logging.", "hydra.job_logging.")
_HANDLERS: Final = frozenset(
    {"logging.StreamHandler", "logging.FileHandler", "logging.NullHandler", "logging.Formatter"}
)
_STREAMS: Final = frozenset({"ext://sys.stdout", "ext://sys.stderr"})

_SECRET_NAME: Final = re.compile(
    r"(^|_)(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$", re.IGNORECASE
)
_ENVIRONMENT: Final = re.compile(r"oc\.env:\s*['\"]?(\w+)")
# Shorter values would be found in any text.
_SECRET_LENGTH: Final = 8
# Larger numbers overflow wherever they are used.
_LARGEST: Final = 2**53
# NUL and other control characters, and halves of characters.
_UNWRITABLE: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


def require_harmless(config: DictConfig) -> None:
    """Raise a ConfigurationError that names every key which would run code or give a secret away.

    `config` is the whole composed configuration, with Hydra's own node.
    """
    plain = OmegaConf.to_container(config, resolve=False)
    faults = [fault for key, value in _leaves(plain) for fault in _faults(key, value)]
    if faults:
        raise ConfigurationError(
            "the configuration is refused:\n" + "\n".join(f"  - {fault}" for fault in faults),
            fix="choose by the configuration groups; give secrets by environment variables alone",
        )


def unusable(settings: Any) -> Iterator[str]:  # noqa: ANN401 -- resolved, as plain JSON
    """What is wrong with values whatever their keys mean: no schema would say it well."""
    for key, value in _leaves(settings):
        if isinstance(value, int) and abs(value) > _LARGEST:
            yield f"{key} is a number of {value.bit_length()} bits: at most 53 are allowed"
        if isinstance(value, str):
            if _UNWRITABLE.search(value):
                yield f"{key}={value!a} holds a character that no file name or text can have"
            for name, secret in secrets().items():
                if secret in value:
                    yield f"{key} holds the value of {name}, which would be written to disk"


def secrets() -> dict[str, str]:
    """The environment's secrets, by name."""
    return {
        name: value
        for name, value in os.environ.items()
        if _SECRET_NAME.search(name) and len(value) >= _SECRET_LENGTH
    }


def without_secrets(text: str) -> str:
    """The text with the values of secrets replaced by their names."""
    for name, value in secrets().items():
        text = text.replace(value, f"<{name}>")
    return text


def _faults(key: str, value: Any) -> Iterator[str]:  # noqa: ANN401 -- any leaf
    if key.startswith(("hydra.runtime.", "hydra.overrides.")):
        # What was given, once more.
        return
    last = key.rpartition(".")[2]
    if last == "_target_" and value not in TARGETS.get(key, ()):
        allowed = ", ".join(sorted(TARGETS.get(key, ()))) or "no class is named here"
        yield f"{key}={value} names code to run (allowed: {allowed})"
    if last == "()" or (last == "class" and key.startswith(_LOGGING) and value not in _HANDLERS):
        yield f"{key}={value} names code to run (allowed: {', '.join(sorted(_HANDLERS))})"
    if key.startswith("hydra.job.env_set.") and _SECRET_NAME.search(last):
        yield f"{key} would be written to disk: set {last} in the environment"
    if not isinstance(value, str):
        return
    if value.startswith("ext://") and value not in _STREAMS:
        yield f"{key}={value} imports code (allowed: {', '.join(sorted(_STREAMS))})"
    if key.startswith("hydra.job.env_copy") and _SECRET_NAME.search(value):
        yield f"{key}={value} would be written to disk: jobs get the environment as it is"
    for name in _ENVIRONMENT.findall(value):
        if _SECRET_NAME.search(name):
            yield f"{key} reads the secret {name}, which would be written to disk"
    for name, secret in secrets().items():
        if secret in value:
            yield f"{key} holds the value of {name}, which would be written to disk"


def _leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    """Every leaf with its key; keys of lists are numbers."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _leaves(value, f"{prefix}{key}.")
    elif isinstance(node, list):
        for place, value in enumerate(node):
            yield from _leaves(value, f"{prefix}{place}.")
    else:
        yield prefix.removesuffix("."), node
