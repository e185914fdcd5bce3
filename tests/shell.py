"""What tests share: made-up ratings with structure in them, and the installed console script."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

CFCLI = Path(sys.executable).with_name("cfcli")


def write_ratings(
    path: Path, users: int = 80, items: int = 60, share: float = 0.6, seed: int = 0
) -> Path:
    """A MovieLens-shaped CSV: two tastes, item and user biases, some noise; ids start at 1."""
    generator = np.random.default_rng(seed)
    taste = np.where(np.arange(users)[:, None] % 2 == np.arange(items)[None] % 2, 1.0, -1.0)
    score = 3 + taste + generator.normal(0, 0.4, (users, 1)) + generator.normal(0, 0.4, (1, items))
    rating = np.clip(np.round(2 * (score + generator.normal(0, 0.3, (users, items)))) / 2, 0.5, 5)
    lines = [
        f"{u + 1},{i + 1},{rating[u, i]},{1_000_000_000 + 1000 * u + i}"
        for u in range(users)
        for i in range(items)
        if generator.random() < share
    ]
    path.write_text("\n".join(["userId,movieId,rating,timestamp", *lines]) + "\n")
    return path


def run_cfcli(
    *args: object, cwd: Path, env: dict[str, str] | None = None, **kwargs: object
) -> "subprocess.CompletedProcess[str]":
    """Runs the installed console script and waits for it."""
    clean = (
        {k: v for k, v in os.environ.items() if not k.startswith("CFCLI_")}
        | {"COLUMNS": "100"}
        | (env or {})
    )
    command = [str(CFCLI), *map(str, args)]
    return subprocess.run(
        command, cwd=cwd, env=clean, capture_output=True, text=True, timeout=120, **kwargs
    )  # type: ignore[call-overload, no-any-return]
