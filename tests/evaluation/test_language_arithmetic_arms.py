"""Claims about the programs of language arithmetic before anything is translated."""

import pytest

from nsmt.errors import ConfigurationError
from nsmt.evaluation.arithmetic import ArithmeticSettings, NamedProgram, Step, arms, require_trained
from nsmt.languages import Direction, both_ways

UNSEEN = [Direction("de", "fr"), Direction("fr", "de")]
OUT_OF_PIVOT = [Direction("en", "de"), Direction("en", "fr")]


def every(**step):
    program = NamedProgram(name="one", steps=(Step(operation="add", **step),))
    return list(arms(ArithmeticSettings(kind="arithmetic", programs=(program,))))


@pytest.mark.parametrize(
    ("step", "named"),
    [
        ({"of": ("pivot",)}, "en in the decoder"),
        ({"of": ("source",), "stack": "encoder"}, "de in the encoder, fr in the encoder"),
    ],
)
def test_a_language_that_a_stack_never_saw_is_named(step, named):
    with pytest.raises(ConfigurationError, match=f"not trained with {named}, so"):
        require_trained(every(**step), UNSEEN, OUT_OF_PIVOT, pivot="en")
    require_trained(every(**step), UNSEEN, both_ways(OUT_OF_PIVOT), pivot="en")


def test_languages_that_play_no_role_need_no_neurons():
    require_trained(every(of=("target",)), UNSEEN, OUT_OF_PIVOT, pivot="en")
