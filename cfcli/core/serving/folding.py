"""Ratings that came after the training, folded into the rating model."""

from collections.abc import Callable

import numpy as np
import polars as pl

from cfcli.core.data.unknown import unknown_ids
from cfcli.core.errors import ConfigError
from cfcli.core.inputs import ratings as rating_files
from cfcli.core.inputs.roles import Form
from cfcli.core.inputs.sources import Source
from cfcli.core.models.kinds import KINDS
from cfcli.core.runs.newcomers import with_vectors
from cfcli.core.runs.run import Folded, Run


def folded_in(
    run: Run, source: Source, form: Form, note: Callable[[str], object] | None = None
) -> Run:
    """The run in memory with the vectors of users who rated something since the training, the items
    held fast; see :meth:`cfcli.core.models.scoring.Predictor.fold_in`.

    Args:
        run: whose items they rated.
        source: their ratings; those that were trained on are left out.
        form: of ``source``.
        note: is called with what a person should know.

    Raises:
        ConfigError: the model can fold no users in.
        InputError: the ratings cannot be read, or are outside the scale of the run.
        ArtifactError: the run keeps no record of what was trained on.
    """
    if not KINDS[run.info.model].has_linear_space:
        raise ConfigError(
            f"--ratings: {run.path} is {run.info.model}, whose network has no closed form; use an "
            "mf"
        )
    frame, notes = rating_files.read_distinct(source, form)
    run.check_scale(frame["rating"], source.name)
    counted = unknown_ids(run.ids)
    rows = frame.with_columns(
        user=run.ids.user.index(frame["user_id"]), item=run.ids.item.index(frame["item_id"])
    )
    counted.user.count(frame["user_id"], rows["user"])
    counted.item.count(frame["item_id"], rows["item"])
    notes += counted.user.notes(are_expected=True) + counted.item.notes()
    trained = run.seen_pairs().filter("trained").select("user", "item")
    new = rows.drop_nulls("item").join(trained, on=["user", "item"], how="anti")
    known = rows["item"].count() - new.height
    if known:
        notes.append(f"ratings left out, as they were trained on already: {known:,}")
    predictor, l2 = run.predictor(), run.config.adam.l2
    ids, vectors, left = [], [], []
    for (name,), part in new.group_by("user_id", maintain_order=True):
        place = part["user"][0]
        former = None if place is None else predictor.vectors("user", np.array([place]))[0]
        ids.append(str(name))
        items = part["item"].to_numpy()
        vectors.append(predictor.fold_in(items, part["rating"].to_numpy(), l2, former))
        left.append(predictor.left_by(items) if run.info.link == "identity" else 1.0)
    for text in notes:
        if note is not None:
            note(text)
    if not ids:
        return run
    more = with_vectors(run, "user", pl.DataFrame({"id": ids}), np.array(vectors))
    place = more.ids.user.index(pl.Series(ids)).to_numpy()
    return more.with_parts(folded=Folded(place, np.array(left)))
