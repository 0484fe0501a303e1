"""A tiny model and made-up text of three languages, and of two that have too little of it."""

from language_models import saved_model, words_of_files

LANGUAGES = ("de", "en", "hi")
SENTENCES = {
    "de": "Der Hund läuft über die Straße und die Katze schläft im Garten.",
    "en": "The dog runs across the street and the cat sleeps in the garden.",
    "hi": "कुत्ता सड़क पार करता है और बिल्ली बगीचे में सोती है।",
}


def lay_out(folder):
    """The model and the texts, below a folder; the folder."""
    saved_model(folder / "model")
    for language, sentence in (SENTENCES | {"bo": "ཁྱི།", "ti": "ከልቢ།"}).items():
        lines = [f"{number} {sentence}\n" for number in range(600)]
        (folder / f"{language}.txt").write_text("".join(lines))
    return folder


def words(place, *more):
    return words_of_files(
        place,
        f"languages=[{','.join(LANGUAGES)}]",
        "gathering.tokens=2000",
        "gathering.context=64",
        "perplexity.tokens=256",
        "perplexity.context=64",
        "forcing.generation.max_new_tokens=4",
        "fertility.paragraphs=8",
        "fallback.generation.max_new_tokens=4",
        "lens.tokens=128",
        "lens.context=64",
        "steps=[perplexity,fertility,forcing,fallback,lens]",
        f"paths.runs={place}/runs",
        *more,
    )
