"""The ordinary clients of package archives: apt-get, npm and pip, as the user has set them up.

None of them needs root or changes the system: apt-get works on lists and a state of its own. What
is definitely not to be had is an `Unavailable`, for the caller to go on without it. A client that
is there and fails is a `ClientError`: the network may be back tomorrow, so that nothing may be
concluded from it. Names go after `--`, where no client takes them for options.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterable, Sequence
from importlib import metadata
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
# What hooks and indices of the system's configuration would do beyond what is wanted here. Without
# the error mode, an update that reaches some of the archives succeeds with a warning, and packages
# of the others would seem not to exist.
_APT_CONFIGURATION = """\
Dir::State "{folder}/state";
Dir::State::lists "{folder}/lists";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
APT::Sandbox::User "root";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
APT::Update::Error-Mode "any";
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
    """What is definitely not there: a client on this machine, a package in its archive."""


class ClientError(Exception):
    """A client that is there and did not do what it was asked for; trying again may help."""


class Listed(NamedTuple):
    """A file that an apt archive offers for a package."""

    name: str
    version: str
    file: str
    sha256: str | None


def run(command: Sequence[str], *, folder: Path) -> str:
    """What a client prints, run in a folder.

    Raises:
        Unavailable: the client is not installed.
        ClientError: it fails, or does not come to an end.
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
        raise ClientError(f"{tool} did not answer in time") from None
    except (OSError, subprocess.CalledProcessError) as error:
        raise ClientError(f"{tool} failed: {_complaint(error)}") from None
    return done.stdout


def _complaint(error: OSError | subprocess.CalledProcessError) -> str:
    """The first line that a client printed about its error; warnings come before and after it."""
    lines = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
    errors = [line for line in lines if not line.lower().startswith(("w:", "warn", "npm warn"))]
    return next(iter([*errors, *lines]), "it said nothing")


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
        """The names of all packages; ClientError if there are none."""
        names = set(self._run("apt-cache", "pkgnames").split())
        if not names:
            raise ClientError("apt-get reached no archive: its lists hold no package")
        return names

    def translations(self) -> list[Path]:
        """The fetched lists of translated package descriptions."""
        return sorted((self._folder / "lists").glob("*_i18n_Translation-*"))

    def listed(self, packages: Collection[str]) -> list[Listed]:
        """The newest file of each package; ClientError if one is not told."""
        out = self._run("apt-get", "download", "--print-uris", "--", *packages) if packages else ""
        found = []
        for match in filter(None, map(_URI_LINE.match, out.splitlines())):
            # name_version_architecture.deb, with %3a for the colon of an epoch.
            name, version, _ = unquote(match["file"]).rsplit("_", 2)
            found.append(Listed(name, version, match["file"], match["sha256"]))
        if untold := set(packages) - {each.name for each in found}:
            raise ClientError(f"apt-get tells no file of {', '.join(sorted(untold))}")
        return sorted(found)

    def download(self, packages: Collection[str], folder: Path) -> None:
        """Put the files of packages into a folder, under the names that `listed` tells."""
        self._run("apt-get", "download", "-q", "--", *packages, folder=folder)

    def _run(self, tool: str, *arguments: str, folder: Path | None = None) -> str:
        command = [tool, "-c", str(self._configuration.resolve()), *arguments]
        return run(command, folder=folder or self._folder)


def npm_pack(requirements: Collection[str], folder: Path) -> None:
    """Put the archives of npm packages, named with their versions, into a folder."""
    run(["npm", "pack", *_NPM_OPTIONS, "--", *requirements], folder=folder)


def npm_file(name: str, version: str) -> str:
    """The name under which npm packs a package."""
    return f"{name.removeprefix('@').replace('/', '-')}-{version}.tgz"


def pip_download(requirement: str, options: Sequence[str], folder: Path) -> None:
    """Put the wheel of a package into a folder."""
    # Not by `find_spec`: setuptools takes that for pip at work, and compiling fails from then on.
    if not list(metadata.distributions(name="pip")):  # as in environments that other tools make
        raise Unavailable("pip is not installed")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--quiet", *options, "-d", ".", "--", requirement]
    run(command, folder=folder)
