"""Claims about languages of a stack: sums over the directions that read, or write, each."""

import pytest
import torch

from nsmt.errors import AtlasError
from nsmt.neurons.language_rules import lape
from nsmt.neurons.sites import Site
from nsmt.neurons.stack_languages import languages_of_stack
from nsmt.neurons.statistics import ActivationStatistics

SITES = (Site("encoder", 0, 5), Site("decoder", 0, 4), Site("decoder", 1, 3))
DIRECTIONS = ("en-de", "de-en", "en-fr", "fr-en", "de-fr")


@pytest.fixture
def statistics():
    generator = torch.Generator().manual_seed(3)
    made = ActivationStatistics(DIRECTIONS, SITES, moments=("sum", "square"))
    for site in SITES:
        made.units[site.name] += torch.randint(50, 90, (5,), generator=generator)
        for table in (made.active, *made.moments.values()):
            table[site.name] += torch.randint(0, 50, (5, site.width), generator=generator)
    return made


@pytest.mark.parametrize(("stack", "side"), [("encoder", 0), ("decoder", 1)])
def test_each_language_has_the_sums_of_its_directions(statistics, stack, side):
    found = languages_of_stack(statistics, stack)
    assert set(found.tasks) == {"en", "de", "fr"}
    assert found.sites == tuple(site for site in SITES if site.stack == stack)
    for site in found.sites:
        for row, language in enumerate(found.tasks):
            own = [n for n, name in enumerate(DIRECTIONS) if name.split("-")[side] == language]
            for given, summed in (
                (statistics.active, found.active),
                (statistics.units, found.units),
                (statistics.moments["sum"], found.moments["sum"]),
                (statistics.moments["square"], found.moments["square"]),
            ):
                expected = sum(given[site.name][n] for n in own)
                assert torch.equal(summed[site.name][row], expected)


def test_counts_that_are_kept_in_four_bytes_add_up_to_more_than_fits_these(tmp_path):
    made = ActivationStatistics(["en-de", "en-fr"], SITES)
    most = 2**31 - 1
    for site in SITES:
        made.units[site.name] += most
        made.active[site.name] += most
    made.save(tmp_path / "statistics.safetensors")
    kept = ActivationStatistics.load(tmp_path / "statistics.safetensors")
    assert kept.active["encoder.0"].dtype == torch.int32
    found = languages_of_stack(kept, "encoder")
    assert found.active["encoder.0"].tolist() == [[2 * most] * 5]
    assert found.units["encoder.0"].tolist() == [2 * most]


def test_a_language_that_a_stack_never_meets_is_not_there(statistics):
    some = ActivationStatistics(["en-de", "en-fr"], SITES)
    assert languages_of_stack(some, "encoder").tasks == ("en",)
    assert languages_of_stack(some, "decoder").tasks == ("de", "fr")
    with pytest.raises(AtlasError, match=r"nothing of the tower.*\n.*encoder, decoder"):
        languages_of_stack(statistics, "tower")


def test_a_neuron_that_fires_in_one_language_alone_is_that_languages_by_lape():
    directions = [f"en-{code}" for code in ("de", "fr", "ru")] + ["de-en"]
    made = ActivationStatistics(directions, SITES)
    for site in SITES:
        made.units[site.name] += 100
        made.active[site.name] += 10
    # Neuron 2 of the last layer fires when German is written, whatever is read.
    made.active["decoder.1"][:, 2] = torch.tensor([90, 0, 0, 0])
    found = lape(languages_of_stack(made, "decoder"), rate=1 / 7)
    assert found.mask("de", SITES[2]).tolist() == [False, False, True]
    assert sum(int(found.masks(site).sum()) for site in found.sites) == 1
