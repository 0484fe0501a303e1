"""The experiment files of the small scales are the rows of their tables: the same runs."""

import pytest

from nsmt.commands.compose import composed, conf_folder
from nsmt.commands.config import RunConfig
from nsmt.commands.train import decided

SCALES = ("bible8", "localization8", "localization30")
METHODS = {
    "adapter_family": "adapter_family",
    "adapter_pair": "adapter_pair",
    "bilingual": "bilingual",
    "decoder": "neuron_specialization_decoder",
    "encoder": "neuron_specialization_encoder",
    "lass": "lass",
    "neuron_specialization": "neuron_specialization",
    "random": "random",
}


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(("name", "method"), METHODS.items())
def test_an_experiment_of_a_scale_is_the_run_of_the_tables_row(scale, name, method):
    of_file = decided(composed("train", [f"experiment={scale}/{name}"], RunConfig))
    of_row = decided(composed("train", [f"experiment={scale}/base", f"method={method}"], RunConfig))
    assert of_file.identity() == of_row.identity()
    assert of_file.run_name == of_row.run_name


def test_small_scales_have_the_families_of_the_papers():
    files = {
        scale: {path.stem for path in (conf_folder() / "experiment" / scale).glob("*.yaml")}
        for scale in (*SCALES, "ec30")
    }
    assert all(files[scale] == files["ec30"] - {"mt_big"} | {"base"} for scale in SCALES)
