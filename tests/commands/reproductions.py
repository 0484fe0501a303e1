"""What tests of `nsmt reproduce` share: a command's configuration and plan."""

import itertools
import json
import shutil

from nsmt.commands.compose import composed
from nsmt.commands.reproduce import reproduce_words
from nsmt.commands.reproduce_plan import ReproduceConfig, plan_of
from nsmt.methods import CONTROL, DENSE

NS = "neuron_specialization"


def configured(*words):
    own, handed_on = reproduce_words(words)
    return composed("reproduce", own, ReproduceConfig).model_copy(update={"runs": handed_on})


def planned(*words):
    return plan_of(configured(*words))


def as_if_finished(words, seeds, run):
    """A plan whose runs are there as if they had come to their end: copies of one run."""
    found = planned(*words, f"seeds={[*seeds]}")
    for method, seed in itertools.product((CONTROL, NS), seeds):
        folder = found.folder(found.plain, method, seed)
        shutil.copytree(run, folder)
        record = json.loads((folder / "record.json").read_text())
        record["config"] = found.config(found.plain, method, seed).model_dump(mode="json")
        if method == CONTROL:
            record["stages"] = [DENSE, CONTROL]
        (folder / "record.json").write_text(json.dumps(record))
    return found
