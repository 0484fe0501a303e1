"""Other toolkits' models of the same shape, imported only where they are measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from nsmt.errors import ConfigurationError
from nsmt.progress import console

_Peer = TypeVar("_Peer")


class MissingPeerError(ConfigurationError):
    """A toolkit that is not there, or cannot compute what is asked for on this machine."""


def present(make: Callable[[], _Peer]) -> _Peer | None:
    """What `make` makes; None, which is said, where its toolkit is missing."""
    try:
        return make()
    except MissingPeerError as error:
        console.print(f"left out: {error.problem} ({error.fix})", markup=False, highlight=False)
        return None
