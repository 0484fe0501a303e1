"""Every file of every group of the configuration composes into one that its command takes."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from nsmt.commands.compose import composed, conf_folder
from nsmt.commands.config import RunConfig
from nsmt.commands.evaluations import EvaluateConfig
from nsmt.commands.languages import LanguagesConfig

CONF = conf_folder()
# Experiments, tables and scales have tests of their own; hydra/ holds no choice.
CHOICES = sorted(
    path.relative_to(CONF).with_suffix("").as_posix()
    for path in CONF.glob("*/*.yaml")
    if path.parent.name not in ("experiment", "hydra", "scale", "table")
)
SEARCHES = [name for name in CHOICES if name.startswith("hparams_search/")]
LANGUAGES = ("languages", LanguagesConfig, ("languages=[de,en]", "gathering.moments=[sum,square]"))
# The command of a group, where it is not train, and what that cannot do without.
COMMANDS = {
    "eval": ("evaluate", EvaluateConfig, ("run=x",)),
    "intervention": LANGUAGES,
    "language_model": LANGUAGES,
    "text": LANGUAGES,
}
# Groups that are chosen for a key.
PLACES = {"intervention": "intervention@forcing.activate"}
# What a choice leaves to whoever makes it.
LEFT = {
    "data/ec30": ("data.root=x", "data.valid_set.root=x", "data.test_set.root=x"),
    "data/files": ("data.root=x", "data.pairs=[en-cs]"),
    "data/huggingface": ("data.root=x", "data.pairs=[en-cs]"),
    "data/iwslt14": ("data.root=x",),
    "data/opus": ("data.root=x", "data.pairs=[en-cs]"),
    "language_model/gguf": ("language_model.name=x", "language_model.gguf=x"),
    "language_model/huggingface": ("language_model.name=x", "language_model.path=x"),
    "schedule/specialize": ("schedule.checkpoint=x",),
    "text/datasets": ("text.path=x",),
    "text/files": ("text.path=LANGUAGE.txt",),
}


@pytest.mark.parametrize("choice", CHOICES)
def test_a_choice_composes(choice):
    group, _, name = choice.partition("/")
    root, schema, words = COMMANDS.get(group, ("train", RunConfig, ()))
    left = LEFT.get(choice, ())
    if group in ("test_set", "valid_set"):
        left = (f"data.{group}.root=x",)
    assert composed(root, [*words, f"{PLACES.get(group, group)}={name}", *left], schema)


@pytest.mark.parametrize("name", SEARCHES)
def test_what_a_search_varies_is_a_key_that_takes_its_first_value(name):
    space = OmegaConf.load(CONF / f"{name}.yaml").hydra.sweeper.params
    given = [f"{key}={values}" for key, values in space.items()]
    words = [
        f"{each.key_or_group}={first(each)}"
        for each in OverridesParser.create().parse_overrides(given)
    ]
    assert words
    assert composed("train", words, RunConfig)


def first(override):
    if override.is_interval_sweep():
        return override.value().start
    return next(iter(override.sweep_string_iterator()))
