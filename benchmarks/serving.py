"""Times ``recommend --all`` beside the bare matrix product, and ``predict`` from file to file.

    python benchmarks/serving.py                 MovieLens-25M's size: 162,541 users, 59,047 items
    python benchmarks/serving.py --users 20000   less of it

Lists: the search for the n best items by ``rating`` and by ``list``, each beside the blocked
product of vectors as wide as its own, in single precision and into the same memory again and again,
and beside PyTorch's ``topk``, which leaves nothing out that a user rated. FAISS and ``implicit``
join where they are installed.

Pairs: ``predict`` of --pairs made-up pairs, after its start-up, which a file of one pair tells.
"""

import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import measuring
import numpy as np
import polars as pl

from cfcli.core.models.interest import Interest, Weights
from cfcli.core.models.scoring import Predictor
from cfcli.core.serving.order import By, Order
from cfcli.core.serving.top_items import top_items
from cfcli.core.serving.users import Seen, Users

BLOCKS = ((142, 1 << 20), (256, 8192), (512, 8192), (2048, 2048))  # users and items at once


def product(users: np.ndarray, items: np.ndarray, block: tuple[int, int]) -> None:
    """The scores of a block after the other, written over those before."""
    memory = np.empty(block[0] * min(block[1], items.shape[1]), np.float32)
    for start in range(0, len(users), block[0]):
        some = users[start : start + block[0]]
        for first in range(0, items.shape[1], block[1]):
            part = items[:, first : first + block[1]]
            shape = len(some), part.shape[1]
            np.matmul(some, part, out=memory[: shape[0] * shape[1]].reshape(shape))


def made_up(users: int, items: int, dim: int, by: By) -> Order:
    """Models of so many dimensions each, with vectors by chance."""
    random = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return random.normal(0, 0.3, shape).astype(np.float32)

    one = np.ones(1, np.float32)
    tensors = {
        "user_embedding.weight": normal(users, dim),
        "item_embedding.weight": normal(items, dim),
        "linear.weight": one[None],
        "linear.bias": one,
        "user_bias": normal(users),
        "item_bias": normal(items),
    }
    raters = random.integers(1, 1000, items)
    interest = None
    if by == "list":
        parts = {"user": normal(users, dim), "item": normal(items, dim)}
        interest = Interest(parts | {"scale": np.ones(items, np.float32), "raters": raters})
    return Order(Predictor("mf", tensors, 1, 5), interest, Weights(1, 0.3, 0.1), raters, by)


def lists(order: Order, users: int, n: int, seen: int) -> None:
    """All that ``recommend --all`` computes."""
    items = len(order.raters)
    random = np.random.default_rng(1)
    known = Seen(np.arange(users + 1) * seen, random.integers(0, items, users * seen))
    them = Users(pl.Series(np.arange(users)), np.arange(users), known)
    rows = sum(found.items.size for found in top_items(order, them, n, np.ones(items, bool)))
    assert rows == n * users


def of_torch(users: np.ndarray, items: np.ndarray, n: int) -> None:
    import torch

    side = torch.from_numpy(items)
    for part in torch.from_numpy(users).split(256):
        (part @ side).topk(n)


def of_faiss(users: np.ndarray, items: np.ndarray, n: int) -> None:
    import faiss

    index = faiss.IndexFlatIP(items.shape[0])
    index.add(np.ascontiguousarray(items.T))
    index.search(users, n)


def of_implicit(users: np.ndarray, items: np.ndarray, n: int) -> None:
    from implicit.cpu.topk import topk

    topk(np.ascontiguousarray(items.T), users, n)


PEERS = {"torch": of_torch, "faiss": of_faiss, "implicit": of_implicit}


def compare_lists(users: int, items: int, dim: int, n: int, seen: int, repeats: int) -> None:
    measuring.print_head("order", "what", "seconds", "of the best bare product", "CPU seconds")
    for by in ("rating", "list"):
        order = made_up(users, items, dim, by)
        vectors = order.scaled(order.vectors(np.arange(users))).users
        side = order.item_side
        assert side is not None
        ways: dict[str, Callable[[], None]] = {
            f"product, {block[0]} x {min(block[1], items):,}": partial(
                product, vectors, side, block
            )
            for block in BLOCKS
        }
        bare = list(ways)
        ways["cfcli"] = partial(lists, order, users, n, seen)
        for name, way in PEERS.items():
            if find_spec(name):
                ways[name] = partial(way, vectors, side, n)
        costs = measuring.in_turn(repeats, *(partial(seconds, way) for way in ways.values()))
        wall = {name: min(part)[0] for name, part in zip(ways, costs, strict=True)}
        cpu = {name: min(c for _, c in part) for name, part in zip(ways, costs, strict=True)}
        least = min(wall[name] for name in bare)
        for name in ways:
            ratio = f"{wall[name] / least:.2f}"
            measuring.print_row([by, name, f"{wall[name]:.2f}", ratio, f"{cpu[name]:.2f}"])


def seconds(way: Callable[[], None]) -> tuple[float, float]:
    begin, before = time.perf_counter(), time.process_time()
    way()
    return time.perf_counter() - begin, time.process_time() - before


def compare_pairs(folder: Path, pairs: int, repeats: int) -> None:
    ratings = measuring.ratings_file(folder, pairs)
    run = folder / "run"
    if not run.exists():
        data = folder / "data"
        measuring.cfcli("prepare", ratings, "--out", data, "--force", "--accept-shrink", "-q")
        given = ("--data", data, "--dim", "16", "--epochs", "8", "--out", run, "-q")
        measuring.cfcli("train", *given, "--no-interest", "--refit", "none")
    measuring.print_head("file", "start-up s", "s", "pairs a second after it", "peak MB")
    for suffix in ("csv", "parquet"):
        table = pl.read_csv(ratings).select("userId", "movieId").sample(pairs, shuffle=True, seed=1)
        files = []
        for name, frame in (("few", table[:1]), ("all", table)):
            files.append(folder / f"{name}.{suffix}")
            frame.write_csv(files[-1]) if suffix == "csv" else frame.write_parquet(files[-1])
        out = folder / f"predicted.{suffix}"
        ways = [partial(measuring.cfcli, "predict", run, file, "--out", out) for file in files]
        start, whole = measuring.in_turn(repeats, *ways)
        first, last = (min(cost.seconds for cost in costs) for costs in (start, whole))
        rate = (len(table) - 1) / (last - first)
        peak = max(cost.peak_mb for cost in whole)
        measuring.print_row([suffix, f"{first:.2f}", f"{last:.2f}", f"{rate:,.0f}", f"{peak:,.0f}"])


def main() -> None:
    parser = measuring.parser(__doc__)
    parser.add_argument("--users", type=int, default=162_541)
    parser.add_argument("--items", type=int, default=59_047)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("-n", type=int, default=10)
    parser.add_argument("--seen", type=int, default=100, help="items that each user rated")
    parser.add_argument("--pairs", type=int, default=5_000_000, help="0 for none")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("benchmark-data"))
    args = parser.parse_args()
    args.folder.mkdir(exist_ok=True)
    if args.users:
        compare_lists(args.users, args.items, args.dim, args.n, args.seen, args.repeats)
    if args.pairs:
        compare_pairs(args.folder, args.pairs, args.repeats)


if __name__ == "__main__":
    main()
