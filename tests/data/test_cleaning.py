import html
import pickle
import sys
import unicodedata
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from sacremoses import MosesTokenizer

from nsmt.data import identification
from nsmt.data.cleaning import Cleaner
from nsmt.data.settings import CleaningSettings, StepName
from nsmt.data.sources.files import FilesSettings
from nsmt.data.text import normalise, recognition_key
from nsmt.errors import ConfigurationError, NsmtError
from nsmt.languages import LanguageSettings, LanguageTable

LANGUAGES = LanguageTable(["en", "de", "ru", "hi", "sr", "ti", "ja"])
PAIR = LANGUAGES["en"], LANGUAGES["de"]


def clean(source: str, target: str, **settings: object) -> tuple[str, str, str | None]:
    return tuple(Cleaner(CleaningSettings(**settings), *PAIR)(source, target))


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [
        ("a b", "c d", None),
        ("", "c d", "empty"),
        ("a b", " \u200b ***", "empty"),
        ("one two three four five", "eins zwei drei vier fünf", "too_many_words"),
        ("a" * 41, "b", "too_many_characters"),
        ("a b c d", "a", "length_ratio"),
        ("same text", "same  text", "copy"),
    ],
)
def test_each_fault_has_its_reason(source, target, reason):
    assert clean(source, target, max_words=4, max_characters=40, max_ratio=2.0)[2] == reason


def test_too_few_words_are_a_reason_of_their_own():
    assert clean("one", "eins zwei", min_words=2)[2] == "too_few_words"


def test_steps_run_in_the_order_given_and_only_those():
    assert clean("same", "same", steps=("unicode",))[2] is None
    dropped = Cleaner(CleaningSettings(steps=("copies", "empty")), *PAIR)("", "")
    assert dropped.reason == "copy"


@pytest.mark.parametrize(
    ("source", "target", "kept"),
    [
        ("press {0} now", "drücke {0} jetzt", True),
        ("press {0} now", "drücke jetzt", False),
        ("%(name)s is <b>new</b>", "<b>neu</b>: %(name)s", True),
        ("100% sure", "100 % sicher", True),
        ("%d files", "%s Dateien", False),
    ],
)
def test_placeholders_must_agree_where_asked(source, target, kept):
    result = clean(source, target, steps=("placeholders",))[2]
    assert result == (None if kept else "placeholders_differ")


def test_punctuation_is_normalised_where_asked():
    assert clean("„Ja“ , sagte er", "x", steps=("punctuation",))[0].startswith('"Ja"')


def test_scripts_without_spaces_are_compared_by_characters():
    english, chinese = "he went to the market to buy a new red coat", "他去市场买了一件新的红色大衣"
    assert clean(english, chinese)[2] is None


@pytest.mark.parametrize(
    "text",
    [
        "परमेश्\u200dवर ने आकाश और पृथ्वी की सृष्टि की।",
        "نمی\u200cدانم، آسمانها را آفرید؟",
        "في البدء خلق الله السموات والارض.",
        "Straße, naïve café, под ёлкой",
    ],
)
def test_text_of_other_scripts_survives_as_it_is(text):
    assert clean(text, "Gott schuf am Anfang Himmel und Erde heute")[:3:2] == (text, None)


def test_invisible_characters_go_and_decomposed_ones_are_composed():
    assert clean("\ufeffa\u00ad\u200e\u202bb\tc\u0000d\u0085e", "cafe\u0301 x y")[:2] == (
        "ab cd e",
        "café x y",
    )


def test_printable_text_has_nothing_invisible():
    for point in range(sys.maxunicode + 1):
        character = chr(point)
        if character.isprintable():
            assert unicodedata.category(character) not in {"Cc", "Cf", "Cs"}
            assert not character.isspace() or character == " "


@given(st.text())
def test_normalising_twice_is_normalising_once(text):
    assert normalise(normalise(text)) == normalise(text)


@given(st.text(), st.text())
def test_a_kept_pair_passes_again_unchanged(source, target):
    once = clean(source, target)
    if once[2] is None:
        assert clean(*once[:2]) == once


@given(st.text())
def test_recognition_ignores_spacing_case_and_normal_form(text):
    assert recognition_key(normalise(text)) == recognition_key(f"  {text}\n")


def test_recognition_keeps_vowel_signs_apart():
    words = ["की", "के", "को", "का", "कि", "कु"]
    assert max(Counter(map(recognition_key, words)).values()) == 1
    assert recognition_key("And God said, Light!") == recognition_key("and God  said: LIGHT")


SAID = 'He said: "Don\'t [use] <b> & A&B | c" — a café.'
ESCAPES = (("&", "&amp;"), ("|", "&#124;"), ("<", "&lt;"), (">", "&gt;"))
ESCAPES += (("'", "&apos;"), ('"', "&quot;"), ("[", "&#91;"), ("]", "&#93;"))


def moses_escaped(text):
    for character, entity in ESCAPES:
        text = text.replace(character, entity)
    return text


def test_recognition_sees_through_tokens_and_entities():
    tokens = MosesTokenizer(lang="en").tokenize(SAID, return_str=True)
    assert "&quot;" in tokens
    copies = [tokens, tokens.lower(), moses_escaped(moses_escaped(SAID)), tokens.replace("&", "& ")]
    copies += [html.escape(SAID), SAID.replace("é", "&eacute;"), SAID.replace("é", "&#xE9;")]
    assert {recognition_key(copy) for copy in copies} == {recognition_key(SAID)}
    assert recognition_key("&nosuchentity; x") == recognition_key("nosuchentity x")
    # More digits than Python reads as a number.
    assert recognition_key(f"&#{'9' * 5000};") == recognition_key("9" * 5000)


@given(st.text(st.sampled_from("&;#<'ampltx3[ \u200b\u0301")))
def test_recognition_ignores_escaping_however_odd_the_text(text):
    assert recognition_key(moses_escaped(text)) == recognition_key(text)
    assert recognition_key(normalise(text)) == recognition_key(text)


def test_every_step_name_has_a_step():
    Cleaner(CleaningSettings(steps=StepName.__args__), *PAIR)("a b", "c d")


LONG = {
    "en": "The house by the river has a green door and two windows that look to the south.",
    "de": "Das Haus am Fluss hat eine grüne Tür und zwei Fenster, die nach Süden sehen.",
    "ru": "У дома на реке зелёная дверь и два окна, которые смотрят на юг.",
    "hi": "नदी के किनारे वाले घर का दरवाज़ा हरा है और दो खिड़कियाँ दक्षिण की ओर हैं।",
    "ja": "川のそばの家には緑のドアと南向きの窓が二つあります。",
}


def judged(step, source, target, texts, **settings):
    cleaner = Cleaner(
        CleaningSettings(steps=(step,), **settings), LANGUAGES[source], LANGUAGES[target]
    )
    return cleaner(*texts).reason


def test_text_in_another_script_is_dropped():
    for code in ("de", "ru", "hi", "ja"):
        assert judged("script", "en", code, (LONG["en"], LONG[code])) is None
    assert judged("script", "en", "ru", (LONG["en"], LONG["de"])) == "wrong_script"
    assert judged("script", "ru", "en", (LONG["ru"], LONG["hi"])) == "wrong_script"
    # Names in Latin letters, numbers and signs are no fault.
    assert judged("script", "en", "hi", ("It is 1.5 km.", "GPS: यह 1.5 किमी है।")) is None
    assert judged("script", "en", "ru", ("12:30!", "12:30!")) is None
    half = "дверь door"
    assert judged("script", "en", "ru", ("a", half), min_script_share=0.6) == "wrong_script"


def test_text_in_another_language_is_dropped():
    assert judged("language", "en", "de", (LONG["en"], LONG["de"])) is None
    assert judged("language", "en", "de", (LONG["en"], LONG["en"])) == "wrong_language"
    assert judged("language", "de", "en", (LONG["en"], LONG["en"])) == "wrong_language"
    # Too short to be judged.
    assert judged("language", "en", "de", (LONG["en"], "Open file")) is None


def described(**codes):
    """Languages that a configuration describes, by code: their FLORES code or none."""
    return LanguageTable(
        codes, {code: LanguageSettings(name="X", flores=flores) for code, flores in codes.items()}
    )


SERBIAN = {
    "Cyrl": "Кућа на обали реке има зелена врата и два прозора која гледају на југ.",
    "Latn": "Kuća na obali reke ima zelena vrata i dva prozora koja gledaju na jug.",
}


@pytest.mark.parametrize(
    ("code", "flores", "text"),
    [
        (
            "zh_Hans",
            None,
            "河边的房子有一扇绿色的门和两扇朝南的窗户，孩子们喜欢在那里玩耍。",
        ),
        (
            "zho_Hant",
            None,
            "河邊的房子有一扇綠色的門和兩扇朝南的窗戶，孩子們喜歡在那裡玩耍。",
        ),
        ("deu_Latn", None, LONG["de"]),
        ("srp_Latn", None, SERBIAN["Latn"]),
        ("sr", None, SERBIAN["Cyrl"]),
        ("sr", None, SERBIAN["Latn"]),
        ("sr_Latn", "srp_Latn", SERBIAN["Latn"]),
        ("xx", "rus_Cyrl", LONG["ru"]),
    ],
)
def test_a_language_is_identified_without_its_script(code, flores, text):
    (language,) = described(**{code: flores}).values()
    settings = CleaningSettings(steps=("language",))
    right = Cleaner(settings, LANGUAGES["en"], language)
    assert right(LONG["en"], text).reason is None
    assert right(LONG["en"], LONG["en"]).reason == "wrong_language"


def test_languages_that_cannot_be_identified_are_named_all_at_once(run, synthetic):
    cleaning = CleaningSettings(steps=("language",))
    pairs = {"pairs": ("en-ti", "en-sd", "en-de"), "directions": None}
    settings = synthetic.model_copy(update=pairs | {"cleaning": cleaning})
    fix = r"unidentified_languages=\[ti,sd\]"
    with pytest.raises(ConfigurationError, match=rf"cannot identify ti, sd\n.*{fix}"):
        run(settings)
    with pytest.raises(ConfigurationError, match="cannot identify ti"):
        Cleaner(cleaning, LANGUAGES["en"], LANGUAGES["ti"])


def test_text_in_languages_that_are_left_unidentified_is_kept():
    unjudged = {"unidentified_languages": ("ti",)}
    assert judged("language", "en", "ti", (LONG["en"], LONG["en"]), **unjudged) is None
    assert judged("language", "en", "ti", (LONG["de"], "x"), **unjudged) == "wrong_language"
    with pytest.raises(ValidationError, match=r"\['ti'\] are in no pair"):
        FilesSettings(
            source="files",
            root=".",
            pairs=("en-de",),
            cleaning=CleaningSettings(unidentified_languages=("ti",)),
        )


def test_a_script_that_does_not_exist_is_named():
    odd = LanguageTable(["xx"], {"xx": LanguageSettings(name="X", family="F", flores="xxx_Nope")})
    cleaner = Cleaner(CleaningSettings(steps=("script",)), LANGUAGES["en"], odd["xx"])
    with pytest.raises(ConfigurationError, match="'Nope' is no script"):
        cleaner("a", "b")


def test_a_language_without_a_known_script_is_named():
    own = LanguageTable(["xx"], {"xx": LanguageSettings(name="X", family="F")})
    cleaner = Cleaner(CleaningSettings(steps=("script",)), LANGUAGES["en"], own["xx"])
    with pytest.raises(
        ConfigurationError, match=r"script of 'xx'.*\n.*data\.languages\.xx\.flores"
    ):
        cleaner("a", "b")


def test_a_missing_identifier_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "py3langid.langid", None)
    identification._identifier.cache_clear()
    with pytest.raises(ConfigurationError, match=r"nsmt\[langid\]"):
        judged("language", "en", "de", (LONG["en"], LONG["de"]))
    identification._identifier.cache_clear()


# Those of other rooms may carry more, and no worker raises them.
OF_WORKERS = [
    kind
    for kind in NsmtError.__subclasses__()
    if kind.__module__ == "nsmt.errors" or kind.__module__.startswith("nsmt.data")
]


@pytest.mark.parametrize("kind", OF_WORKERS)
def test_errors_of_workers_arrive_as_they_are(kind):
    error = pickle.loads(pickle.dumps(kind("what is wrong", fix="what to do")))
    assert (type(error), error.problem, error.fix) == (kind, "what is wrong", "what to do")
