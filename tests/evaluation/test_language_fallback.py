"""Claims about progressive fallback: what is off at each level, in which order."""

import pytest

from nsmt.evaluation.language_models.fallback import RELEASED, fall_back


class FirstWord:
    """An identifier that takes the first word for the language."""

    signature = "first word"
    languages = ("de", "en", "fr", "hi", "ru")

    def identify(self, text):
        return text.split()[0]


def descended(languages, order, *, replies=lambda off: ["en a"], asked="en"):
    return fall_back(replies, languages, FirstWord(), asked=asked, order=order)


def test_languages_are_switched_off_together_until_all_are():
    levels = descended(("hi", "de", "en"), "listed")
    assert [level.off for level in levels] == [(), ("hi",), ("hi", "de"), ("hi", "de", "en")]


def test_the_released_order_is_the_papers_with_other_languages_last():
    assert RELEASED[:3] == ("en", "fr", "es")
    last = descended(("hi", "de", "vi", "ru", "en"), "released")[-1]
    assert last.off == ("en", "ru", "de", "hi", "vi")


def test_by_outcome_what_came_most_is_next():
    def replies(off):
        for language in ("de", "ru"):
            if language not in off:
                return [f"{language} a", f"{language} b", "fr c"]
        return ["en a", "pt b"]

    levels = descended(("en", "fr", "de", "ru", "hi"), "outcome", replies=replies, asked="ru")
    # First the one asked in; where none of the rest came, the released order's next.
    assert levels[-1].off == ("ru", "de", "en", "fr", "hi")
    assert levels[1].came == ["de", "de", "fr"]


@pytest.mark.parametrize("text", ["", "  \n", "1. 2. 3."])
def test_an_answer_without_a_letter_is_of_no_language(text):
    (plain, *_) = descended(("en", "de"), "listed", replies=lambda off: [text, "de a"])
    assert plain.came == ["", "de"]
    assert plain.texts == [text, "de a"]
