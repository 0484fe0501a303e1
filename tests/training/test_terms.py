"""Which settings decide the weights of a stage."""

import pytest

from nsmt.errors import CheckpointError
from nsmt.training.terms import check_finished, terms_of

SETTINGS = {
    "seed": 1,
    "schedule.dense.updates": 9,
    "schedule.specialise.updates": 5,
    "schedule.specialise.patience": 2,
    "schedule.tuning.updates": 3,
    "schedule.tuning.patience": None,
    "selection.k": 95.0,
    "method.rate": 0.3,
    "report.samples": 1,
}


def test_a_method_is_decided_by_all_but_what_is_shown():
    assert terms_of("lass", SETTINGS).keys() == SETTINGS.keys() - {"report.samples"}


def test_models_of_single_directions_are_not_decided_by_what_comes_after_them():
    apart = {"report.samples", "selection.k", "schedule.specialise.updates"}
    # The patience of the method's stage is theirs, where they have none of their own.
    assert terms_of("lass/tuning/en-de", SETTINGS).keys() == SETTINGS.keys() - apart


def test_a_key_that_is_left_out_has_the_value_for_which_it_is_left_out(tmp_path):
    then = {"model.heads": 2, "schedule.dense.updates": 9}
    check_finished(then, then | {"model.norm": "pre", "model.new": 1}, folder=tmp_path)
    for now, said in (
        ({"model.norm": "post"}, "model.norm: pre then, post now"),
        ({"schedule.dense.tokens": 64}, "schedule.dense.tokens: None then, 64 now"),
    ):
        with pytest.raises(CheckpointError, match=said):
            check_finished(then, then | now, folder=tmp_path)


def test_continue_dense_is_not_decided_by_a_method():
    assert terms_of("continue_dense", SETTINGS).keys() == {
        *("seed", "schedule.dense.updates"),
        *("schedule.specialise.updates", "schedule.specialise.patience"),
    }
