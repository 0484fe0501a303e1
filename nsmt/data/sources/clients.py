"""The ordinary clients of package archives: apt-get, npm and pip, as the user has set them up.

None of them needs root or changes the system: apt-get works on lists and a state of its own. A
client that is not installed, or that reaches nothing, is an `Unavailable` with the reason, for
the caller to go on without it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

_TIMEOUT = 1800.0  # seconds of one call; the longest fetches a batch of packages
# Versions are pinned, so that what is cached is right. Its usual retries last for minutes offline.
_NPM_OPTIONS = (
    "--ignore-scripts",
    "--loglevel=error",
    "--prefer-offline",
    "--fetch-retries=1",
    "--fetch-retry-mintimeout=1000",
    "--fetch-retry-maxtimeout=5000",
)
_URI_LINE = re.compile(r"^'[^']*' (?P<file>\S+) (?P<size>\d+)(?: SHA256:(?P<sha256>[0-9a-f]{64}))?")
# What hooks and indices of the system's configuration would do beyond what is wanted here.
_APT_CONFIGURATION = """\
Dir::State "{folder}/state";
Dir::State::lists "{folder}/lists";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
APT::Sandbox::User "root";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear Acquire::Languages;
Acquire::Languages {{ {languages} }};
Acquire::GzipIndexes "false";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons-small::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons-large::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons-hidpi::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons-large-hidpi::DefaultEnabled "false";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
Acquire::IndexTargets::deb::CNF::DefaultEnabled "false";
"""


class Unavailable(Exception):  # noqa: N818 - a finding, not a fault
    """An archive that cannot be used; `reason` is the same on every machine, `detail` is not."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail


class Listed(NamedTuple):
    """A file that an apt archive offers for a package."""

    name: str
    version: str
    file: str
    sha256: str | None


def run(command: Sequence[str], *, folder: Path) -> str:
    """What a client prints, run in a folder.

    Raises:
        Unavailable: the client is not installed, or fails.
    """
    tool = Path(command[0]).name if command[0] != sys.executable else command[2]
    if shutil.which(command[0]) is None:
        raise Unavailable(f"{tool} is not installed")
    try:
        # Names from the tables of this package and from the archive's own list; no shell.
        done = subprocess.run(  # noqa: S603
            [*command],
            cwd=folder,
            check=True,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{tool} did not answer in time") from None
    except (OSError, subprocess.CalledProcessError) as error:
        detail = (getattr(error, "stderr", None) or str(error)).strip()
        raise Unavailable(f"{tool} failed", detail.splitlines()[-1] if detail else "") from None
    return done.stdout


class Apt:
    """apt-get with lists of its own; `update` first."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._configuration = folder / "apt.conf"

    def update(self, languages: Iterable[str]) -> None:
        """Fetch the lists of packages, and their translations in some languages."""
        for name in ("state", "lists/partial", "cache/archives/partial"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        (self._folder / "status").touch()
        quoted = " ".join(f'"{language}";' for language in languages)
        self._configuration.write_text(
            _APT_CONFIGURATION.format(folder=self._folder.resolve(), languages=quoted),
            encoding="utf-8",
        )
        self._run("apt-get", "update", "-q")

    def names(self) -> set[str]:
        """The names of all packages; Unavailable if there are none."""
        names = set(self._run("apt-cache", "pkgnames").split())
        if not names:
            # Without a network, an update warns and succeeds.
            raise Unavailable("apt-get reached no archive")
        return names

    def translations(self) -> list[Path]:
        """The fetched lists of translated package descriptions."""
        return sorted((self._folder / "lists").glob("*_i18n_Translation-*"))

    def listed(self, packages: Collection[str]) -> list[Listed]:
        """The newest file of each package; `name=version` is that version."""
        out = self._run("apt-get", "download", "--print-uris", *packages) if packages else ""
        found = []
        for match in filter(None, map(_URI_LINE.match, out.splitlines())):
            # name_version_architecture.deb, with %3a for the colon of an epoch.
            name, version, _ = unquote(match["file"]).rsplit("_", 2)
            found.append(Listed(name, version, match["file"], match["sha256"]))
        return sorted(found)

    def download(self, packages: Collection[str], folder: Path) -> None:
        """Put the files of packages into a folder, under the names that `listed` tells."""
        self._run("apt-get", "download", "-q", *packages, folder=folder)

    def _run(self, tool: str, *arguments: str, folder: Path | None = None) -> str:
        command = [tool, "-c", str(self._configuration.resolve()), *arguments]
        return run(command, folder=folder or self._folder)


def npm_pack(requirements: Collection[str], folder: Path) -> None:
    """Put the archives of npm packages, named with their versions, into a folder."""
    run(["npm", "pack", *_NPM_OPTIONS, *requirements], folder=folder)


def npm_file(name: str, version: str) -> str:
    """The name under which npm packs a package."""
    return f"{name.removeprefix('@').replace('/', '-')}-{version}.tgz"


def pip_download(requirement: str, options: Sequence[str], folder: Path) -> None:
    """Put the wheel of a package into a folder."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--quiet", *options, "-d", ".", requirement]
    run(command, folder=folder)
