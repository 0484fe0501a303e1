"""What rank 0 tells the other ranks before they can talk: a note beside the folder of the run.

Preparation may take longer than any process group waits, so there is none yet.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from nsmt.commands.config import RunConfig
from nsmt.data.corpus import Corpus
from nsmt.errors import NsmtError
from nsmt.files import replace_text
from nsmt.training.world import launch_identity, launched, launches_look_alike

# How much earlier than another rank the first may have spoken, where nothing else tells launches
# apart.
_SLACK_S: Final = 60.0
_POLL_S: Final = 0.2
_TRAIN, _NOTHING, _FAILED = "train", "nothing to do", "failed"

Tell = Callable[[Corpus | None], None]


class RankError(NsmtError):
    """A rank that failed; its own message is above."""


@contextmanager
def telling(config: RunConfig) -> Iterator[Tell]:
    """In rank 0: tell the others which corpus to train on, or None if there is nothing to do.

    Until then they wait. If the block ends before, they are told that it failed. The note stays:
    nobody knows when all have read it. To be told under a lock of the run: before it is their
    turn, the ranks of another launch may wait for a note of theirs.
    """
    note, said = _note(config), _FAILED

    def tell(corpus: Corpus | None) -> None:
        nonlocal said
        said = _NOTHING if corpus is None else _TRAIN
        if launched():
            folder = "" if corpus is None else corpus.folder
            replace_text(note, f"{launch_identity()}\n{said}\n{folder}")

    try:
        yield tell
    finally:
        if said == _FAILED and launched():
            replace_text(note, f"{launch_identity()}\n{said}\n")


def withdraw(config: RunConfig) -> None:
    """In rank 0, under a lock of the run: take back what the ranks of an earlier launch were told.

    Only for ranks of its own: others do not look at notes.
    """
    if launched():
        _note(config).unlink(missing_ok=True)


def told(config: RunConfig, *, patience_s: float = 24 * 3600) -> Corpus | None:
    """In any other rank: wait for what rank 0 tells; RankError if it failed or says nothing."""
    note = _note(config)
    started, deadline = time.time(), time.monotonic() + patience_s
    while time.monotonic() < deadline:
        # An earlier launch may have left its note.
        if note.is_file() and (
            not launches_look_alike() or note.stat().st_mtime >= started - _SLACK_S
        ):
            launch, said, folder = note.read_text(encoding="utf-8").split("\n")
            if launch == launch_identity():
                if said == _FAILED:
                    raise RankError("rank 0 failed before training", fix="its message says why")
                return None if said == _NOTHING else Corpus.open(Path(folder))
        time.sleep(_POLL_S)
    raise RankError("rank 0 prepared no corpus in time", fix="look at its log")


def _note(config: RunConfig) -> Path:
    """A note of this run: other runs may share its corpus."""
    return Path(config.paths.runs) / f".{config.run_name}.note"
