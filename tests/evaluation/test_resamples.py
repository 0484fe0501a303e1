"""Resampled scores are those of the comparison, and are the same when they are read again."""

import numpy as np
import pytest

from nsmt.errors import DataError
from nsmt.evaluation.comparison import draw_all
from nsmt.evaluation.groups import Group
from nsmt.evaluation.resamples import Resamples
from nsmt.evaluation.results import TestOutput
from nsmt.evaluation.significance import summarise
from nsmt.languages import Direction

OUT, INTO = Direction("en", "de"), Direction("de", "en")
WORDS = [f"w{number}" for number in range(20)]
SAID = [str(row) for row in range(30)]


def outputs(seed):
    noise, text = np.random.default_rng(seed), np.random.default_rng(9)
    lines = [list(text.choice(WORDS, size=8)) for _ in SAID]
    wrong = [[w if noise.random() < 0.7 else "x" for w in line] for line in lines]
    nll, tokens = noise.normal(20, 2, len(lines)), np.full(len(lines), 8)
    joined = [[" ".join(line) for line in side] for side in (wrong, lines)]
    return dict.fromkeys((OUT, INTO), TestOutput(*joined, nll, tokens))


def drawn(*names, samples=40, seed=5, said=SAID):
    return draw_all(
        {name: outputs(place) for place, name in enumerate(names)},
        baselines=[names[0]],
        groups=[Group("All", (OUT, INTO))],
        samples=samples,
        seed=seed,
        meanings={OUT: said, INTO: said},
    )


def test_the_intervals_of_a_comparison_are_had_again_from_its_resamples():
    comparisons, resamples = drawn("a", "b")
    for metric, of_group in comparisons["a"].by_group["b"].items():
        one, other = (resamples.mean(name, metric, [OUT, INTO]) for name in ("b", "a"))
        found, expected = summarise(of_group["All"].value, one - other), of_group["All"]
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_what_is_read_is_what_was_written(tmp_path):
    _, resamples = drawn("a", "b")
    resamples.save(tmp_path / "kept.safetensors")
    again = Resamples.load(tmp_path / "kept.safetensors")
    assert again.drawn == resamples.drawn
    for metric in ("bleu", "chrf++", "nll"):
        expected = resamples.mean("b", metric, [INTO])
        np.testing.assert_allclose(again.mean("b", metric, [INTO]), expected, rtol=1e-6)


def test_draws_are_the_same_only_if_seed_number_and_sentences_are():
    name = drawn("a")[1].drawn
    assert drawn("b", "c")[1].drawn == name
    assert drawn("a", seed=6)[1].drawn != name
    assert drawn("a", samples=41)[1].drawn != name
    assert drawn("a", said=[*SAID[:-1], SAID[0]])[1].drawn != name


def test_what_is_lacking_has_no_mean():
    _, resamples = drawn("a")
    assert resamples.mean("b", "bleu", [OUT]) is None
    assert resamples.mean("a", "comet", [OUT]) is None
    assert resamples.mean("a", "bleu", [Direction("en", "fr")]) is None


def test_another_file_is_refused(tmp_path):
    path = tmp_path / "kept.safetensors"
    path.write_bytes(b"no")
    with pytest.raises(DataError, match="holds no resampled scores"):
        Resamples.load(path)
