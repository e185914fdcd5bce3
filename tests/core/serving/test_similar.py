"""The nearest items are the right ones, and rare ones are held down."""

from pathlib import Path

import numpy as np
import pytest
from fake_run import make_run
from planted import checkerboard, dataset
from planted import run as train

from cfcli.core.errors import ConfigError, InputError
from cfcli.core.runs.run import Run
from cfcli.core.serving import similar as neighbors

# Item 1 has three ratings, item 2 two, items 3 and 4 one each.
RATINGS = "user,item,rating\na,1,1\nb,1,2\nc,1,3\na,2,4\nb,2,5\na,3,1\na,4,2\n"
TITLES = "item,title\n1,Toy Story\n2,Toy Story 2\n3,Heat [1995]\n"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(
        tmp_path, RATINGS, [[1, 0]] * 3, [[2, 0], [3, 0], [1, 1], [0, -1]], titles=TITLES
    )


def test_cosine_is_weighed_by_ratings(run: Run) -> None:
    near = neighbors.similar(run, 0)
    assert near["item"].to_list() == [1, 2, 3]
    assert near["rank"].to_list() == [1, 2, 3]
    # cos = 1, 1/sqrt(2), 0; both rated by 2, 1, 1 people, of 3 and of 2, 1, 1
    assert near["score"].to_list() == pytest.approx(
        [2 / (13 * 12) ** 0.5, (0.5 / 13 / 11) ** 0.5, 0.0], abs=1e-6
    )


def test_who_rated_both_is_counted(run: Run) -> None:
    # Items 2, 3 and 4 were rated by a, b; a; a.
    root = [(12 * (10 + n)) ** 0.5 for n in (3, 2, 1, 1)]
    assert neighbors.overlap(run, 1).tolist() == pytest.approx(
        [n / r for n, r in zip((2, 2, 1, 1), root, strict=True)]
    )


def test_a_run_that_keeps_no_pairs_weighs_by_ratings_alone(run: Run) -> None:
    del run.info.files["seen.parquet"]
    assert neighbors.overlap(run, 0).tolist() == pytest.approx([3 / 13, 2 / 12, 1 / 11, 1 / 11])
    assert neighbors.similar(run, 0)["item"].to_list() == [1, 2, 3]


def test_items_of_the_same_people_come_first_among_equals(tmp_path: Path) -> None:
    pairs = [(u, i) for i, who in enumerate((range(20), range(20, 40), range(5, 25))) for u in who]
    ratings = "user,item,rating\n" + "".join(f"{u},{i},{1 + u % 2}\n" for u, i in pairs)
    run = make_run(tmp_path, ratings, [[1, 0]] * 40, [[1, 0.1], [1, 0.1], [1, 0.3]])
    assert neighbors.similar(run, 0)["item"].to_list() == [2, 1]
    assert neighbors.similar(run, 0)["score"].to_list()[1] == 0


def test_dot_and_euclidean_are_as_they_are(run: Run) -> None:
    dot = neighbors.similar(run, 0, metric="dot")
    assert (dot["item"].to_list(), dot["score"].to_list()) == ([1, 2, 3], [6, 2, 0])
    far = neighbors.similar(run, 2, metric="euclidean")
    assert far["item"].to_list() == [0, 1, 3]
    assert far["score"].to_list() == pytest.approx([-(2**0.5), -(5**0.5), -(5**0.5)])


def test_few_and_fewer(run: Run) -> None:
    assert neighbors.similar(run, 0, n=1)["item"].to_list() == [1]
    assert neighbors.similar(run, 2, min_ratings=2)["item"].to_list() == [1, 0]
    assert neighbors.similar(run, 0, min_ratings=9).height == 0


def test_an_item_with_one_rating_does_not_beat_one_with_many(tmp_path: Path) -> None:
    many = "".join(f"u{k},{item},3\n" for k in range(40) for item in (1, 2))
    run = make_run(
        tmp_path, f"user,item,rating\n{many}u1,3,4\n", [[1, 0]] * 40, [[1, 0], [0.8, 0.6], [1, 0]]
    )
    assert neighbors.similar(run, 0)["item"].to_list() == [1, 2]
    assert neighbors.similar(run, 0, metric="euclidean")["item"].to_list() == [2, 1]


def test_items_without_training_ratings_are_no_neighbours_unless_asked_for(tmp_path: Path) -> None:
    test = "user,item,rating\na,9,3\na,2,3\n"
    run = make_run(
        tmp_path, "user,item,rating\na,1,1\nb,2,5\n", [[1]] * 2, [[1], [2], [3]], test=test
    )
    if run.items.height < 3:
        pytest.skip("items of the test split alone have no vector")
    assert neighbors.similar(run, 0, metric="dot")["item"].to_list() == [1]
    assert neighbors.similar(run, 0, metric="dot", min_ratings=0)["item"].to_list() == [2, 1]


def test_a_vector_of_zeros_is_near_to_nothing(tmp_path: Path) -> None:
    run = make_run(tmp_path, RATINGS, [[1, 0]] * 3, [[0, 0], [3, 0], [1, 1], [0, -1]])
    assert neighbors.similar(run, 0)["score"].to_list() == [0, 0, 0]


def test_both_models_by_hand(tmp_path: Path) -> None:
    """Item 0 beside two others; the run has three users and no weights of its own."""
    run = make_run(tmp_path, RATINGS, [[1, 0]] * 3, [[0, 0], [3, 0], [1, 1], [0, -1]])
    shares = np.array([[0.0, 2 / (12 * 14) ** 0.5, 1 / (12 * 15) ** 0.5]])
    found = neighbors.joined(
        run,
        rating=np.array([[0.0, 0.5, -0.5]]),
        interest=np.array([[0.0, 0.2, 0.4]]),
        both=np.array([[0, 2, 1]]),
        n_i=np.array([[2]]),
        n_j=np.array([2, 4, 5]),
    )
    # 2 * 3 / (2 * 4) and 1 * 3 / (2 * 5) are below 1: no more often together than by chance.
    # Weights are 1 and 0.3. Chosen alike: half the cosines, divided by 0.4, the last one halved, as
    # ratings say the opposite. Rated alike: the cosines times the shares, divided by the largest.
    chosen = np.array([0, 0.5, 1.0]) / 2 * [1, 1, 0.5]
    rated = np.array([0, 0.5, -0.5]) * shares[0]
    rated /= rated.max()
    np.testing.assert_allclose(found[0], (chosen + 0.3 * rated) / 1.3)


def test_planted_tastes_are_found_again(tmp_path: Path) -> None:
    data = dataset(tmp_path, checkerboard(users=60, items=24))
    run = Run.load(train(data, tmp_path / "run", dim=4))
    for metric in ("cosine", "dot"):
        for item in range(6):
            near = neighbors.similar(run, item, n=8, metric=metric)  # type: ignore[arg-type]
            assert {k % 2 for k in near["item"]} == {item % 2}, metric


def found(run: Run, text: str) -> list[tuple[int, bool]]:
    return neighbors.find_title(run, text).select("item", "exact").rows()


def test_titles_are_found_whatever_their_case_and_the_exact_one_first(run: Run) -> None:
    assert found(run, "TOY story") == [(0, True), (1, False)]
    assert found(run, "toy story 2") == [(1, True)]
    assert found(run, "[1995]") == [(2, False)]
    with pytest.raises(InputError, match="no title holds 'x'"):
        neighbors.find_title(run, "x")


def test_exact_titles_win_over_more_ratings_and_more_ratings_over_fewer(tmp_path: Path) -> None:
    titles = 'item,title\n1,Heat and Dust\n2,Heat (1995)\n3,HEAT\n4,"Heat, The (2013)"\n'
    run = make_run(tmp_path, RATINGS, [[1]] * 3, [[1]] * 4, titles=titles)
    assert found(run, "heat") == [(1, True), (2, True), (0, False), (3, False)]
    assert found(run, "Heat (1995)") == [(1, True)]
    assert found(run, "heat (") == [(1, False), (3, False)]
    assert (
        found(run, "the heat")
        == found(run, "The Heat (2013)")
        == found(run, "heat, the")
        == [(3, True)]
    )
    assert neighbors.find_title(run, "heat")["n_ratings"].to_list() == [2, 1, 3, 1]


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("matrix the", [(1, True), (0, False)]),
        ("the reloaded matrix", [(0, True)]),
        ("The Matrix", [(1, True), (0, False)]),
        ("starwars", [(2, True), (3, False)]),
        ("STAR-WARS", [(2, True), (3, False)]),
        ("empire wars star", [(3, False)]),
        ("Ame\u0301lie", [(4, True)]),
        ("am\u00e9lie", [(4, True)]),
        ("AMELIE", [(4, True)]),
        ("\uff33\uff34\uff21\uff32 wars", [(2, True), (3, False)]),
        ("alien3", [(5, True)]),
        ("STRASSE", [(6, True)]),
    ],
)
def test_titles_are_found_by_other_writing(
    tmp_path: Path, text: str, items: list[tuple[int, bool]]
) -> None:
    titles = (
        'item,title\n0,"Matrix Reloaded, The (2003)"\n1,"Matrix, The (1999)"\n2,Star Wars (1977)\n'
        "3,Star Wars: The Empire\n4,Am\u00e9lie (2001)\n5,Alien\u00b3\n6,Stra\u00dfe\n"
    )
    rows = "".join(f"{user},{item},{item % 5 + 1}\n" for item in range(7) for user in range(2))
    many = "2,0,4\n3,0,3\n2,3,1\n3,3,2\n"  # more ratings than those that match better
    made = make_run(
        tmp_path, "user,item,rating\n" + rows + many, [[1]] * 4, [[1]] * 7, titles=titles
    )
    assert found(made, text) == items


@pytest.mark.parametrize("text", ["", " ", "...", "wars starr", "rats"])
def test_other_titles_are_not_found(run: Run, text: str) -> None:
    with pytest.raises(InputError, match="no title holds"):
        neighbors.find_title(run, text)


def test_without_titles_there_is_no_search(tmp_path: Path) -> None:
    run = make_run(tmp_path, RATINGS, [[1, 0]] * 3, [[1, 0]] * 4)
    with pytest.raises(InputError, match="knows no titles"):
        neighbors.find_title(run, "toy")


def test_a_frame_names_the_item_and_its_neighbours(run: Run) -> None:
    by_id = neighbors.similar_frame(run, "1", n=2)
    assert by_id.columns == ["query", "item", "rank", "score", "ratings", "title"]
    assert by_id.drop("score").rows() == [
        ("1", "2", 1, 2, "Toy Story 2"),
        ("1", "3", 2, 1, "Heat [1995]"),
    ]
    assert neighbors.similar_frame(run, title="toy story", n=2).equals(by_id)
    with pytest.raises(InputError, match="item '77' is not in"):
        neighbors.similar_frame(run, "77")
    for both_or_neither in ({}, {"item_id": "1", "title": "toy"}):
        with pytest.raises(ConfigError, match="by its id or by its title"):
            neighbors.similar_frame(run, **both_or_neither)  # type: ignore[arg-type]
