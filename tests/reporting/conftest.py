import numpy as np
import pytest
from bootstraps import compare_all

from nsmt.evaluation.groups import groups_of
from nsmt.evaluation.results import TestOutput
from nsmt.languages import Direction, LanguageTable, both_ways

CODES = ["de", "nl", "ar", "he"]
DIRECTIONS = both_ways([Direction("en", code) for code in CODES])
LABELS = {
    "specialised": "Neuron specialisation",
    "dense": "Dense",
    "continue_dense": "Dense, continued",
}
WORDS = [f"w{number}" for number in range(40)]


def outputs(*, errors, seed):
    made = {}
    for place, direction in enumerate(DIRECTIONS):
        text, noise = np.random.default_rng(place), np.random.default_rng([seed, place])
        lines = [list(text.choice(WORDS, size=text.integers(5, 15))) for _ in range(80)]
        wrong = [
            [str(noise.choice(WORDS)) if noise.random() < errors else word for word in line]
            for line in lines
        ]
        tokens = np.array([len(line) for line in lines])
        made[direction] = TestOutput(
            [" ".join(line) for line in wrong],
            [" ".join(line) for line in lines],
            tokens * (1 + errors) + noise.normal(0, 0.3, len(lines)),
            tokens,
        )
    return made


@pytest.fixture(scope="session")
def comparisons():
    """Comparisons with "dense" and with "continue_dense", the control."""
    systems = {
        "specialised": outputs(errors=0.21, seed=2),
        "dense": outputs(errors=0.30, seed=0),
        "continue_dense": outputs(errors=0.20, seed=1),
    }
    return compare_all(
        systems,
        baselines=["dense", "continue_dense"],
        groups=groups_of(DIRECTIONS, LanguageTable([*CODES, "en"]), pivot="en"),
        samples=200,
        labels=LABELS,
    )
