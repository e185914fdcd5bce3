"""``prepare --dataset`` against a server on this machine."""

import io
import json
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from shell import run_cfcli, write_ratings


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder and logs nothing."""

    def log_message(self, *args: object) -> None: ...


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A mirror with two archives, and the environment that makes cfcli use it."""
    served = tmp_path / "served"
    served.mkdir()
    ratings = write_ratings(tmp_path / "ratings.csv").read_text()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("ml-latest-small/ratings.csv", ratings)
        archive.writestr(
            "ml-latest-small/movies.csv", 'movieId,title,genres\n1,"Film, The (1999)",Drama\n'
        )
    (served / "ml-latest-small.zip").write_bytes(stream.getvalue())
    (served / "ml-100k.zip").write_bytes(b"not what GroupLens publishes")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(served)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield {
        "CFCLI_MOVIELENS_URL": f"http://127.0.0.1:{server.server_port}",
        "CFCLI_CACHE": str(tmp_path / "cache"),
    }
    server.shutdown()
    server.server_close()


def test_a_named_dataset_is_downloaded_once_into_the_cache(
    mirror: dict[str, str], tmp_path: Path
) -> None:
    done = run_cfcli("prepare", "--dataset", "ml-latest-small", "--json", cwd=tmp_path, env=mirror)
    assert done.returncode == 0, done.stderr
    assert "GroupLens" in done.stderr
    result = json.loads(done.stdout)
    assert (result["users"], result["items"]) == (80, 60)
    assert (tmp_path / "cache" / "ml-latest-small.zip").exists()
    offline = mirror | {"CFCLI_MOVIELENS_URL": "http://127.0.0.1:9"}
    again = run_cfcli(
        "prepare", "--dataset", "ml-latest-small", "--json", cwd=tmp_path, env=offline
    )
    assert json.loads(again.stdout)["fingerprint"] == result["fingerprint"]


def test_a_download_that_is_not_what_was_published_is_refused(
    mirror: dict[str, str], tmp_path: Path
) -> None:
    done = run_cfcli("prepare", "--dataset", "ml-100k", "--quiet", cwd=tmp_path, env=mirror)
    assert done.returncode == 7
    assert "0e33842e24a9c977be4e0107933c0723" in done.stderr
    assert not (tmp_path / "data").exists()


def test_without_a_network_one_line_says_what_to_do(mirror: dict[str, str], tmp_path: Path) -> None:
    offline = mirror | {"CFCLI_MOVIELENS_URL": "http://127.0.0.1:9"}
    done = run_cfcli("prepare", "--dataset", "ml-1m", "--quiet", cwd=tmp_path, env=offline)
    assert done.returncode == 4
    assert done.stderr.count("\n") == 1
    assert "cfcli prepare --dataset sample" in done.stderr
