"""Where the map places items, and what it calls its regions."""

import numpy as np

from cfcli.core.reporting import layout
from cfcli.core.reporting.regions import regions

RATINGS = list(range(400, 0, -1))


def test_tsne_keeps_neighbours_that_principal_components_lose() -> None:
    random = np.random.default_rng(0)
    middles = np.repeat(random.normal(size=(20, 12)), 12, axis=0)
    vectors = middles + 0.3 * random.normal(size=middles.shape)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    near = layout.nearest(vectors, layout.graph_size(len(vectors)))
    by_tsne = kept(near.places[:, :10], layout.tsne(vectors, near))
    assert by_tsne > 0.8
    assert by_tsne > 0.2 + kept(near.places[:, :10], layout.principal(vectors))


def kept(true: np.ndarray, plane: np.ndarray) -> float:
    distance = np.linalg.norm(plane[:, None] - plane, axis=2)
    np.fill_diagonal(distance, np.inf)
    found = np.argsort(distance, axis=1)[:, :10]
    return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(true, found, strict=True)]))


def corners(n: int = 100) -> np.ndarray:
    """Four heaps of points, item by item in turn."""
    middles = np.array([[0, 0], [9999, 0], [0, 9999], [9999, 9999]])
    jitter = np.random.default_rng(0).integers(-300, 300, (4 * n, 2))
    return np.tile(middles, (n, 1)) + jitter


def test_regions_are_called_by_what_is_more_frequent_there() -> None:
    genres = [["Drama"], ["Drama", "War"], ["Drama", "Horror", "Sci-Fi"], []] * 100
    titles = [f"Film {k}" for k in range(400)]
    found = {region.name: region for region in regions(corners(), RATINGS, titles, genres)}
    assert {"War", "Horror & Sci-Fi", "Drama"} < set(found)
    other = next(name for name in found if name.startswith("around Film "))
    assert int(other.split()[-1]) % 4 == 3
    horror = found["Horror & Sci-Fi"]
    assert abs(horror.x) < 300
    assert abs(horror.y - 9999) < 300
    assert horror.items == 100
    assert horror.examples == [2, 6, 10]  # the most rated come first


def test_a_name_stands_once() -> None:
    found = regions(corners(), RATINGS, [], [["Drama"], ["Drama"], ["War"], []] * 100)
    assert sorted(region.name for region in found) == ["Drama", "War"]


def test_few_items_have_no_regions() -> None:
    assert regions(corners()[:5], RATINGS, [], [[]] * 5) == []
