"""Embeddings with their external ids, in the forms that other tools read."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import IO, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cfcli.core.data.unknown import UnknownIds
from cfcli.core.errors import ArtifactError, ConfigError, InputError
from cfcli.core.models.kinds import KINDS
from cfcli.core.runs.run import Run
from cfcli.core.serving import outputs
from cfcli.core.serving.order import By
from cfcli.core.serving.order import vectors as order_vectors
from cfcli.core.storage import publishing, targets

Entity = Literal["items", "users"]
Format = Literal["parquet", "csv", "tsv", "jsonl", "arrow", "npy", "word2vec", "projector"]
Layout = Literal["columns", "list"]
Rotation = NDArray[np.float64]
TABLES = ("parquet", "csv", "tsv", "jsonl", "arrow")
WITH_LISTS = ("parquet", "jsonl", "arrow")
NAMED: dict[str, Format] = {".npy": "npy", ".txt": "word2vec", ".vec": "word2vec"}
SUFFIX = {
    "parquet": ".parquet",
    "csv": ".csv",
    "tsv": ".tsv",
    "jsonl": ".jsonl",
    "arrow": ".arrow",
    "npy": ".npy",
    "word2vec": ".txt",
    "projector": ".tsv",
}
BESIDE = {"npy": ".ids.txt", "projector": ".metadata.tsv"}  # the suffix of a second file


def table(
    run: Run,
    entity: Entity = "items",
    layout: Layout = "columns",
    titles: bool = False,
    *,
    vectors: By = "rating",
    biases: bool = False,
    rotation: Rotation | None = None,
) -> pl.DataFrame:
    """Makes a table of embeddings.

    Args:
        run: the trained model.
        entity: whose embeddings.
        layout: ``columns``: one float32 column per dimension, ``column_0``, ``column_1``, ...;
            ``list``: one column ``embedding``, a fixed-size list (D,) of float32.
        titles: add the column ``title``.
        vectors: ``rating``: the embeddings of the rating model; ``interest``: those of the interest
            model; ``list``: vectors whose inner product orders items as ``recommend`` does, see
            :func:`cfcli.core.serving.order.vectors`.
        biases: add the column ``bias``, float32.
        rotation: a matrix that the vectors are multiplied with from the right, (D, D); None leaves
            them as they are.

    Returns:
        One row per user or item, sorted by id: the id under its own column name (an integer where
        all ids are), perhaps the title, the vector, and perhaps the bias.

    Raises:
        ConfigError: the run has no titles, no biases or no such vectors, or its column of ids has
            the name of another column of the table.
    """
    singular: Literal["user", "item"] = "item" if entity == "items" else "user"
    frame = run.items if entity == "items" else run.users
    name = run.info.columns[singular]
    if vectors == "rating":
        found = run.embeddings(singular)
    else:
        found = order_vectors(run, vectors)[singular]
    if rotation is not None:
        found = (found.astype(np.float64) @ rotation).astype(np.float32)
    columns = []
    if titles:
        if "title" not in frame.columns:
            raise ConfigError(
                f"--titles: {run.path} knows no titles of {entity}; give --items to 'cfcli prepare'"
            )
        columns.append(frame["title"])
    dim = found.shape[1]
    if layout == "list":
        columns.append(pl.Series("embedding", found, dtype=pl.Array(pl.Float32, dim)))
    else:
        columns += [pl.Series(f"column_{k}", found[:, k]) for k in range(dim)]
    if biases:
        if f"{singular}_bias" not in run.tensors:
            raise ConfigError(
                f"--biases: {run.path} has none: it was trained without (biases = false)"
            )
        columns.append(pl.Series("bias", run.tensors[f"{singular}_bias"], dtype=pl.Float32))
    if name in {column.name for column in columns}:
        raise ConfigError(
            f"{run.path}: the ids of {entity} have a column '{name}', and so has something else; "
            "rename it"
        )
    id_type = pl.Int64 if run.info.integer_ids[singular] else pl.String
    return frame.select(pl.col(name).cast(id_type)).with_columns(columns).sort(name)


def width(run: Run, vectors: By) -> int:
    """The dimension of vectors.

    Args:
        run: that has them.
        vectors: which, see :func:`table`.
    """
    dim = (run.info.interest and run.info.interest.dim) or 0
    return {"rating": run.info.dim, "interest": dim, "list": run.info.dim + dim + 2}[vectors]


def export(
    run: Run,
    out: Path | None = None,
    *,
    entity: Literal["items", "users", "both"] = "items",
    format: Format | None = None,
    layout: Layout = "columns",
    titles: bool = False,
    vectors: By = "rating",
    biases: bool = False,
    excel_safe: bool = False,
    align_to: Path | None = None,
    note: Callable[[str], object] | None = None,
) -> list[Path]:
    """Writes the embeddings of a run.

    Args:
        run: the trained model.
        out: the file, or with ``both`` the folder; None for ``embeddings/<entity>`` in the run.
        entity: whose embeddings; ``both`` writes a table of items and one of users.
        format: ``parquet``, ``csv``, ``tsv``, ``jsonl`` or ``arrow``: see :func:`table`; ``npy``:
            the vectors alone, (N, D), and beside them ``.ids.txt`` with one id per line, line
            breaks in ids as blanks; ``word2vec``: its text form, blanks in ids as underscores;
            ``projector``: TensorBoard's pair of ``.tsv`` and ``.metadata.tsv``. By default what the
            name of the file says, or else ``parquet``.
        layout: see :func:`table`; ``list`` is not for CSV and TSV.
        titles: add titles, with ``both`` to the items alone; ``npy`` and ``word2vec`` have none.
        vectors: which vectors, see :func:`table`.
        biases: add the model's own biases, to tables alone.
        excel_safe: protect CSV and TSV from spreadsheets, see
            :func:`cfcli.core.serving.outputs.excel_safe`.
        align_to: an earlier export of items, see :func:`alignment`; None leaves the vectors as they
            are.
        note: is called with how many items of ``align_to`` the run does not know.

    Returns:
        The files that were written, those with vectors first.

    Raises:
        ConfigError: the format or the run does not have what was asked for, the name of the file
            asks for another format, or a file may not be written
            (:func:`cfcli.core.storage.targets.check_file`).
        InputError: ``align_to`` is not such an export.
        ArtifactError: the file ``align_to`` is damaged.
        MachineError: no permission, or no space.
    """
    named = _named(out) if out and entity != "both" else None
    if named and format and named != format and not (named == "tsv" and format == "projector"):
        raise ConfigError(f"{out}: is a name for {named}, not for --format {format}; leave one out")
    format = format or named or "parquet"
    if layout == "list" and format not in WITH_LISTS:
        raise ConfigError(f"--layout list: {format} has no lists; use --format parquet")
    if biases and format not in TABLES:
        raise ConfigError(f"--biases: {format} has no column for them; use --format parquet or csv")
    if titles and format in ("npy", "word2vec"):
        raise ConfigError(f"--titles: {format} has no place for them; use --format parquet or csv")
    if vectors != "rating" and (biases or align_to):
        raise ConfigError(f"--vectors {vectors}: cannot be combined with --biases or --align-to")
    if excel_safe and format not in ("csv", "tsv"):
        raise ConfigError("--excel-safe is for --format csv or tsv")
    entities: list[Entity] = ["items", "users"] if entity == "both" else [entity]
    folder = out if out and entity == "both" else run.path / "embeddings"
    if entity == "both" and folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder}: is a file; with --entity both, --out names a folder")
    if out and entity != "both" and out.is_dir():
        raise ConfigError(
            f"{out}: is a folder; --out names the file to write (a folder with --entity both)"
        )
    paths = [
        folder / f"{one}{SUFFIX[format]}" if out is None or entity == "both" else out
        for one in entities
    ]
    for path in paths:
        for target in _files(path, format):
            targets.check_file(target, [align_to])
    rotation = alignment(run, align_to, note) if align_to else None
    if format not in TABLES:
        layout = "list"
    # All tables are made before the first file is written, so that an error leaves none behind.
    frames = []
    for one in entities:
        with_titles = titles and not (entity == "both" and one == "users")
        frames.append(
            table(run, one, layout, with_titles, vectors=vectors, biases=biases, rotation=rotation)
        )
        if format == "word2vec":
            _check_words(frames[-1])
    first, beside = [], []
    for path, frame in zip(paths, frames, strict=True):
        written = _write(outputs.excel_safe(frame) if excel_safe else frame, path, format)
        first.append(written[0])
        beside += written[1:]
    return first + beside


def _named(path: Path) -> Format | None:
    """The format that the name of a file asks for; None where it has no suffix."""
    if path.suffix.lower() in NAMED:
        return NAMED[path.suffix.lower()]
    try:
        return outputs.form_of(str(path))
    except ConfigError as error:
        raise ConfigError(f"{error}, .npy, or .txt for word2vec") from None


def _files(path: Path, format: Format) -> list[Path]:
    """The files of one table in a format, that with vectors first."""
    if format not in BESIDE:
        return [path]
    targets.check_plain(path, format)
    return [path, path.with_suffix(BESIDE[format])]


def alignment(run: Run, path: Path, note: Callable[[str], object] | None = None) -> Rotation:
    """Finds the rotation that brings the item vectors of a run nearest to those of an earlier
    export.

    Two trainings find the same space in different rotations, because an MF only uses inner
    products. With A the vectors of the items that both have and B their earlier ones, (N, D), the
    rotation is the orthogonal R with the least ||A R - B||: R = U V' where A' B = U S V'
    (Schönemann 1966, "A generalized solution of the orthogonal Procrustes problem"). Inner products
    do not change if users are rotated with the items.

    Args:
        run: the trained model, an MF.
        path: Parquet file of items as :func:`export` writes it, in either layout.
        note: is called with how many of its items the run does not know.

    Returns:
        A rotation, perhaps with a reflection, (D, D).

    Raises:
        ConfigError: the model is no MF, or the dimensions differ.
        InputError: the file is no Parquet, a column does not exist, values are missing, or no item
        is in both. ArtifactError: the file is damaged.
        MachineError: there is no such file, or it cannot be read.
    """
    if not KINDS[run.info.model].has_linear_space:
        raise ConfigError(
            f"--align-to: {run.path} is an {run.info.model}, whose dense network reads the "
            "coordinates one by one: a rotation would change its predictions, and its space has no "
            "inner product to keep; only an mf can be turned"
        )
    name = run.info.columns.item
    frame = _read_vectors(path, name)
    now = run.tensors["item_embedding.weight"]
    if frame.height:
        dim = len(frame["embedding"][0])
        if dim != now.shape[1]:
            raise ConfigError(
                f"--align-to: {path} has dimension {dim}, {run.path} has {now.shape[1]}"
            )
    own = run.items.select(name).with_row_index("index")
    both = own.join(frame, on=name, maintain_order="left")
    counted = UnknownIds("item", run.ids.item)
    counted.count(frame[name], run.ids.item.index(frame[name]))
    said = counted.notes()
    if both.height == 0:
        what = f"{path}: no item of its column '{name}' is in {run.path}"
        raise InputError("; ".join([what, *said]))
    for text in said:
        if note is not None:
            note(f"{path}: {text}")
    before = both["embedding"].to_numpy()
    after = now[both["index"].to_numpy()].astype(np.float64)
    u, _, v = np.linalg.svd(after.T @ before)
    return np.asarray(u @ v, dtype=np.float64)


def _read_vectors(path: Path, name: str) -> pl.DataFrame:
    """Columns ``name`` (text) and ``embedding`` (fixed-size list of float64) of an export in either
    layout."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    wants = (
        f"--align-to takes a Parquet export of items, with '{name}' and column_0, column_1, ... or "
        "'embedding'"
    )
    try:
        with publishing.machine_errors(path), path.open("rb") as stream:
            if not stream.peek().startswith(b"PAR1"):
                raise InputError(f"{path}: is no Parquet file; {wants}")
            # Without threads: Arrow's may still run, and abort the process, when an error ends it.
            data = pq.ParquetFile(stream, page_checksum_verification=True).read(use_threads=False)
            data.validate(full=True)
            frame = pl.DataFrame(
                {c: pl.from_arrow(data.column(c)) for c in dict.fromkeys(data.column_names)}
            )
    except (
        pa.ArrowException,
        pl.exceptions.PolarsError,
        pl.exceptions.PanicException,
        ValueError,
    ) as error:
        reason = str(error).partition("\n")[0]
        raise ArtifactError(f"{path}: damaged: {reason}; {wants}") from None
    numbered = [f"column_{k}" for k in range(frame.width)]
    columns = [column for column in numbered if column in {*frame.columns} - {name}]
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
    """Writes one table, which has the layout ``list`` in a format that is no table."""
    paths = _files(path, format)
    if format in TABLES:
        if format == "jsonl":
            frame = outputs.with_texts(frame, frame.columns[:1])
        outputs.write([frame], str(path), form=format)
        return paths
    vectors = frame["embedding"].to_numpy()
    ids = frame.to_series().cast(pl.String).to_list()
    if format == "npy":
        with publishing.file(path) as stream:
            np.save(_Writer(stream), vectors)
        lines = [" ".join(text.splitlines()) for text in ids]
        _lines(paths[1], lines)
        return paths
    texts = [[f"{x:.9g}" for x in row] for row in vectors]
    if format == "word2vec":
        head = f"{len(ids)} {vectors.shape[1]}"
        rows = [" ".join([_word(i), *row]) for i, row in zip(ids, texts, strict=True)]
        _lines(path, [head, *rows])
        return paths
    metadata = [_one_line(i) for i in ids]
    # The projector wants a header only where there are several columns.
    if "title" in frame.columns:
        names = frame["title"].fill_null("").to_list()
        rows = [f"{i}\t{_one_line(name)}" for i, name in zip(metadata, names, strict=True)]
        metadata = ["id\ttitle", *rows]
    _lines(path, ["\t".join(row) for row in texts])
    _lines(paths[1], metadata)
    return paths


class _Writer:
    """A stream without a file descriptor: NumPy would write into that directly, and does not
    notice where that fails."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.write = stream.write


def _check_words(frame: pl.DataFrame) -> None:
    """Checks that no two ids become the same word: readers keep one vector for each."""
    ids = frame.to_series().cast(pl.String)
    word, count = Counter(map(_word, ids)).most_common(1)[0]
    if count > 1:
        raise ConfigError(
            f"--format word2vec: {count} ids become the word '{word}', as words have no blanks; "
            "use another format"
        )


def _word(text: str) -> str:
    return "_".join(text.split())


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _lines(path: Path, lines: list[str]) -> None:
    with publishing.file(path) as stream:
        stream.write(("\n".join(lines) + "\n").encode())
