"""Claims about off-target rates: what counts, what does not, and how systems are compared."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from bootstraps import compare_all
from hypothesis import given
from hypothesis import strategies as st

from nsmt.data.identification import LanguageIdentifier
from nsmt.errors import ConfigurationError, DataError
from nsmt.evaluation.groups import groups_of
from nsmt.evaluation.off_target import Found, Judge, letter_bytes, mean_rates, with_off_target
from nsmt.evaluation.results import Comparison, TestOutput
from nsmt.evaluation.significance import OFF_TARGET_KEY, Units, resample, share_statistics
from nsmt.languages import Direction, LanguageTable
from nsmt.reporting.results_tables import group_table
from nsmt.reporting.score_tables import summary_table

DE_FR, FR_DE = Direction("de", "fr"), Direction("fr", "de")
TABLE = LanguageTable(["en", "de", "fr"])
SENTENCES = {
    "en": "The old bridge was closed because of the heavy rain last night.",
    "de": "Die alte Brücke wurde wegen des starken Regens in der Nacht gesperrt.",
    "fr": "Le vieux pont a été fermé à cause des fortes pluies de la nuit dernière.",
    "es": "El viejo puente se cerró anoche a causa de las fuertes lluvias.",
    "ru": "Старый мост закрыли прошлой ночью из-за сильного дождя.",
}


class FirstWord:
    """Says of a text what its first word says: a stand-in for an identifier."""

    signature = "first-word"
    languages = ("en", "de", "fr")

    def __init__(self):
        self.asked = []

    def identify(self, text):
        self.asked.append(text)
        return text.split()[0]


def judge(fewest=1):
    return Judge(FirstWord(), min_letter_bytes=fewest)


def test_a_rate_is_the_share_in_another_language_than_the_targets():
    texts = ["fr oui", "fr oui", "en yes", "de ja", "en yes", "12 ."]
    found = judge()(DE_FR, texts)
    assert found.off_target() == [False, False, True, True, True, False]
    assert found.rates(pivot="en") == {
        "off-target": 50.0,
        "into-pivot": pytest.approx(100 / 3),
        "into-source": pytest.approx(100 / 6),
        "not-judged": pytest.approx(100 / 6),
    }
    assert found.counts() == {"fr": 2, "en": 2, "de": 1, "": 1}


@given(st.lists(st.sampled_from(["en", "de", "fr", None]), min_size=1, max_size=30))
def test_off_target_is_everything_but_the_target_and_what_was_not_judged(languages):
    rates = Found(DE_FR, tuple(languages)).rates(pivot="en")
    count = sum(code is not None and code != "fr" for code in languages)
    assert rates["off-target"] == pytest.approx(100 * count / len(languages))
    assert rates["into-pivot"] + rates["into-source"] == pytest.approx(rates["off-target"])


def test_short_texts_are_not_judged_and_bytes_of_letters_decide():
    assert letter_bytes("Ja, 1 + 1!") == 2
    assert letter_bytes("да") == 4
    # Consonants and the vowel marks between them, three bytes each.
    assert letter_bytes("हिन्दी") == 18
    assert letter_bytes("") == 0
    texts = ["en", "en yes", "…", "", "1984"]
    assert judge(fewest=5)(DE_FR, texts).languages == (None, "en", None, None, None)
    # A text without letters is in no language, whatever was asked for.
    assert judge(fewest=0)(DE_FR, texts).languages == ("en", "en", None, None, None)


def test_equal_texts_are_identified_once():
    identifier = FirstWord()
    judging = Judge(identifier, min_letter_bytes=1)
    for direction in (DE_FR, FR_DE):
        judging(direction, ["en yes", "en yes", "de ja"])
    assert identifier.asked == ["en yes", "de ja"]


def test_directions_count_the_same_in_the_mean():
    found = [Found(DE_FR, ("en",)), Found(FR_DE, ("de", "de", "de", "en"))]
    assert mean_rates(found, pivot="en")["off-target"] == pytest.approx((100 + 25) / 2)


def outputs(languages_of):
    references = ["eins zwei drei", "vier fünf sechs"] * 20
    plain = {d: TestOutput(references, references) for d in languages_of}
    found = {d: Found(d, tuple(codes)) for d, codes in languages_of.items()}
    return with_off_target(plain, found, signature="stand-in")


def test_systems_are_compared_in_off_target_rate_by_the_paired_bootstrap():
    base = outputs({DE_FR: ["en", "fr"] * 20, FR_DE: ["en", "de"] * 20})
    better = outputs({DE_FR: ["fr", "fr"] * 20, FR_DE: ["en", "de"] * 20})
    meanings = {d: [str(row) for row in range(40)] for d in (DE_FR, FR_DE)}
    comparison = compare_all(
        {"dense": base, "ours": better},
        baselines=["dense"],
        groups=groups_of([DE_FR, FR_DE], TABLE, pivot="en"),
        samples=200,
        meanings=meanings,
    )["dense"]
    assert comparison.together
    assert comparison.signatures[OFF_TARGET_KEY] == "stand-in"
    gain = comparison.by_group["ours"][OFF_TARGET_KEY]["Zero-shot"]
    assert gain.value == pytest.approx(-25)
    assert gain.low < -25 < gain.high < 0
    same = comparison.by_direction["ours"][OFF_TARGET_KEY][FR_DE]
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)


def test_directions_into_an_unknown_language_have_no_rate_and_groups_are_of_the_others():
    texts = ["en yes", "de ja"]
    assert judge()(DE_FR, texts).rates(pivot="en").keys() >= {"into-source", "off-target"}
    assert not judge().knows("ti")
    unknown_source = judge()(Direction("ti", "fr"), texts).rates(pivot="en")
    assert "into-source" not in unknown_source
    assert unknown_source["off-target"] == 100.0
    found = [judge()(DE_FR, texts), judge()(Direction("ti", "fr"), texts)]
    assert mean_rates(found, pivot="en")["into-source"] == 50.0

    references = ["eins zwei drei", "vier fünf sechs"] * 20
    to_ti = Direction("de", "ti")
    systems = {}
    for name, codes in (("dense", ["en", "fr"] * 20), ("ours", ["fr", "fr"] * 20)):
        plain = {d: TestOutput(references, references) for d in (DE_FR, to_ti)}
        systems[name] = with_off_target(
            plain, {DE_FR: Found(DE_FR, tuple(codes))}, signature="stand-in"
        )
        assert not systems[name][to_ti].further
    comparison = compare_all(
        systems,
        baselines=["dense"],
        groups=groups_of([DE_FR, to_ti], LanguageTable(["en", "de", "fr", "ti"]), pivot="en"),
        samples=50,
        meanings={d: [str(row) for row in range(40)] for d in (DE_FR, to_ti)},
    )["dense"]
    of_system = comparison.by_direction["ours"]
    assert of_system[OFF_TARGET_KEY].keys() == {DE_FR}
    assert of_system["bleu"].keys() == {DE_FR, to_ti}
    assert comparison.by_group["ours"][OFF_TARGET_KEY]["Zero-shot"].value == -50
    dense = comparison.systems[0]
    assert dense.mean(OFF_TARGET_KEY, [DE_FR, to_ti]) == 50
    assert dense.mean(OFF_TARGET_KEY, [to_ti]) is None
    shown = summary_table(comparison, title="Scores")
    (row,) = (row for row in shown.rows if row[0].startswith("off-target"))
    assert row[1:3] == ["50.00", "0.00"]
    (group,) = group_table(comparison, OFF_TARGET_KEY).rows
    assert group[:3] == ["Zero-shot", "1", "50.00"]
    assert Comparison.from_json(comparison.to_json()) == comparison


def test_a_rate_stands_beside_other_metrics():
    judged = outputs({DE_FR: ["en", "fr"] * 20})
    other = replace(judged[DE_FR], further={"other": judged[DE_FR].further[OFF_TARGET_KEY]})
    found = {DE_FR: Found(DE_FR, ("fr",) * 40)}
    both = with_off_target({DE_FR: other}, found, signature="stand-in")
    assert both[DE_FR].further.keys() == {"other", OFF_TARGET_KEY}


def test_a_rate_of_other_hypotheses_is_refused():
    metric = outputs({DE_FR: ["en", "fr"] * 20})[DE_FR].further
    with pytest.raises(DataError, match="40 sentences, not on the 1"):
        TestOutput(["a"], ["a"], further=metric)


@given(st.lists(st.booleans(), min_size=5, max_size=12), st.integers(0, 3))
def test_sentences_that_say_the_same_are_drawn_together(is_so, seed):
    """Test sets that overlap: the shared meanings vary together, in the same resamples."""
    number = len(is_so)
    whole = share_statistics(is_so, metric=OFF_TARGET_KEY)
    by_sentence = resample({"x": whole}, samples=30, seed=seed)["x"]
    in_order = resample(
        {"x": whole}, samples=30, seed=seed, units=Units(number, np.arange(number))
    )["x"]
    assert np.array_equal(by_sentence, in_order)
    # Another direction has them in another order: the same draws, the same values.
    order = np.random.default_rng(seed).permutation(number)
    shuffled = share_statistics(np.array(is_so)[order], metric=OFF_TARGET_KEY)
    again = resample({"x": shuffled}, samples=30, seed=seed, units=Units(number, order))["x"]
    assert again == pytest.approx(by_sentence)


def test_means_over_directions_with_the_same_sentences_vary_more_than_independent_ones():
    rng = np.random.default_rng(0)
    hard = rng.random(200) < 0.5
    flags = {d: ["en" if bad else d.target for bad in hard] for d in (DE_FR, FR_DE)}
    right = {d: [d.target] * 200 for d in (DE_FR, FR_DE)}
    lines = ["eins zwei drei"] * 200
    systems = {}
    for name, codes in (("dense", right), ("ours", flags)):
        plain = {d: TestOutput(lines, lines) for d in codes}
        found = {d: Found(d, tuple(c)) for d, c in codes.items()}
        systems[name] = with_off_target(plain, found, signature="stand-in")
    widths = []
    for meanings in (None, {d: [str(row) for row in range(200)] for d in (DE_FR, FR_DE)}):
        comparison = compare_all(
            systems,
            baselines=["dense"],
            groups=groups_of([DE_FR, FR_DE], TABLE, pivot="en"),
            samples=500,
            meanings=meanings,
        )["dense"]
        found = comparison.by_group["ours"][OFF_TARGET_KEY]["Zero-shot"]
        widths.append(found.high - found.low)
    assert widths[1] / widths[0] == pytest.approx(2**0.5, rel=0.15)


def identifier(*codes, required=()):
    return LanguageIdentifier(LanguageTable(codes).values(), required=required or codes)


def test_real_sentences_are_identified_among_the_languages_of_the_corpus():
    found = identifier(*SENTENCES)
    assert {code: found.identify(text) for code, text in SENTENCES.items()} == {
        code: code for code in SENTENCES
    }
    # Among fewer languages, the likeliest of those: never one that the corpus lacks.
    few = identifier("en", "de")
    assert {few.identify(text) for text in SENTENCES.values()} <= {"en", "de"}
    assert few.signature.startswith("py3langid:")
    assert few.signature.endswith("|languages:de,en")


def test_real_output_in_the_wrong_language_is_off_target():
    judging = Judge(identifier(*SENTENCES), min_letter_bytes=12)
    found = judging(DE_FR, [SENTENCES[code] for code in ("fr", "en", "de", "ru")])
    assert found.languages == ("fr", "en", "de", "ru")
    assert found.rates(pivot="en")["off-target"] == 75.0


def test_a_language_is_known_by_the_code_of_the_corpus():
    table = LanguageTable(["en", "no", "de"])
    found = LanguageIdentifier(table.values(), required=["no"])
    assert found.identify("Den gamle broen ble stengt på grunn av det kraftige regnet.") == "no"


def test_a_language_that_cannot_be_identified_is_named_with_the_fix():
    with pytest.raises(ConfigurationError, match=r"does not know sd, ti\n.*eval\.identify=false"):
        identifier("en", "de", "sd", "ti")
    # One that is not evaluated is left out of the choice.
    found = LanguageIdentifier(LanguageTable(["en", "de", "ti"]).values(), required=["en", "de"])
    assert found.languages == ("en", "de")


def test_a_missing_identifier_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "py3langid.langid", None)
    with pytest.raises(ConfigurationError, match=r"nsmt\[langid\].*eval\.identify=false"):
        identifier("en", "de")
