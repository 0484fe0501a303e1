"""The table of probes: each number over seeds, beside those of the single seeds."""

import pytest
from made_results import NS, RANDOM, result, rows

from nsmt.methods import CONTROL, DENSE
from nsmt.reporting.probes_over_seeds import Probed, probed_tables

# Of Student's t with one and two degrees of freedom, two-sided 95 %.
T1, T2 = 12.7062, 4.3027


def interventions(seed, *, penalty, swap):
    def ratio(name, value, at_least):
        margin = {"value": 0.01 * seed, "low": 0.0, "high": 1.0, "p": 0.1}
        return {
            "name": name,
            "numerator": 0.1,
            "denominator": 0.2,
            "value": value,
            "bar": 10.0 if at_least else 0.5,
            "at_least": at_least,
            "holds": value is not None,
            "margin": margin,
        }

    name = "masks of the neighbour"
    return {
        "arms": {
            "dense": {"base": None, "groups": {"O2M": {"nll": 3.0 + seed}}},
            "dense, identified masks": {
                "base": "dense",
                "groups": {"O2M": {"nll": 9.0, "change": {"value": 0.5 * seed}}},
            },
            "dense, random masks 1": {
                "base": "dense",
                "groups": {"O2M": {"nll": 9.0, "change": {"value": 7.0}}},
            },
            "specialised": {"base": None, "groups": {"O2M": {"nll": 2.0 + swap}}},
        },
        "random": {"O2M": {"change": {"value": 0.25}, "lowest": 0.2, "highest": 0.3}},
        "ratios": [
            ratio("penalty of identified / random masks, O2M", penalty, at_least=False),
            ratio(f"{name}, O2M / M2O", swap, at_least=True),
        ],
        "partners": {name: {"en-de": "en-nl"}},
    }


def family(seed):
    layer = {"all": 0.5, "chance": 0.1, "mantel": {"correlation": 0.1 * seed, "p": 0.04}}
    return {
        "stacks": {"decoder": {"layers": {"decoder.0": layer}, "mean over layers": layer}},
        "shape": [
            {
                "stack": "decoder",
                "first": 0.6,
                "last": 0.5 - 0.1 * seed,
                "change": -0.1 - 0.1 * seed,
                "bar": "falls by 0.15 at least",
                "holds": seed > 1,
            }
        ],
    }


def stability(seed):
    site = {"halves": 0.9 - 0.1 * seed, "replicas": {"mean": 0.7, "low": 0.6, "high": 0.8}}
    return {"k": {"70 (overlap)": {"decoder.0": site}}, "replicas": 3}


def gradients(method):
    def parts(value):
        means = {"same source": {"mean": value}, "related": {"mean": None}}
        return {name: {"all": {"means": means}} for name in ("owned by both", "other parameters")}

    values = {DENSE: 0.1, CONTROL: 0.2, method: 0.3 if method == NS else 0.4}
    return {
        "pairs": {"same source": 2, "related": 0},
        "systems": {name: parts(value) for name, value in values.items()},
    }


def probed(*seeds, methods=(NS, RANDOM)):
    found = {}
    for seed in seeds:
        for method in methods:
            swap = None if (method, seed) == (RANDOM, 1) else float(seed)
            found["interventions", method, seed] = interventions(
                seed, penalty=0.1 * seed, swap=swap or 0.0
            )
            found["interventions", method, seed]["ratios"][1]["value"] = swap
            if method == methods[0]:
                found["family", method, seed] = family(seed)
                found["stability", method, seed] = stability(seed)
            found["gradients", method, seed] = gradients(method)
    return Probed(result(*methods, seeds=seeds), found)


def by_key(table):
    return {(row["Measure"], row["Model"], row["Of"]): row for row in rows(table)}


def test_a_bar_has_mean_deviation_half_width_and_each_seed():
    table = by_key(probed_tables(probed(1, 2, 3))["probes"])
    row = table["penalty of identified / random masks, O2M", "dense", "ratio"]
    assert (row["Mean"], row["Deviation"], row["Seeds"]) == ("0.20", "0.10", "3")
    assert row["Half-width"] == f"{T2 * 0.1 / 3**0.5:.2f}"
    assert [row[f"seed {seed}"] for seed in (1, 2, 3)] == ["0.10", "0.20", "0.30"]
    assert (row["Bar"], row["Holds in"]) == ("≤ 0.5", "3 of 3")
    shape = table["decoder overlap", "dense", "change"]
    assert (shape["Bar"], shape["Holds in"]) == ("falls by 0.15 at least", "2 of 3")


def test_the_random_control_has_rows_of_its_own_and_a_seed_without_a_ratio_is_left_out():
    table = by_key(probed_tables(probed(1, 2, 3))["probes"])
    name = "masks of the neighbour, O2M / M2O"
    own, random = (
        table[name, model, "ratio"] for model in ("neuron specialisation", "random neurons")
    )
    assert (own["Mean"], own["Seeds"]) == ("2.00", "3")
    assert (random["Mean"], random["Seeds"], random["seed 1"]) == ("2.50", "2", "–")
    assert random["Half-width"] == f"{T1 * 0.5:.2f}"


def test_the_dense_model_has_one_row_but_for_rows_that_masks_tell_apart():
    tables = probed_tables(probed(1, 2))
    models = [row["Model"] for row in rows(tables["probes-interventions"])]
    assert models.count("dense") == 3
    assert models.count("random neurons") == models.count("neuron specialisation") == 1
    cosines = by_key(tables["probes-gradients"])
    for model in ("dense", "continue-dense"):
        assert ("other parameters", model, "same source") in cosines
        for masks in ("neuron specialisation", "random neurons"):
            assert ("owned by both", f"{model}, masks of {masks}", "same source") in cosines
    assert cosines["owned by both", "random neurons", "same source"]["Mean"] == "+0.400"
    assert not [key for key in cosines if key[2] == "related"]


def test_stability_of_sets_is_over_seeds_by_layer_and_k():
    table = by_key(probed_tables(probed(1, 2, 3))["probes-stability"])
    halves = table["IoU, halves", "dense", "decoder.0, k = 70 (overlap)"]
    assert [halves[f"seed {seed}"] for seed in (1, 2, 3)] == ["0.800", "0.700", "0.600"]
    assert (halves["Mean"], halves["Deviation"]) == ("0.700", "0.100")
    assert halves["Half-width"] == f"{T2 * 0.1 / 3**0.5:.3f}"
    replicas = table["IoU, replicas and all", "dense", "decoder.0, k = 70 (overlap)"]
    assert (replicas["Mean"], replicas["Deviation"], replicas["Seeds"]) == ("0.700", "0.000", "3")


def test_p_values_are_shown_by_seed_and_have_no_mean():
    table = by_key(probed_tables(probed(1, 2))["probes-family"])
    p = table["family correlation, p", "dense", "decoder.0"]
    assert (p["Mean"], p["seed 1"], p["seed 2"]) == ("–", "0.0400", "0.0400")
    assert table["family correlation", "dense", "decoder.0"]["Mean"] == "+0.150"


@pytest.mark.parametrize(
    ("seeds", "said"), [((1,), "not known, for want of a second seed"), ((1, 2), "nats 0.")]
)
def test_every_table_says_how_small_a_difference_it_could_have_seen(seeds, said):
    tables = probed_tables(probed(*seeds))
    assert set(tables) == {
        f"probes{end}" for end in ("", "-interventions", "-family", "-stability", "-gradients")
    }
    for table in tables.values():
        (told,) = [note for note in table.notes if note.startswith("Smallest visible difference")]
        assert "(half of the 95 % interval over seeds)" in told
        assert (said in told) or len(seeds) > 1
    assert said in " ".join(tables["probes"].notes)
