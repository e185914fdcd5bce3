"""Embeddings with their external ids, in the forms that other tools read."""

from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from cfcli.core import publishing
from cfcli.core.errors import ConfigError
from cfcli.core.runs import Run

Entity = Literal["items", "users"]
Format = Literal["parquet", "csv", "npy", "word2vec", "projector"]
Layout = Literal["columns", "list"]
SUFFIX = {"parquet": ".parquet", "csv": ".csv", "npy": ".npy", "word2vec": ".txt", "projector": ".tsv"}


def table(run: Run, entity: Entity = "items", layout: Layout = "columns", titles: bool = False) -> pl.DataFrame:
    """One row per user or item, sorted by id: the id under its own column name (a number where all ids are integers),
    perhaps the title, then float32 ``column_0``, ``column_1``, ... or one fixed-size list ``embedding`` (D,)."""
    singular = entity[:-1]
    frame = run.items if entity == "items" else run.users
    name = run.info["columns"][singular]
    vectors = run.tensors[f"{singular}_embedding.weight"]
    out = frame.select(pl.col(name).cast(pl.Int64) if run.info["integer_ids"][singular] else pl.col(name))
    if titles:
        if "title" not in frame.columns:
            raise ConfigError(f"--titles: {run.path} knows no titles of {entity}; give --items to 'cfcli prepare'")
        out = out.with_columns(frame["title"])
    if layout == "list":
        out = out.with_columns(embedding=pl.Series(vectors, dtype=pl.Array(pl.Float32, vectors.shape[1])))
    else:
        out = out.with_columns(pl.Series(f"column_{k}", vectors[:, k]) for k in range(vectors.shape[1]))
    return out.sort(name)


def export(
    run: Run,
    out: Path | None = None,
    *,
    entity: Entity = "items",
    format: Format = "parquet",
    layout: Layout = "columns",
    titles: bool = False,
) -> list[Path]:
    """Writes the embeddings of a run and returns what was written, the vectors first.

    ``npy`` holds the vectors alone, (N, D), and beside it ``.ids.txt`` one id per line, line breaks in ids as blanks;
    ``projector`` is TensorBoard's pair of ``.tsv`` and ``.metadata.tsv``; ``word2vec`` is its text form, with blanks in
    ids as underscores.

    Args:
        out: the file; by default ``embeddings/<entity>`` in the run.

    Raises:
        ConfigError: asked for what the format or the run does not have.
        MachineError: it cannot be written.
    """
    if layout == "list" and format != "parquet":
        raise ConfigError(f"--layout list: {format} has no lists; use --format parquet")
    path = out or run.path / "embeddings" / f"{entity}{SUFFIX[format]}"
    frame = table(run, entity, layout, titles)
    if format in ("parquet", "csv"):
        with publishing.file(path) as stream:
            frame.write_parquet(stream) if format == "parquet" else frame.write_csv(stream)
        return [path]
    labels = frame.select(pl.col(frame.columns[:2] if titles else frame.columns[:1]).cast(pl.String))
    vectors = frame.select(pl.col("^column_.*$")).to_numpy()
    ids = labels.to_series().to_list()
    if format == "npy":
        with publishing.file(path) as stream:
            np.save(stream, vectors)
        return [path, _lines(path.with_suffix(".ids.txt"), [" ".join(i.splitlines()) for i in ids])]
    texts = [" ".join(f"{x:.9g}" for x in row) for row in vectors]
    if format == "word2vec":
        words = ["_".join(i.split()) for i in ids]
        head = f"{len(ids)} {vectors.shape[1]}"
        return [_lines(path, [head, *(f"{w} {t}" for w, t in zip(words, texts, strict=True))])]
    metadata = [_one_line(i) for i in ids]
    if titles:  # the projector wants a header only where there are several columns
        names = labels["title"].fill_null("").to_list()
        metadata = ["id\ttitle", *(f"{i}\t{_one_line(n)}" for i, n in zip(metadata, names, strict=True))]
    return [_lines(path, [t.replace(" ", "\t") for t in texts]), _lines(path.with_suffix(".metadata.tsv"), metadata)]


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _lines(path: Path, lines: list[str]) -> Path:
    with publishing.file(path) as stream:
        stream.write(("\n".join(lines) + "\n").encode())
    return path
