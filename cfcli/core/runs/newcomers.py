"""Users and items that came after the training, as far as attributes tell of them."""

from collections.abc import Callable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cfcli.core.data.attributes import encode
from cfcli.core.data.known import read_again
from cfcli.core.data.unknown import SAMPLE, find_lookalike
from cfcli.core.errors import ConfigError, InputError
from cfcli.core.inputs.pairs import read_ids
from cfcli.core.inputs.roles import Form
from cfcli.core.inputs.sources import Source
from cfcli.core.models.interest import Interest
from cfcli.core.pair import Entity
from cfcli.core.runs.run import Run

Floats = NDArray[np.float32]


def with_newcomers(run: Run, entity: Entity, frame: pl.DataFrame) -> Run:
    """The run with more users or items, whose vectors follow from their attributes. With items, the
    embeddings of the rating model may become wider, see :func:`_with_shift`.

    Args:
        run: trained with attributes.
        entity: what is added.
        frame: one row for each: ``id``, perhaps ``title`` and ``genres``, and attributes. Those
            with training rows, and those of whom no attribute is known, are passed over.

    Returns:
        The run in memory alone: what is new has the indices behind the others, and no ratings.
    """
    content = run.content[entity]
    if content is None:
        return run
    table = run.users if entity == "user" else run.items
    trained = table.filter(pl.col("n_ratings") > 0)[table.columns[0]].cast(pl.String)
    frame = frame.filter(~pl.col("id").is_in(trained.implode()))
    matrix = encode(content.described, frame)
    told: NDArray[np.bool_] = (matrix != 0).any(axis=1)
    frame, vectors = frame.filter(pl.Series(told)), content.vectors(matrix[told])
    width = run.info.dim + 1
    if content.shift is not None:
        run = _with_shift(run, content.shift)
    more = with_vectors(run, entity, frame, _widened(run, entity, vectors[:, :width]))
    if run.interest is None:
        return more
    # It has nothing yet of those who have no training rows.
    place = more.ids[entity].index(frame["id"]).to_numpy()
    return more.with_parts(interest=_with(run.interest, entity, vectors[:, width:], place))


def with_vectors(run: Run, entity: Entity, frame: pl.DataFrame, vectors: Floats) -> Run:
    """The run with other vectors of some users or items in its rating model.

    Args:
        run: the run.
        entity: whose vectors.
        frame: one row for each (N): ``id``, perhaps ``title`` and ``genres``.
        vectors: the embeddings with the bias last, (N, D + 1), as wide as those of the run.

    Returns:
        The run in memory alone: those whom it did not know have the indices behind the others, and
        no ratings.
    """
    is_new = run.ids[entity].index(frame["id"]).is_null()
    table = run.users if entity == "user" else run.items
    more = run.with_parts(**{f"{entity}s": _longer(table, frame.filter(is_new), run)})
    place = more.ids[entity].index(frame["id"]).to_numpy()
    parts = {f"{entity}_embedding.weight": vectors[:, :-1], f"{entity}_bias": vectors[:, -1]}
    changed = {
        key: _set(run.tensors[key], place, value)
        for key, value in parts.items()
        if key in run.tensors
    }
    return more.with_parts(tensors=run.tensors | changed)


def read_newcomers(
    run: Run, source: Source, entity: Entity, form: Form, note: Callable[[str], object]
) -> tuple[Run, pl.Series]:
    """The run with the users or items of a file, as :func:`with_newcomers` adds them.

    Args:
        run: trained with or without attributes.
        source: the file: attributes, or ids alone.
        entity: what it is of.
        form: of the file.
        note: is called with what a person should know of the file.

    Returns:
        The run, and the ids in the file.

    Raises:
        InputError: it is no such file, or has something else in the place of a number.
        MachineError: it cannot be read.
    """
    content = run.content[entity]
    if content is None:
        return run, read_ids(source, entity, form)
    frame = read_again(source, entity, content.described, form, note)
    _note_on_ids(run, entity, frame, source.name, note)
    return with_newcomers(run, entity, frame), frame["id"]


def with_source(
    run: Run, source: Source, entity: Entity, form: Form, note: Callable[[str], object]
) -> Run:
    """The run with the users or items of a file that it must be able to use.

    Args:
        run: trained with attributes.
        source: the file of attributes.
        entity: what it is of.
        form: of the file.
        note: is called with what a person should know of the file.

    Raises:
        ConfigError: the run knows no attributes.
        InputError: it is no such file, has none of the attributes, or something else in the place
            of a number.
        MachineError: it cannot be read.
    """
    content = run.content[entity]
    if content is None:
        raise ConfigError(
            f"--{entity}s: {run.path} knows no attributes of {entity}s; give --{entity}s to "
            "'cfcli prepare' and train again"
        )
    frame = read_again(source, entity, content.described, form, note)
    names = [each.name for each in content.described]
    if not set(names) & set(frame.columns):
        raise InputError(f"{source.name}: has none of the attributes {', '.join(names)}")
    _note_on_ids(run, entity, frame, source.name, note)
    return with_newcomers(run, entity, frame)


def _note_on_ids(
    run: Run, entity: Entity, frame: pl.DataFrame, where: str, note: Callable[[str], object]
) -> None:
    """Says which ids count as new ones, although they look like known ones."""
    ids = frame["id"].filter(run.ids[entity].index(frame["id"]).is_null())
    alike = find_lookalike(ids.head(SAMPLE), run.ids[entity])
    if alike is not None:
        note(
            f"{where}: '{alike.unknown}' counts as a new {entity} (the run has '{alike.known}': "
            f"{alike.reason}?)"
        )


def _with_shift(run: Run, shift: Floats) -> Run:
    """The run with D + 1 more columns behind its embeddings. Those of a user are their shift, and
    those of an item that has ratings are 0. What attributes tell of a new item stands there once
    more, with 1 for the bias, so that the inner product with a user is that with the shifted one.

    The sampler, which alone has shifts, has no weight but 1 for the inner product.
    """
    tables = {entity: run.tensors[f"{entity}_embedding.weight"] for entity in ("user", "item")}
    if tables["user"].shape[1] > run.info.dim:
        return run
    later = np.tile(shift.mean(0), (len(tables["user"]) - len(shift), 1))
    more = {
        "user": np.concatenate([shift, later]),
        "item": np.zeros_like(shift, shape=(len(tables["item"]), shift.shape[1])),
    }
    wide = {
        f"{name}_embedding.weight": np.column_stack([table, more[name]])
        for name, table in tables.items()
    }
    return run.with_parts(tensors=run.tensors | wide)


def _widened(run: Run, entity: Entity, vectors: Floats) -> Floats:
    """Vectors (N, D + 1) that attributes tell, as wide as those of the run, see
    :func:`_with_shift`. A new user has the mean shift."""
    table = run.tensors[f"{entity}_embedding.weight"]
    dim = vectors.shape[1] - 1
    if table.shape[1] == dim:
        return vectors
    if entity == "item":
        more = np.column_stack([vectors[:, :-1], np.ones(len(vectors))])
    else:
        more = np.tile(table[:, dim:].mean(0), (len(vectors), 1))
    found = np.column_stack([vectors[:, :-1], more, vectors[:, -1:]])
    return np.asarray(found, np.float32)


def _set(table: Floats, place: NDArray[np.integer], values: Floats) -> Floats:
    """A table with rows set to others, or added behind its last."""
    more = max(int(place.max(initial=0)) + 1 - len(table), 0)
    found = np.concatenate([table, np.zeros((more, *table.shape[1:]), table.dtype)])
    found[place] = values
    return found


def _with(model: Interest, entity: Entity, vectors: Floats, place: NDArray[np.integer]) -> Interest:
    """The interest model with other users or items in some places, by what
    :func:`cfcli.core.runs.content.fit_content` tells of them."""
    tensors = {
        "user": model.user,
        "item": model.item,
        "scale": model.scale,
        "raters": model.raters,
    }
    added = {"user": vectors}
    if entity == "item":
        added = {
            "item": vectors[:, :-1],
            "scale": np.ones(len(vectors), np.float32),
            "raters": np.maximum(np.expm1(vectors[:, -1]), 1),
        }
    return Interest(
        tensors | {key: _set(tensors[key], place, value) for key, value in added.items()}
    )


def _longer(table: pl.DataFrame, frame: pl.DataFrame, run: Run) -> pl.DataFrame:
    """A run's table of users or items with rows for those of ``frame``."""
    facts = {"n_ratings": 0, "mean": run.info.train_mean, "bias": 0.0}
    columns = []
    for name, kind in table.schema.items():
        if name == table.columns[0]:
            column = pl.col("id")
        elif name in facts:
            column = pl.lit(facts[name])
        else:
            column = pl.col(name) if name in frame.columns else pl.lit(None)
        columns.append(column.cast(kind).alias(name))
    return pl.concat([table, frame.select(columns)])
