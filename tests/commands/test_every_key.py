"""Every key of every command refuses what its schema does not allow, by key, value and bound.

Values that must be refused are derived from the schema, and all of a command's are given at once:
all have to be told.
"""

import json
import re
from typing import Annotated

import pytest
from pydantic import BaseModel, TypeAdapter
from small_run import SMALL

from nsmt.cli import main
from nsmt.commands.compose import composed
from nsmt.commands.registry import COMMANDS

# What each command cannot do without; nothing of it is there.
WORDS = {
    "train": SMALL,
    "evaluate": ("run=nowhere",),
    "identify": ("checkpoint=nowhere", "corpus=nowhere"),
    "sweep table": ("sweep=nowhere",),
    "probe": ("run=nowhere",),
    "report": ("run=nowhere",),
    "data stats": ("corpus=nowhere",),
    "data sample": ("corpus=nowhere",),
    "bench": ("what=train",),
}
# These choose among the others, or are given as they are.
CHOICES = ("source", "kind", "name", "what")


def leaves(settings, prefix=""):
    """Every key of a composed configuration, with its field."""
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            yield from leaves(value, f"{prefix}{name}.")
        elif prefix == "" or name not in CHOICES:
            yield prefix + name, field


def wrong(schema):
    """Values that a JSON schema refuses, and what the refusal must say is allowed."""
    if "anyOf" in schema:
        (schema,) = (each for each in schema["anyOf"] if each.get("type") != "null")
    if "enum" in schema or "const" in schema:
        allowed = schema.get("enum", [schema.get("const")])
        return [("nothing", [f"'{each}'" for each in allowed])]
    kind, found = schema["type"], []
    if kind in ("integer", "number"):
        found.append(("word", ["valid integer" if kind == "integer" else "valid number"]))
        for bound, beyond, says in (
            ("minimum", -1, "greater than or equal to"),
            ("exclusiveMinimum", 0, "greater than"),
            ("maximum", 1, "less than or equal to"),
            ("exclusiveMaximum", 0, "less than"),
        ):
            if bound in schema:
                found.append((schema[bound] + beyond, [f"{says} {plain(schema[bound])}"]))
    elif kind == "boolean":
        found.append((7, ["valid boolean"]))
    elif kind == "array":
        found.append((3, ["valid array"]))
    elif kind == "object":
        found.append((3, ["an object"]))
    else:
        found.append(([1], ["valid string"]))
        if "pattern" in schema:
            bad = next(
                each for each in ("_no", "NO", "no way") if not re.search(schema["pattern"], each)
            )
            found.append((bad, [schema["pattern"]]))
        if schema.get("minLength"):
            found.append(("", [f"at least {schema['minLength']} character"]))
    return found


def plain(number):
    """As pydantic writes it."""
    return f"{number:g}" if isinstance(number, float) else str(number)


def cases(command):
    """By key, values to be refused and what must be said of them."""
    settings = composed(COMMANDS[command].root, WORDS[command], COMMANDS[command].schema)
    for key, field in leaves(settings):
        schema = TypeAdapter(Annotated[field.annotation, field]).json_schema()
        refs = schema.get("$defs", {})
        while "$ref" in schema:
            schema = refs[schema["$ref"].rpartition("/")[2]]
        try:
            found = wrong(schema)
        except (KeyError, ValueError):
            # Alternatives, or a part with a schema of its own.
            continue
        if found:
            yield key, found


@pytest.mark.parametrize("command", WORDS)
def test_every_key_refuses_what_its_schema_does_not_allow(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    every = dict(cases(command))
    assert every
    for turn in range(max(map(len, every.values()))):
        given = {key: found[turn] for key, found in every.items() if turn < len(found)}
        words = [f"{key}={json.dumps(value)}" for key, (value, _) in given.items()]
        with pytest.raises(SystemExit) as ended:
            main([*command.split(), *WORDS[command], *words])
        assert ended.value.code == 2
        lines = {
            line.partition("=")[0].removeprefix("  - "): line
            for line in capsys.readouterr().err.splitlines()
            if line.startswith("  - ")
        }
        for key, (value, allowed) in given.items():
            assert key in lines, f"{key}={value} was let through"
            told = lines[key]
            assert told.startswith(f"  - {key}={json.dumps(value)}: ")
            assert all(text in told for text in allowed), told
    assert not list(tmp_path.iterdir())
