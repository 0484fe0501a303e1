import json

import numpy as np
import pytest
from bootstraps import compare, compare_all
from hypothesis import given, settings
from hypothesis import strategies as st

from nsmt.errors import ConfigurationError, DataError
from nsmt.evaluation.comparison import measure
from nsmt.evaluation.groups import Group, groups_of
from nsmt.evaluation.results import Comparison, TestOutput
from nsmt.evaluation.scoring import score
from nsmt.languages import Direction, LanguageTable

DIRECTIONS = [Direction.parse(name) for name in ("en-de", "en-fr", "de-en", "fr-en")]
GROUPS = groups_of(DIRECTIONS, LanguageTable(["de", "fr", "en"]), pivot="en")
WORDS = [f"w{number}" for number in range(30)]


def outputs(*, errors, seed=0, count=60, likelihood=True):
    made = {}
    for place, direction in enumerate(DIRECTIONS):
        text = np.random.default_rng(place)
        noise = np.random.default_rng([seed, place])
        lines = [list(text.choice(WORDS, size=text.integers(5, 15))) for _ in range(count)]
        wrong = [
            [str(noise.choice(WORDS)) if noise.random() < errors else w for w in x] for x in lines
        ]
        tokens = np.array([len(line) for line in lines])
        made[direction] = TestOutput(
            [" ".join(line) for line in wrong],
            [" ".join(line) for line in lines],
            tokens * (1 + errors) + noise.normal(0, 0.1, count) if likelihood else None,
            tokens if likelihood else None,
        )
    return made


@pytest.fixture(scope="module")
def systems():
    return {
        "dense": outputs(errors=0.30),
        "continue_dense": outputs(errors=0.20, seed=1),
        "specialised": outputs(errors=0.21, seed=2),
    }


@pytest.fixture(scope="module")
def comparisons(systems):
    return compare_all(systems, baselines=["dense", "continue_dense"], groups=GROUPS, samples=300)


def test_scores_are_corpus_scores_and_nll_is_per_token(systems, comparisons):
    found = comparisons["dense"].system("specialised").scores
    for direction, output in systems["specialised"].items():
        expected = score(output.hypotheses, output.references)
        for metric, entry in expected.items():
            assert found[direction][metric] == pytest.approx(entry.value, rel=1e-12)
        assert found[direction]["nll"] == pytest.approx(
            output.nll.sum() / output.target_tokens.sum()
        )


def test_group_difference_is_the_mean_of_its_directions(comparisons):
    for comparison in comparisons.values():
        for system, of_metric in comparison.by_group.items():
            for metric, of_group in of_metric.items():
                for group in GROUPS:
                    each = comparison.by_direction[system][metric]
                    mean = sum(each[d].value for d in group.directions) / len(group.directions)
                    assert of_group[group.name].value == pytest.approx(mean)


def test_mean_over_directions_sees_smaller_differences_than_one_direction(comparisons):
    comparison = comparisons["continue_dense"]
    whole = comparison.by_group["specialised"]["bleu"]["All"].smallest_visible_difference
    single = comparison.by_direction["specialised"]["bleu"].values()
    assert whole < min(entry.smallest_visible_difference for entry in single)


def test_extra_training_alone_is_seen_against_dense_and_gone_against_the_control(comparisons):
    against_dense = comparisons["dense"].by_group["specialised"]["bleu"]["All"]
    against_control = comparisons["continue_dense"].by_group["specialised"]["bleu"]["All"]
    assert against_dense.significant
    assert against_dense.value > 5
    assert abs(against_control.value) < against_dense.value / 3


def test_comparing_at_once_gives_what_comparing_alone_gives(systems, comparisons):
    alone = compare(systems, baseline="dense", groups=GROUPS, samples=300)
    assert alone == comparisons["dense"]


def test_interval_of_a_direction_does_not_depend_on_the_other_directions(systems, comparisons):
    kept = DIRECTIONS[:1]
    fewer = {name: {d: of[d] for d in kept} for name, of in systems.items()}
    alone = compare(fewer, baseline="dense", groups=[Group("one", tuple(kept))], samples=300)
    ours = comparisons["dense"].by_direction["specialised"]["bleu"]
    assert alone.by_direction["specialised"]["bleu"][kept[0]] == ours[kept[0]]


def both_ways(errors, seed):
    """The same outputs in all directions: what holds for one says all of the others."""
    one = outputs(errors=errors, seed=seed)[DIRECTIONS[0]]
    return dict.fromkeys(DIRECTIONS, one)


def test_more_directions_of_the_same_sentences_narrow_no_interval():
    systems = {"a": both_ways(0.30, 0), "b": both_ways(0.28, 1)}
    said = {d: [str(row) for row in range(60)] for d in DIRECTIONS}
    found = compare_all(systems, baselines=["a"], groups=GROUPS, samples=300, meanings=said)["a"]
    assert found.resampling.endswith("directions:together")
    for metric, of_group in found.by_group["b"].items():
        assert of_group["All"] == found.by_direction["b"][metric][DIRECTIONS[0]]
    # Independent draws pretend that four directions are four times the text.
    apart = compare_all(systems, baselines=["a"], groups=GROUPS, samples=300)["a"]
    narrow = apart.by_group["b"]["bleu"]["All"].smallest_visible_difference
    wide = found.by_group["b"]["bleu"]["All"].smallest_visible_difference
    assert narrow < 0.7 * wide


def test_a_resample_without_any_sentence_of_a_test_set_still_has_a_score():
    few = {d: outputs(errors=0.3, count=60)[d] for d in DIRECTIONS[:2]}
    short = outputs(errors=0.3, count=1)[DIRECTIONS[1]]
    few[DIRECTIONS[1]] = short
    said = {DIRECTIONS[0]: [str(row) for row in range(60)], DIRECTIONS[1]: ["other"]}
    found = compare_all(
        {"a": few, "b": few},
        baselines=["a"],
        groups=[Group("both", tuple(DIRECTIONS[:2]))],
        samples=50,
        meanings=said,
    )["a"]
    for of_group in found.by_group["b"].values():
        assert (of_group["both"].low, of_group["both"].high) == (0.0, 0.0)


def test_json_round_trip_keeps_everything(comparisons):
    text = comparisons["dense"].to_json()
    assert Comparison.from_json(text) == comparisons["dense"]


@pytest.mark.parametrize("text", ["{}", "[]", "no", '{"schema": 99}'])
def test_foreign_json_is_refused(text):
    with pytest.raises(DataError, match="not a comparison"):
        Comparison.from_json(text)


def test_json_of_another_schema_is_refused(comparisons):
    plain = json.loads(comparisons["dense"].to_json()) | {"schema": 0}
    with pytest.raises(DataError, match="schema 0"):
        Comparison.from_json(json.dumps(plain))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31), st.booleans())
def test_identical_systems_never_differ(seed, together):
    same = outputs(errors=0.3, count=10)
    found = compare(
        {"a": same, "b": dict(same)},
        baseline="a",
        groups=GROUPS,
        samples=50,
        seed=seed,
        together=together,
    )
    for of_group in found.by_group["b"].values():
        assert {(entry.value, entry.p) for entry in of_group.values()} == {(0.0, 1.0)}


def test_a_metric_that_one_system_lacks_is_compared_nowhere_with_it():
    found = compare(
        {"a": outputs(errors=0.3, count=10), "b": outputs(errors=0.2, count=10, likelihood=False)},
        baseline="a",
        groups=GROUPS,
        samples=20,
    )
    assert found.metrics == ["bleu", "chrf++"]
    assert set(found.by_group["b"]) == {"bleu", "chrf++"}


def test_systems_may_be_measured_alone_on_different_directions(systems):
    part = {d: out for d, out in systems["dense"].items() if d in DIRECTIONS[:2]}
    full, partial = measure({"full": systems["dense"], "part": part}, labels={"part": "Part"})
    assert partial.label == "Part"
    assert set(partial.scores) == set(DIRECTIONS[:2])
    assert partial.mean("bleu", DIRECTIONS) is None
    assert full.mean("bleu", DIRECTIONS[:2]) == partial.mean("bleu", DIRECTIONS[:2])


def test_systems_with_other_directions_or_references_are_refused(systems):
    fewer = {d: out for d, out in systems["dense"].items() if d != DIRECTIONS[0]}
    with pytest.raises(DataError, match="outputs for en-de"):
        compare({"a": systems["dense"], "b": fewer}, baseline="a", groups=[])
    with pytest.raises(DataError, match="different references for en-de"):
        compare(
            {"a": systems["dense"], "b": outputs(errors=0.1, count=59)}, baseline="a", groups=[]
        )


def test_unknown_baseline_and_group_are_named(systems):
    with pytest.raises(ConfigurationError, match="baseline densest"):
        compare(systems, baseline="densest", groups=GROUPS)
    strange = Group("odd", (Direction("de", "fr"),))
    with pytest.raises(ConfigurationError, match="not evaluated: de-fr"):
        compare(systems, baseline="dense", groups=[strange])
    with pytest.raises(ConfigurationError, match="same name"):
        compare(systems, baseline="dense", groups=[GROUPS[0], GROUPS[0]])


def test_likelihoods_of_the_wrong_shape_are_refused():
    with pytest.raises(DataError, match="one value a sentence"):
        TestOutput(["a"], ["a"], nll=np.zeros(1))
    with pytest.raises(DataError, match="one value a sentence"):
        TestOutput(["a"], ["a"], nll=np.zeros(2), target_tokens=np.ones(2))
