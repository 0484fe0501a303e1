"""Fetching packages into the cache, each once, and going on without what cannot be had."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path

from rich.progress import Progress

from nsmt.data.sources import clients
from nsmt.data.sources.clients import Apt, ClientError, Unavailable
from nsmt.data.sources.localization.inputs import Inputs, Package, Skipped, check, place
from nsmt.data.sources.localization.locales import debian_languages
from nsmt.data.sources.localization.origins import ORIGINS, Origin, OriginName, Request
from nsmt.errors import DataError
from nsmt.files import sha256
from nsmt.progress import console, step

NOT_OFFERED = "not in the archive"
_BATCH = 16


class Fetcher:
    """Gets the packages of some languages into a folder; lists are updated once, if at all."""

    def __init__(self, folder: Path, codes: Collection[str], *, progress: bool = True) -> None:
        self._folder, self._codes, self._shown = folder, list(codes), progress
        self._apt: Apt | None = None
        self._names: set[str] = set()
        self._indices: dict[str, Path] = {}
        self._failed: Unavailable | ClientError | None = None

    def decide(self, names: Sequence[OriginName]) -> Inputs:
        """Fetch what the archives have now; what they do not have is skipped, and told.

        Raises:
            DataError: a client that is there and failed, so that nothing may be concluded; or
                nothing to be had at all.
        """
        packages: list[Package] = []
        skipped: list[Skipped] = []
        failures: list[str] = []
        with step("fetching", shown=self._shown) as bars:
            for name in names:
                try:
                    found = self._newest(ORIGINS[name](), name, bars)
                except Unavailable as absence:
                    skipped.append(Skipped(origin=name, reason=str(absence)))
                    tell(f"localization: without {name}: {absence}")
                except ClientError as failure:
                    failures.append(f"{name} ({failure})")
                else:
                    packages += found
                    skipped += self._not_offered(name, found)
        if failures:
            raise DataError(
                f"not all of localization could be fetched: {'; '.join(failures)}",
                fix="run again when the archives can be reached: what was fetched is kept; or take "
                "these origins out of data.origins",
            )
        if not packages:
            reasons = ", ".join(sorted({each.reason for each in skipped}))
            raise DataError(
                f"no package of localization is to be had: {reasons}",
                fix="install apt-get (Debian, Ubuntu), npm or pip, or copy the folder "
                "`localization` of another machine's downloads",
            )
        return Inputs(
            languages=tuple(self._codes), packages=tuple(packages), skipped=tuple(skipped)
        )

    def restore(self, package: Package) -> None:
        """Fetch the frozen version of a package that is not in the cache, and check it."""
        path = place(self._folder, package)
        client = ORIGINS[package.origin]().client
        if package.client != client:
            raise DataError(
                f"{package.name} is frozen as fetched by {package.client}, and {package.origin} is "
                f"fetched by {client}",
                fix="set data.frozen to a file written by a preparation",
            )
        if not path.is_file():
            request = Request(package.name, package.version)
            try:
                self._get(package.origin, client, {package.file: request})
            except (Unavailable, ClientError) as error:
                raise DataError(
                    f"{package.name} {package.version} cannot be fetched: {error}",
                    fix=f"put its file at {path}, or prepare without the freeze file",
                ) from None
        check(path, package)

    def _not_offered(self, name: OriginName, found: list[Package]) -> list[Skipped]:
        """The languages that an origin with packages by language lacks."""
        if not all(package.languages for package in found):
            return []
        served = {code for package in found for code in package.languages}
        return [
            Skipped(origin=name, language=code, reason=NOT_OFFERED)
            for code in self._codes
            if code not in served and code != "en"
        ]

    def _newest(self, origin: Origin, name: OriginName, bars: Progress) -> list[Package]:
        """Fetch the packages of one origin; Unavailable or ClientError if any of them cannot be."""
        offered: Collection[str] = ()
        if origin.client.startswith("apt"):
            self._update()
            offered = self._names if origin.client == "apt" else self._indices
        requests = _merged(origin.requests(self._codes, offered))
        if not requests:
            raise Unavailable(NOT_OFFERED)
        files = self._files(origin, requests)
        task = bars.add_task(name, total=len(files))
        present = [file for file in files if self._is_there(name, file, files[file][1])]
        bars.advance(task, len(present))
        wanted = [file for file in files if file not in present]
        for start in range(0, len(wanted), _BATCH):
            batch = {file: files[file][0] for file in wanted[start : start + _BATCH]}
            self._get(name, origin.client, batch)
            bars.advance(task, len(batch))
        return [self._package(name, origin, file, files[file][0]) for file in files]

    def _files(
        self, origin: Origin, requests: list[Request]
    ) -> dict[str, tuple[Request, str | None]]:
        """By file name: the request with the version that is there, and its hash if known."""
        match origin.client:
            case "apt":
                languages = {request.name: request.languages for request in requests}
                return {
                    each.file: (
                        Request(each.name, each.version, languages[each.name]),
                        each.sha256,
                    )
                    for each in self._updated().listed(list(languages))
                }
            case "npm":
                return {
                    clients.npm_file(each.name, each.version): (each, None) for each in requests
                }
            case "pip":
                return {f"{each.name}-{each.version}.whl": (each, None) for each in requests}
            case "apt-index":
                return {each.name: (each, sha256(self._indices[each.name])) for each in requests}

    def _is_there(self, origin: str, file: str, expected: str | None) -> bool:
        path = self._folder / origin / file
        return path.is_file() and (expected is None or sha256(path) == expected)

    def _package(self, name: OriginName, origin: Origin, file: str, request: Request) -> Package:
        path = self._folder / name / file
        return Package(
            origin=name,
            client=origin.client,
            name=request.name,
            version=request.version,
            file=file,
            sha256=sha256(path),
            bytes=path.stat().st_size,
            languages=request.languages,
        )

    def _get(self, origin: OriginName, client: str, files: dict[str, Request]) -> None:
        """Fetch files and put each in place whole."""
        (self._folder / origin).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._folder, prefix=".fetching-") as scratch:
            folder, requests = Path(scratch), list(files.values())
            match client:
                case "apt":
                    names = [f"{each.name}={each.version}" for each in requests]
                    self._updated().download(names, folder)
                case "apt-index":
                    self._copy_indices(files, folder)
                case "npm":
                    clients.npm_pack([f"{each.name}@{each.version}" for each in requests], folder)
                case _:
                    for file, each in files.items():
                        _download_wheel(origin, each, folder / file)
            for file in files:
                if not (folder / file).is_file():
                    raise ClientError(f"{client} gave another file than {file}")
                (folder / file).replace(self._folder / origin / file)

    def _copy_indices(self, files: Collection[str], folder: Path) -> None:
        self._updated()
        for file in files:
            if file not in self._indices:
                raise Unavailable(f"{file} is {NOT_OFFERED}")
            shutil.copyfile(self._indices[file], folder / file)

    def _updated(self) -> Apt:
        self._update()
        if self._apt is None:
            raise AssertionError
        return self._apt

    def _update(self) -> None:
        """Update apt's lists once; what fails fails again for every origin that needs them."""
        if self._failed is not None:
            raise self._failed
        if self._apt is not None:
            return
        apt = Apt(self._folder / "apt")
        languages = [name for code in self._codes for name in debian_languages(code)]
        try:
            apt.update(dict.fromkeys(languages))
            self._names = apt.names()
        except (Unavailable, ClientError) as error:
            self._failed = error
            raise
        # SERVER_PATH_dists_SUITE_PART_i18n_Translation-LANG: the same on every mirror from dists.
        indices = {path.name.partition("_dists_")[2]: path for path in apt.translations()}
        self._indices = {name: path for name, path in indices.items() if name}
        self._apt = apt


def tell(message: str) -> None:
    """Say on the terminal what a person should know of the fetched text."""
    console.print(message, highlight=False, markup=False, soft_wrap=True)


def _merged(requests: list[Request]) -> list[Request]:
    """One request a package, for all languages that it is wanted for."""
    merged: dict[str, Request] = {}
    for request in requests:
        before = merged.get(request.name)
        languages = (before.languages if before else ()) + request.languages
        merged[request.name] = request._replace(languages=languages)
    return list(merged.values())


def _download_wheel(origin: OriginName, request: Request, path: Path) -> None:
    options: Sequence[str] = getattr(ORIGINS[origin](), "options", ())
    clients.pip_download(f"{request.name}=={request.version}", options, path.parent)
    wheels = list(path.parent.glob(f"{request.name}-{request.version}-*.whl"))
    if len(wheels) == 1:
        wheels[0].rename(path)
