"""Table 11 of Neuron Specialization, from made-up texts, printed scores and published outputs."""

import json

import pytest

from nsmt.errors import DataError
from nsmt.evaluation.comparison import measure
from nsmt.evaluation.groups import groups_of
from nsmt.evaluation.published import read_published, table11
from nsmt.evaluation.results import SystemResult
from nsmt.languages import Direction

# Language: BLEU and chrF++ of en→X mT-big, en→X NS, X→en mT-big, X→en NS, as published.
PRINTED = """
de 31.6 57.3 34.3 59.2 37.6 62.4 38.8 63.3 | nl 23.6 52.3 24.5 53.0 28.1 54.9 28.9 55.7
fr 40.9 63.1 42.7 64.1 37.0 62.2 38.4 63.0 | es 23.1 49.7 24.4 50.6 25.5 54.2 26.2 54.8
ru 22.5 48.4 24.4 49.9 28.1 55.1 29.3 56.2 | cs 25.1 50.6 27.0 52.3 32.8 58.9 34.4 60.0
hi 39.5 54.8 41.5 56.1 33.7 58.8 35.3 60.0 | bn 31.9 50.6 33.1 51.8 28.3 54.3 29.9 55.7
ar 19.0 46.1 20.7 48.0 28.5 55.0 30.5 56.7 | he 24.2 51.5 26.5 53.5 36.4 60.3 38.3 61.9
sv 35.8 60.3 37.0 61.3 39.7 63.4 41.3 64.4 | da 36.4 60.4 38.2 61.8 39.8 64.1 40.8 64.9
it 24.2 51.9 25.4 52.7 27.3 56.1 28.4 56.8 | pt 34.4 59.4 35.5 60.1 39.8 64.3 40.9 65.0
pl 16.6 43.9 18.0 45.1 23.3 51.4 24.8 52.6 | bg 36.0 61.2 38.1 62.7 35.4 61.3 36.7 62.3
kn 34.2 51.7 36.7 53.2 24.8 51.0 26.6 52.7 | mr 26.5 44.8 27.5 46.4 26.3 52.3 28.0 54.1
ha 14.8 40.5 14.8 40.6 10.7 31.6 9.3 29.9 | mt 37.7 65.5 39.2 66.6 49.0 70.8 50.6 71.9
af 36.1 62.8 36.9 63.4 49.0 69.0 50.1 69.9 | lb 14.5 43.1 16.3 44.9 22.4 48.0 24.0 49.4
ro 25.1 51.7 26.2 52.5 31.4 58.3 31.9 58.7 | oc 25.2 52.0 26.7 53.1 36.3 60.4 35.5 59.4
uk 20.9 46.9 22.4 48.6 26.6 53.2 27.8 53.9 | sr 24.0 51.4 26.0 52.8 31.6 57.1 32.6 57.8
sd 4.3 19.0 5.7 20.5 1.4 16.3 1.6 16.5 | gu 26.7 46.3 29.2 47.6 25.2 51.1 26.5 52.6
ti 4.5 22.6 4.8 22.9 15.1 40.1 16.0 41.1 | am 7.2 28.9 7.8 29.9 21.2 46.4 22.8 48.0
"""
TABLE_11 = {
    ("bleu", "mT-big"): "28.1 31.6 29.9 29.7 31.6 30.6 18.9 26.0 22.4 25.6 29.7 27.6",
    ("bleu", "NS"): "29.9 33.0 31.5 31.0 32.7 31.9 20.2 26.9 23.5 27.1 30.9 29.0",
    ("chrf++", "mT-big"): "52.4 57.6 55.0 54.0 56.6 55.3 42.5 50.0 46.2 49.6 54.7 52.2",
    ("chrf++", "NS"): "53.9 58.7 56.3 55.0 57.5 56.3 43.6 50.7 47.2 50.8 55.6 53.2",
}
FAMILY_BLEU = {  # en→X and X→en of both systems, as derived from the published scores
    "Germanic": (29.67, 31.20, 36.10, 37.32),
    "Romance": (28.82, 30.15, 32.88, 33.55),
    "Slavic": (24.18, 25.98, 29.63, 30.93),
    "Indo-Aryan": (27.18, 28.95, 23.28, 24.65),
    "Afro-Asiatic": (17.90, 18.97, 26.82, 27.92),
}


@pytest.fixture(scope="module")
def printed():
    """The two published systems with their printed scores."""
    scores = {"mT-big": {}, "NS": {}}
    for entry in PRINTED.replace("|", "\n").strip().splitlines():
        code, *numbers = entry.split()
        values = list(map(float, numbers))
        for place, direction in enumerate((Direction("en", code), Direction(code, "en"))):
            for offset, system in enumerate(scores):
                bleu, chrf = values[4 * place + 2 * offset : 4 * place + 2 * offset + 2]
                scores[system][direction] = {"bleu": bleu, "chrf++": chrf}
    signatures = {"bleu": "b", "chrf++": "c"}
    return [SystemResult(name, name, found, signatures) for name, found in scores.items()]


def test_table_11_of_the_paper_follows_from_its_printed_scores(printed, ec30):
    table = table11(printed, ec30.language_table(), pivot=ec30.pivot)
    assert table.expected == 60
    assert not table.missing
    assert [c.block for c in table.columns[::3]] == ["High", "Med", "Low", "All"]
    for (metric, system), expected in TABLE_11.items():
        wanted = list(map(float, expected.split()))
        assert table.values[metric][system] == pytest.approx(wanted, abs=0.0501)


def test_families_of_the_configuration_give_the_means_of_the_paper(printed, ec30):
    groups = groups_of(list(printed[0].scores), ec30.language_table(), pivot="en")
    families = {g.name: g.directions for g in groups if g.kind == "family"}
    assert list(families) == list(FAMILY_BLEU)
    for name, expected in FAMILY_BLEU.items():
        sides = [[d for d in families[name] if (d.source == "en") is out] for out in (True, False)]
        found = [system.mean("bleu", side) for side in sides for system in printed]
        assert found == pytest.approx(expected, abs=0.0051)


def test_table_11_says_which_directions_are_missing(printed, ec30):
    lost = Direction("de", "en")
    kept = {d: found for d, found in printed[0].scores.items() if d != lost}
    partial = SystemResult("mT-big", "mT-big", kept, printed[0].signatures)
    table = table11([partial, printed[1]], ec30.language_table(), pivot="en")
    row = table.values["bleu"]["mT-big"]
    assert table.missing == (lost,)
    assert [mean is None for mean in row] == [False, True, True, *[False] * 7, True, True]
    assert (
        row[3:9]
        == table11(printed, ec30.language_table(), pivot="en").values["bleu"]["mT-big"][3:9]
    )


def write(folder, name, lines):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("".join(line + "\n" for line in lines), encoding="utf-8")


# A line separator inside a line must not split it.
LINES = ["ein Haus\u2028am See .", "zwei Häuser ."]


def test_folder_with_a_file_a_system_is_read(tmp_path):
    for name in ("en-de", "de-en"):
        write(tmp_path / name, "ref.txt", LINES)
        write(tmp_path / name, "src.txt", LINES)
        write(tmp_path / name, "hyp.mT-big.txt", ["ein", "zwei"])
        write(tmp_path / name, "hyp.mT-big-NS.txt", LINES)
    write(tmp_path / "notes", "ref.txt", ["no direction"])
    found = read_published(tmp_path)
    assert {s: sorted(map(str, d)) for s, d in found.items()} == {
        "mT-big": ["de-en", "en-de"],
        "mT-big-NS": ["de-en", "en-de"],
    }
    assert found["mT-big-NS"][Direction("en", "de")].hypotheses == LINES
    assert measure(found)[1].scores[Direction("en", "de")]["chrf++"] == pytest.approx(100)


@pytest.mark.parametrize("prefix", ["", "checkout", "some/checkout"])
def test_repository_of_the_authors_is_read_without_its_stale_files(tmp_path, prefix):
    root = tmp_path / prefix
    for below in ("scripts/mT-big-NS/checkpoints", "scripts/mT-big-baseline/results_template"):
        write(root / below / "en-de", "test-sys.txt", LINES)
        write(root / below / "en-de", "test-ref.txt", LINES)
    stale = root / "neuron_specialization/scripts/mT-big-NS/results/en-fr"
    write(stale, "test-sys.txt", [])
    write(root / "scripts/mT-big-NS/results/en-es", "test-sys.txt", LINES)
    write(root / "scripts/mT-big-NS/results/en-es", "test-ref.txt", LINES)
    found = read_published(tmp_path)
    assert list(found) == ["mT-big", "mT-big-NS"]
    assert [list(map(str, of_system)) for of_system in found.values()] == [["en-de"], ["en-de"]]


def test_missing_empty_and_torn_outputs_are_answered_by_name(tmp_path):
    with pytest.raises(DataError, match="there is no folder"):
        read_published(tmp_path / "nowhere")
    with pytest.raises(DataError, match="holds no published outputs"):
        read_published(tmp_path)
    write(tmp_path / "en-de", "hyp.a.txt", LINES)
    with pytest.raises(DataError, match=r"no references ref\.txt"):
        read_published(tmp_path)
    write(tmp_path / "en-de", "ref.txt", LINES[:1])
    with pytest.raises(DataError, match=r"hyp\.a\.txt has 2 lines but ref\.txt has 1"):
        read_published(tmp_path)


@pytest.mark.shared
@pytest.mark.slow
def test_published_outputs_give_the_published_scores_to_the_last_digit(oracle, ec30):
    published = json.loads((oracle / "ec30" / "scores.json").read_text(encoding="utf-8"))
    measured = {s.name: s for s in measure(read_published(oracle / "ec30"))}
    wrong = [
        (system, direction, metric, printed[metric], found)
        for system, of_direction in published.items()
        for direction, printed in of_direction.items()
        for metric in ("bleu", "chrf++")
        for found in [measured[system].scores[Direction.parse(direction)][metric]]
        if f"{found:.1f}" != f"{printed[metric]:.1f}"
    ]
    assert not wrong
    assert sum(map(len, published.values())) == 24
    for system in measured.values():
        printed = published[system.name]["en-de"]
        for key, name in (("bleu", "bleu_signature"), ("chrf++", "chrf_signature")):
            ours, theirs = (
                text.rpartition("|version:")[0] for text in (system.signatures[key], printed[name])
            )
            assert ours == theirs
    table = table11(list(measured.values()), ec30.language_table(), pivot=ec30.pivot)
    assert len(table.missing) == 48
