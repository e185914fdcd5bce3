"""The plane of items and their neighbours."""

from pathlib import Path

import numpy as np
import planted
import polars as pl
import pytest
from fake_run import make_run

from cfcli.core.reporting import itemmap, layout
from cfcli.core.runs.run import Run

TITLES = "item,title,genres\n1,One,Drama\n2,Two,Comedy|Drama\n3,Three,\n4,Four,(no genres listed)\n"
RATINGS = "user,item,rating\na,1,1\nb,1,2\nc,1,3\na,2,4\nb,2,5\na,3,1\nc,4,2\n"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(
        tmp_path, RATINGS, [[1, 0]] * 3, [[3, 4], [0, 0], [6, 8], [-3, -4]], titles=TITLES
    )


def test_items_by_ratings_with_what_is_known_of_them(run: Run) -> None:
    found = itemmap.item_map(run, 3)
    assert (found.id, found.title, found.n) == (
        ["1", "2", "3"],
        ["One", "Two", "Three"],
        [3, 2, 1],
    )
    assert found.mean == [2.0, 4.5, 1.0]
    assert found.items == 4


def test_directions_on_a_line_lie_on_the_first_axis(run: Run) -> None:
    found = itemmap.item_map(run, 4)  # the vectors are 5, 0, 10 and -5 times (0.6, 0.8)
    assert found.x == [9999, 5000, 9999, 0]
    assert len(set(found.y)) == 1


def test_the_rarest_frequent_genre_gives_the_colour(run: Run) -> None:
    found = itemmap.item_map(run, 4)
    assert found.legend == ["Drama", "Comedy"]
    assert found.colour == [0, 1, -1, -1]


@pytest.mark.parametrize("block", [7, 500])
def test_neighbours_are_the_nearest_by_both_models(
    block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "BLOCK", block)
    data = planted.dataset(tmp_path, planted.checkerboard(share=0.3))
    run = Run.load(planted.run(data, tmp_path / "run", epochs=2, dim=3))
    found = itemmap.item_map(run, 100, n=5)
    assert run.interest is not None
    place = run.ids.item.index(pl.Series(found.id)).to_numpy()
    cosines = np.mean(
        [
            cosine(run.tensors["item_embedding.weight"][place]),
            cosine((run.interest.item - run.interest.item.mean(axis=0))[place]),
        ],
        axis=0,
    )
    np.fill_diagonal(cosines, -1)
    for k, row in enumerate(found.near):
        near = np.array(row).reshape(-1, 2)
        expected = np.argsort(-cosines[k])[:5]
        np.testing.assert_allclose(near[:, 1] / 1000, cosines[k][expected], atol=6e-4)
        np.testing.assert_allclose(near[:, 1] / 1000, cosines[k][near[:, 0]], atol=6e-4)


def cosine(vectors: np.ndarray) -> np.ndarray:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit @ unit.T


def test_items_that_point_the_other_way_are_no_neighbours(run: Run) -> None:
    found = itemmap.item_map(run, 4)
    near = dict(zip(found.id, found.near, strict=True))
    assert near["4"] == []
    assert near["1"] == [2, 1000]


def test_a_single_item_has_no_neighbours(run: Run) -> None:
    found = itemmap.item_map(run, 1)
    assert (found.id, found.x, found.y, found.near) == (["1"], [0], [0], [[]])


def test_a_run_without_titles_of_one_dimension(tmp_path: Path) -> None:
    run = make_run(tmp_path, RATINGS, [[1]] * 3, [[1], [2], [3], [4]])
    found = itemmap.item_map(run, 10)
    assert found.title is None
    assert found.genres is None
    assert (found.x, found.y, found.legend) == ([0] * 4, [0] * 4, [])  # all point the same way
