"""Every experiment composes, says what it needs, and is checked; every table and scale, too."""

import pytest
from omegaconf import OmegaConf

from nsmt.commands.compose import composed, conf_folder
from nsmt.commands.config import RunConfig
from nsmt.commands.languages import LanguagesConfig
from nsmt.commands.reproduce_plan import ReproduceConfig, plan_of
from nsmt.commands.train import train
from nsmt.methods import CONTROL
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


def test_the_papers_hyper_parameters_are_those_of_its_scripts():
    big = composed("train", words("ec30/neuron_specialization"), RunConfig)
    assert big.method.name == "neuron_specialization"
    assert (big.model.d_model, big.model.d_ff, big.model.heads) == (1024, 4096, 16)
    assert (big.model.dropout, big.model.attention_dropout) == (0.1, 0.1)
    assert (big.optimizer.learning_rate, big.optimizer.warmup_updates) == (5e-4, 4000)
    assert (big.data.temperature, big.data.vocabulary.size) == (5.0, 128_000)
    assert big.batch.tokens * big.batch.per_update == 7680 * 21 * 4
    assert (big.callbacks.patience, big.schedule.specialise.validate_every) == (20, 500)
    assert big.selection.k == 95
    assert [stage.patience for stage in (big.schedule.dense, big.schedule.specialise)] == [10, 20]
    assert big.batch.homogeneous
    assert (big.optimizer.epsilon, big.model.max_positions) == (1e-6, 256)
    small = composed("train", words("iwslt14/mt_small"), RunConfig)
    assert (small.model.d_model, small.model.d_ff, small.model.heads) == (512, 1024, 4)
    assert small.batch.tokens * small.batch.per_update == 16_384 * 16
    assert (small.data.temperature, small.data.vocabulary.size) == (2.0, 30_000)
    # What LaSS's scripts leave to fairseq.
    assert (small.optimizer.epsilon, small.model.max_positions) == (1e-8, 1024)
    assert small.data.cleaning.max_tokens == 1022


@pytest.mark.parametrize("name", ["ec30/lass", "iwslt14/lass"])
def test_lass_tunes_by_its_published_recipe(name):
    config = composed("train", words(name), RunConfig)
    stage, own = config.schedule.of_parts("tuning"), config.schedule.tuning
    assert (stage.updates, stage.validate_every, stage.patience) == (160_000, 500, 30)
    assert own.batch(config.batch).tokens * own.batch(config.batch).per_update == 16_384
    assert for_stage(config.optimizer, stage).warmup_updates == 4000
    assert (config.method.dropout, config.method.output_projection) == (0.3, False)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(("method", "parts"), [("lass", "tuning"), ("bilingual", "separate")])
def test_models_of_their_own_have_all_of_the_warm_up_and_budgets_beyond_it(scale, method, parts):
    config = composed("reproduce", ["table=table2", f"scale={scale}"], ReproduceConfig)
    name = config.scale.experiment
    run = composed("train", [*words(name), f"method={method}"], RunConfig)
    stage = run.schedule.of_parts(parts)
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
