import pytest

from nsmt.errors import AtlasError
from nsmt.neurons.sites import Site, require_same_sites


def test_a_site_reads_what_it_writes():
    site = Site("decoder", 11, 64)
    assert site.name == "decoder.11"
    assert Site.parse("decoder.11", 64) == site


@pytest.mark.parametrize("name", ["encoder", "encoder.", ".0", "encoder.-1", "Encoder.0", "a.0\n"])
def test_names_that_are_no_site_are_refused(name):
    with pytest.raises(AtlasError, match="not a neuron site"):
        Site.parse(name, 4)


def test_a_site_without_neurons_is_refused():
    with pytest.raises(AtlasError, match="width 0"):
        Site.parse("encoder.0", 0)


def test_sites_sort_by_stack_and_depth():
    sites = [Site("encoder", 10, 4), Site("encoder", 9, 4), Site("decoder", 0, 4)]
    assert [site.name for site in sorted(sites)] == ["decoder.0", "encoder.9", "encoder.10"]


def test_the_first_difference_between_sites_is_named():
    left = (Site("encoder", 0, 4), Site("decoder", 0, 4))
    require_same_sites(left, left, what="these")
    with pytest.raises(AtlasError, match=r"these .*decoder\.0 with 4 neurons against decoder\.0"):
        require_same_sites(left, (left[0], Site("decoder", 0, 5)), what="these")
    with pytest.raises(AtlasError, match="2 sites against 1"):
        require_same_sites(left, left[:1], what="these")
