"""Downloads of MovieLens archives, from a server of our own on 127.0.0.1."""

import dataclasses
import hashlib
import io
import os
import random
import re
import stat
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cfcli.core.errors import ArtifactError, ConfigError, LockedError, MachineError
from cfcli.core.inputs import download, movielens

RATINGS = b"1::1193::5::978300760\n"


def make_zip(folder: str = "ml-1m", ratings: str = "ratings.dat", seed: int = 1) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(f"{folder}/{ratings}", RATINGS)
        # Several chunks long, so that a cut falls between them.
        archive.writestr(f"{folder}/padding", random.Random(seed).randbytes(300_000))
    return buffer.getvalue()


class Server(ThreadingHTTPServer):
    """Serves ``files``; what it does wrong is set by the test."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.ranges = True
        self.length = True
        self.cut: int | None = None
        self.seen: list[tuple[str, str | None]] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers["Range"]
        name = self.path.rpartition("/")[2]
        server.seen.append((name, wanted))
        body = server.files.get(name)
        if body is None:
            return self.send_error(404)
        start = 0
        if wanted and server.ranges:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(body):
                return self.send_error(416)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if server.length:
            self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start : server.cut])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CFCLI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "cache"


@pytest.fixture
def server(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setenv("CFCLI_MOVIELENS_URL", f"http://127.0.0.1:{server.server_port}/mirror/")
    server.files["ml-1m.zip"] = make_zip()
    expect(monkeypatch, server.files["ml-1m.zip"])
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def expect(monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    known = dataclasses.replace(movielens.DATASETS["ml-1m"], md5=hashlib.md5(body).hexdigest())
    monkeypatch.setitem(movielens.DATASETS, "ml-1m", known)


def cut_after(server: Server, size: int) -> None:
    server.cut = size
    with pytest.raises(MachineError, match="run it again to resume"):
        movielens.fetch("ml-1m")
    server.cut = None
    server.seen.clear()


def left(cache: Path) -> set[str]:
    return {path.name for path in cache.iterdir()} - {"ml-1m.zip.lock", "ml-latest-small.zip.lock"}


def test_fresh_download_reports_progress_and_the_second_needs_no_server(
    server: Server, cache: Path
) -> None:
    body = server.files["ml-1m.zip"]
    calls: list[tuple[int, int | None]] = []
    path = movielens.fetch("ml-1m", progress=lambda done, total: calls.append((done, total)))
    assert path == cache / "ml-1m.zip"
    assert path.read_bytes() == body
    assert calls[0] == (0, len(body))
    assert calls[-1] == (len(body), len(body))
    assert calls == sorted(calls)
    assert len(calls) > 3
    assert left(cache) == {"ml-1m.zip"}
    assert server.seen == [("ml-1m.zip", None)]
    assert movielens.fetch("ml-1m") == path
    assert len(server.seen) == 1


def test_total_is_none_without_content_length(server: Server) -> None:
    server.length = False
    calls: list[tuple[int, int | None]] = []
    movielens.fetch("ml-1m", progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (len(server.files["ml-1m.zip"]), None)


def test_damaged_cached_zip_is_downloaded_again(server: Server, cache: Path) -> None:
    cache.mkdir()
    (cache / "ml-1m.zip").write_bytes(b"PK")
    assert movielens.fetch("ml-1m").read_bytes() == server.files["ml-1m.zip"]


@pytest.mark.skipif(os.name == "nt", reason="no umask")
def test_mode_follows_the_umask(server: Server) -> None:
    old = os.umask(0o027)
    try:
        path = movielens.fetch("ml-1m")
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_cut_download_is_resumed(server: Server, cache: Path) -> None:
    cut_after(server, 100_000)
    assert (cache / "ml-1m.zip.part").stat().st_size == 100_000
    calls: list[tuple[int, int | None]] = []
    path = movielens.fetch("ml-1m", progress=lambda done, total: calls.append((done, total)))
    assert server.seen == [("ml-1m.zip", "bytes=100000-")]
    assert path.read_bytes() == server.files["ml-1m.zip"]
    assert calls[0] == (100_000, len(path.read_bytes()))
    assert left(cache) == {"ml-1m.zip"}


def test_stalled_download_keeps_what_came(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    stop = threading.Event()
    monkeypatch.setattr(Handler, "finish", lambda handler: stop.wait(5))
    server.cut = 2 * 65536
    with pytest.raises(MachineError, match="timed out after 131,072 bytes; run it again to resume"):
        movielens.fetch("ml-1m")
    stop.set()
    assert (cache / "ml-1m.zip.part").stat().st_size == 2 * 65536


def test_server_without_ranges_restarts(server: Server) -> None:
    cut_after(server, 100_000)
    server.ranges = False
    assert movielens.fetch("ml-1m").read_bytes() == server.files["ml-1m.zip"]
    assert server.seen == [("ml-1m.zip", "bytes=100000-")]


def test_an_archive_that_changed_since_the_cut_is_downloaded_from_the_start(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_after(server, 100_000)
    server.files["ml-1m.zip"] = make_zip(seed=2)
    expect(monkeypatch, server.files["ml-1m.zip"])
    assert movielens.fetch("ml-1m").read_bytes() == server.files["ml-1m.zip"]
    assert server.seen == [("ml-1m.zip", "bytes=100000-"), ("ml-1m.zip", None)]


def test_part_longer_than_the_archive_restarts(server: Server, cache: Path) -> None:
    cache.mkdir()
    (cache / "ml-1m.zip.part").write_bytes(bytes(len(server.files["ml-1m.zip"])))
    assert movielens.fetch("ml-1m").read_bytes() == server.files["ml-1m.zip"]
    assert [wanted is None for _, wanted in server.seen] == [False, True]


def test_wrong_checksum_leaves_nothing(server: Server, cache: Path) -> None:
    server.files["ml-1m.zip"] = other = make_zip(seed=2)
    with pytest.raises(ArtifactError) as caught:
        movielens.fetch("ml-1m")
    assert hashlib.md5(other).hexdigest() in str(caught.value)
    assert str(movielens.DATASETS["ml-1m"].md5) in str(caught.value)
    assert left(cache) == set()


def test_not_found_and_refused_are_one_line_with_a_way_out(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    del server.files["ml-1m.zip"]
    with pytest.raises(MachineError, match=r"ml-1m\.zip: HTTP 404 .*--dataset sample") as missing:
        movielens.fetch("ml-1m")
    monkeypatch.setenv("CFCLI_MOVIELENS_URL", "http://127.0.0.1:1")
    with pytest.raises(
        MachineError, match=r"127\.0\.0\.1:1/ml-1m\.zip: .*refused; .*--dataset sample"
    ) as refused:
        movielens.fetch("ml-1m")
    assert "\n" not in str(missing.value) + str(refused.value)


@pytest.mark.parametrize("form", ["MD5 (ml-latest-small.zip) = {}\n", "{}  ml-latest-small.zip\n"])
def test_latest_is_checked_against_its_sidecar(server: Server, cache: Path, form: str) -> None:
    body = server.files["ml-latest-small.zip"] = make_zip("ml-latest-small", "ratings.csv")
    server.files["ml-latest-small.zip.md5"] = form.format("0" * 32).encode()
    with pytest.raises(ArtifactError, match="0" * 32):
        movielens.fetch("ml-latest-small")
    server.files["ml-latest-small.zip.md5"] = form.format(
        hashlib.md5(body).hexdigest().upper()
    ).encode()
    path = movielens.fetch("ml-latest-small")
    assert left(cache) == {"ml-latest-small.zip", "ml-latest-small.zip.md5"}
    server.seen.clear()
    assert movielens.fetch("ml-latest-small") == path
    assert server.seen == []
    path.write_bytes(make_zip(seed=2))
    movielens.fetch("ml-latest-small")
    assert path.read_bytes() == body


def test_latest_without_a_sidecar_is_only_checked_for_being_a_zip(
    server: Server, cache: Path
) -> None:
    server.files["ml-latest-small.zip"] = b"<html>log in to this network</html>"
    with pytest.raises(ArtifactError, match="not a zip"):
        movielens.fetch("ml-latest-small")
    assert left(cache) == set()
    server.files["ml-latest-small.zip"] = make_zip("ml-latest-small", "ratings.csv")
    movielens.fetch("ml-latest-small")
    server.seen.clear()
    movielens.fetch("ml-latest-small")
    assert server.seen == []


def test_latest_with_a_sidecar_that_is_none(server: Server) -> None:
    server.files["ml-latest-small.zip.md5"] = b"<html>log in to this network</html>"
    with pytest.raises(ArtifactError, match="no MD5"):
        movielens.fetch("ml-latest-small")


@pytest.mark.parametrize(
    ("name", "near"),
    [("ml-1n", "ml-1m"), ("ML-25M", "ml-25m"), ("100k", "ml-100k"), ("samlpe", "sample")],
)
def test_unknown_name_gets_the_nearest(name: str, near: str) -> None:
    for function in (movielens.fetch, movielens.members):
        with pytest.raises(ConfigError, match=f"'{name}'; did you mean '{near}'"):
            function(name)


def test_mirror_that_is_no_web_address(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CFCLI_MOVIELENS_URL", "file:///etc")
    with pytest.raises(ConfigError, match="CFCLI_MOVIELENS_URL"):
        movielens.fetch("ml-1m")


def test_two_at_once(server: Server, cache: Path) -> None:
    pytest.importorskip("fcntl")
    cache.mkdir()
    with (
        download.locked(cache / "ml-1m.zip.lock"),
        pytest.raises(LockedError, match="another process"),
    ):
        movielens.fetch("ml-1m")
    assert server.seen == []


def test_cache_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("CFCLI_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(MachineError, match=r"cannot keep .*CFCLI_CACHE"):
        movielens.fetch("ml-1m")


def test_cache_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CFCLI_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert movielens.cache_dir() == tmp_path / "own"
    monkeypatch.delenv("CFCLI_CACHE")
    assert movielens.cache_dir() == tmp_path / "cfcli"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert movielens.cache_dir() == tmp_path / ".cache" / "cfcli"

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(MachineError, match="set CFCLI_CACHE"):
        movielens.cache_dir()


def test_members_are_read_from_the_zip(tmp_path: Path) -> None:
    path = tmp_path / "ml-1m.zip"
    path.write_bytes(make_zip())
    ratings, items = movielens.members("ml-1m")
    with movielens.open_member(path, ratings) as stream:
        assert stream.read() == RATINGS
    with (
        pytest.raises(ArtifactError, match=f"ml-1m.zip: has no file '{items}'"),
        movielens.open_member(path, items),
    ):
        pass
    assert movielens.members("ml-10m") == ["ml-10M100K/ratings.dat", "ml-10M100K/movies.dat"]


def test_damaged_zip_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ml-1m.zip"
    [ratings], files = movielens.sources("ml-1m", path)
    assert files.user is not None
    assert files.user.name == "ml-1m.zip:ml-1m/users.dat"
    with pytest.raises(MachineError, match=r"ml-1m\.zip:ml-1m/ratings\.dat: No such file"):
        ratings.read()
    path.write_bytes(b"nonsense")
    with (
        pytest.raises(ArtifactError, match=re.escape(str(path))),
        movielens.open_member(path, "ml-1m/ratings.dat"),
    ):
        pass
    path.write_bytes(make_zip().replace(RATINGS, RATINGS[::-1]))
    damaged = pytest.raises(ArtifactError, match=r"ml-1m.zip: 'ml-1m/ratings.dat' is damaged")
    with damaged, movielens.open_member(path, "ml-1m/ratings.dat") as stream:
        stream.read()
