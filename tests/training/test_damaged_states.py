"""States that were altered after they were written: another is gone on from, or none."""

import random
import shutil

import pytest
import torch

from nsmt.data.plan import Position
from nsmt.errors import CheckpointError
from nsmt.training.states import StageState, newest_state, save_state, state_folder

ORIGIN = {"stage": "dense", "start": "random", "corpus": "c", "atlas": None}
FILES = ("state.safetensors", "state.json", "metrics.csv", "manifest.json")


def state(update):
    generator = torch.Generator().manual_seed(update)
    tensors = {f"model/{n}": torch.randn(5, 7, generator=generator) for n in range(3)}
    return StageState(update, Position(done=update), ORIGIN, tensors, {"n": update}, "step\n1\n")


def same(one, other):
    return (
        (one.update, one.position, one.origin, one.numbers, one.metrics, one.terms)
        == (other.update, other.position, other.origin, other.numbers, other.metrics, other.terms)
        and one.tensors.keys() == other.tensors.keys()
        and all(torch.equal(one.tensors[name], other.tensors[name]) for name in one.tensors)
    )


def flip(folder, rng):
    path = folder / rng.choice(FILES)
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def truncate(folder, rng):
    path = folder / rng.choice(FILES)
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(len(content))])


def lose(folder, rng):
    (folder / rng.choice(FILES)).unlink()


def exchange(folder, rng):
    """A file of the state before, which is whole."""
    name = rng.choice(("state.safetensors", "state.json", "manifest.json"))
    shutil.copy(folder.parent / "step-000000003" / name, folder / name)


def exchange_all(folder, rng):
    """A whole state, of something else."""
    del rng
    shutil.rmtree(folder)
    other = state(6)
    other.origin = ORIGIN | {"start": "another"}
    save_state(folder.parent, other)


def add(folder, rng):
    """Files that nobody asked for."""
    (folder / f"foreign{rng.random()}.pt").write_bytes(rng.randbytes(100))


def or_refused(states):
    try:
        return newest_state(states, origin=ORIGIN)
    except CheckpointError:
        return None


@pytest.mark.parametrize("damage", [flip, truncate, lose, exchange, exchange_all, add])
@pytest.mark.parametrize("others", [True, False], ids=["one before", "alone"])
def test_no_altered_state_is_ever_gone_on_from(tmp_path, damage, others):
    for trial in range(17):
        states = tmp_path / str(trial)
        if others or damage is exchange:
            save_state(states, state(3))
        save_state(states, state(6))
        damage(state_folder(states, 6), random.Random(trial))
        if not others and damage is exchange:
            shutil.rmtree(state_folder(states, 3))
        found = or_refused(states)
        # Not all that can be altered says something: a blank in JSON does not.
        assert (found is None and not others) or same(found, state(found.update))
