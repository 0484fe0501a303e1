"""What the paper reports, with how firm it is: the tables follow from the firm scores."""

from collections import Counter

import pytest

from nsmt.evaluation.groups import pivot_directions, tier_columns
from nsmt.evaluation.paper import FIRMNESS_NOTES, MARKS, paper
from nsmt.languages import Direction


def test_every_source_and_column_is_known_and_rows_are_complete():
    found = paper()
    for row in found.rows:
        assert row.source in found.sources
        assert len(row.values) == len(found.columns[row.table])
    assert set(MARKS) == set(FIRMNESS_NOTES)
    assert len({MARKS[row.firmness] for row in found.rows}) == 2


def test_all_sixty_directions_have_firm_scores_of_both_systems():
    found = paper()
    scores = Counter(
        method
        for entry in found.directions.values()
        for side in (entry.out, entry.into)
        for method in side
    )
    assert scores == {"dense": 60, "neuron_specialization": 60}
    assert found.score("dense", Direction("en", "de"), "bleu") == 31.6
    assert found.score("neuron_specialization", Direction("ha", "en"), "chrf++") == 29.9
    assert found.score("neuron_specialization", Direction("ha", "de"), "chrf++") is None
    assert found.score("lass", Direction("ha", "en"), "bleu") is None


@pytest.mark.parametrize("metric", ["bleu", "chrf++", "comet"])
def test_firm_rows_of_table_2_are_the_means_of_the_firm_scores(metric, ec30):
    found, languages = paper(), ec30.language_table()
    columns = tier_columns(pivot_directions(languages, pivot="en"), languages, pivot="en")
    rows = [row for row in found.table("table2", metric) if row.firmness == "firm"]
    assert [row.method for row in rows] == ["dense", "neuron_specialization"]
    for row in rows:
        values = found.values(row)
        assert list(values) == [f"{column.block} {column.side}" for column in columns]
        for column in columns:
            scores = [found.score(row.method, each, metric) for each in column.directions]
            mean = sum(scores) / len(scores)
            within = 0.0501 if metric != "comet" else 0.00051
            assert values[f"{column.block} {column.side}"] == pytest.approx(mean, abs=within)


def test_what_is_recalled_is_never_firm():
    for row in paper().rows:
        assert (row.firmness == "unconfirmed") == (row.source == "recalled")
    assert {row.firmness for row in paper().efficiency} == {"unconfirmed"}


def test_figures_have_a_share_for_each_of_six_layers_and_say_how_firm_it_is():
    found = paper()
    for line in found.layers:
        assert line.source in found.sources
        assert (line.firmness == "read") == (line.source == "plot")
        for stack in ("encoder", "decoder"):
            assert len(line.of(stack)) == 6
            assert all(0 < share < 1 for share in line.of(stack))
    mean, median = found.figure("overlap")
    # What the paper says of its Figure 2: encoders share more with depth, decoders less.
    assert list(mean.encoder) == sorted(mean.encoder)
    assert min(mean.decoder) == mean.decoder[4]
    assert (mean.k, median.row) == (70, "median")
    assert [(line.row, line.k) for line in found.figure("sparsity")] == [
        *(("en→X", 95), ("X→en", 95), ("en→X", 70), ("X→en", 70))
    ]


def test_gains_are_derived_from_the_firm_scores_before_rounding():
    columns = ("High O2M", "High M2O", "Med O2M", "Med M2O", "Low O2M", "Low M2O", "All O2M")
    gains = [paper().gain("neuron_specialization", column, "bleu") for column in columns]
    assert gains == pytest.approx([1.8, 1.4, 1.4, 1.1, 1.35, 0.9, 1.5], abs=0.051)


def test_tiers_are_those_of_the_configuration(ec30):
    by_tier = {}
    for entry in ec30.language_table().values():
        if entry.tier:
            by_tier.setdefault(entry.tier, set()).add(entry.code)
    assert by_tier == {name: set(codes) for name, codes in paper().tiers.items()}
