"""How well the map of a report keeps neighbours, and how long it takes.

    python benchmarks/item_map.py RUN [--items 10000] [--perplexity P] [--iterations N] [--angle A]

A row for each kind of vectors that the map could be made of; `cfcli report` takes the last. "Kept"
is the share of the ten nearest neighbours by these vectors that are among the ten nearest on the
map, by principal components and by t-SNE. "Of `similar`" is the same for the neighbours that `cfcli
similar` names, of the 1,000 most rated items. "Genres" says how alike the genres of neighbours on
the map are: those that both have, as a share of those that either has. Seconds are those of the
neighbours and of t-SNE.
"""

import os
import time
from collections.abc import Sequence
from pathlib import Path

import measuring
import numpy as np

from cfcli.core.models.heads import Floats
from cfcli.core.reporting import itemmap, layout
from cfcli.core.runs.run import Run
from cfcli.core.serving.similar import similar

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as cfcli does, before its threads begin
N = 10
MOST_RATED = 1000  # items whose neighbours by `similar` are compared
HEAD = "vectors|kept by PCA|kept by t-SNE|of `similar`, t-SNE|genres, PCA|genres, t-SNE|seconds"


def main() -> None:
    parser = measuring.parser(__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--perplexity", type=float, default=layout.PERPLEXITY)
    parser.add_argument("--iterations", type=int, default=layout.ITERATIONS)
    parser.add_argument("--angle", type=float, default=layout.ANGLE)
    args, _ = measuring.arguments(parser)
    run = Run.load(args.run)
    items = itemmap.most_rated(run, args.items)
    rating = run.tensors["item_embedding.weight"][items]
    kinds = {"rating, Euclidean": rating, "rating, cosine": layout.item_vectors(run, items, 0)}
    if run.interest is not None:
        kinds["interest, cosine"] = layout.item_vectors(run, items, 1)
        kinds["both, cosine"] = layout.item_vectors(run, items)
    named = neighbours_of_similar(run, items)
    measuring.print_head(*HEAD.split("|"))
    for name, vectors in kinds.items():
        begin = time.perf_counter()
        find = layout.nearest if name.endswith("cosine") else nearest
        near = find(vectors, layout.graph_size(len(items), args.perplexity))
        plane = layout.tsne(
            vectors,
            near,
            perplexity=args.perplexity,
            iterations=args.iterations,
            angle=args.angle,
        )
        seconds = time.perf_counter() - begin
        on_map = nearest(plane, N).places
        by_pca = nearest(layout.principal(vectors), N).places
        true = near.places[:, :N]
        shares = [shared(true, by_pca), shared(true, on_map), shared(named, on_map)]
        alike = [genres(run, items, by_pca), genres(run, items, on_map)]
        cells = [f"{100 * share:.0f} %" for share in shares + alike]
        measuring.print_row([f"{name} ({len(items):,} items)", *cells, f"{seconds:.1f}"])


def nearest(points: Floats, n: int) -> layout.Neighbours:
    """The nearest neighbours by distance. Instead of cosines, it has ``1 - distance ** 2 / 2``."""
    from sklearn.neighbors import NearestNeighbors

    found = NearestNeighbors(n_neighbors=n).fit(points).kneighbors()
    return layout.Neighbours(found[1], 1 - found[0] ** 2 / 2)


def neighbours_of_similar(run: Run, items: layout.Places) -> list[list[int]]:
    """Where the neighbours that `cfcli similar` names stand among the items, for the first ones."""
    place = {int(item): k for k, item in enumerate(items)}
    found = (similar(run, int(item), N)["item"].to_list() for item in items[:MOST_RATED])
    return [[place[item] for item in near if item in place] for near in found]


def shared(true: Sequence[Sequence[int]], found: layout.Places) -> float:
    """The mean share of true neighbours that were found."""
    pairs = zip(true, found[: len(true)], strict=True)
    return float(np.mean([len(set(a) & set(b)) / max(len(a), 1) for a, b in pairs]))


def genres(run: Run, items: layout.Places, found: layout.Places) -> float:
    """How alike the genres of an item and its neighbours are; nan where no genres are known."""
    if "genres" not in run.items.columns:
        return float("nan")
    texts = run.items[items]["genres"].fill_null("")
    sets = [set(text.split("|")) - {""} for text in texts]
    alike = []
    for k, near in enumerate(found[:MOST_RATED]):
        alike += [len(sets[k] & sets[j]) / max(len(sets[k] | sets[j]), 1) for j in near]
    return float(np.mean(alike))


if __name__ == "__main__":
    main()
