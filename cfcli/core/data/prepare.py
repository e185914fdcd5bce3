"""From ratings files to a dataset: settle duplicates, filter, map ids, split, write."""

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.config.resolve import as_dict
from cfcli.core.data import splits
from cfcli.core.data.dataset import FILES, MANIFEST, Dataset
from cfcli.core.data.entities import RESERVED
from cfcli.core.data.ids import are_integers
from cfcli.core.data.info import FORMAT, Columns, DatasetInfo, InputFile, Inputs, Scale
from cfcli.core.data.known import add_known, read_known
from cfcli.core.data.selection import filter_rows, settle_duplicates
from cfcli.core.data.spool import Spool
from cfcli.core.data.writing import Entities, write_sides
from cfcli.core.errors import ArtifactError, ConfigError, InputError
from cfcli.core.inputs import ratings
from cfcli.core.inputs.checks import id_notes
from cfcli.core.inputs.intake import REJECTS, Intake
from cfcli.core.inputs.roles import Form
from cfcli.core.inputs.sources import Source
from cfcli.core.pair import Pair
from cfcli.core.storage import manifests, publishing
from cfcli.core.storage.schema import plain, to_json
from cfcli.core.storage.tables import write_table
from cfcli.core.words import counted
from cfcli.version import __version__

SHRUNK = 0.5  # of the rows or ids of the dataset that is replaced
# Of the width of its scale, by which an end may move; and ratings that tell no scale.
MOVED, FEW = 0.1, 100
# Keys that are left out where they are not set, so that a dataset is as it was before there were
# any.
NEWER = ("attributes", "weight_col")


def prepare(
    sources: Sequence[Source],
    out: Path,
    config: PrepareConfig,
    *,
    items: Source | None = None,
    users: Source | None = None,
    val: Source | None = None,
    test: Source | None = None,
    force: bool = False,
    accept_shrink: bool = False,
    progress: Callable[[str], object] | None = None,
) -> tuple[Dataset, list[str]]:
    """Reads ratings, splits them and writes the dataset to ``out``, all of it or nothing, in memory
    for a few blocks of them.

    Args:
        items: titles, genres and other attributes.
        users: attributes, of which ``config.attributes`` names those that are kept.
        val, test: given splits; then ``config.split`` only cuts what is still to be cut from
            ``sources``.
        force: replace another dataset.
        accept_shrink: even if it had more than twice the rows, most of its users or items are gone,
            or ratings are on another scale.
        progress: hears what is done once all inputs were read.

    Returns:
        The dataset and notes for the user, one sentence each.

    Raises:
        InputError: the ratings cannot be used.
        ConfigError: ``out`` holds something else.
        LockedError: another process is writing to ``out``.
        MachineError: no permission, no space.
    """
    given = {splits.VAL: val, splits.TEST: test}
    parts = [(splits.TRAIN, source) for source in sources] + [
        (name, s) for name, s in given.items() if s
    ]
    _check_out(out, [source for _, source in parts])
    is_there = (out / MANIFEST).exists()
    known, notes = read_known(Pair(users, items), config)
    with publishing.directory(out) as folder:
        spool = Spool(folder / "spool")
        intake = Intake(Form(config), folder)
        timeless = False
        for side, source in parts:
            for block in ratings.read_blocks(source, intake):
                timeless |= "timestamp" not in block.columns
                spool.append(block, side)
        intake.finish()
        if progress is not None:
            progress("splitting and writing")
        columns = intake.columns
        separator = intake.separators.pop() if len(intake.separators) == 1 else None
        for role in ("user", "item"):
            if columns[role] in RESERVED or (columns[role] == "title" and known.item):
                name = sources[0].name
                raise InputError(
                    f"{name}: cfcli uses the name '{columns[role]}' itself; rename that column"
                )
        if config.time_format:
            intake.require_times("--time-format")
        if config.since:
            intake.require_times("--since")
        if config.split in ("time", "user-last"):
            intake.require_times(f"--split {config.split}")
        if intake.times.are_marked or (intake.has_times and timeless):
            spool.change(lambda _, block: intake.settled(block))
        duplicates = settle_duplicates(spool, intake, config.duplicates)
        notes += intake.all_notes()
        if duplicates:
            notes.append(
                f"{counted(duplicates, 'rating')} of pairs rated before; kept: {config.duplicates}"
            )
        filter_rows(spool, intake, config)
        user_ids = Entities.of(spool, "user", intake.user_ids.to_series())
        item_ids = Entities.of(spool, "item", intake.item_ids.to_series())
        for entities, role in ((user_ids, "user"), (item_ids, "item")):
            notes += id_notes(entities.map.ids, columns[role], separator)
        former = _former(out)
        if former and force and not accept_shrink:
            _refuse_to_shrink(former, spool.rows, Pair(user_ids, item_ids))
        found = write_sides(spool, folder, given, user_ids, item_ids, intake.has_times, config)
        notes += found.notes if config.rating_range is None else []
        shutil.rmtree(folder / "spool")
        if not found.n[splits.TRAIN]:
            raise InputError(
                f"{sources[0].name}: no training rows are left of {sum(found.n.values()):,} ratings"
            )
        for name, held in given.items():
            if held is None:
                continue
            said = [text for counts in found.unknown[name] for text in counts.notes()]
            if found.n[name] and found.cold[name] == found.n[name]:
                what = "no row has both a user and an item of the training ratings"
                raise InputError("; ".join([f"{held.name}: {what}", *said]))
            notes += [f"{held.name}: {text}" for text in said]
        of_users = add_known(user_ids.table(columns["user"]), known.user)
        of_items = add_known(item_ids.table(columns["item"]), known.item)
        write_table(of_users.table, folder / "users.parquet")
        write_table(of_items.table, folder / "items.parquet")
        notes += of_users.notes + of_items.notes
        low, high = config.rating_range or (float(found.train.low), float(found.train.high))
        scale = found.scale(low, high)
        if former and force and not accept_shrink:
            _refuse_another_scale(former, scale)
        if scale.min == scale.max:
            notes.append(
                f"all training ratings are {scale.min:g}; there is nothing to learn from them"
            )
        attributes = Pair(of_users.attributes, of_items.attributes)
        listed = manifests.listing(folder, FILES)
        settings = as_dict(config)
        for name in NEWER:
            if settings[name] is None:
                del settings[name]
        # Not where the rows stood: the same rows of a CSV make the same dataset.
        passing = ("table", "query")
        lasting = {name: value for name, value in settings.items() if name not in passing}
        key = {"files": listed, "config": lasting, "columns": columns, "format": FORMAT}
        text = json.dumps(plain(key), sort_keys=True)
        info = DatasetInfo(
            cfcli=__version__,
            fingerprint=hashlib.sha256(text.encode()).hexdigest()[:16],
            sources=[InputFile(**dataclasses.asdict(record)) for record in intake.sources],
            input=_inputs(sources, items, users, val, test),
            config={**settings},
            columns=Columns(**columns),
            integer_ids=Pair(are_integers(user_ids.map.ids), are_integers(item_ids.map.ids)),
            ratings=sum(found.n.values()),
            users=len(user_ids.map),
            items=len(item_ids.map),
            **found.n,
            cold={name: found.cold[name] for name in given},
            rejected=dict(intake.rejected.most_common()),
            duplicates=duplicates,
            rating_scale=scale,
            mean=found.train.total / found.n[splits.TRAIN],
            histogram=found.histogram,
            files=listed,
            attributes=attributes if any(attributes) else None,
        )
        is_other = former is None or former.info.fingerprint != info.fingerprint
        if is_there and is_other and not force:
            raise ConfigError(
                f"{out}: holds another dataset; replace it with --force, or choose another --out"
            )
        manifests.write(folder / MANIFEST, to_json(info), listed)
    return Dataset(out, info).stamped(), notes


HINT = "if that is right, replace it with --accept-shrink"


def _inputs(
    sources: Sequence[Source],
    items: Source | None,
    users: Source | None,
    val: Source | None,
    test: Source | None,
) -> Inputs:
    """What was named to get the ratings and what is beside them."""
    known = sources[0].dataset
    files = dict.fromkeys(str(source.path or source.name) for source in sources)
    return Inputs(
        dataset=known,
        ratings=None if known else list(files),
        items=items.name if items and not items.dataset else None,
        users=users.name if users and not users.dataset else None,
        val_file=val.name if val else None,
        test_file=test.name if test else None,
    )


def _check_out(out: Path, sources: Sequence[Source]) -> None:
    """Raises before anything is read when ``out`` would swallow an input or files of someone
    else."""
    target = _real(out)
    for source in sources:
        if source.path is None:
            continue
        lies = _real(source.path)
        if (lies / MANIFEST).exists():
            raise ConfigError(
                f"{source.path}: is a dataset already; go on with "
                f"'cfcli train --data {source.path}'"
            )
        if target == lies or target in lies.parents or (lies.is_dir() and lies in target.parents):
            raise ConfigError(
                f"{source.path}: lies in or around the output {out}; choose another --out"
            )
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out}: is not a directory; choose another --out")
    if out.is_dir():
        own = {MANIFEST, REJECTS, *FILES} if (out / MANIFEST).exists() else set()
        kept = (path.name for path in out.glob(".*") if path.is_file() and not path.is_symlink())
        others = sorted({path.name for path in out.iterdir()} - own - set(kept))
        if others:
            where = out / "prepared"
            raise ConfigError(
                f"{out}: holds other files ({others[0]}); a dataset needs a folder of its own: "
                f"--out {where}"
            )


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))  # which bears with links that lead nowhere


def _former(out: Path) -> Dataset | None:
    """The dataset that would be replaced; None where there is none, or it is damaged."""
    try:
        return Dataset.load(out)
    except ArtifactError:
        return None


def _refuse_to_shrink(former: Dataset, rows: int, entities: Pair[Entities]) -> None:
    """Raises an InputError when what is to be replaced had far more rows, or most of its ids are
    gone: more often a broken export than the truth."""
    if rows < SHRUNK * former.info.ratings:
        raise InputError(
            f"{former.path}: has {former.info.ratings:,} ratings, the new input {rows:,}; {HINT}"
        )
    for known, new, what in zip(former.ids, entities, ("users", "items"), strict=True):
        there = new.map.index(known.ids).is_not_null().mean()
        if isinstance(there, float) and there < SHRUNK:
            example = f"they were like '{known.ids[0]}' and are like '{new.map.ids[0]}'"
            raise InputError(
                f"{former.path}: only {there:.0%} of its {what} are in the new input, {example}; "
                f"{HINT}"
            )


def _refuse_another_scale(former: Dataset, new: Scale) -> None:
    """Raises an InputError when the ratings to be replaced were on another scale, such as stars
    against percent."""
    old = former.info.rating_scale
    if former.info.ratings < FEW:
        return
    moved = max(abs(new.min - old.min), abs(new.max - old.max))
    if moved > MOVED * (old.max - old.min):
        raise InputError(
            f"{former.path}: its ratings go from {old.min:g} to {old.max:g}, "
            f"those of the new input from {new.min:g} to {new.max:g}; {HINT}"
        )
