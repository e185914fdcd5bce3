"""The plane of items and their neighbours."""

from pathlib import Path

import numpy as np
import planted
import pytest
from fake_run import make_run

from cfcli.core.reporting import itemmap
from cfcli.core.runs.run import Run
from cfcli.core.serving import similar as neighbors

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


def test_points_on_a_line_lie_on_the_first_axis(run: Run) -> None:
    found = itemmap.item_map(run, 4)  # the vectors are 5, 0, 10 and -5 times (0.6, 0.8)
    assert found.x == [6666, 3333, 9999, 0]
    assert len(set(found.y)) == 1


def test_the_rarest_frequent_genre_gives_the_colour(run: Run) -> None:
    found = itemmap.item_map(run, 4)
    assert found.legend == ["Drama", "Comedy"]
    assert found.colour == [0, 1, -1, -1]


@pytest.mark.parametrize("block", [1, 7, 500])
def test_neighbours_are_those_of_similar(
    block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(itemmap, "BLOCK", block)
    data = planted.dataset(tmp_path, planted.checkerboard(share=0.3))
    run = Run.load(planted.run(data, tmp_path / "run", epochs=2, dim=3))
    found = itemmap.item_map(run, 100, n=5)
    ids = run.ids.item.ids
    for place, name in enumerate(found.id):
        item = ids.to_list().index(name)
        expected = neighbors.similar(run, item, 5)
        near = np.array(found.near[place]).reshape(-1, 2)
        positive = expected.filter(expected["score"] > 0)
        assert [found.id[k] for k in near[:, 0]] == [ids[k] for k in positive["item"]]
        np.testing.assert_allclose(near[:, 1] / 1000, positive["score"], atol=5.1e-4)


def test_neighbours_that_nobody_rated_too_are_left_out(run: Run) -> None:
    found = itemmap.item_map(run, 4)
    near = dict(zip(found.id, found.near, strict=True))
    assert near["4"] == []  # c rated 1, too, which points the other way, and nothing else


def test_a_single_item_has_no_neighbours(run: Run) -> None:
    found = itemmap.item_map(run, 1)
    assert (found.id, found.x, found.y, found.near) == (["1"], [0], [0], [[]])


def test_a_run_without_titles_of_one_dimension(tmp_path: Path) -> None:
    run = make_run(tmp_path, RATINGS, [[1]] * 3, [[1], [2], [3], [4]])
    found = itemmap.item_map(run, 10)
    assert found.title is None
    assert found.genres is None
    assert (found.x, found.y, found.legend) == ([0, 3333, 6666, 9999], [0] * 4, [])
