"""The README's commands, and those of some pages, are real: every configuration composes."""

import re
import shlex
from pathlib import Path

import pytest

from nsmt.cli import COMMANDS
from nsmt.commands.compose import checked_overrides, composed
from nsmt.commands.languages import LanguagesConfig
from nsmt.commands.registry import meant

ROOT = Path(__file__).parents[1]


def commands_of(page):
    """The lines of the shell blocks of a page, continued ones as one."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [found for line in lines if (found := line.partition("#")[0].strip())]


LINES = commands_of("README.md")
PAGES = [line for page in ("docs/languages.md", "docs/arithmetic.md") for line in commands_of(page)]


def test_the_two_commands_are_make_targets():
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    named = [line.split()[1] for line in LINES if line.startswith("make ")]
    assert {"quickstart", "test"} <= set(named) <= set(targets)


def test_the_scripts_are_there():
    scripts = [line.split()[1] for line in LINES if line.startswith("python benchmarks/")]
    assert scripts
    assert all((ROOT / script).is_file() for script in scripts)


@pytest.mark.parametrize(
    "line",
    [
        line
        for line in [*LINES, *PAGES]
        if not line.startswith(("make ", "python benchmarks/", "pip install "))
    ],
)
def test_command_composes(line):
    # A launcher starts the same command.
    words = shlex.split(re.sub(r"^torchrun .* -m nsmt\.cli ", "nsmt ", line))
    if words[0] == "nsmt":
        length = 2 if " ".join(words[1:3]) in COMMANDS else 1
        name, rest = " ".join(words[1 : 1 + length]), words[1 + length :]
    else:
        name, rest = Path(words[1]).stem, words[2:]
    command = COMMANDS[meant(name, rest)]
    rest, _ = command.read(rest)
    overrides = [word for word in rest if not word.startswith("-")]
    # A sweep's values are tried by their first.
    overrides = [
        word if "[" in word else re.sub(r"=([^,]+),.*", r"=\1", word) for word in overrides
    ]
    assert composed(command.root, overrides, command.schema)


def test_settings_within_the_text_of_language_neurons_are_there():
    text = (ROOT / "docs" / "languages.md").read_text(encoding="utf-8")
    words = re.findall(r"`([a-z_.]+=[^`\s]+)`", text)
    assert {"selection.rule=lape", "language_model=gguf"} <= set(words)
    assert len(checked_overrides("languages", words, LanguagesConfig)) == len(words)


def test_every_linked_file_is_there():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (ROOT / target).exists(), target
