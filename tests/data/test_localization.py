import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from localization_archives import DE_NL, EN_DE, Archives, prepared, source

from nsmt.data.sources import clients
from nsmt.data.sources.localization import LocalizationSettings
from nsmt.errors import ConfigurationError, DataError

CONF = Path(__file__).parents[2] / "conf" / "data"


def test_languages_are_joined_by_key_origin_after_origin(archives: Archives, tmp_path: Path):
    text = list(prepared(tmp_path).read(EN_DE, "train"))
    by_origin = [
        {
            ("Cut & paste", "Ausschneiden & einfügen"),
            ("Press Enter to go on.", "Mit Enter geht es weiter."),
        },
        {("Open", "Öffnen"), ("Close", "Schließen")},
        {("a game", "ein Spiel"), ("Runs far.", "Läuft weit."), ("Stops.", "Hält.")},
        {("Rising sun", "Aufgehende Sonne")},
    ]
    for expected in by_origin:
        assert set(text[: len(expected)]) == expected
        text = text[len(expected) :]
    assert not text


def test_pairs_without_english_are_joined_too(archives: Archives, tmp_path: Path):
    assert set(prepared(tmp_path).read(DE_NL, "train")) == {
        ("Ausschneiden & einfügen", "Knippen & plakken"),
        ("Mit Enter geht es weiter.", "Druk op Enter."),
    }


def test_licences_name_the_origins_of_each_language(archives: Archives, tmp_path: Path):
    licences = prepared(tmp_path).licences()
    assert licences["nl"] == "libreoffice_help (MPL-2.0)"
    assert "vscode (MIT)" in licences["de"]


def test_identity_names_every_package_and_what_an_origin_lacks(archives: Archives, tmp_path: Path):
    identity = prepared(tmp_path).identity()
    packages = {package["name"]: package for package in identity["packages"]}
    assert packages["libreoffice-help-de"]["version"] == "4:1.0-1"
    assert len(packages["libreoffice-help-de"]["sha256"]) == 64
    lacking = [(entry["origin"], entry["language"]) for entry in identity["skipped"]]
    assert lacking == [("vscode", "nl")]


def test_identity_before_settle_is_an_error(archives: Archives):
    with pytest.raises(DataError, match="settle"):
        source().identity()


def test_preparing_again_uses_the_frozen_packages_without_a_client(
    archives: Archives, tmp_path: Path
):
    first = prepared(tmp_path)
    archives.calls.clear()
    archives.version = "4:2.0-1"
    second = prepared(tmp_path)
    assert not archives.calls
    assert second.identity() == first.identity()
    assert list(second.read(EN_DE, "train")) == list(first.read(EN_DE, "train"))


def test_packages_fetched_before_an_interruption_are_not_fetched_again(
    archives: Archives, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def interrupted(command: Sequence[str], *, folder: Path) -> str:
        if command[0] == "npm":
            raise KeyboardInterrupt
        return archives.run(command, folder=folder)

    monkeypatch.setattr(clients, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepared(tmp_path)
    monkeypatch.setattr(clients, "run", archives.run)
    archives.calls.clear()
    prepared(tmp_path)
    # The lists are updated and looked at; no package of LibreOffice is downloaded again.
    assert archives.calls.count("apt-get") == 2
    assert not list((tmp_path / "localization").glob(".fetching-*"))


@pytest.mark.parametrize(
    ("missing", "lost"),
    [
        ("apt-get", ["libreoffice_help", "package_descriptions"]),
        ("npm", ["vscode"]),
        ("pip", ["home_assistant"]),
    ],
)
def test_origins_of_a_missing_client_are_skipped_and_told(
    archives: Archives,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    missing: str,
    lost: list[str],
):
    archives.missing = {missing}
    found = source()
    found.settle(tmp_path, progress=False)
    skipped = [each for each in found.identity()["skipped"] if each["language"] is None]
    assert [each["origin"] for each in skipped] == lost
    assert {each["reason"] for each in skipped} == {f"{missing} is not installed"}
    assert f"without {lost[0]}: {missing} is not installed" in capsys.readouterr().err
    found.fetch(tmp_path, progress=False)
    assert list(found.read(EN_DE, "train"))


def test_an_origin_without_packages_is_skipped(archives: Archives, tmp_path: Path):
    archives.debs = {"hello": {}}
    skipped = prepared(tmp_path).identity()["skipped"][0]
    assert skipped["origin"] == "libreoffice_help"
    assert skipped["reason"] == "not in the archive"


def test_nothing_fetched_is_an_error_and_freezes_nothing(archives: Archives, tmp_path: Path):
    archives.missing = {"apt-get", "npm", "pip"}
    with pytest.raises(DataError, match="no package of localization is to be had"):
        prepared(tmp_path)
    assert not list((tmp_path / "localization").glob("frozen-*"))


def test_require_all_refuses_a_missing_origin(archives: Archives, tmp_path: Path):
    archives.missing = {"npm"}
    with pytest.raises(DataError, match="vscode"):
        prepared(tmp_path, require_all=True)


def test_a_truncated_package_is_named_and_leaves_no_table(archives: Archives, tmp_path: Path):
    found = source()
    found.settle(tmp_path, progress=False)
    folder = tmp_path / "localization"
    path = next((folder / "libreoffice_help").glob("*-de_*.deb"))
    content = path.read_bytes()[:-20]
    path.write_bytes(content)
    with pytest.raises(DataError, match="SHA-256"):
        found.fetch(tmp_path, progress=False)
    assert not list((folder / "extracted").glob("libreoffice_help-*"))


@pytest.mark.parametrize(("name", "languages"), [("localization8", 8), ("localization30", 30)])
def test_configurations_have_their_languages_in_five_families_and_three_tiers(
    name: str, languages: int
):
    settings = LocalizationSettings.model_validate_json(
        json.dumps(yaml.safe_load((CONF / f"{name}.yaml").read_text()))
    )
    others = [language for language in settings.language_table().values() if language.code != "en"]
    assert len(others) == len(settings.pairs) == languages
    assert settings.languages.keys() == {language.code for language in others}
    assert {language.tier for language in others} == {"High", "Med", "Low"}
    assert len({language.family for language in others}) == 5


def test_origins_are_known_and_distinct():
    with pytest.raises(ValueError, match="twice"):
        source(origins=("vscode", "vscode"))
    with pytest.raises(ValueError, match="vscode"):
        source(origins=("vs_code",))


def test_mozilla_needs_its_parser(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match="fluent"):
        source(origins=("mozilla",))


def test_licences_before_fetch_are_an_error(archives: Archives, tmp_path: Path):
    found = source()
    found.settle(tmp_path, progress=False)
    with pytest.raises(DataError, match="call fetch first"):
        found.licences()


def test_the_same_packages_give_the_same_tables(archives: Archives, tmp_path: Path):
    def tables(name: str) -> dict[str, str]:
        prepared(tmp_path / name)
        folder = tmp_path / name / "localization" / "extracted"
        return {
            str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*.zst"))
        }

    assert tables("a") == tables("b") != {}
