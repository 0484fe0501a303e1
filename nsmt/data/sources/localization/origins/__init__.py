"""The origins of localised text, by name, in the order in which they are read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from nsmt.data.sources.localization.origins.base import Entry, Origin, Request, Wanted
from nsmt.data.sources.localization.origins.chromium import Chromium
from nsmt.data.sources.localization.origins.gettext_catalogues import GettextCatalogues
from nsmt.data.sources.localization.origins.home_assistant import HomeAssistant
from nsmt.data.sources.localization.origins.libreoffice_help import LibreOfficeHelp
from nsmt.data.sources.localization.origins.mediawiki import MediaWiki
from nsmt.data.sources.localization.origins.package_descriptions import PackageDescriptions
from nsmt.data.sources.localization.origins.vscode import VsCode

__all__ = ["ORIGINS", "Entry", "Origin", "OriginName", "Request", "Wanted"]

OriginName = Literal[
    "libreoffice_help",
    "libreoffice",
    "chromium",
    "mozilla",
    "vscode",
    "package_descriptions",
    "home_assistant",
    "mediawiki",
    "desktop_applications",
]
_APPLICATIONS = (
    "digikam-data",
    "evolution-common",
    "freeciv-data",
    "gnucash-common",
    "gramps",
    "inkscape",
    "kdenlive-data",
    "kdevelop-l10n",
    "kmymoney-common",
    "krita-l10n",
    "vlc-l10n",
)


def _mozilla() -> Origin:
    # Its parser is an optional dependency.
    from nsmt.data.sources.localization.origins.mozilla import Mozilla

    return Mozilla()


ORIGINS: dict[OriginName, Callable[[], Origin]] = {
    "libreoffice_help": LibreOfficeHelp,
    "libreoffice": lambda: GettextCatalogues("libreoffice", "MPL-2.0", prefix="libreoffice-l10n-"),
    "chromium": Chromium,
    "mozilla": _mozilla,
    "vscode": VsCode,
    "package_descriptions": PackageDescriptions,
    "home_assistant": HomeAssistant,
    "mediawiki": MediaWiki,
    "desktop_applications": lambda: GettextCatalogues(
        "desktop_applications", "GPL-2.0-or-later", packages=_APPLICATIONS
    ),
}
