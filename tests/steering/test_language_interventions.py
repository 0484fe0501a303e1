"""Claims about interventions: one affine step for any sequence, row by row, and nothing at 0."""

from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from language_models import model_of, neurons_of, statistics_of
from operations_by_hand import one_by_one
from pydantic import ValidationError

from nsmt.errors import AtlasError, ConfigurationError
from nsmt.neurons.language_rules import lape
from nsmt.neurons.language_selection import (
    LanguageRule,
    LanguageSelectionSettings,
    select_languages,
)
from nsmt.steering.families import language_model_taps
from nsmt.steering.interventions import (
    Affine,
    Change,
    Intervention,
    LanguageNeurons,
    OperationSettings,
    affine,
)
from nsmt.steering.steered import Rows, steered

MODEL = model_of("llama")
TAPS = language_model_taps(MODEL)
NEURONS = neurons_of(TAPS)
LANGUAGES = ("de", "en", "fr")
RATIOS = (1.0, 0.7, 0.2)
operations = st.one_of(
    st.builds(
        OperationSettings,
        operation=st.sampled_from(["constant", "multiply"]),
        value=st.floats(-3, 3),
        ratio=st.sampled_from(RATIOS),
    ),
    st.builds(
        OperationSettings,
        operation=st.sampled_from(["add", "replace", "diffmean", "mean"]),
        ratio=st.sampled_from(RATIOS),
    ),
)
steps = st.builds(
    lambda done, **more: Intervention(**dict(done) | more),
    done=operations,
    languages=st.sampled_from([(language,) for language in LANGUAGES]),
    strength=st.floats(-2, 2),
    layers=st.sampled_from([None, (0,), (0, 2)]),
)


def logits(ids, programs=None, **options):
    with torch.inference_mode():
        if programs is None:
            return MODEL(input_ids=ids).logits
        with steered(MODEL, TAPS, programs, NEURONS, **options):
            return MODEL(input_ids=ids).logits


@settings(deadline=None)
@given(program=st.lists(steps, max_size=4).map(tuple))
def test_a_sequence_of_operations_is_one_step(program):
    site = next(iter(TAPS))
    activation = torch.randn(5, site.width, dtype=torch.float64)
    done = affine(program, NEURONS, site)
    found = activation * done.scale_F + done.shift_F
    torch.testing.assert_close(found, one_by_one(program, NEURONS, site, activation))
    assert torch.equal(found[:, ~done.touched_F], activation[:, ~done.touched_F])


@pytest.mark.parametrize("operation", ["constant", "add", "replace", "diffmean", "noise"])
def test_nothing_is_changed_at_strength_zero(operation):
    ids = torch.randint(3, 64, (2, 9))
    value = 2.0 if operation in ("constant", "noise") else None
    step = Intervention(operation=operation, languages=("en",), value=value, strength=0.0)
    assert torch.equal(logits(ids, [(step,)]), logits(ids))
    # Beside a row that is changed, too.
    other = step.model_copy(update={"strength": 1.0})
    found = logits(ids, [(step,), (other,)])
    assert torch.equal(found[0], logits(ids)[0])
    assert not torch.allclose(found[1], logits(ids)[1], atol=1e-3)


def test_two_languages_in_a_batch_are_two_batches():
    ids = torch.randint(3, 64, (4, 9))
    german, french = (
        (
            Intervention(operation="constant", languages=("en",), value=-1.0),
            Intervention(operation="add", languages=(language,)),
        )
        for language in ("de", "fr")
    )
    mixed = logits(ids, [german, french, french, german])
    for program, rows in ((german, [0, 3]), (french, [1, 2])):
        torch.testing.assert_close(mixed[rows], logits(ids[rows], [program]), atol=1e-5, rtol=1e-4)


def test_opt_flattens_rows_and_positions_and_is_steered_by_row_all_the_same():
    model, ids = model_of("opt"), torch.randint(3, 64, (2, 6))
    taps = language_model_taps(model)
    neurons = neurons_of(taps)
    add = (Intervention(operation="add", languages=("de",)),)
    with torch.inference_mode():
        plain = model(input_ids=ids).logits
        with steered(model, taps, [add, ()], neurons):
            found = model(input_ids=ids).logits
        with steered(model, taps, [add], neurons):
            alone = model(input_ids=ids[:1]).logits
    torch.testing.assert_close(found[:1], alone, atol=1e-5, rtol=1e-4)
    assert torch.equal(found[1], plain[1])


@pytest.mark.parametrize("beams", [1, 3])
def test_generation_with_its_cache_is_steered_at_every_token(beams):
    ids = torch.randint(3, 64, (2, 5))
    program = (Intervention(operation="add", languages=("de",), strength=2.0),)
    options = {"max_new_tokens": 6, "do_sample": False, "num_beams": beams, "pad_token_id": 0}
    with torch.inference_mode(), steered(MODEL, TAPS, [program, ()], NEURONS, beams=beams):
        cached = MODEL.generate(ids, **options)
        again = MODEL.generate(ids, use_cache=False, **options)
    assert torch.equal(cached, again)
    with torch.inference_mode():
        plain = MODEL.generate(ids[1:], **options)
    length = plain.shape[1]
    assert torch.equal(cached[1, :length], plain[0])


@pytest.mark.parametrize("size", [1, 3, 4])
def test_a_batch_of_another_size_is_refused_and_hooks_are_removed(size):
    ids = torch.randint(3, 64, (size, 4))
    programs = [(Intervention(operation="add", languages=("de",)),), ()]
    # Twice as many rows are not two beams unless it is said.
    with pytest.raises(ConfigurationError, match=f"batch of {size} rows"):
        logits(ids, programs)
    assert not any(module._forward_hooks for module in MODEL.modules())
    assert not any(module._forward_pre_hooks for module in MODEL.modules())


def test_noise_is_drawn_by_seed_and_is_as_wide_as_it_says():
    site = next(iter(TAPS))
    step = Intervention(operation="noise", languages=("en",), value=5.0)
    two = affine((step, step), NEURONS, site)
    member_F = NEURONS.atlas.mask("en", site)
    expected = 5 * 2**0.5 * NEURONS.pooled_deviation(site)
    torch.testing.assert_close(two.noise_F[member_F], expected[member_F])
    ids = torch.randint(3, 64, (2, 9))
    one, same, other = (logits(ids, [(step,)], seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.allclose(one, other)


def test_what_an_intervention_lacks_is_told():
    site = next(iter(TAPS))
    for step, error, said in (
        (Intervention(operation="add", languages=("xx",)), AtlasError, "'xx'"),
        (Intervention(operation="add", languages=("de", "en")), ConfigurationError, "are several"),
    ):
        with pytest.raises(error, match=said):
            affine((step,), NEURONS, site)


def test_neurons_of_several_languages_are_switched_off_once():
    site = next(iter(TAPS))
    done = affine(
        (Intervention(operation="multiply", languages=("de", "en"), value=0.5),), NEURONS, site
    )
    union = NEURONS.atlas.mask("de", site) | NEURONS.atlas.mask("en", site)
    assert torch.equal(done.touched_F, union)
    assert torch.equal(done.scale_F, torch.where(union, 0.5, 1.0).double())
    assert isinstance(done, Affine)


def test_the_rows_of_a_batch_are_looked_up_once_and_not_at_every_token(monkeypatch):
    asked, of = [], Rows.of

    def counted(rows, activation):
        asked.append(rows.batch)
        return of(rows, activation)

    monkeypatch.setattr(Rows, "of", counted)
    add = (Intervention(operation="add", languages=("de",)),)
    ids = torch.ones(2, 5, dtype=torch.int64)
    for beams in (1, 2):
        with torch.inference_mode(), steered(MODEL, TAPS, [add, ()], NEURONS, beams=beams):
            MODEL.generate(ids, max_new_tokens=6, num_beams=beams, do_sample=False, pad_token_id=0)
    # Two sites of the three have neurons.
    assert asked == [2, 2, 4, 4]


@pytest.mark.parametrize("operation", ["constant", "multiply", "random", "noise"])
def test_an_operation_that_would_switch_off_or_do_nothing_needs_a_value(operation):
    with pytest.raises(ValidationError, match=f"operation={operation} needs a value"):
        Change(operation=operation)
    with pytest.raises(ValidationError, match="means nothing to operation=add"):
        Change(operation="add", value=1.0)
    with pytest.raises(ValidationError, match="layers"):
        Change(operation="add", layers=())


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.9])
def test_a_ratio_of_the_neurons_of_lape_is_lape_at_so_much_of_its_rate(ratio):
    statistics = statistics_of(TAPS, seed=3)
    whole = LanguageNeurons(lape(statistics, rate=0.5, percentile=0.2), statistics)
    part = lape(statistics, rate=0.5 * ratio, percentile=0.2)
    assert whole.count == round(0.5 * sum(site.width for site in TAPS))
    for site in TAPS:
        for language in LANGUAGES:
            found = whole.members([language], site, ratio=ratio)
            assert torch.equal(found, part.mask(language, site))


@pytest.mark.parametrize("ratio", [1.0, 0.3])
def test_random_neurons_are_as_many_at_each_site_whatever_the_ratio(ratio):
    random = NEURONS.permuted(seed=1)
    sizes = []
    for site in TAPS:
        own, drawn = (
            [each.members([language], site, ratio=ratio) for language in LANGUAGES]
            for each in (NEURONS, random)
        )
        sizes.append([int(each.sum()) for each in own])
        assert sizes[-1] == [int(each.sum()) for each in drawn]
    assert 0 < sum(map(sum, sizes)) <= NEURONS.count * len(LANGUAGES)
    assert random.permuted(seed=2).count == NEURONS.count


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ({"layers": (0, 3, 9)}, "there is no layer 3, 9"),
        ({"ratio": 1e-6}, "neurons is none"),
    ],
)
def test_an_intervention_that_would_be_none_is_told(word, said):
    step = Intervention(operation="add", languages=("de",), **word)
    with (
        pytest.raises(ConfigurationError, match=said),
        steered(MODEL, TAPS, [(), (step,)], NEURONS),
    ):
        pass


@pytest.mark.parametrize("options", [{"rate": 0.001}, {"rate": 0.5, "percentile": 1.0}])
def test_an_atlas_without_neurons_is_told_before_it_is_taken_for_no_effect(options):
    statistics = statistics_of(TAPS)
    empty = LanguageNeurons(lape(statistics, **options), statistics)
    step = Intervention(operation="add", languages=("de",))
    with (
        pytest.raises(ConfigurationError, match=r"no neuron of the decoder[\s\S]*selection\.rate"),
        steered(MODEL, TAPS, [(step,)], empty),
    ):
        pass
    # To leave a model alone needs none.
    with steered(MODEL, TAPS, [()], empty):
        pass


@pytest.mark.parametrize("rule", get_args(LanguageRule))
def test_neurons_and_statistics_are_of_one_another(rule):
    statistics, others = (statistics_of(TAPS, seed=seed) for seed in (1, 2))
    statistics.provenance, others.provenance = {"text": "one"}, {"text": "another"}
    atlas = select_languages(statistics, LanguageSelectionSettings(rule=rule, rate=0.5))
    assert LanguageNeurons(atlas, statistics).permuted(seed=1).count
    with pytest.raises(ConfigurationError, match="chosen by other statistics"):
        LanguageNeurons(atlas, others)
