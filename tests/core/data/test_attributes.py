"""Attributes: what is known of items and users, and the columns that it becomes."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import planted
import polars as pl
import pytest

from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.data import attributes
from cfcli.core.data import prepare as preparation
from cfcli.core.data.attributes import describe, encode, names
from cfcli.core.data.dataset import Dataset
from cfcli.core.data.info import Attribute
from cfcli.core.data.known import read_again
from cfcli.core.errors import ArtifactError, ConfigError, InputError
from cfcli.core.inputs.roles import Form
from cfcli.core.inputs.sources import Source

RATINGS = "user,item,rating\n" + "".join(
    f"{user},{item},{1 + (user * item) % 5}\n" for user in range(1, 5) for item in range(1, 5)
)
ITEMS = (
    "item,title,genres,colour\n"
    "1,A (1990),x|y,red\n2,B (1990),x,red\n3,C (2000),y|x,red\n4,D,(no genres listed),blue\n9,E,z,red\n"
)
USERS = "user,age,town\n1,20,Rome\n2,NA,Rome\n3,40,Rome\n4,30,Bern\n"


def source(text: str, name: str) -> Source:
    return Source(name, lambda: io.BytesIO(text.encode()))


def prepare(
    out: Path, items: str | None = ITEMS, users: str | None = None, **keys: Any
) -> tuple[Dataset, list[str]]:
    return preparation.prepare(
        [source(RATINGS, "r.csv")],
        out,
        PrepareConfig(val_size=0, test_size=0, **keys),
        items=source(items, "i.csv") if items else None,
        users=source(users, "u.csv") if users else None,
    )


def test_columns_worked_by_hand() -> None:
    frame = pl.DataFrame(
        {
            "genres": ["x|y", "x", "x | y|y", "y", "(no genres listed)", None],
            "colour": ["red", "red", " red ", "blue", "N/A", ""],
            "size": [0.0, 10.0, 20.0, 40.0, None, float("inf")],
        }
    )
    found = describe(frame, frame.columns)
    assert found == [
        Attribute("genres", "list", 2, values=["x", "y"]),
        Attribute("colour", "category", 2, values=["red"]),
        Attribute("size", "number", 2, knots=[0, 10, 20, 40]),
    ]
    assert names(found) == [
        "genres=x", "genres=y", "colour=red", "size~0", "size~10", "size~20", "size~40",
    ]  # fmt: skip
    later = pl.DataFrame({"genres": ["y|new", "x"], "size": ["30", "-5"]})  # and no colour
    assert encode(found, later).tolist() == [[0, 1, 0, 0, 0, 0.5, 0.5], [1, 0, 0, 1, 0, 0, 0]]
    matrix = encode(found, frame)
    assert matrix.dtype == np.float32
    assert matrix[:, 3:].sum(axis=1).tolist() == [1, 1, 1, 1, 0, 0]
    assert matrix[:, :3].tolist() == [
        [1, 1, 1], [1, 0, 1], [1, 1, 1], [0, 1, 0], [0, 0, 0], [0, 0, 0],
    ]  # fmt: skip


def test_many_values_and_many_numbers() -> None:
    many = [f"v{k:03}" for k in range(300) for _ in range(3 + (k == 299))]
    frame = pl.DataFrame({"c": many, "n": np.arange(len(many))})
    category, number = describe(frame, ["c", "n"])
    assert category.values is not None
    assert number.knots is not None
    assert category.values == [*(f"v{k:03}" for k in range(199)), "v299"]  # the most frequent
    assert len(number.knots) == 8
    assert number.knots == sorted(number.knots)


def test_a_dataset_describes_its_attributes(tmp_path: Path) -> None:
    made, notes = prepare(tmp_path / "d", users=USERS, attributes=("age",))
    loaded = Dataset.load(tmp_path / "d")
    found = loaded.info.attributes
    assert found == made.info.attributes
    assert found is not None
    assert found.user == [Attribute("age", "number", 1, knots=[20, 30, 40])]
    assert found.item == [
        Attribute("genres", "list", 1, values=["x"]),
        Attribute("year", "number", 1, knots=[1990, 2000]),
        Attribute("colour", "category", 0, values=["red"]),
    ]
    assert notes == []
    assert loaded.users.columns == ["user", "n_ratings", "age"]  # not the town
    assert loaded.items.drop("item", "n_ratings").rows()[3] == (
        "D", "(no genres listed)", None, "blue",
    )  # fmt: skip
    of_items, of_users = loaded.attributes.item, loaded.attributes.user
    assert of_items is not None
    assert of_users is not None
    assert of_items.matrix.tolist() == [[1, 1, 0, 1], [1, 1, 0, 1], [1, 0, 1, 1], [0, 0, 0, 0]]
    assert of_users.matrix.tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 1], [0, 1, 0]]


def test_other_attributes_are_another_dataset_and_none_are_the_same(tmp_path: Path) -> None:
    plain, _ = prepare(tmp_path / "a", items="item,title\n1,A\n2,B\n3,C\n4,D\n")
    content = json.loads((tmp_path / "a" / "dataset.json").read_text())
    assert "attributes" not in content
    assert "attributes" not in content["config"]
    assert plain.attributes.item is None
    assert plain.items.columns == ["item", "n_ratings", "title", "genres"]
    prints = {plain.info.fingerprint}
    every = ["genres", "year", "colour"]
    for asked, expected in {
        None: every, ("colour",): ["colour"], ("year", "colour"): ["year", "colour"], ("none",): [],
    }.items():  # fmt: skip
        made, _ = prepare(tmp_path / "-".join(asked or ["all"]), attributes=asked)
        described = made.info.attributes.item if made.info.attributes else []
        assert [each.name for each in described] == expected
        prints.add(made.info.fingerprint)
    assert len(prints) == 5


@pytest.mark.parametrize(
    ("error", "keys", "message"),
    [
        (ConfigError, {"users": USERS}, r"u.csv: name the columns .*: --attributes age,town"),
        (ConfigError, {"users": USERS, "attributes": ("ages",)}, "'ages'; did you mean 'age'"),
        (
            ConfigError,
            {"attributes": ("shade",)},
            "'shade'; the columns are 'genres', 'year', 'colour'",
        ),
        (ConfigError, {"items": None, "attributes": ("age",)}, "needs --items or --users"),
        (
            InputError,
            {"items": "item,rating\n1,2\n", "attributes": ("rating",)},
            "uses that name itself",
        ),
        (InputError, {"items": "item,price\n1,2\n2\n"}, r"i.csv:3: .*expected 2 fields, found 1"),
        (InputError, {"items": ITEMS, "users": ITEMS, "attributes": ("genres",)}, "of user ids"),
    ],
)
def test_what_cannot_be_an_attribute_is_refused(
    error: type[Exception], keys: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message) as raised:
        prepare(tmp_path / "d", **keys)
    assert "\n" not in str(raised.value)


def test_columns_that_say_nothing_are_left_out_by_name(tmp_path: Path) -> None:
    items = "item,url,same,rating,empty,price\n" + "".join(
        f"{k},http://{k},s,{k},,{k}\n" for k in range(1, 5)
    )
    made, notes = prepare(tmp_path / "d", items=items + "1,again,s,1,,7\n")
    assert made.items.columns == ["item", "n_ratings", "price"]
    assert notes == [
        "i.csv: 1 row has other attributes than a row of their id before; kept: first",
        "i.csv: columns that are no attributes: rating (cfcli uses that name itself; rename the "
        "column), url (hardly any value occurs often), same (the same for all), empty (no values)",
    ]


def test_a_file_that_is_read_again(tmp_path: Path) -> None:
    made, _ = prepare(tmp_path / "d")
    of_items = made.attributes.item
    assert of_items is not None
    wanted = of_items.described
    form = Form(own={"item": "item"})
    again = read_again(source(ITEMS, "i.csv"), "item", wanted, form)
    assert (encode(wanted, again)[:4] == of_items.matrix).all()
    new = read_again(
        source("colour,item,year\n red,n1,1995\n,n2,\n", "n.csv"), "item", wanted, form
    )
    assert new["id"].to_list() == ["n1", "n2"]
    assert encode(wanted, new).tolist() == [[0, 0.5, 0.5, 1], [0, 0, 0, 0]]
    ids = read_again(source("n1\nn2\n", "ids.txt"), "item", wanted, form)
    assert ids.columns == ["id"]
    assert not encode(wanted, ids).any()
    with pytest.raises(InputError, match=r"n.csv: column 'year': 'old' is not a number"):
        read_again(source("item,year\nn1,old\n", "n.csv"), "item", wanted, form)


@pytest.mark.parametrize(
    "wrong", [{"values": ["x", "x"]}, {"values": []}, {"kind": "number", "knots": [2, 1]}]
)
def test_damaged_descriptions_are_found(wrong: dict[str, Any], tmp_path: Path) -> None:
    prepare(tmp_path / "d")
    content = json.loads((tmp_path / "d" / "dataset.json").read_text())
    content["attributes"]["item"][0] |= wrong
    planted.reseal(tmp_path / "d" / "dataset.json", attributes=content["attributes"])
    with pytest.raises(ArtifactError, match="damaged: the attribute 'genres'"):
        Dataset.load(tmp_path / "d")


def test_reasons_to_leave_an_attribute_out() -> None:
    frame = pl.DataFrame({"few": [1.0, 2.0, None, None], "one": ["a"] * 4, "all": list("abcd")})
    reasons = [attributes.why_useless(each, frame) for each in describe(frame, frame.columns)]
    assert reasons == ["hardly any values", "the same for all", "hardly any value occurs often"]
