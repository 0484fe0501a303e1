import json
from contextlib import suppress

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from nsmt.errors import AtlasError
from nsmt.neurons.atlas import NeuronAtlas, pack_bits, unpack_bits
from nsmt.neurons.sites import Site
from nsmt.neurons.statistics import ActivationStatistics

SITES = (Site("encoder", 0, 13), Site("encoder", 1, 8), Site("decoder", 0, 1))
TASKS = ("en-de", "de-en", "fr-en")


def masks_like(seed, tasks=TASKS, sites=SITES):
    generator = torch.Generator().manual_seed(seed)
    return {
        site.name: torch.rand(len(tasks), site.width, generator=generator) < 0.5 for site in sites
    }


def atlas_like(seed, *, tasks=TASKS, sites=SITES, **more):
    return NeuronAtlas.from_masks(tasks, sites, masks_like(seed, tasks, sites), **more)


seeds = st.integers(0, 2**31)
atlases = seeds.map(atlas_like)


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 70), st.lists(st.integers(1, 4), max_size=2), seeds)
def test_packing_any_width_and_unpacking_gives_the_mask_back(width, leading, seed):
    mask = torch.rand(*leading, width, generator=torch.Generator().manual_seed(seed)) < 0.5
    packed = pack_bits(mask)
    assert packed.dtype == torch.uint8
    assert packed.shape == (*leading, (width + 7) // 8)
    assert torch.equal(unpack_bits(packed, width), mask)


def test_the_lowest_bit_is_the_first_neuron():
    mask = torch.tensor([True, True, False, False, False, False, False, True, True])
    assert pack_bits(mask).tolist() == [0b10000011, 1]


def test_masks_come_back_by_task_and_site():
    masks, atlas = masks_like(1), atlas_like(1)
    for site in SITES:
        assert torch.equal(atlas.masks(site), masks[site.name])
        for row, task in enumerate(TASKS):
            assert torch.equal(atlas.mask(task, site), masks[site.name][row])


@settings(max_examples=40, deadline=None)
@given(atlases, atlases, atlases)
def test_set_algebra_obeys_its_laws(a, b, c):
    assert ~(a & b) == ~a | ~b
    assert ~(a | b) == ~a & ~b
    assert a & b == b & a
    assert a | b == b | a
    assert a ^ b == b ^ a
    assert (a & b) & c == a & (b & c)
    assert (a | b) | c == a | (b | c)
    assert a & (b | c) == (a & b) | (a & c)
    assert a | (b & c) == (a | b) & (a | c)
    assert a & a == a | a == a
    assert a - b == a & ~b
    assert a ^ b == (a - b) | (b - a)
    assert a & (a | b) == a | (a & b) == a
    assert ~~a == a
    assert (a - a) == (a & ~a) == (a ^ a)


@settings(max_examples=40, deadline=None)
@given(atlases, atlases)
def test_set_algebra_is_that_of_the_masks(a, b):
    for site in SITES:
        left, right = a.masks(site), b.masks(site)
        assert torch.equal((a & b).masks(site), left & right)
        assert torch.equal((a | b).masks(site), left | right)
        assert torch.equal((a ^ b).masks(site), left ^ right)
        assert torch.equal((a - b).masks(site), left & ~right)
        assert torch.equal((~a).masks(site), ~left)


@settings(max_examples=40, deadline=None)
@given(atlases, atlases)
def test_padding_bits_never_leak(a, b):
    for made in (~a, a - b, ~a ^ b, ~(a & b), ~a | ~b, a | ~a):
        for site in SITES:
            # Unpacked to the last bit, what lies beyond the width is empty.
            everything = unpack_bits(made.packed[site.name], 8 * made.packed[site.name].shape[-1])
            assert not everything[:, site.width :].any()


def test_set_algebra_says_what_it_was_made_of():
    a, b = atlas_like(1, provenance={"k": 90}), atlas_like(2, provenance={"k": 95})
    assert (a & b).provenance == {"operation": "intersection", "of": [{"k": 90}, {"k": 95}]}
    assert (~a).provenance == {"operation": "complement", "of": {"k": 90}}


def test_equality_is_of_tasks_sites_and_neurons_but_not_of_provenance():
    a = atlas_like(1)
    assert a == atlas_like(1, provenance={"k": 1})
    assert a != atlas_like(2)
    assert a != a.select(["de-en", "en-de", "fr-en"])
    assert a != "atlas"


def test_selecting_tasks_takes_them_in_the_order_given():
    atlas = atlas_like(3, provenance={"k": 1})
    chosen = atlas.select(["fr-en", "en-de"])
    assert chosen.tasks == ("fr-en", "en-de")
    assert chosen.provenance == {"k": 1}
    for site in SITES:
        assert torch.equal(chosen.masks(site), atlas.masks(site)[[2, 0]])


def test_a_stack_is_ordered_by_depth():
    sites = [Site("encoder", depth, 4) for depth in (10, 2, 1)] + [Site("decoder", 0, 4)]
    atlas = atlas_like(0, sites=sites)
    assert [site.layer for site in atlas.stack("encoder")] == [1, 2, 10]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=4),
    st.integers(1, 5),
    seeds,
    st.dictionaries(st.text(max_size=8), st.integers() | st.text(max_size=8) | st.none()),
)
def test_saving_and_loading_gives_the_atlas_back(tmp_path_factory, widths, tasks, seed, said):
    sites = [Site("encoder", depth, width) for depth, width in enumerate(widths)]
    names = [f"task-{row}" for row in range(tasks)]
    atlas = atlas_like(seed, tasks=names, sites=sites, provenance=said)
    path = tmp_path_factory.mktemp("atlas") / "a.safetensors"
    atlas.save(path)
    loaded = NeuronAtlas.load(path)
    assert loaded == atlas
    assert loaded.provenance == said


def test_sixty_directions_of_a_large_model_fit_into_half_a_mebibyte(tmp_path):
    languages = [f"{a}{b}" for a in "abcdef" for b in "vwxyz"]
    tasks = [task for code in languages for task in (f"en-{code}", f"{code}-en")]
    sites = [Site(stack, depth, 4096) for stack in ("encoder", "decoder") for depth in range(6)]
    atlas = atlas_like(0, tasks=tasks, sites=sites, provenance={"k": 95.0})
    atlas.save(tmp_path / "atlas")
    assert len(tasks) == 60
    assert sum(bits.numel() for bits in atlas.packed.values()) == 360 * 1024
    assert (tmp_path / "atlas").stat().st_size <= 512 * 1024


@pytest.mark.parametrize("operation", ["__and__", "__or__", "__xor__", "__sub__"])
def test_atlases_of_other_models_do_not_combine(operation):
    a = atlas_like(1)
    wider = atlas_like(1, sites=(SITES[0], Site("encoder", 1, 9), SITES[2]))
    with pytest.raises(AtlasError, match=r"encoder.1 with 8 neurons against encoder.1 with 9"):
        getattr(a, operation)(wider)
    with pytest.raises(AtlasError, match="3 sites against 2"):
        getattr(a, operation)(atlas_like(1, sites=SITES[:2]))


@pytest.mark.parametrize("tasks", [("en-de", "de-en"), ("de-en", "en-de", "fr-en")])
def test_atlases_of_other_tasks_do_not_combine(tasks):
    with pytest.raises(AtlasError, match="different tasks"):
        atlas_like(1) & atlas_like(1, tasks=tasks)


def test_an_unknown_task_is_answered_with_those_known():
    for ask in (lambda a: a.row("en-xx"), lambda a: a.mask("en-xx", SITES[0])):
        with pytest.raises(AtlasError, match="'en-xx'\n  fix: use one of en-de, de-en, fr-en"):
            ask(atlas_like(1))
    with pytest.raises(AtlasError, match="en-xx"):
        atlas_like(1).select(["en-de", "en-xx"])


def test_masks_of_another_shape_are_refused():
    masks = masks_like(1)
    masks["encoder.0"] = masks["encoder.0"][:, :-1]
    with pytest.raises(AtlasError, match=r"encoder\.0"):
        NeuronAtlas.from_masks(TASKS, SITES, masks)
    packed = dict(atlas_like(1).packed)
    del packed["decoder.0"]
    with pytest.raises(AtlasError, match=r"decoder\.0"):
        NeuronAtlas(TASKS, SITES, packed)
    with pytest.raises(AtlasError, match="twice"):
        NeuronAtlas(("en-de", "en-de", "fr-en"), SITES, atlas_like(1).packed)


def test_results_of_set_algebra_tell_on_which_model_their_operands_were_measured():
    """So that they are not used on another, where both operands are of one."""
    here, there = {"statistics": {"model": "a"}}, {"statistics": {"model": "b"}}
    one, two = (atlas_like(seed, provenance=here | {"k": seed}) for seed in (1, 2))
    for found in (one & two, one | two, one ^ two, one - two, ~one, ~(one & two)):
        assert found.provenance["statistics"] == {"model": "a"}
    for other in (atlas_like(3, provenance=there), atlas_like(3)):
        assert "statistics" not in (one & other).provenance
        assert "statistics" not in (other - one).provenance
    assert "statistics" not in (~atlas_like(3)).provenance


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(AtlasError, match="no-such"):
        NeuronAtlas.load(tmp_path / "no-such")


def test_a_file_cut_short_is_refused(tmp_path):
    path = tmp_path / "atlas"
    atlas_like(1).save(path)
    whole = path.read_bytes()
    for length in (0, 4, 9, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(AtlasError, match="atlas cannot be read"):
            NeuronAtlas.load(path)


def test_a_file_with_any_damaged_byte_loads_as_it_was_or_is_an_atlas_error(tmp_path):
    path = tmp_path / "atlas"
    atlas = atlas_like(1, provenance={"k": 95})
    atlas.save(path)
    whole = path.read_bytes()
    for place in range(len(whole)):
        for bit in (1, 4):
            damaged = bytearray(whole)
            damaged[place] ^= bit
            path.write_bytes(damaged)
            with suppress(AtlasError):
                assert NeuronAtlas.load(path) == atlas


def test_a_file_from_before_fingerprints_is_read(tmp_path):
    path = tmp_path / "atlas"
    _rewrite(path, lambda _: None)
    assert NeuronAtlas.load(path) == atlas_like(1)
    _rewrite(path, lambda header: header.update(fingerprint="0"))
    with pytest.raises(AtlasError, match="was altered"):
        NeuronAtlas.load(path)


@pytest.mark.parametrize("damage", ["tasks", "sites", "provenance", "version"])
def test_a_header_without_one_of_its_keys_is_refused(tmp_path, damage):
    path = tmp_path / "atlas"
    _rewrite(path, lambda header: header.pop(damage))
    with pytest.raises(AtlasError, match="atlas"):
        NeuronAtlas.load(path)


def test_files_of_another_format_or_version_are_refused(tmp_path):
    path = tmp_path / "other"
    ActivationStatistics(TASKS, SITES).save(path)
    with pytest.raises(AtlasError, match=r"nsmt\.activation_statistics, not nsmt\.neuron_atlas"):
        NeuronAtlas.load(path)
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(AtlasError, match=r"something else, not nsmt\.neuron_atlas"):
        NeuronAtlas.load(path)
    _rewrite(path, lambda header: header.update(version=99))
    with pytest.raises(AtlasError, match="version 99"):
        NeuronAtlas.load(path)


def _rewrite(path, change):
    """Save an atlas, then its tensors again with a changed header."""
    atlas_like(1).save(path)
    header = {
        "format": "nsmt.neuron_atlas",
        "version": 1,
        "tasks": TASKS,
        "sites": [[site.name, site.width] for site in SITES],
        "provenance": {},
    }
    change(header)
    save_file(load_file(path), path, metadata={"nsmt": json.dumps(header)})
