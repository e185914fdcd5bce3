"""Embeddings with their external ids, in the forms that other tools read."""

from collections import Counter
from pathlib import Path
from typing import IO, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cfcli.core.errors import ArtifactError, ConfigError, InputError, MachineError
from cfcli.core.models.kinds import KINDS
from cfcli.core.runs.run import Run
from cfcli.core.serving import outputs
from cfcli.core.storage import publishing

Entity = Literal["items", "users"]
Format = Literal["parquet", "csv", "npy", "word2vec", "projector"]
Layout = Literal["columns", "list"]
Rotation = NDArray[np.float64]
SUFFIX = {
    "parquet": ".parquet",
    "csv": ".csv",
    "npy": ".npy",
    "word2vec": ".txt",
    "projector": ".tsv",
}


def table(
    run: Run,
    entity: Entity = "items",
    layout: Layout = "columns",
    titles: bool = False,
    *,
    biases: bool = False,
    rotation: Rotation | None = None,
) -> pl.DataFrame:
    """One row per user or item, sorted by id: the id under its own column name (a number where all
    ids are integers), perhaps the title, then float32 ``column_0``, ``column_1``, ... or one
    fixed-size list ``embedding`` (D,), perhaps the model's own float32 ``bias``.

    Args:
        rotation: what the vectors are multiplied with from the right, (D, D).

    Raises:
        ConfigError: the run has no titles or biases, or ids whose column has the name of another
            one.
    """
    singular: Literal["user", "item"] = "item" if entity == "items" else "user"
    frame = run.items if entity == "items" else run.users
    name = run.info.columns[singular]
    vectors = run.tensors[f"{singular}_embedding.weight"]
    if rotation is not None:
        vectors = (vectors.astype(np.float64) @ rotation).astype(np.float32)
    columns = []
    if titles:
        if "title" not in frame.columns:
            raise ConfigError(
                f"--titles: {run.path} knows no titles of {entity}; give --items to 'cfcli prepare'"
            )
        columns.append(frame["title"])
    if layout == "list":
        columns.append(
            pl.Series("embedding", vectors, dtype=pl.Array(pl.Float32, vectors.shape[1]))
        )
    else:
        columns += [pl.Series(f"column_{k}", vectors[:, k]) for k in range(vectors.shape[1])]
    if biases:
        if f"{singular}_bias" not in run.tensors:
            raise ConfigError(
                f"--biases: {run.path} has none: it was trained without (biases = false)"
            )
        columns.append(pl.Series("bias", run.tensors[f"{singular}_bias"], dtype=pl.Float32))
    if name in {column.name for column in columns}:
        raise ConfigError(
            f"{run.path}: the ids of {entity} stand in a column '{name}', as others would; rename it"
        )
    ids = frame.select(
        pl.col(name).cast(pl.Int64) if run.info.integer_ids[singular] else pl.col(name)
    )
    return ids.with_columns(columns).sort(name)


def export(
    run: Run,
    out: Path | None = None,
    *,
    entity: Literal["items", "users", "both"] = "items",
    format: Format = "parquet",
    layout: Layout = "columns",
    titles: bool = False,
    biases: bool = False,
    excel_safe: bool = False,
    align_to: Path | None = None,
) -> list[Path]:
    """Writes the embeddings of a run and returns what was written, the vectors first.

    ``npy`` holds the vectors alone, (N, D), and beside it ``.ids.txt`` one id per line, line breaks
    in ids as blanks; ``projector`` is TensorBoard's pair of ``.tsv`` and ``.metadata.tsv``;
    ``word2vec`` is its text form, with blanks in ids as underscores.

    Args:
        out: the file, or with ``both`` the folder; by default ``embeddings/<entity>`` in the run.
        titles, biases: as in :func:`table`; of ``both``, only items have titles.
        excel_safe: texts in CSV that a spreadsheet would run as formulas get an apostrophe in
            front.
        align_to: an export of items to turn the vectors onto, see :func:`alignment`.

    Raises:
        ConfigError: asked for what the format or the run does not have.
        InputError, ArtifactError: ``align_to`` cannot be used.
        MachineError: it cannot be written.
    """
    if layout == "list" and format != "parquet":
        raise ConfigError(f"--layout list: {format} has no lists; use --format parquet")
    if biases and format not in ("parquet", "csv"):
        raise ConfigError(f"--biases: {format} has no column for them; use --format parquet or csv")
    if excel_safe and format != "csv":
        raise ConfigError("--excel-safe is for --format csv")
    entities: list[Entity] = ["items", "users"] if entity == "both" else [entity]
    folder = out if out and entity == "both" else run.path / "embeddings"
    if entity == "both" and folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder}: is a file; with --entity both, --out names a folder")
    if out and entity != "both" and out.is_dir():
        raise ConfigError(
            f"{out}: is a folder; --out names the file to write (a folder with --entity both)"
        )
    rotation = alignment(run, align_to) if align_to else None
    if format not in ("parquet", "csv"):
        layout = "list"
    # All tables come before the first file: what cannot be had leaves nothing behind.
    frames = []
    for one in entities:
        with_titles = titles and not (entity == "both" and one == "users")
        frames.append(table(run, one, layout, with_titles, biases=biases, rotation=rotation))
        if format == "word2vec":
            _check_words(frames[-1])
    first, beside = [], []
    for one, frame in zip(entities, frames, strict=True):
        path = folder / f"{one}{SUFFIX[format]}" if out is None or entity == "both" else out
        paths = _write(outputs.excel_safe(frame) if excel_safe else frame, path, format)
        first.append(paths[0])
        beside += paths[1:]
    return first + beside


def alignment(run: Run, path: Path) -> Rotation:
    """The rotation or reflection (D, D) that brings the run's item vectors nearest to those of an
    earlier export.

    Two trainings find the same space but turned, for only inner products matter to an MF. With A
    the vectors of the items that both have and B their earlier ones, (N, D), it is the orthogonal R
    with least ||A R - B||: R = U V' where A' B = U S V' (Schönemann 1966, "A generalized solution
    of the orthogonal Procrustes problem"). Inner products stay what they are as long as users are
    turned along with items.

    Args:
        path: Parquet file of items as :func:`export` writes it, in either layout.

    Raises:
        ConfigError: the model is no MF, or the dimensions differ.
        InputError: no such file, no such columns, values missing, no item in both.
        ArtifactError: the file is damaged.
    """
    if not KINDS[run.info.model].has_linear_space:
        raise ConfigError(
            f"--align-to: {run.path} is an {run.info.model}, whose dense network reads the coordinates one by one: "
            "a rotation changes its predictions, and its space has no inner product to keep; only an mf can be turned"
        )
    name = run.info.columns.item
    frame = _read_vectors(path, name)
    now, dim = (
        run.tensors["item_embedding.weight"],
        len(frame["embedding"][0]) if frame.height else 0,
    )
    if frame.height and dim != now.shape[1]:
        raise ConfigError(f"--align-to: {path} has dimension {dim}, {run.path} has {now.shape[1]}")
    both = (
        run.items.select(pl.col(name))
        .with_row_index("index")
        .join(frame, on=name, maintain_order="left")
    )
    if both.height == 0:
        raise InputError(f"{path}: no item of its column '{name}' is in {run.path}")
    before = both["embedding"].to_numpy()
    u, _, v = np.linalg.svd(now[both["index"].to_numpy()].astype(np.float64).T @ before)
    return np.asarray(u @ v, dtype=np.float64)


def _read_vectors(path: Path, name: str) -> pl.DataFrame:
    """Columns ``name`` (text) and ``embedding`` (fixed-size list of float64) of an export in either
    layout."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    wants = f"--align-to wants a Parquet export of items, with '{name}' and column_0, column_1, ... or 'embedding'"
    try:
        with publishing.machine_errors(path), path.open("rb") as stream:
            # Without threads: those of Arrow may still run, and abort the process, when an error
            # ends it.
            data = pq.ParquetFile(stream, page_checksum_verification=True).read(use_threads=False)
            data.validate(full=True)
            frame = pl.DataFrame(
                {c: pl.from_arrow(data.column(c)) for c in dict.fromkeys(data.column_names)}
            )
    except MachineError as error:
        if isinstance(error.__cause__, FileNotFoundError | IsADirectoryError):
            raise InputError(f"{path}: {error.__cause__.strerror}; {wants}") from None
        raise
    except (
        pa.ArrowException,
        pl.exceptions.PolarsError,
        pl.exceptions.PanicException,
        ValueError,
    ) as error:
        raise ArtifactError(
            f"{path}: damaged: {(str(error).splitlines() or [''])[0]}; {wants}"
        ) from None
    columns = [
        f"column_{k}"
        for k in range(frame.width)
        if f"column_{k}" in frame.columns and f"column_{k}" != name
    ]
    if name not in frame.columns or not (columns or "embedding" in frame.columns):
        raise InputError(f"{path}: has no such columns; {wants}")
    try:
        ids = frame[name].cast(pl.String)
        listed = pl.Series(frame.select(columns).to_numpy()) if columns else frame["embedding"]
        if listed.dtype == pl.List:
            listed = listed.list.to_array(listed.list.len().max() or 0)  # type: ignore[arg-type]
        vectors = listed.cast(pl.Array(pl.Float64, listed.dtype.shape[0]))  # type: ignore[attr-defined]
        sound = bool(np.isfinite(vectors.to_numpy()).all())
    except (pl.exceptions.PolarsError, AttributeError, TypeError, ValueError):
        sound = False
    if not sound or ids.null_count() or ids.n_unique() < len(ids):
        raise InputError(
            f"{path}: has ids twice or missing, or vectors that are no finite numbers of one length"
        )
    return pl.DataFrame({name: ids, "embedding": vectors})


def _write(frame: pl.DataFrame, path: Path, format: Format) -> list[Path]:
    """One table in one form; for what is neither Parquet nor CSV, in the layout ``list``."""
    if format in ("parquet", "csv"):
        outputs.write([frame], str(path), form=format)
        return [path]
    vectors = frame["embedding"].to_numpy()
    ids = frame.to_series().cast(pl.String).to_list()
    if format == "npy":
        with publishing.file(path) as stream:
            np.save(_Writer(stream), vectors)
        return [path, _lines(path.with_suffix(".ids.txt"), [" ".join(i.splitlines()) for i in ids])]
    texts = [[f"{x:.9g}" for x in row] for row in vectors]
    if format == "word2vec":
        words = [_word(i) for i in ids]
        head = f"{len(ids)} {vectors.shape[1]}"
        return [
            _lines(path, [head, *(" ".join([w, *t]) for w, t in zip(words, texts, strict=True))])
        ]
    metadata = [_one_line(i) for i in ids]
    if (
        "title" in frame.columns
    ):  # the projector wants a header only where there are several columns
        names = frame["title"].fill_null("").to_list()
        metadata = [
            "id\ttitle",
            *(f"{i}\t{_one_line(n)}" for i, n in zip(metadata, names, strict=True)),
        ]
    return [
        _lines(path, ["\t".join(row) for row in texts]),
        _lines(path.with_suffix(".metadata.tsv"), metadata),
    ]


class _Writer:
    """What has no file descriptor: NumPy writes past Python into one, and takes no notice where
    that fails."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.write = stream.write


def _check_words(frame: pl.DataFrame) -> None:
    """Readers keep one vector per word, so that two ids must not become the same."""
    ids = frame.to_series().cast(pl.String)
    word, count = Counter(map(_word, ids)).most_common(1)[0]
    if count > 1:
        raise ConfigError(
            f"--format word2vec: {count} ids become the word '{word}', for it has no blanks; use another"
        )


def _word(text: str) -> str:
    return "_".join(text.split())


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _lines(path: Path, lines: list[str]) -> Path:
    with publishing.file(path) as stream:
        stream.write(("\n".join(lines) + "\n").encode())
    return path
