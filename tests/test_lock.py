"""The lock holds every dependency to files that are known."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCKED = re.compile(
    r"^([A-Za-z0-9._-]+)==([^ ;\\]+)(.*?)(?=^[A-Za-z0-9]|\Z)", re.MULTILINE | re.DOTALL
)


def locked():
    """Version and hashes by name."""
    text = (ROOT / "requirements.lock").read_text() + (ROOT / "requirements-torch.txt").read_text()
    return {
        canonicalize_name(name): (version.strip(), re.findall(r"--hash=sha256:[0-9a-f]{64}", rest))
        for name, version, rest in LOCKED.findall(text)
    }


def dependencies():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    return sorted({*project["dependencies"], *(each for extra in extras for each in extra)})


def test_every_locked_file_has_a_hash_but_torch():
    assert [name for name, (_, hashes) in locked().items() if not hashes] == ["torch"]


@pytest.mark.parametrize("dependency", dependencies())
def test_every_dependency_is_locked_to_a_version_in_its_range(dependency):
    wanted = Requirement(dependency)
    version, _ = locked()[canonicalize_name(wanted.name)]
    assert wanted.specifier.contains(version)


@pytest.mark.parametrize("version", ["2.6.2", "2.6.3"])
def test_releases_of_lightning_that_carried_malware_are_out_of_range(version):
    """GHSA-w37p-236h-pfx3."""
    (wanted,) = (Requirement(d) for d in dependencies() if d.startswith("pytorch-lightning"))
    assert not wanted.specifier.contains(version)
    assert wanted.specifier.contains("2.6.4")


def test_every_file_of_locked_versions_is_audited():
    recipe = (ROOT / "Makefile").read_text().partition("\naudit:")[2].partition("\n\n")[0]
    audited = re.findall(r"pip-audit .* -r (\S+)", recipe)
    assert sorted(audited) == sorted(path.name for path in ROOT.glob("requirements*"))
