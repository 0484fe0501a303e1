"""Claims about what statistics keep: integers in as few bytes as hold them, and close sums."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from nsmt.neurons import moments as module
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.moments import position_sums
from nsmt.neurons.selection import cumulative
from nsmt.neurons.sites import Site
from nsmt.neurons.statistics import ActivationStatistics
from nsmt.neurons.widths import narrow, wide
from nsmt.steering.interventions import LanguageNeurons

SITE = Site("decoder", 0, 3)
LARGEST = 2**31 - 1


def statistics_of(counts, sums=None, task="de"):
    made = ActivationStatistics((task,), [SITE], moments=() if sums is None else ("sum",))
    made.active[SITE.name][0] = torch.tensor(counts)
    made.units[SITE.name] += max(counts)
    if sums is not None:
        made.moments["sum"][SITE.name][0] = torch.tensor(sums, dtype=torch.float64)
    return made


def saved(made, path, **how):
    made.save(path, **how)
    return ActivationStatistics.load(path)


@given(st.lists(st.integers(0, 2**62), min_size=1, max_size=4))
def test_every_count_is_kept_in_four_bytes_if_all_fit_and_in_eight_if_not(counts):
    table = torch.tensor(counts)
    kept = narrow(table)
    assert kept.tolist() == counts
    assert kept.dtype == (torch.int32 if max(counts) <= LARGEST else torch.int64)
    assert torch.equal(wide(kept), table)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_sum_is_kept_to_the_last_bit_of_float32_and_never_overflows(value):
    (kept,) = wide(narrow(torch.tensor([value], dtype=torch.float64))).tolist()
    # The smallest steps of float32 around zero are 2^-149.
    assert abs(kept - value) <= max(2**-24 * abs(value), 2**-149)


def test_what_was_read_is_widened_before_anything_is_added(tmp_path):
    made = statistics_of([LARGEST, LARGEST - 1, 0], sums=[1.0, 2.0**24, -3.0])
    one, other = (saved(made, tmp_path / name) for name in "ab")
    assert one.active[SITE.name].dtype == torch.int32
    one.merge(other)
    assert one.active[SITE.name].tolist() == [[2 * LARGEST, 2 * LARGEST - 2, 0]]
    other.update(
        SITE.name,
        torch.tensor([[[1.0, 1.0, -1.0]]]),
        task_C=torch.tensor([0]),
        real_BS=torch.ones(1, 1, dtype=torch.bool),
    )
    assert other.active[SITE.name].tolist() == [[LARGEST + 1, LARGEST, 0]]
    # 2^24 + 1 is no float32.
    assert other.moments["sum"][SITE.name].tolist() == [[2.0, 2.0**24 + 1, -4.0]]
    again = saved(other, tmp_path / "c")
    assert again.active[SITE.name].tolist() == [[LARGEST + 1, LARGEST, 0]]
    english = statistics_of([LARGEST, LARGEST - 1, 0], sums=[1.0, 2.0, 3.0], task="en")
    joined = ActivationStatistics.beside([one, saved(english, tmp_path / "d")])
    assert joined.active[SITE.name].tolist() == [
        [2 * LARGEST, 2 * LARGEST - 2, 0],
        [LARGEST, LARGEST - 1, 0],
    ]


@settings(max_examples=50, deadline=None)
@given(
    tokens=st.integers(1, 10**9),
    deviation=st.floats(1e-3, 1e3),
    ratio=st.floats(-100, 100),
)
def test_a_deviation_is_as_exact_as_float32_lets_it_be(tmp_path_factory, tokens, deviation, ratio):
    mean = ratio * deviation
    made = ActivationStatistics(("de",), [SITE], moments=("sum", "square"))
    made.units[SITE.name] += tokens
    made.moments["sum"][SITE.name] += tokens * mean
    made.moments["square"][SITE.name] += tokens * (mean**2 + deviation**2)
    atlas = NeuronAtlas.from_masks(
        ("de",), [SITE], {SITE.name: torch.ones(1, SITE.width, dtype=torch.bool)}
    )
    kept = saved(made, tmp_path_factory.mktemp("sums") / "statistics")
    found = LanguageNeurons(atlas, kept).pooled_deviation(SITE)[0].item()
    assert found == pytest.approx(deviation, rel=2**-23 * (1 + ratio**2))


def test_what_is_to_be_added_to_is_written_as_it_is(tmp_path):
    made = statistics_of([5, 1, 0], sums=[0.1, 1 / 3, -2.0])
    found = saved(made, tmp_path / "state", widths="as they are")
    assert found.moments["sum"][SITE.name].dtype == torch.float64
    assert torch.equal(found.moments["sum"][SITE.name], made.moments["sum"][SITE.name])


def test_a_file_of_the_first_version_is_read(tmp_path):
    path = tmp_path / "old"
    made = statistics_of([5, 1, 0], sums=[0.1, 1 / 3, -2.0])
    made.save(path, widths="as they are")
    header = {
        "format": "nsmt.activation_statistics",
        "version": 1,
        "tasks": ["de"],
        "sites": [["decoder.0", 3]],
        "rule": {"unit": "token", "count_padding": False},
        "moments": ["sum"],
        "provenance": {},
    }
    save_file(load_file(path), path, metadata={"nsmt": json.dumps(header)})
    found = ActivationStatistics.load(path)
    assert found.active[SITE.name].tolist() == [[5, 1, 0]]
    assert torch.equal(found.mean("sum", SITE), made.mean("sum", SITE))


def test_twenty_one_languages_of_eight_billion_parameters_are_kept_in_100_mib(tmp_path):
    layer, layers = Site("decoder", 0, 14336), 32
    names = [f"language{number}" for number in range(21)]
    made = ActivationStatistics(names, [layer], moments=("sum",))
    found = saved(made, tmp_path / "statistics")
    assert found.nbytes * layers <= 100 * 2**20
    assert (tmp_path / "statistics").stat().st_size * layers <= 100 * 2**20


def test_rules_take_narrow_counts_as_wide_ones(tmp_path):
    made = statistics_of([50, 30, 20])
    found = cumulative(saved(made, tmp_path / "counts"), lambda *_: 80)
    assert found == cumulative(made, lambda *_: 80)
    assert found.mask("de", SITE).tolist() == [True, True, False]


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 5), st.integers(1, 3)),
    block=st.integers(1, 40),
    seed=st.integers(0, 2**31),
)
def test_sums_do_not_depend_on_how_much_is_looked_at_together(shape, block, seed):
    rows, positions, neurons, sums = shape
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(rows, positions, neurons, generator=generator)
    values[values.abs() < 0.3] = 0
    weight = (torch.rand(rows, sums, positions, generator=generator) < 0.6).float()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK_CPU", block)
        found = position_sums(values, weight, ["active", "sum", "square", "positive", "written"])
    exact = values.double()
    for kind, each in {
        "active": (exact > 0).double(),
        "sum": exact,
        "square": exact * exact,
        "positive": exact.clamp(min=0),
        "written": exact.abs(),
    }.items():
        expected = torch.einsum("bks,bsf->bkf", weight.double(), each)
        if kind == "active":
            assert torch.equal(found[kind].double(), expected)
        else:
            torch.testing.assert_close(found[kind].double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("asked", ["highest", "high"])
def test_sums_are_of_whole_fp32_whatever_training_asked_for_and_leave_it_so(monkeypatch, asked):
    seen, summand = [], module._summand

    def watched(*given):
        seen.append((torch.get_float32_matmul_precision(), torch.backends.cuda.matmul.allow_tf32))
        return summand(*given)

    monkeypatch.setattr(module, "_summand", watched)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(asked)
        position_sums(torch.ones(2, 3, 4), torch.ones(2, 1, 3), ["sum"])
        assert set(seen) == {("highest", False)}
        assert torch.get_float32_matmul_precision() == asked
    finally:
        torch.set_float32_matmul_precision(before)
