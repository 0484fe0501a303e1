import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from nsmt.errors import AtlasError
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.sites import Site
from nsmt.neurons.statistics import ActivationStatistics, CountRule

SITE = Site("encoder", 0, 5)
TASKS = ("en-de", "de-en", "fr-en")
RULES = [
    CountRule(unit, count_padding=padding)
    for unit in ("token", "sentence_union")
    for padding in (False, True)
]
rules = st.sampled_from(RULES)
batches = st.tuples(st.integers(1, 6), st.integers(1, 7), st.integers(0, 2**31))


def batch_like(sentences, positions, seed, width=SITE.width):
    """Activations with many exact zeros, tasks in any mixture, and padding to the right."""
    generator = torch.Generator().manual_seed(seed)
    activation = torch.randn(sentences, positions, width, generator=generator).relu()
    activation *= torch.rand(width, generator=generator) < 0.7
    task = torch.randint(len(TASKS), (sentences,), generator=generator)
    length = torch.randint(0, positions + 1, (sentences,), generator=generator)
    real = torch.arange(positions)[None] < length[:, None]
    return activation, task, real


def brute_force(batches, rule, width=SITE.width):
    active = [[0] * width for _ in TASKS]
    units = [0] * len(TASKS)
    for activation, task, real in batches:
        for sentence in range(len(task)):
            row = int(task[sentence])
            looked = [p for p in range(real.shape[1]) if rule.count_padding or real[sentence, p]]
            units[row] += len(looked) if rule.unit == "token" else int(bool(looked))
            for neuron in range(width):
                fired = sum(float(activation[sentence, p, neuron]) != 0.0 for p in looked)
                active[row][neuron] += fired if rule.unit == "token" else int(fired > 0)
    return active, units


def gathered(batches, rule):
    statistics = ActivationStatistics(TASKS, [SITE], rule=rule)
    for activation, task, real in batches:
        statistics.update(SITE.name, activation, task_C=task, real_BS=real)
    return statistics


def equal(left, right):
    return all(
        torch.equal(left.active[site.name], right.active[site.name])
        and torch.equal(left.units[site.name], right.units[site.name])
        for site in left.sites
    )


@settings(max_examples=80, deadline=None)
@given(st.lists(batches, min_size=1, max_size=3), rules)
def test_counts_of_mixed_padded_batches_equal_a_triple_loop(shapes, rule):
    made = [batch_like(*shape) for shape in shapes]
    statistics = gathered(made, rule)
    active, units = brute_force(made, rule)
    assert statistics.active[SITE.name].tolist() == active
    assert statistics.units[SITE.name].tolist() == units
    assert statistics.active[SITE.name].dtype == torch.int64


@settings(max_examples=30, deadline=None)
@given(st.lists(batches, max_size=4), st.integers(0, 4), rules)
def test_merging_two_halves_equals_one_pass(shapes, cut, rule):
    made = [batch_like(*shape) for shape in shapes]
    first, second = gathered(made[:cut], rule), gathered(made[cut:], rule)
    first.merge(second)
    assert equal(first, gathered(made, rule))


@settings(max_examples=20, deadline=None)
@given(batches, rules)
def test_counts_do_not_depend_on_how_sentences_are_batched(shape, rule):
    activation, task, real = batch_like(*shape)
    singles = [
        (activation[row : row + 1], task[row : row + 1], real[row : row + 1])
        for row in range(len(task))
    ]
    assert equal(gathered([(activation, task, real)], rule), gathered(singles, rule))


def test_padding_counts_only_when_asked_for():
    activation = torch.ones(1, 4, SITE.width)
    real = torch.tensor([[True, False, False, False]])
    task = torch.tensor([1])
    without = gathered([(activation, task, real)], CountRule())
    with_padding = gathered([(activation, task, real)], CountRule(count_padding=True))
    assert without.active[SITE.name][1].tolist() == [1] * SITE.width
    assert with_padding.active[SITE.name][1].tolist() == [4] * SITE.width
    assert with_padding.units[SITE.name].tolist() == [0, 4, 0]


def test_counting_is_exact_under_autocast():
    activation, task, real = batch_like(3, 600, 0)
    expected = gathered([(activation, task, real)], CountRule())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = gathered([(activation.bfloat16(), task, real)], CountRule())
    assert equal(found, expected)


@pytest.mark.parametrize(
    "other",
    [
        ActivationStatistics(TASKS, [SITE], rule=CountRule("sentence_union")),
        ActivationStatistics(TASKS, [SITE], rule=CountRule(count_padding=True)),
        ActivationStatistics(TASKS[::-1], [SITE]),
        ActivationStatistics(TASKS[:2], [SITE]),
        ActivationStatistics(TASKS, [Site("encoder", 0, 6)]),
        ActivationStatistics(TASKS, [Site("decoder", 0, 5)]),
        ActivationStatistics(TASKS, [SITE, Site("encoder", 1, 5)]),
    ],
    ids=["unit", "padding", "order of tasks", "tasks", "width", "stack", "number of sites"],
)
def test_statistics_of_something_else_are_not_added(other):
    statistics = gathered([batch_like(3, 4, 0)], CountRule())
    before = statistics.active[SITE.name].clone()
    with pytest.raises(AtlasError):
        statistics.merge(other)
    assert torch.equal(statistics.active[SITE.name], before)


def test_a_task_named_twice_is_refused():
    with pytest.raises(AtlasError, match="twice"):
        ActivationStatistics(["en-de", "en-de"], [SITE])


def test_reducing_without_a_process_group_changes_nothing():
    statistics = gathered([batch_like(3, 4, 0)], CountRule())
    before = statistics.active[SITE.name].clone()
    statistics.all_reduce()
    assert torch.equal(statistics.active[SITE.name], before)


@pytest.mark.parametrize("rule", RULES)
def test_saving_and_loading_gives_the_statistics_back(tmp_path, rule):
    statistics = gathered([batch_like(3, 4, 0)], rule)
    statistics.active[SITE.name][0, 0] = 2**53 + 1
    statistics.provenance["model"] = "abc"
    statistics.save(tmp_path / "counts")
    loaded = ActivationStatistics.load(tmp_path / "counts")
    assert equal(loaded, statistics)
    assert (loaded.tasks, loaded.sites, loaded.rule) == (TASKS, (SITE,), rule)
    assert loaded.provenance == {"model": "abc"}


def test_a_missing_damaged_or_foreign_file_is_refused(tmp_path):
    path = tmp_path / "counts"
    with pytest.raises(AtlasError, match="no file"):
        ActivationStatistics.load(path)
    path.write_bytes(b"\0" * 40)
    with pytest.raises(AtlasError, match="cannot be read"):
        ActivationStatistics.load(path)
    masks = {SITE.name: torch.ones(3, SITE.width, dtype=torch.bool)}
    NeuronAtlas.from_masks(TASKS, [SITE], masks).save(path)
    with pytest.raises(AtlasError, match=r"nsmt\.neuron_atlas, not"):
        ActivationStatistics.load(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda header, tensors: header.pop("tasks"),
        lambda header, tensors: header.pop("version"),
        lambda header, tensors: header["rule"].update(unit="word"),
        lambda header, tensors: header["rule"].update(more=1),
        lambda header, tensors: header["sites"].append(["encoder.1", 5]),
        lambda header, tensors: header["sites"][0].__setitem__(1, 6),
        lambda header, tensors: header["tasks"].append("en-fr"),
        lambda header, tensors: tensors.pop("units.encoder.0"),
        lambda header, tensors: tensors.update({"active.encoder.0": torch.zeros(3, 5)}),
    ],
    ids=["tasks", "version", "unit", "rule", "sites", "width", "task", "units", "type"],
)
def test_a_file_whose_header_and_counts_disagree_is_refused(tmp_path, change):
    path = tmp_path / "counts"
    gathered([batch_like(3, 4, 0)], CountRule()).save(path)
    header = {
        "format": "nsmt.activation_statistics",
        "version": 1,
        "tasks": list(TASKS),
        "sites": [["encoder.0", 5]],
        "rule": {"unit": "token", "count_padding": False},
        "provenance": {},
    }
    tensors = load_file(path)
    save_file(tensors, path, metadata={"nsmt": json.dumps(header)})
    ActivationStatistics.load(path)
    change(header, tensors)
    save_file(tensors, path, metadata={"nsmt": json.dumps(header)})
    with pytest.raises(AtlasError, match="counts"):
        ActivationStatistics.load(path)


@settings(max_examples=60, deadline=None)
@given(batches, st.sampled_from(["token", "sentence_union"]), st.integers(0, 5))
def test_counts_of_mixed_packed_batches_equal_a_triple_loop(shape, unit, spare):
    rule = CountRule(unit)
    activation, task, real = batch_like(*shape)
    sentence = torch.arange(len(task))[:, None].expand_as(real)[real]
    # Padding is active too, and belongs to the last sentence.
    padding = torch.ones(spare, SITE.width)
    packed = torch.cat([activation[real], padding])[None]
    statistics = ActivationStatistics(TASKS, [SITE], rule=rule)
    statistics.update(
        SITE.name,
        packed,
        task_C=task,
        real_BS=(torch.arange(packed.shape[1]) < len(sentence))[None],
        sentence_S=torch.cat([sentence, torch.full((spare,), len(task) - 1)]),
    )
    active, units = brute_force([(activation, task, real)], rule)
    assert statistics.active[SITE.name].tolist() == active
    assert statistics.units[SITE.name].tolist() == units


def test_tokens_of_packed_batches_are_counted_by_task_exactly_under_autocast(monkeypatch):
    """By sentence, a batch of 30,720 positions would be added up by index at every site."""
    monkeypatch.setattr("nsmt.neurons.statistics.count_fired_packed", None)
    positions = 3001
    statistics = ActivationStatistics(TASKS, [SITE])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        statistics.update(
            SITE.name,
            torch.ones(1, positions, SITE.width, dtype=torch.bfloat16),
            task_C=torch.tensor([1]),
            real_BS=torch.ones(1, positions, dtype=torch.bool),
            sentence_S=torch.zeros(positions, dtype=torch.int64),
        )
    assert statistics.active[SITE.name].tolist() == [[0] * 5, [positions] * 5, [0] * 5]
    assert statistics.units[SITE.name].tolist() == [0, positions, 0]


@given(batches, st.integers(0, 2**31))
@settings(deadline=None)
def test_what_a_task_may_not_use_counts_as_one_that_never_fires(shape, seed):
    """As if it had put out zero in that task: in counts and in every sum."""
    activation, task, real = batch_like(*shape)
    generator = torch.Generator().manual_seed(seed)
    own_TF = torch.rand(len(TASKS), SITE.width, generator=generator) < 0.5
    found, expected = (ActivationStatistics(TASKS, [SITE], moments=["sum"]) for _ in range(2))
    found.update(SITE.name, activation + 0.1, task_C=task, real_BS=real)
    turned = NeuronAtlas.from_masks(TASKS[::-1], [SITE], {SITE.name: own_TF.flip(0)})
    found.silence_all_but(turned)
    silenced = (activation + 0.1) * own_TF[task][:, None]
    expected.update(SITE.name, silenced, task_C=task, real_BS=real)
    for kind in ("active", "units"):
        assert torch.equal(getattr(found, kind)[SITE.name], getattr(expected, kind)[SITE.name])
    assert torch.equal(found.moments["sum"][SITE.name], expected.moments["sum"][SITE.name])


def test_masks_of_another_model_silence_nothing():
    other = Site("encoder", 0, 6)
    masks = {other.name: torch.ones(len(TASKS), 6, dtype=torch.bool)}
    with pytest.raises(AtlasError, match="different models"):
        ActivationStatistics(TASKS, [SITE]).silence_all_but(
            NeuronAtlas.from_masks(TASKS, [other], masks)
        )
