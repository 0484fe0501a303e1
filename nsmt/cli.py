"""The console script `nsmt`: sub-commands over one Hydra configuration; wiring alone."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import hydra
from hydra.types import RunMode
from omegaconf import DictConfig

from nsmt.commands.compose import (
    checked,
    checked_overrides,
    composed,
    conf_folder,
    require_one_run,
)
from nsmt.commands.failure import FAILURE, reporting_failures
from nsmt.commands.flags import Flags, read_words
from nsmt.commands.help import example, help_of, overview
from nsmt.commands.hydra_session import hydra_session
from nsmt.commands.preflight import require_installed
from nsmt.commands.registry import COMMANDS, Command, meant

__all__ = ["COMMANDS", "main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `nsmt COMMAND [key=value …]`."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        sys.stdout.write(overview())
        return
    with reporting_failures():
        for length in (2, 1):
            if (name := " ".join(words[:length])) in COMMANDS:
                _run(meant(name, words[length:]), words[length:])
                return
        sys.stderr.write(f"error: unknown command '{words[0]}'\n{overview()}")
        sys.exit(FAILURE)


def _run(name: str, words: list[str]) -> None:
    command = COMMANDS[name]
    own, handed_on = command.read(words)
    flags, given = read_words(own)
    has_check = "check" in command.schema.model_fields
    if flags.check and has_check:
        given.append("check=true")
    require_installed(given)
    if flags.help or flags.shows:
        _show(name, command, flags, given)
        return
    overrides = checked_overrides(command.root, given, command.schema)

    if command.reader is not None:
        # It opens Hydra itself, once for each of its sweeps.
        config = composed(command.root, given, command.schema)
        require_installed(list(handed_on))
        command.run(config.model_copy(update={"runs": handed_on}))
        return

    def task(config: DictConfig) -> None:
        settings = checked(config, command.schema)
        if flags.check and not has_check:
            sys.stdout.write(f"{name}: the configuration is valid; what it names was not opened\n")
            return
        command.run(settings)

    with hydra_session(command.root) as session:
        shared = session.preview(overrides, sweep=True)
        if not flags.multirun and shared.hydra.mode != RunMode.MULTIRUN:
            require_one_run(overrides, fix="add -m for a sweep, or write key=[a,b] for a list")
            session.preview(overrides, sweep=False)
            session.run(task, overrides)
            return
        # It imports all that trains, which help and worker processes do without.
        from nsmt.commands.sweep_launch import check_sweep, run_sweep

        if flags.check:
            check_sweep(name, session, given, shared, task)
        else:
            run_sweep(name, session, given, shared)


def _show(name: str, command: Command, flags: Flags, given: list[str]) -> None:
    """Help, or the configuration: what Hydra prints of itself."""
    if flags.help:
        given = example(command, given)
    overrides = checked_overrides(command.root, given, command.schema)
    if flags.needs_configuration:
        # What cannot be composed Hydra would answer with a traceback.
        with hydra_session(command.root) as session:
            config = session.preview(overrides, sweep=False)
        if flags.help:
            sys.stdout.write(help_of(name, command, config))
            return
    sys.argv = [name, *flags.shows, *overrides]
    show = hydra.main(
        version_base="1.3", config_path=str(conf_folder().resolve()), config_name=command.root
    )
    show(lambda config: None)()  # noqa: ARG005 -- nothing is run


if __name__ == "__main__":
    main()
