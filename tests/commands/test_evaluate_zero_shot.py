"""Claims about `evaluate eval=zero_shot`: a matrix of unseen directions of a finished run."""

import csv
import json
import re

import pytest
from most_vowels import MostVowels, NoFrench

from nsmt.commands import zero_shot as module
from nsmt.commands.compose import composed
from nsmt.commands.evaluate import EvaluateConfig, evaluate
from nsmt.commands.score import score_texts
from nsmt.commands.train import train
from nsmt.commands.zero_shot import zero_shot
from nsmt.data.corpus import Corpus
from nsmt.data.pivot_join import unseen_texts
from nsmt.errors import ConfigurationError, DataError
from nsmt.evaluation.results import Comparison
from nsmt.evaluation.scoring import score
from nsmt.evaluation.significance import OFF_TARGET_KEY
from nsmt.languages import Direction

SYSTEMS = ("dense", "continue_dense", "neuron_specialization")
DIRECTIONS = ("de-nl", "de-fr", "nl-de", "nl-fr", "fr-de", "fr-nl")


def configured(run, *words):
    words = (f"run={run}", "eval.min_sentences=5", "progress=false", *words)
    return composed("evaluate", ["eval=zero_shot", *words], EvaluateConfig)


def evaluated(run, *words):
    config = configured(run, *words)
    return zero_shot(config, config.eval, identifier_of=MostVowels)


@pytest.fixture(scope="module")
def results(finished_run, tmp_path_factory):
    place = tmp_path_factory.mktemp("zero-shot") / "results"
    return evaluated(finished_run, f"output={place}")


@pytest.fixture(scope="module")
def everything(results):
    return json.loads((results / "results" / "zero_shot.json").read_text())


def lines(path):
    return path.read_text().removesuffix("\n").split("\n")


def test_every_direction_without_the_pivot_is_translated_by_every_system(
    results, everything, run_corpus
):
    assert tuple(everything["directions"]) == DIRECTIONS
    texts = unseen_texts(Corpus.open(run_corpus), map(Direction.parse, DIRECTIONS))
    for direction, text in texts.items():
        place = results / "translations" / str(direction)
        assert lines(place / "src.txt") == list(text.sources)
        assert lines(place / "ref.txt") == list(text.targets)
        for system in SYSTEMS:
            assert len(lines(place / f"hyp.{system}.txt")) == len(text)
            assert len(lines(place / f"nll.{system}.tsv")) == len(text) + 1
        entry = everything["directions"][str(direction)]
        assert (entry["sentences"], entry["joined"], entry["trained"]) == (len(text), True, False)


def test_scores_and_rates_are_those_of_the_translations_kept(results, everything):
    identifier = MostVowels([type("L", (), {"code": c}) for c in ("en", "de", "nl", "fr")], [])
    for direction, entry in everything["directions"].items():
        place = results / "translations" / direction
        references = lines(place / "ref.txt")
        for system, found in entry["systems"].items():
            hypotheses = lines(place / f"hyp.{system}.txt")
            expected = score(hypotheses, references)
            assert {name: found["scores"][name] for name in expected} == pytest.approx(
                {name: each.value for name, each in expected.items()}
            )
            wrong = [
                len(re.findall("[a-z]", text)) >= 12
                and identifier.identify(text) != direction.partition("-")[2]
                for text in hypotheses
            ]
            rate = 100 * sum(wrong) / len(wrong)
            assert found["rates"]["off-target"] == pytest.approx(rate)
            assert found["scores"][OFF_TARGET_KEY] == pytest.approx(rate)
            assert sum(found["languages"].values()) == len(references)
        assert entry["references"]["rates"].keys() == found["rates"].keys()


def test_matrices_have_a_row_a_source_and_a_column_a_target_with_means(results, everything):
    for metric in ("bleu", "chrfpp", "nll", "off-target", "into-pivot", "into-source"):
        for system in SYSTEMS:
            name = f"matrix-{metric}-{system}"
            for suffix in (".md", ".tex", ".csv"):
                assert (results / "tables" / f"{name}{suffix}").is_file()
    with (results / "tables" / "matrix-off-target-dense.csv").open() as file:
        header, *rows = csv.reader(file)
    assert header == ["source", "de", "nl", "fr", "mean"]
    assert [row[0] for row in rows] == ["de", "nl", "fr", "mean", "references"]
    found = {
        direction: entry["systems"]["dense"]["rates"]["off-target"]
        for direction, entry in everything["directions"].items()
    }
    assert rows[0] == [
        "de",
        "–",
        *(f"{found[name]:.2f}" for name in ("de-nl", "de-fr")),
        f"{(found['de-nl'] + found['de-fr']) / 2:.2f}",
    ]
    assert rows[3][1] == f"{(found['nl-de'] + found['fr-de']) / 2:.2f}"
    assert rows[3][4] == f"{sum(found.values()) / 6:.2f}"
    own = [e["references"]["rates"]["off-target"] for e in everything["directions"].values()]
    assert rows[4][4] == f"{sum(own) / 6:.2f}"
    for metric in ("bleu", "off-target"):
        assert (results / "figures" / f"matrix-{metric}.png").stat().st_size > 1000


def test_systems_are_compared_with_both_baselines_over_the_zero_shot_group(results):
    for baseline in ("dense", "continue_dense"):
        text = (results / "results" / f"against-{baseline}.json").read_text()
        comparison = Comparison.from_json(text)
        assert [group.name for group in comparison.groups] == ["Zero-shot"]
        assert comparison.together
        for system in {*SYSTEMS} - {baseline}:
            found = comparison.by_group[system][OFF_TARGET_KEY]["Zero-shot"]
            assert found.low <= found.value <= found.high
    assert "off-target" in (results / "tables" / "main.csv").read_text()


def test_the_summary_says_how_the_sets_are_made_and_what_the_identifier_gets_wrong(results):
    text = (results / "tables" / "summary.md").read_text()
    for part in ("references: the identifier's own error", "most-vowels", "X→en", "12 bytes"):
        assert part in text
    for baseline in ("dense", "continue-dense"):
        assert f"Smallest visible difference to {baseline}" in text
    assert "factorised" in text
    record = json.loads((results / "record.json").read_text())
    assert record["scores"].keys() == {*SYSTEMS}
    assert record["config"]["eval"]["kind"] == "zero_shot"
    assert record["run"]["command"]


def test_some_languages_systems_and_sentences(finished_run, tmp_path):
    words = ["eval.languages=[de,fr]", "eval.systems=[neuron_specialization]"]
    found = evaluated(finished_run, *words, "eval.max_sentences=6", f"output={tmp_path}/some")
    told = json.loads((found / "results" / "zero_shot.json").read_text())
    assert list(told["directions"]) == ["de-fr", "fr-de"]
    assert told["labels"] == {"neuron_specialization": "neuron specialisation"}
    assert {entry["sentences"] for entry in told["directions"].values()} == {6}
    there, back = (found / "translations" / name for name in ("de-fr", "fr-de"))
    assert set(lines(there / "src.txt")) == set(lines(back / "ref.txt"))
    # One system by itself is compared with nothing.
    assert not list((found / "results").glob("against-*"))


def test_an_evaluation_that_was_stopped_translates_what_is_missing(
    finished_run, results, tmp_path, monkeypatch
):
    done = []

    def translate(trained, *rest, **named):
        if len(done) == 1:
            raise KeyboardInterrupt
        done.append(named["label"])
        return score_texts(trained, *rest, **named)

    place = f"output={tmp_path}/stopped"
    monkeypatch.setattr(module, "score_texts", translate)
    with pytest.raises(KeyboardInterrupt):
        evaluated(finished_run, place)
    done.append("of the first start")
    found = evaluated(finished_run, place)
    again = done[2:]
    assert again
    assert done[0] not in again
    kept, other = ((each / "results" / "zero_shot.json").read_text() for each in (found, results))
    assert json.loads(kept)["directions"] == json.loads(other)["directions"]


def test_directions_into_a_language_that_is_not_identified_are_scored_without_a_rate(
    finished_run, tmp_path
):
    config = configured(finished_run, f"output={tmp_path}/some", "eval.systems=[dense]")
    into = zero_shot(config, config.eval, identifier_of=NoFrench)
    told = json.loads((into / "results" / "zero_shot.json").read_text())
    assert told["unidentified"] == ["fr"]
    assert told["directions"].keys() == set(DIRECTIONS)
    rates = {}
    for direction, entry in told["directions"].items():
        dense = entry["systems"]["dense"]
        assert {"bleu", "chrf++", "nll"} <= dense["scores"].keys()
        known = not direction.endswith("-fr")
        assert (OFF_TARGET_KEY in dense["scores"]) is ("rates" in dense) is known
        assert bool(entry["references"]) is known
        if known:
            assert ("into-source" in dense["rates"]) is not direction.startswith("fr-")
            rates[direction] = dense["scores"][OFF_TARGET_KEY]
    text = (into / "tables" / "summary.md").read_text()
    assert "does not know fr" in text
    assert "over the other 4 of 6 directions" in text
    assert f"{sum(rates.values()) / 4:.2f}" in text
    with (into / "tables" / f"matrix-{OFF_TARGET_KEY}-dense.csv").open(encoding="utf-8") as file:
        rows = {row["source"]: row for row in csv.DictReader(file)}
    assert {row["fr"] for row in rows.values()} == {"–"}
    assert rows["de"]["nl"] == f"{rates['de-nl']:.2f}"


def test_without_an_identifier_there_are_scores_alone(run_copy):
    config = configured(run_copy, "eval.identify=false", "decoding.beam=2", "eval.systems=[dense]")
    found = evaluate(config)
    assert found.parent == run_copy / "evaluations"
    told = json.loads((found / "results" / "zero_shot.json").read_text())
    scores = told["directions"]["de-nl"]["systems"]["dense"]["scores"]
    assert scores.keys() == {"bleu", "chrf++", "nll"}
    assert not list((found / "tables").glob("*off-target*"))
    assert "bytes of letters" not in (found / "tables" / "summary.md").read_text()


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (["eval.languages=[de,frr]"], ConfigurationError, "did you mean 'fr'"),
        (["eval.languages=[en,de,fr]"], ConfigurationError, "beside the pivot en"),
        (["eval.systems=[dence]"], ConfigurationError, "did you mean 'dense'"),
        (["eval.min_sentences=1000"], DataError, r"no unseen direction has 1000.*\n.*min_sent"),
    ],
)
def test_what_cannot_be_evaluated_is_named(finished_run, tmp_path, words, error, message):
    with pytest.raises(error, match=message):
        evaluated(finished_run, *words, f"output={tmp_path}/none")
    assert not (tmp_path / "none").exists()


def test_a_system_of_seen_directions_alone_is_passed_over_or_refused(run_copy, tmp_path):
    path = run_copy / "record.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"stages": [*record["stages"], "bilingual"]}))
    found = evaluated(run_copy, "eval.languages=[de,fr]", f"output={tmp_path}/some")
    told = json.loads((found / "results" / "zero_shot.json").read_text())
    assert told["passed_over"].keys() == {"bilingual"}
    assert (
        "bilingual is not here" in (found / "tables" / "summary.csv").with_suffix(".md").read_text()
    )
    with pytest.raises(ConfigurationError, match="'bilingual' cannot translate unseen"):
        evaluated(run_copy, "eval.systems=[bilingual]")


@pytest.mark.slow
def test_trained_directions_and_both_kinds_of_sets_of_a_run_with_more_pairs(small_config):
    config = small_config(
        "data.pairs=[en-de,en-nl,en-fr,de-nl]",
        "selection.k=60",
        "schedule.dense.updates=6",
        "schedule.specialise.updates=4",
    )
    train(config)
    found = evaluated(config.folder)
    told = json.loads((found / "results" / "zero_shot.json").read_text())
    trained = {name for name, entry in told["directions"].items() if entry["trained"]}
    assert trained == {"de-nl", "nl-de"}
    assert not told["directions"]["de-nl"]["joined"]
    assert told["labels"]["neuron_specialization-factorised"].endswith("(factorised sets)")
    against = Comparison.from_json((found / "results" / "against-dense.json").read_text())
    (group,) = against.groups
    assert {str(d) for d in group.directions} == {*DIRECTIONS} - trained
    assert "Seen in training" in (found / "tables" / "summary.md").read_text()
