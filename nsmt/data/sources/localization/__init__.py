"""Real parallel text from the translations of free software."""

from nsmt.data.sources.localization.source import LocalizationSettings, LocalizationSource

__all__ = ["LocalizationSettings", "LocalizationSource"]
