"""Every experiment composes, says what it needs, and is checked; every table and scale, too."""

import pytest
import torch
from naive_transformer import naive_forward
from omegaconf import OmegaConf
from published_recipes import GROUPS, METHODS, RECIPES, SHOWN, STAGES

from nsmt.commands.compose import composed, conf_folder
from nsmt.commands.config import RunConfig
from nsmt.commands.languages import LanguagesConfig
from nsmt.commands.reproduce_plan import ReproduceConfig, plan_of
from nsmt.commands.train import train
from nsmt.data.batch import SequenceFormat
from nsmt.languages import Direction
from nsmt.methods import CONTROL
from nsmt.models.transformer import Transformer
from nsmt.settings import flat
from nsmt.training.optimization import for_stage

CONF = conf_folder()
NAMES = sorted(
    path.relative_to(CONF / "experiment").with_suffix("").as_posix()
    for path in (CONF / "experiment").rglob("*.yaml")
)
# Those of commands other than train.
OTHERS = {"smollm2": ("languages", LanguagesConfig)}
RUNS = [name for name in NAMES if name not in OTHERS]
# Data that somebody has to fetch by hand.
ROOTS = {
    "ec30": ("data.root=x", "data.valid_set.root=x", "data.test_set.root=x"),
    "iwslt14": ("data.root=x",),
}
# Layers that are about certain languages; the others go on any experiment.
BASES = {"study/unequal": "bible4/base"}
TABLES = sorted(path.stem for path in (CONF / "table").glob("*.yaml"))
SCALES = sorted(path.stem for path in (CONF / "scale").glob("*.yaml"))


def words(name):
    # Layers of the study are put on another experiment.
    base = BASES.get(name, "smoke/base")
    chosen = f"experiment=[{base},{name}]" if name.startswith("study/") else f"experiment={name}"
    return [chosen, *ROOTS.get(name.split("/")[0], ())]


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_begins_with_command_hardware_time_and_expected_scores(name):
    text = (CONF / "experiment" / f"{name}.yaml").read_text(encoding="utf-8")
    comment = "\n".join(line for line in text.splitlines() if line.startswith("#"))
    assert text.startswith("# @package _global_\n# ")
    for word in ("command:", "hardware", "time", "expected"):
        assert word in comment, word


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_composes(name):
    root, schema = OTHERS.get(name, ("train", RunConfig))
    assert composed(root, words(name), schema)


@pytest.mark.parametrize("name", [n for n in RUNS if n.split("/")[0] not in ROOTS])
def test_an_experiment_is_checked(name, capsys):
    train(composed("train", [*words(name), "check=true"], RunConfig))
    assert "parameters" in capsys.readouterr().out


def settings_of(name):
    """Every key of an experiment, with its value."""
    return dict(flat(composed("train", words(name), RunConfig).model_dump(mode="json")))


@pytest.mark.parametrize("name", RECIPES)
def test_hyper_parameters_are_those_of_the_published_scripts_key_by_key(name):
    found, expected = settings_of(name), RECIPES[name]
    assert {key: found.get(key, "no such key") for key in expected} == expected
    unpinned = {key for key in found if key.startswith(GROUPS)} - expected.keys()
    assert unpinned == set(SHOWN)


@pytest.mark.parametrize("name", RECIPES)
def test_each_stage_comes_to_what_the_published_scripts_train(name):
    config = composed("train", words(name), RunConfig)
    found = {}
    for key in STAGES[name]:
        stage = config.schedule.stage(key)
        batch, optimizer = stage.batch(config.batch), for_stage(config.optimizer, stage)
        found[key] = (
            *(stage.updates, stage.validate_every, stage.patience or config.callbacks.patience),
            *(optimizer.learning_rate, optimizer.warmup_updates),
            *(batch.tokens, batch.per_update),
        )
    assert found == STAGES[name]


@pytest.mark.parametrize("base", RECIPES)
def test_the_other_files_of_a_corpus_differ_from_its_base_in_the_method_alone(base):
    corpus, _, own = base.partition("/")
    files = {path.stem for path in (CONF / "experiment" / corpus).glob("*.yaml")}
    assert files == {own, *METHODS}
    expected = settings_of(base)
    assert expected.pop("method.name") == CONTROL
    for name, method in METHODS.items():
        found = settings_of(f"{corpus}/{name}")
        assert {key: found.pop(f"method.{key}") for key in method} == method, name
        assert found == expected, name


@torch.no_grad()
@pytest.mark.parametrize("name", RECIPES)
def test_the_model_is_the_published_one_in_what_no_key_says(name):
    """ReLU, sinusoidal positions, scaled embeddings, and two tags: against a naive Transformer."""
    config = composed("train", words(name), RunConfig)
    narrow = {"d_model": 8 * config.model.heads, "d_ff": 16, "max_positions": 16}
    model = Transformer(config.model.model_copy(update=narrow), vocabulary_size=9, pad=0).eval()
    for parameter in model.parameters():
        parameter += 0.1 * torch.randn_like(parameter)
    sequences = SequenceFormat(pad=0, eos=2, tags={"en": 4, "de": 5})
    pieces = [torch.tensor([6, 7, 8]).numpy()]
    batch = sequences.collate(pieces, pieces, [Direction("en", "de")], rows=[0])
    # The source's tag before the source; the target's is the first that is to be put out.
    source, target_in, target_out = [4, 6, 7, 8, 2], [2, 5, 6, 7, 8], [5, 6, 7, 8, 2]
    rows = (batch.source_BS, batch.target_in_BT, batch.target_out_BT)
    assert [row.tolist() for row in rows] == [[source], [target_in], [target_out]]
    expected = naive_forward(model, source, target_in)
    assert torch.allclose(model(batch)[0], expected, atol=1e-4)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(("method", "parts"), [("lass", "tuning"), ("bilingual", "separate")])
def test_models_of_their_own_have_all_of_the_warm_up_and_budgets_beyond_it(scale, method, parts):
    config = composed("reproduce", ["table=table2", f"scale={scale}"], ReproduceConfig)
    name = config.scale.experiment
    run = composed("train", [*words(name), f"method={method}"], RunConfig)
    stage = run.schedule.stage(parts)
    own = for_stage(run.optimizer, stage).warmup_updates
    of_stage = for_stage(run.optimizer, run.schedule.specialise).warmup_updates
    if parts == "separate":
        of_stage = for_stage(run.optimizer, run.schedule.dense).warmup_updates
    assert own == of_stage
    if scale != "smoke":
        assert 3 * own <= 2 * stage.updates


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("scale", SCALES)
def test_every_table_can_be_planned_at_every_scale(table, scale):
    config = composed("reproduce", [f"table={table}", f"scale={scale}"], ReproduceConfig)
    plan = plan_of(config.model_copy(update={"runs": tuple(ROOTS.get(scale, ()))}))
    assert plan.plain.name == ""
    if table == "study":
        trained = [c for c in plan.conditions if c.settings.changes is None]
        assert len(trained) == 1 + len(config.scale.study)
        # Every condition changes what is trained, or takes the control over.
        runs = {
            composed("train", [w for w in sweep if "," not in w or "[" in w], RunConfig)
            .model_copy(update={"seed": 1})
            .run_name
            for sweep in plan.sweeps()
            if any(word == "method=continue_dense" for word in sweep)
        }
        assert len(runs) == len(trained)


@pytest.mark.parametrize("name", [*(f"table/{n}" for n in TABLES), *(f"scale/{n}" for n in SCALES)])
def test_tables_and_scales_begin_with_a_comment(name):
    assert (CONF / f"{name}.yaml").read_text(encoding="utf-8").startswith("# ")


def test_the_sweep_of_methods_has_all_of_them_with_the_control_first():
    space = OmegaConf.load(CONF / "hparams_search" / "methods.yaml").hydra.sweeper.params.method
    methods = space.split(",")
    assert methods[0] == CONTROL
    assert sorted(methods) == sorted(path.stem for path in (CONF / "method").glob("*.yaml"))


@pytest.mark.parametrize("name", ["quickstart", "bible8/base", "localization8/base"])
def test_the_search_for_a_learning_rate_moves_what_an_experiment_reads(name):
    space = OmegaConf.load(CONF / "hparams_search" / "learning_rate.yaml").hydra.sweeper.params
    (key,) = (key for key in space if key.endswith("learning_rate"))
    for rate in (1e-4, 1e-2):
        run = composed("train", [f"experiment={name}", f"{key}={rate}"], RunConfig)
        assert for_stage(run.optimizer, run.schedule.dense).learning_rate == rate
