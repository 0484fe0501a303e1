"""The console script `nsmt`: sub-commands over one Hydra configuration; wiring alone."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import hydra
from hydra.types import RunMode
from omegaconf import DictConfig

from nsmt.commands.compose import checked, checked_overrides, composed, conf_folder
from nsmt.commands.failure import FAILURE, reporting_failures
from nsmt.commands.flags import Flags, read_words
from nsmt.commands.hydra_session import hydra_session
from nsmt.commands.preflight import require_installed
from nsmt.commands.registry import COMMANDS, Command, meant
from nsmt.commands.sweep_launch import run_sweep

__all__ = ["COMMANDS", "main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `nsmt COMMAND [key=value …]`."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        sys.stdout.write(_help())
        return
    with reporting_failures():
        for length in (2, 1):
            if (name := " ".join(words[:length])) in COMMANDS:
                _run(meant(name, words[length:]), words[length:])
                return
        sys.stderr.write(f"error: unknown command '{words[0]}'\n{_help()}")
        sys.exit(FAILURE)


def _run(name: str, words: list[str]) -> None:
    command = COMMANDS[name]
    own, handed_on = command.read(words)
    flags, given = read_words(own)
    if flags.check and "check" in command.schema.model_fields:
        given.append("check=true")
    require_installed(given)
    overrides = checked_overrides(command.root, given, command.schema)
    if flags.shows:
        _show(name, command, flags, overrides)
        return

    if command.reader is not None:
        # It opens Hydra itself, once for each of its sweeps.
        config = composed(command.root, given, command.schema)
        require_installed(list(handed_on))
        command.run(config.model_copy(update={"runs": handed_on}))
        return

    def task(config: DictConfig) -> None:
        command.run(checked(config, command.schema))

    with hydra_session(command.root) as session:
        shared = session.preview(overrides, sweep=True)
        mode = RunMode.MULTIRUN if flags.multirun else shared.hydra.mode
        if mode == RunMode.MULTIRUN:
            run_sweep(name, session, given, shared)
        else:
            session.preview(overrides, sweep=False)
            session.run(task, overrides)


def _show(name: str, command: Command, flags: Flags, overrides: list[str]) -> None:
    """Help, or the configuration: what Hydra prints of itself."""
    if {"--help", "-h"} & set(flags.shows):
        chosen = {word.partition("=")[0] for word in overrides}
        example = [word for word in command.example if word.partition("=")[0] not in chosen]
        overrides = [*example, *overrides]
    if flags.needs_configuration:
        # What cannot be composed Hydra would answer with a traceback.
        with hydra_session(command.root) as session:
            session.preview(overrides, sweep=False)
    sys.argv = [name, *flags.shows, *overrides]
    show = hydra.main(
        version_base="1.3", config_path=str(conf_folder().resolve()), config_name=command.root
    )
    show(lambda config: None)()  # noqa: ARG005 -- nothing is run


def _help() -> str:
    lines = [f"  {name:<19}{command.summary}" for name, command in COMMANDS.items()]
    return (
        "usage: nsmt COMMAND [key=value …]\n\n"
        + "\n".join(lines)
        + "\n\nnsmt COMMAND --help lists the groups and keys that can be chosen;\n"
        "nsmt train --check … validates a configuration without running it;\n"
        "nsmt train -m key=1,2,3 … runs a sweep.\n"
    )


if __name__ == "__main__":
    main()
