"""The README's commands are real: targets exist, and every configuration composes."""

import re
import shlex
from pathlib import Path

import pytest

from nsmt.cli import COMMANDS
from nsmt.commands.compose import composed

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
LINES = [line.partition("#")[0].strip() for block in BLOCKS for line in block.splitlines()]
LINES = [line for line in LINES if line]


def test_the_two_commands_are_make_targets():
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    named = [line.split()[1] for line in LINES if line.startswith("make ")]
    assert {"quickstart", "test"} <= set(named) <= set(targets)


def test_the_scripts_are_there():
    scripts = [line.split()[1] for line in LINES if line.startswith("python benchmarks/")]
    assert scripts
    assert all((ROOT / script).is_file() for script in scripts)


@pytest.mark.parametrize(
    "line", [line for line in LINES if not line.startswith(("make ", "python benchmarks/"))]
)
def test_command_composes(line):
    words = shlex.split(line)
    if words[0] == "nsmt":
        length = 2 if " ".join(words[1:3]) in COMMANDS else 1
        name, rest = " ".join(words[1 : 1 + length]), words[1 + length :]
    else:
        name, rest = Path(words[1]).stem, words[2:]
    command = COMMANDS[name]
    rest, _ = command.read(rest)
    overrides = [word for word in rest if not word.startswith("-")]
    # A sweep's values are tried by their first.
    overrides = [
        word if "[" in word else re.sub(r"=([^,]+),.*", r"=\1", word) for word in overrides
    ]
    assert composed(command.root, overrides, command.schema)


def test_every_linked_file_is_there():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (ROOT / target).exists(), target
