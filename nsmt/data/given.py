"""A corpus that was prepared elsewhere: `data.prepared`.

For machines without a network, and where other libraries would name the folder differently. Its
settings must be those of the configuration; what it was made from and by which versions is not
compared, as that is what the other machine had: its fingerprint tells one text from another.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from nsmt.data.corpus import Corpus
from nsmt.data.encode import given_vocabulary
from nsmt.data.sources import DataSettings
from nsmt.errors import DataError
from nsmt.settings import changes

_TRAINED: Final = "trained"


def given_corpus(settings: DataSettings) -> Corpus | None:
    """The corpus that `data.prepared` names, if it names one: no input is looked for.

    Raises:
        DataError: there is none, it is not whole, or it was prepared with other settings.
    """
    if settings.prepared is None:
        return None
    try:
        corpus = Corpus.open(Path(settings.prepared).expanduser())
    except DataError as error:
        raise DataError(
            f"data.prepared: {error.problem}",
            fix=f"copy the whole corpus to {settings.prepared}, or correct the path",
        ) from None
    changed = changes(corpus.report["settings"], settings.identity(), prefix="data.")
    vocabulary, found = given_vocabulary(settings), corpus.report["vocabulary"]
    ours = vocabulary.fingerprint if vocabulary is not None else _TRAINED
    # Corpora from before it was written down have one that was trained on their text.
    theirs = found["fingerprint"] if found.get("given", False) else _TRAINED
    changed |= changes({"model": theirs}, {"model": ours}, prefix="data.vocabulary.")
    if changed:
        lines = (f"  - {key}: {there} there, {here} here" for key, (there, here) in changed.items())
        raise DataError(
            f"the corpus {corpus.folder} was prepared with other settings:\n" + "\n".join(lines),
            fix="give the settings that it was prepared with, or another corpus",
        )
    return corpus
