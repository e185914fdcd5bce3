"""Ratings as MovieLens-25M has them, made up: seeded, users and items of very different activity,
latent tastes."""

from pathlib import Path

import numpy as np
import polars as pl

ROWS_PER_USER, ROWS_PER_ITEM, MOST_ITEMS = (
    154,
    423,
    60_000,
)  # MovieLens-25M's; its catalogue is not made larger
DIM = 8


def write_csv(path: Path, rows: int, seed: int = 42, block: int = 2_000_000) -> None:
    """Writes ``userId,movieId,rating,timestamp`` with no pair twice, by user and item, a block of
    rows at a time.

    Activity of users is log-normal (at least 20 ratings), popularity of items a power law, and a
    rating, in half stars, the sum of both biases, an inner product of ``DIM`` dimensions and noise.
    """
    random = np.random.default_rng(seed)
    users, items = max(rows // ROWS_PER_USER, 10), min(max(rows // ROWS_PER_ITEM, 60), MOST_ITEMS)
    activity = np.exp(random.normal(0, 1.35, users))
    counts = np.clip(activity / activity.sum() * rows, 20, items // 3).astype(int)
    popularity = np.cumsum((np.arange(items) + 30.0) ** -1.1)
    popularity /= popularity[-1]
    ids = np.sort(random.choice(4 * items, items, replace=False) + 1)[random.permutation(items)]
    taste, trait = (random.normal(0, 0.35, (n, DIM)).astype(np.float32) for n in (users, items))
    user_bias = random.normal(0, 0.4, users).astype(np.float32)
    item_bias = random.normal(0, 0.5, items).astype(np.float32)
    joined = random.integers(789_652_009, 1_489_652_009, users)
    upto = np.cumsum(counts)
    done = first = 0
    with open(path, "wb") as file:
        file.write(b"userId,movieId,rating,timestamp\n")
        while done < rows:
            last = min(
                int(np.searchsorted(upto, (upto[first - 1] if first else 0) + block)) + 1, users
            )
            # Draws more than are needed, as some fall on the same item.
            user = np.repeat(np.arange(first, last), (1.6 * counts[first:last]).astype(int) + 10)
            item = np.searchsorted(popularity, random.random(len(user)))
            pair = np.unique(user * np.int64(items) + item)[: rows - done]
            if not len(pair):
                raise ValueError(f"{users} users are too few for {rows} ratings of {items} items")
            user, item = pair // items, pair % items
            score = 3.5 + user_bias[user] + item_bias[item] + (taste[user] * trait[item]).sum(1)
            score += random.normal(0, 0.7, len(user)).astype(np.float32)
            frame = pl.DataFrame(
                {
                    "user": user + 1,
                    "item": ids[item],
                    "rating": np.clip(np.round(2 * score) / 2, 0.5, 5).astype(np.float64),
                    "time": joined[user] + random.integers(0, 1_000_000, len(user)),
                }
            )
            frame.sort("user", "item").write_csv(file, include_header=False)
            done, first = done + len(user), last
