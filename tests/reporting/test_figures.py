import numpy as np
import pytest
import torch

from nsmt.languages import LanguageTable
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.overlap import shares
from nsmt.neurons.sites import Site
from nsmt.reporting import neurons
from nsmt.reporting.figures import (
    Curve,
    NamedPoint,
    named_points,
    save_figure,
    to_svg,
    training_curves,
)
from nsmt.reporting.heatmaps import LabelledMatrix, iou_heatmaps

CODES = ["de", "fr", "nl", "ar"]
SITES = [Site("encoder", 0, 40), Site("encoder", 1, 40), Site("decoder", 0, 40)]


@pytest.fixture
def atlas():
    tasks = [f"en-{code}" for code in CODES] + [f"{code}-en" for code in CODES]
    draw = torch.Generator().manual_seed(0)
    masks = {site.name: torch.rand(len(tasks), 40, generator=draw) < 0.5 for site in SITES}
    return NeuronAtlas.from_masks(tasks, SITES, masks)


def images(figure):
    return [np.asarray(axes.images[0].get_array()) for axes in figure.axes if axes.images]


def test_heat_maps_show_the_values_themselves_ordered_by_family():
    matrix = np.array([[1, 0.2, 0.7], [0.2, 1, 0.1], [0.7, 0.1, 1]])
    figure = iou_heatmaps({"layer": LabelledMatrix(matrix, ["de", "fr", "nl"], ["G", "R", "G"])})
    panel = next(axes for axes in figure.axes if axes.images)
    assert [label.get_text() for label in panel.get_xticklabels()] == ["de", "nl", "fr"]
    np.testing.assert_array_equal(images(figure)[0], matrix[np.ix_([0, 2, 1], [0, 2, 1])])
    assert panel.images[0].get_clim() == (0, 1)


def test_encoders_are_compared_into_the_pivot_and_decoders_out_of_it(atlas):
    table = LanguageTable(["en", *CODES])
    figure = neurons.overlap_heatmaps([shares(atlas, pivot="en")], table, pivot="en")
    ordered = [entry.code for entry in table.by_family() if entry.code != "en"]
    expected = {
        ("encoder", 0): [f"{code}-en" for code in ordered],
        ("encoder", 1): [f"{code}-en" for code in ordered],
        ("decoder", 0): [f"en-{code}" for code in ordered],
    }
    assert len(images(figure)) == 3
    for site, shown in zip(SITES, images(figure), strict=True):
        for row, left in enumerate(expected[site.stack, site.layer]):
            for column, right in enumerate(expected[site.stack, site.layer]):
                a, b = atlas.mask(left, site), atlas.mask(right, site)
                iou = (a & b).sum().item() / (a | b).sum().item()
                assert shown[row, column] == pytest.approx(iou)


def test_a_stack_shows_the_languages_that_have_a_direction_on_its_side(atlas):
    some = ["en-de", "en-fr", "en-nl", "ar-en", "nl-en"]
    table = LanguageTable(["en", *CODES, "es"])
    figure = neurons.overlap_heatmaps([shares(atlas.select(some), pivot="en")], table, pivot="en")
    panels = [axes for axes in figure.axes if axes.images]
    labels = [[label.get_text() for label in axes.get_xticklabels()] for axes in panels]
    assert labels == [["nl", "ar"], ["nl", "ar"], ["de", "nl", "fr"]]
    assert [len(image) for image in images(figure)] == [2, 2, 3]


def test_sparsity_is_the_masked_share(atlas):
    figure = neurons.sparsity_by_layer([shares(atlas, pivot="en")])
    lines = {line.get_label(): line.get_ydata() for line in figure.axes[0].lines}
    into = [f"{code}-en" for code in CODES]
    used = [[atlas.mask(task, site).double().mean() for task in into] for site in SITES[:2]]
    masked = [1 - np.mean(of_site) for of_site in used]
    assert list(lines["X→en"]) == pytest.approx(masked)


def test_one_language_alone_is_not_comparable(atlas):
    assert neurons.comparable(shares(atlas, pivot="en"))
    assert not neurons.comparable(shares(atlas.select(["en-de", "de-en"]), pivot="en"))


def test_files_are_the_same_bytes_every_time(atlas, tmp_path):
    for folder in ("one", "two"):
        figure = neurons.overlap_by_depth([shares(atlas, pivot="en")], pivot="en")
        save_figure(figure, tmp_path / folder, "depth")
    for name in ("depth.png", "depth.svg"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_curves_of_no_points_are_drawn_all_the_same():
    empty = Curve([], [])
    assert to_svg(training_curves({"dense": empty}, {"dense": empty}), salt="x").startswith("<?xml")


def test_named_points_lie_where_they_are_with_bars_both_ways_and_their_names():
    panels = {
        "out": [NamedPoint("de", -1.0, 2.0, 0.25, 0.5), NamedPoint("ar", 3.0, -4.0, 0.0, 0.0)],
        "into": [],
    }
    figure = named_points(panels, across="cost", up="gain")
    first, second = figure.axes
    assert [axes.get_title("left") for axes in figure.axes] == ["out", "into"]
    assert [text.get_text() for text in first.texts] == ["de", "ar"]
    assert [text.xy for text in first.texts] == [(-1.0, 2.0), (3.0, -4.0)]
    german = first.containers[0]
    assert german.lines[0].get_xydata().tolist() == [[-1.0, 2.0]]
    ends = [segment.tolist() for bars in german.lines[2] for segment in bars.get_segments()]
    assert ends == [[[-1.25, 2.0], [-0.75, 2.0]], [[-1.0, 1.5], [-1.0, 2.5]]]
    assert (first.get_xlabel(), first.get_ylabel()) == ("cost", "gain")
    assert not second.containers
    for axes in figure.axes:
        # The lines at 0.
        across, up = (line.get_xydata().tolist() for line in axes.lines[:2])
        assert [y for _, y in across] == [x for x, _ in up] == [0, 0]
