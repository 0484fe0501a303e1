"""The identifier of answers' languages, for steps of `nsmt languages`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nsmt.data.identification import LanguageIdentifier
from nsmt.languages import Language


def step_identifier(
    step: str, among: Iterable[Language], *, required: Sequence[str]
) -> LanguageIdentifier:
    """Among some languages; a ConfigurationError if one of `required` is not known to it.

    Of the rest those are left out that it does not know, or by the code of one of `required`.
    """
    known = {language.code: language for language in among}
    return LanguageIdentifier(
        [known.pop(code) for code in dict.fromkeys(required)],
        required=required,
        others=known.values(),
        needed_by=f"the step {step}",
        setting="languages",
        without=f"leave {step} out of steps",
    )
