"""The words of a command line: overrides, and the few flags that there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nsmt.errors import ConfigurationError, did_you_mean

# Hydra's own that show something and end; and how many words follow each.
_SHOWS = {
    **dict.fromkeys(("--hydra-help", "--version", "--resolve"), 0),
    **dict.fromkeys(("--cfg", "-c", "--package", "-p", "--info", "-i"), 1),
}
_OF_HYDRA = {"--hydra-help", "--version"}
_CFG = ("job", "hydra", "all")
_SWEEP = ("-m", "--multirun")
_HELP = ("-h", "--help")
_CHECK = "--check"


@dataclass(frozen=True, slots=True)
class Flags:
    """What is asked for beside the overrides; `shows` are words for Hydra's own parser."""

    shows: tuple[str, ...]
    multirun: bool
    check: bool
    help: bool

    @property
    def needs_configuration(self) -> bool:
        """Whether what is shown is of the composed configuration, not of Hydra alone."""
        return not _OF_HYDRA & set(self.shows)


def read_words(words: Sequence[str]) -> tuple[Flags, list[str]]:
    """Flags and overrides; a ConfigurationError names what is neither."""
    shows: list[str] = []
    given: list[str] = []
    multirun = check = asks_help = False
    queue = list(words)
    while queue:
        word = queue.pop(0)
        if word in _SWEEP:
            multirun = True
        elif word == _CHECK:
            check = True
        elif word in _HELP:
            asks_help = True
        elif word in _SHOWS:
            values, queue = queue[: _SHOWS[word]], queue[_SHOWS[word] :]
            if word in ("--cfg", "-c") and (not values or values[0] not in _CFG):
                raise ConfigurationError(
                    f"{word} does not say what to show", fix=f"add one of {', '.join(_CFG)}"
                )
            shows += [word, *values]
        elif word.startswith("-"):
            raise _unknown(word)
        elif "=" in word or word.startswith("~"):
            given.append(word)
        else:
            raise ConfigurationError(
                f"'{word}' is no override", fix=f"write key=value, as in {word or 'key'}=…"
            )
    return Flags(tuple(shows), multirun, check, asks_help), given


def _unknown(word: str) -> ConfigurationError:
    known = [*_SWEEP, _CHECK, *_HELP, *_SHOWS]
    hint = did_you_mean(word, known)
    return ConfigurationError(
        f"unknown flag '{word}'", fix=f"{hint}the flags are {', '.join(known)}"
    )
