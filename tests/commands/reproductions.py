"""What tests of `nsmt reproduce` share: a command's configuration and plan."""

from nsmt.commands.compose import composed
from nsmt.commands.reproduce import reproduce_words
from nsmt.commands.reproduce_plan import ReproduceConfig, plan_of

NS = "neuron_specialization"


def configured(*words):
    own, handed_on = reproduce_words(words)
    return composed("reproduce", own, ReproduceConfig).model_copy(update={"runs": handed_on})


def planned(*words):
    return plan_of(configured(*words))
