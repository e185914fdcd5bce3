"""The same ratings in every form make the same dataset."""

import io
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from cfcli.cli.app import app

FRAME = pl.DataFrame(
    [
        (f"{k % 7:03}", 2**60 + k * 37 % 11, k % 9 / 2 + 0.5, 964982703 + 86400 * k)
        for k in range(60)
    ],
    schema=["user", "item", "rating", "time"],
    orient="row",
)


def database() -> bytes:
    with closing(sqlite3.connect(":memory:")) as made:
        made.execute(f"create table ratings ({', '.join(FRAME.columns)})")
        made.executemany("insert into ratings values (?, ?, ?, ?)", FRAME.rows())
        made.commit()
        return made.serialize()


def forms() -> dict[str, bytes]:
    arrow, stream = io.BytesIO(), io.BytesIO()
    FRAME.write_ipc(arrow, compression="zstd")
    FRAME.write_ipc_stream(stream)
    csv = FRAME.write_csv()
    excel = csv.replace(",", ";").replace("\n", ";;\r\n")
    return {
        "r.jsonl": FRAME.write_ndjson().encode(),
        "r.json": FRAME.write_json().encode(),
        "r.arrow": arrow.getvalue(),
        "r.arrows": stream.getvalue(),
        "r.db": database(),
        "blanks.txt": csv.replace(",", "  ").encode(),
        "excel.csv": f"sep=;\r\n{excel}".encode(),
        "semicolons.csv": excel.encode(),
    }


def prepared(name: str, content: bytes) -> dict[str, object]:
    Path(name).write_bytes(content)
    done = CliRunner().invoke(app, ["prepare", name, "--out", f"{name}.data", "-q"])
    assert done.exit_code == 0, done.stderr
    info: dict[str, object] = json.loads(Path(f"{name}.data/dataset.json").read_text())
    return info


@pytest.mark.parametrize("name", forms())
def test_the_dataset_is_that_of_the_csv(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    expected = prepared("r.csv", FRAME.write_csv().encode())
    found = prepared(name, forms()[name])
    assert found["fingerprint"] == expected["fingerprint"]
    for table in ("users", "items", "train", "val", "test"):
        other = pl.read_parquet(f"{name}.data/{table}.parquet")
        assert other.equals(pl.read_parquet(f"r.csv.data/{table}.parquet"))
