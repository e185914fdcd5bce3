"""Vectors by attributes: planted maps are found, and what is not known counts as the mean."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cfcli.core.data.attributes import Encoded, describe, encode
from cfcli.core.data.content import ANY, NEW, RARE, Content, held_out, weight_of
from cfcli.core.errors import ArtifactError
from cfcli.core.pair import Pair
from cfcli.core.training.attributes import groups_of, joined, settle


def encoded(frame: pl.DataFrame) -> Encoded:
    described = describe(frame, frame.columns)
    return Encoded(described, encode(described, frame))


def table(n: int = 4000) -> pl.DataFrame:
    random = np.random.default_rng(0)
    return pl.DataFrame(
        {
            "colour": random.choice(["blue", "red"], n),
            "size": random.choice(["large", "small"], n),
            "year": random.integers(1950, 2000, n).astype(float),
        }
    )


def test_without_attributes_it_is_the_weighted_mean() -> None:
    nothing = Encoded([], np.zeros((3, 0), np.float32))
    vectors = np.array([[1, 2], [3, 4], [9, 9]], np.float32)
    found = Content.fit(nothing, vectors, np.array([1.0, 3.0, 0.0]))
    np.testing.assert_allclose(found.vectors(np.zeros((2, 0), np.float32)), [[2.5, 3.5]] * 2)


def test_one_column_by_hand() -> None:
    """Centred, both columns are -1/2 and 1/2, and of length 50 squared: together they are one
    direction of 100. Where attributes tell all, the least penalty is chosen, which is 1."""
    frame = pl.DataFrame({"kind": ["a", "b"] * 100})
    vectors = np.where(np.arange(200) % 2 == 0, 1.0, 3.0)[:, None].astype(np.float32)
    found = Content.fit(encoded(frame), vectors, np.ones(200))
    half = 100 / (100 + 1)
    matrix = encode(found.described, pl.DataFrame({"kind": ["a", "b", None, "c"]}))
    np.testing.assert_allclose(found.vectors(matrix)[:, 0], [2 - half, 2 + half, 2, 2], atol=1e-5)


def test_a_map_with_a_product_is_found() -> None:
    frame = table()
    red, large = (frame["colour"] == "red").to_numpy(), (frame["size"] == "large").to_numpy()
    year = frame["year"].to_numpy()
    truth = np.column_stack([red & large, np.abs(year - 1975) / 25]).astype(np.float32)
    found = Content.fit(encoded(frame[:3000]), truth[:3000], np.ones(3000))
    error = found.vectors(encode(found.described, frame[3000:])) - truth[3000:]
    assert np.abs(error).max() < 0.15
    assert np.sqrt((error**2).mean()) < 0.05


def test_a_missing_value_is_that_of_the_average() -> None:
    frame = table()
    vectors = np.where(frame["colour"] == "red", 1.0, -1.0)[:, None].astype(np.float32)
    found = Content.fit(encoded(frame), vectors, np.ones(len(frame)))
    nothing = encode(found.described, pl.DataFrame({"other": ["x"]}))
    assert found.vectors(nothing)[0, 0] == pytest.approx(vectors.mean(), abs=0.01)


def test_features_are_orthogonal_and_zero_where_nothing_is_known() -> None:
    frame = table(200).with_columns(
        colour=pl.when(pl.int_range(200) % 5 > 0).then(pl.col("colour"))
    )
    counts = np.arange(200) % 3
    groups = groups_of(encoded(frame), counts)
    assert len(groups) == 3
    for group in groups:
        gram = (group.T @ group).double().numpy()
        np.testing.assert_allclose(gram, np.diag(gram.diagonal()), atol=1e-3)
        assert not group[counts == 0].any()
        np.testing.assert_allclose(group.sum(0), 0, atol=1e-3)
    assert not groups[0][::5].any()
    both = joined(groups)
    assert both is not None
    lengths = both.norm(dim=1).numpy()
    np.testing.assert_allclose(lengths[counts > 0], 0.7, atol=1e-5)


def test_those_without_training_rows_are_settled_by_their_attributes() -> None:
    frame = table(400)
    vectors = np.where(frame["colour"] == "red", 1.0, -1.0)[:, None].astype(np.float32)
    tensors = {"user_embedding.weight": np.ones((3, 1), np.float32) * [[1], [2], [5]]}
    tensors |= {"item_embedding.weight": vectors.copy()}
    tensors["item_embedding.weight"][:10] = 7
    counts = Pair(np.array([4, 1, 0]), np.where(np.arange(400) < 10, 0, 2))
    found = settle(tensors, Pair(None, encoded(frame)), counts)
    assert found["user_embedding.weight"][:, 0].tolist() == [1, 2, 1.5]
    assert (np.sign(found["item_embedding.weight"][:10]) == vectors[:10]).all()
    np.testing.assert_array_equal(found["item_embedding.weight"][10:], vectors[10:])


def test_items_count_by_their_ratings_and_users_once() -> None:
    counts = np.array([0, 1, 9])
    assert weight_of("user", counts, NEW).tolist() == [0, 1, 1]
    assert weight_of("item", counts, NEW).tolist() == [0, 1, 9]
    assert weight_of("item", counts, ANY).tolist() == [0, 1, 3]
    assert weight_of("item", counts, RARE).tolist() == pytest.approx([0, 1, 1 / 9])


def test_attributes_that_say_nothing_are_shrunk_away() -> None:
    random = np.random.default_rng(1)
    frame = pl.DataFrame({"kind": random.choice(list("abcdefgh"), 300)})
    vectors = random.normal(size=(300, 5)).astype(np.float32)
    found = Content.fit(encoded(frame), vectors, np.ones(300))
    spread = found.vectors(encoded(frame).matrix) - vectors.mean(0)
    raw = np.stack([vectors[frame["kind"] == kind].mean(0) for kind in "abcdefgh"])
    assert np.abs(spread).mean() < 0.5 * np.abs(raw - vectors.mean(0)).mean()
    assert found.left.min() > 0.95


def test_what_is_held_out_is_told_by_the_others_alone() -> None:
    random = np.random.default_rng(2)
    frame = table(60)
    vectors = random.normal(0, 0.5, size=(60, 3)).astype(np.float32)
    vectors += np.where(frame["colour"] == "red", 2, -2)[:, None]
    weight = np.where(np.arange(60) == 7, 0.0, 1.0)
    known = encoded(frame)
    found = held_out(known, vectors, weight)
    whole = Content.fit(known, vectors, weight).vectors(known.matrix)
    np.testing.assert_allclose(found[7], whole[7], atol=1e-5)  # it has no part in the map
    for k in (14, 21):
        others = Content.fit(known, vectors, np.where(np.arange(60) == k, 0, weight))
        np.testing.assert_allclose(found[k], others.vectors(known.matrix[[k]])[0], atol=1e-5)
        assert np.abs(whole[k] - found[k]).max() > 0.1


def test_a_map_is_read_as_it_was_kept() -> None:
    frame = table(60)
    vectors = np.random.default_rng(3).normal(size=(60, 3)).astype(np.float32)
    plain = Content.fit(encoded(frame), vectors, np.ones(60))
    for kept in (plain, replace(plain, shift=np.ones((5, 2), np.float32))):
        path, described = Path("content"), kept.described
        found = Content.of(path, described, kept.tensors(), 3, (5, 2))
        assert {*found.tensors()} == {*kept.tensors()}
        for name, tensor in kept.tensors().items():
            np.testing.assert_array_equal(found.tensors()[name], tensor)
    earlier = {name: tensor for name, tensor in plain.tensors().items() if name != "left"}
    assert (Content.of(path, described, earlier, 3, (5, 2)).left == 1).all()
    for wrong in (np.ones((4, 2)), np.full((5, 2), np.nan)):
        tensors = plain.tensors() | {"shift": wrong.astype(np.float32)}
        with pytest.raises(ArtifactError, match="damaged"):
            Content.of(path, described, tensors, 3, (5, 2))


def test_it_says_how_much_of_the_variance_is_left() -> None:
    frame = table(2000)
    told = np.where(frame["colour"] == "red", 1.0, -1.0)
    other = np.random.default_rng(2).normal(0, 1, (2, 2000))
    vectors = np.stack([told + 0.5 * other[0], told, other[1]], axis=1).astype(np.float32)
    found = Content.fit(encoded(frame), vectors, np.ones(2000))
    np.testing.assert_allclose(found.left, [0.2, 0, 1], atol=0.03)
    # A vector (2,) and a bias: the others multiply the first entry by 2, the second by 0.
    share = found.unknown(vectors, np.array([[2, 0, 9]] * 3, np.float32))
    variance = 4 * vectors[:, 0].var(), vectors[:, 2].var()
    expected = (0.2 * variance[0] + variance[1]) / sum(variance)
    assert share == pytest.approx(expected, abs=0.03)
