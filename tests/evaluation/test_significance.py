import numpy as np
import pytest
from bootstraps import paired_bootstrap, sacrebleu_p_value
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.significance import PairedTest

from nsmt.errors import DataError
from nsmt.evaluation.significance import (
    likelihood_statistics,
    p_value,
    resample,
    summarise,
    text_statistics,
)

WORDS = [
    "the",
    "a",
    "cat",
    "dog",
    "sat",
    "ran",
    "on",
    "under",
    "mat",
    "tree",
    ",",
    ".",
    "slowly",
    "ኤች",
    "नमस्ते",
]
sentences = st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join)
corpora = st.lists(st.tuples(sentences, sentences), min_size=1, max_size=8).map(
    lambda pairs: tuple(map(list, zip(*pairs, strict=True)))
)


def made_up(count, *, errors, seed):
    """References, and a system that replaces about `errors` of their words."""
    generator = np.random.default_rng(seed)
    references = [
        list(generator.choice(WORDS, size=generator.integers(4, 20))) for _ in range(count)
    ]
    noise = np.random.default_rng(seed + 1 + int(errors * 1000))
    hypotheses = [
        " ".join(str(noise.choice(WORDS)) if noise.random() < errors else word for word in line)
        for line in references
    ]
    return [" ".join(line) for line in references], hypotheses


@settings(max_examples=150, deadline=None)
@given(corpora)
def test_unresampled_statistics_equal_corpus_score(corpus):
    hypotheses, references = corpus
    found = text_statistics({"s": hypotheses}, references)["s"]
    for key, metric in (("bleu", BLEU()), ("chrf++", CHRF(word_order=2))):
        expected = metric.corpus_score(hypotheses, [references]).score
        assert found[key].corpus_value() == pytest.approx(expected, rel=1e-12, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(corpora, st.integers(0, 2**31))
def test_resampled_score_is_the_corpus_score_of_the_resampled_corpus(corpus, seed):
    hypotheses, references = corpus
    found = text_statistics({"s": hypotheses}, references)["s"]
    drawn = resample(found, samples=3, seed=seed)
    picks = np.random.default_rng([seed]).integers(0, len(references), (3, len(references)))
    for row, chosen in enumerate(picks):
        texts = [hypotheses[i] for i in chosen], [[references[i] for i in chosen]]
        assert drawn["bleu"][row] == pytest.approx(BLEU().corpus_score(*texts).score, abs=1e-9)
        expected = CHRF(word_order=2).corpus_score(*texts).score
        assert drawn["chrf++"][row] == pytest.approx(expected, abs=1e-9)


@pytest.fixture(scope="module")
def against_sacrebleu():
    """Our resampled differences and sacreBLEU's p-values for a small and a clear difference."""
    references, baseline = made_up(150, errors=0.30, seed=3)
    systems = {
        "close": made_up(150, errors=0.28, seed=3)[1],
        "clear": made_up(150, errors=0.2, seed=3)[1],
    }
    named = [("baseline", baseline), *systems.items()]
    metrics = {"BLEU": BLEU(), "chrF2++": CHRF(word_order=2)}
    test = PairedTest(named, metrics, [references], test_type="bs", n_samples=500)
    theirs = {
        (name, ours): test_scores[place + 1].p_value
        for ours, key in (("bleu", "BLEU"), ("chrf++", "chrF2++"))
        for test_scores in [test()[1][key]]
        for place, name in enumerate(systems)
    }
    found = text_statistics(dict(named), references)
    entries = {(name, m): s for name, of_metric in found.items() for m, s in of_metric.items()}
    drawn = resample(entries, samples=500, seed=test._seed)
    observed = {
        k: entries[k].corpus_value() - entries["baseline", k[1]].corpus_value() for k in theirs
    }
    return {k: (observed[k], drawn[k] - drawn["baseline", k[1]], theirs[k]) for k in theirs}


def test_resamples_and_their_p_value_are_those_of_sacrebleu(against_sacrebleu):
    for observed, resampled, theirs in against_sacrebleu.values():
        assert sacrebleu_p_value(observed, resampled) == pytest.approx(theirs, abs=1 / 500)


def test_two_sided_p_agrees_with_sacrebleu_on_what_is_clear_and_what_is_not(against_sacrebleu):
    for (name, _), (observed, resampled, theirs) in against_sacrebleu.items():
        ours = p_value(observed, resampled)
        assert ours >= theirs - 0.01  # theirs is one-sided in all but name
        assert (ours < 0.05) == (theirs < 0.05) == (name == "clear")


def test_two_sided_p_keeps_its_error_rate_where_that_of_sacrebleu_doubles_it():
    generator = np.random.default_rng(0)
    truths = generator.normal(size=1000)  # observed differences under a true null hypothesis
    resampled = [truth + generator.normal(size=400) for truth in truths]
    ours = np.mean([p_value(t, r) < 0.05 for t, r in zip(truths, resampled, strict=True)])
    theirs = np.mean(
        [sacrebleu_p_value(t, r) < 0.05 for t, r in zip(truths, resampled, strict=True)]
    )
    assert 0.03 < ours < 0.07
    assert 0.08 < theirs < 0.13


@settings(max_examples=30, deadline=None)
@given(corpora, st.integers(0, 2**31))
def test_identical_systems_differ_by_nothing_with_certainty(corpus, seed):
    hypotheses, references = corpus
    for entry in text_statistics({"s": hypotheses}, references)["s"].values():
        found = paired_bootstrap(entry, entry, samples=50, seed=seed)
        assert (found.value, found.low, found.high, found.p) == (0, 0, 0, 1)
        assert not found.significant


def test_same_seed_gives_the_same_interval_and_another_stream_another():
    references, hypotheses = made_up(80, errors=0.3, seed=1)
    entry = text_statistics({"s": hypotheses}, references)["s"]
    first = resample(entry, samples=300, seed=7, stream="de-en")
    again = resample(entry, samples=300, seed=7, stream="de-en")
    other = resample(entry, samples=300, seed=7, stream="en-de")
    assert np.array_equal(first["bleu"], again["bleu"])
    assert not np.array_equal(first["bleu"], other["bleu"])


def test_swapping_the_systems_flips_the_sign_and_keeps_p():
    references, worse = made_up(100, errors=0.3, seed=5)
    better = made_up(100, errors=0.25, seed=5)[1]
    found = {
        k: v["bleu"] for k, v in text_statistics({"w": worse, "b": better}, references).items()
    }
    up = paired_bootstrap(found["b"], found["w"], seed=1)
    down = paired_bootstrap(found["w"], found["b"], seed=1)
    assert up.value > 0
    assert up.low < up.value < up.high
    assert (down.value, down.low, down.high) == pytest.approx((-up.value, -up.high, -up.low))
    assert down.p == up.p


def test_smallest_visible_difference_is_half_the_interval_and_shrinks_with_more_text():
    few = summarise(0.0, np.random.default_rng(0).normal(0, 1.0, 2000))
    many = summarise(0.0, np.random.default_rng(0).normal(0, 0.5, 2000))
    assert few.smallest_visible_difference == pytest.approx(1.96, abs=0.1)
    assert many.smallest_visible_difference == pytest.approx(few.smallest_visible_difference / 2)


def test_likelihood_is_averaged_over_tokens_and_not_over_sentences():
    assert likelihood_statistics([10.0, 1.0], [10, 2]).corpus_value() == pytest.approx(11 / 12)


def test_test_sets_of_different_sizes_are_not_paired():
    one, two = likelihood_statistics([1.0], [1]), likelihood_statistics([1.0, 2.0], [1, 1])
    with pytest.raises(DataError, match="cannot pair test sets of 1, 2 sentences"):
        resample({"a": one, "b": two}, samples=10, seed=0)
