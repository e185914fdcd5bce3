"""The nearest items are the right ones, and rare ones are held down."""

from pathlib import Path

import pytest
from fake_run import make_run

from cfcli.core import neighbors
from cfcli.core.errors import InputError
from cfcli.core.runs import Run

# Item 1 has three ratings, item 2 two, items 3 and 4 one each.
RATINGS = "user,item,rating\na,1,1\nb,1,2\nc,1,3\na,2,4\nb,2,5\na,3,1\na,4,2\n"
TITLES = "item,title\n1,Toy Story\n2,Toy Story 2\n3,Heat [1995]\n"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path, RATINGS, [[1, 0]] * 3, [[2, 0], [3, 0], [1, 1], [0, -1]], titles=TITLES)


def test_cosine_is_weighed_by_ratings(run: Run) -> None:
    near = neighbors.similar(run, 0)
    assert near["item"].to_list() == [1, 2, 3]
    assert near["rank"].to_list() == [1, 2, 3]
    assert near["score"].to_list() == pytest.approx([2 / 12, 0.5**0.5 / 11, 0.0], abs=1e-6)


def test_few_and_fewer(run: Run) -> None:
    assert neighbors.similar(run, 0, n=1)["item"].to_list() == [1]
    assert neighbors.similar(run, 2, min_ratings=2)["item"].to_list() == [0, 1]
    assert neighbors.similar(run, 0, min_ratings=9).height == 0


def test_titles_are_found_whatever_their_case_and_the_most_rated_first(run: Run) -> None:
    assert neighbors.find_title(run, "TOY story") == [0, 1]
    assert neighbors.find_title(run, "[1995]") == [2]
    with pytest.raises(InputError, match="no title holds 'x'"):
        neighbors.find_title(run, "x")


def test_without_titles_there_is_no_search(tmp_path: Path) -> None:
    run = make_run(tmp_path, RATINGS, [[1, 0]] * 3, [[1, 0]] * 4)
    with pytest.raises(InputError, match="knows no titles"):
        neighbors.find_title(run, "toy")
