"""Claims about runs of models whose layer norms are behind the sub-layers."""

import pytest
from small_run import train_stages

from nsmt.errors import CheckpointError
from nsmt.models.checkpoint import load_checkpoint

POST = ("model.norm=post", "schedule.dense.updates=3", "schedule.specialise.updates=3")


def test_all_stages_of_a_run_are_post_norm_and_start_from_the_dense_model(small_config):
    config = small_config("method=neuron_specialization", *POST)
    train_stages(config)
    dense = load_checkpoint(config.folder / "dense" / "checkpoint")
    own = load_checkpoint(config.folder / "neuron_specialization" / "checkpoint")
    for trained in (dense, own):
        assert trained.model.settings.norm == "post"
        assert not [name for name in trained.model.state_dict() if "coder_norm" in name]
    assert own.history["start"] == dense.fingerprint
    given = ("schedule=specialize", f"schedule.checkpoint={config.folder}/dense/checkpoint")
    with pytest.raises(CheckpointError, match="norm=post"):
        train_stages(small_config("method=random", *given, "model.norm=pre"))


def test_the_kind_of_norm_names_a_run_only_where_it_is_another_than_before(small_config):
    assert "norm" not in small_config().identity()["model"]
    assert small_config("model.norm=pre").run_name == small_config().run_name
    assert small_config("model.norm=post").identity()["model"]["norm"] == "post"
    assert small_config("model.norm=post").run_name != small_config().run_name
