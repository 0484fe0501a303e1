import gzip
from pathlib import Path

import pytest
from localization_archives import catalogue, deb, pack, tar, zipped

from nsmt.data.sources.archives import deb_members, tgz_members, zip_members
from nsmt.data.sources.localization.locales import best_locale, debian_languages, normal_locale
from nsmt.data.sources.localization.markup import (
    has_underscore_accelerator,
    interface_text,
    wiki_text,
)
from nsmt.data.sources.localization.origins.chromium import read_pack
from nsmt.data.sources.localization.origins.gettext_catalogues import (
    GettextCatalogues,
    read_catalogue,
)
from nsmt.data.sources.localization.origins.libreoffice_help import shown_text
from nsmt.data.sources.localization.origins.package_descriptions import units
from nsmt.errors import DataError


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
