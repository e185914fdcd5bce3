"""The page says what is so, is whole in itself, and titles are only text."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import planted
import polars as pl
import pytest
from fake_run import make_run, text_source

from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.config.train import TrainConfig
from cfcli.core.data import prepare as preparation
from cfcli.core.errors import InputError
from cfcli.core.evaluation import evaluate as evaluation
from cfcli.core.evaluation.comparison import compare
from cfcli.core.models.base import Shape
from cfcli.core.reporting import layout, report
from cfcli.core.reporting.examples import examples
from cfcli.core.runs import writing
from cfcli.core.runs.finish import Models
from cfcli.core.runs.run import Run
from cfcli.core.training.epochs import Epoch
from cfcli.core.training.trained import TrainedModel

EVIL = "</script><img src=x onerror=alert(1)>"


class Page(HTMLParser):
    """The tags of a page, its text by section, and its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.sections: dict[str, str] = {}
        self.scripts: list[str] = []
        self.section, self.open = "", [""]
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)
        if tag in ("section", "header"):
            self.section = dict(attrs).get("id", tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self.open[-1] == "script":
            self.scripts[-1] += data
        else:
            self.sections[self.section] = self.sections.get(self.section, "") + data

    @property
    def items(self) -> list[dict[str, Any]]:
        return json.loads(self.scripts[0])  # type: ignore[no-any-return]


def page_of(*runs: Run, **more: Any) -> Page:
    return Page(report.report(runs, **more)[0])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    folder = tmp_path_factory.mktemp("report")
    data = planted.dataset(folder, planted.checkerboard(), titles=True)
    keys = {"gibbs": {"solver": "gibbs", "dim": 3}, "adam": {"epochs": 3, "dim": 2}}
    return {name: Run.load(planted.run(data, folder / name, **more)) for name, more in keys.items()}  # type: ignore[arg-type]


def test_what_it_says_is_what_was_measured(made: dict[str, Run]) -> None:
    run = made["gibbs"]
    page, (result, _) = page_of(run), evaluation.evaluate(run)
    info = run.dataset().info
    for key, section in (
        ("ratings", "data"),
        ("users", "data"),
        ("items", "data"),
        ("train", "data"),
        ("val", "data"),
    ):
        assert f"{getattr(info, key):,}" in page.sections[section], key
    for name in evaluation.BASELINES:
        assert f"{result.baselines[name].rmse:.4f}" in page.sections["errors"]
    assert f"{result.model.rmse:.4f}" in page.sections["errors"]
    assert f"{run.info.epochs}, best {run.info.best_epoch}" in page.sections["training"]
    assert "--solver gibbs --dim 3" in page.sections["again"]
    by_default = page.sections["training"].partition("Settings at their defaults")[2]
    assert "patience 3, " in by_default
    assert "dim" not in by_default
    titles = [attributes["aria-label"] for tag, attributes in page.tags if tag == "svg"]
    assert [
        title for title in titles if title.startswith(("Calib", "Loss", "RMSE", "Ratings", "Error"))
    ] == [
        "RMSE beside the baselines, with 95 % intervals",
        "Ratings, and predictions by the nearest rating",
        "Error by the true rating",
        "Error by how much the user has rated",
        "Error by how often the item was rated",
        "Calibration: ratings inside their predicted intervals",
        "Loss by epoch",
        "Ratings",
    ]


def test_it_asks_for_nothing_from_anywhere(made: dict[str, Run]) -> None:
    text = report.report([made["gibbs"]])[0]
    page = Page(text)
    for tag, attributes in page.tags:
        for name in ("src", "href", "action", "srcset"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), (tag, attributes)
    assert not re.search(r"@import|url\(", text)
    policy = (
        next(a["content"] for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
        or ""
    )
    digest = base64.b64encode(hashlib.sha256(page.scripts[1].encode()).digest()).decode()
    assert policy.startswith("default-src 'none'; ")
    assert f"script-src 'sha256-{digest}'" in policy


def test_titles_ids_and_names_are_only_text(tmp_path: Path) -> None:
    titles = f'item,title,genres\n1,"{EVIL}",<b>Drama</b>\n2,<!--,x\n3,\u2028 & co,x\n'
    ratings = "user,item,rating\na,1,1\nb,1,2\na,2,4\nb,2,5\na,3,1\n"
    folder = tmp_path / "<img src=x>"
    run = make_run(folder, ratings, [[1, 0]] * 2, [[1, 0], [1, 1], [0, 1]], titles=titles)
    page = page_of(run)
    assert page.items[0]["title"][:2] == [EVIL, "<!--"]
    assert page.items[0]["genres"][0] == "<b>Drama</b>"
    assert "<img src=x>/run" in page.sections["training"]
    assert not [tag for tag, _ in page.tags if tag in ("img", "b")]
    assert len(page.scripts) == 2


def test_runs_of_one_dataset_stand_beside_each_other(made: dict[str, Run]) -> None:
    page = page_of(made["gibbs"], made["adam"])
    assert [one["name"] for one in page.items] == ["mf 3", "mf 2"]
    errors = page.sections["errors"]
    for run in made.values():
        assert f"{evaluation.evaluate(run)[0].model.rmse:.4f}" in errors
    found = compare(list(made.values())).runs[1].rmse_difference
    assert found is not None
    verdict = page.sections["verdict"]
    assert f"{found.value:+.4f} {found.low:+.4f} to {found.high:+.4f}" in verdict
    assert "mf 3 is better for ratings than mf 2" in verdict
    titles = [attributes["aria-label"] or "" for tag, attributes in page.tags if tag == "svg"]
    assert sum(title.startswith("Error by the") for title in titles) == 1
    assert titles.count("Loss by epoch") == 1
    strong = [a for tag, a in page.tags if tag == "tr" and a.get("class") == "strong"]
    # Both models and both lists; dim, solver, epochs and the learning rate differ.
    assert len(strong) == 2 + 2 + 4
    for run in made.values():
        lists = evaluation.evaluate(run)[0].lists
        assert lists is not None
        assert f"{lists.list.liked.ndcg:.4f}" in errors


def test_runs_that_were_trained_on_other_rows_have_baselines_of_their_own(tmp_path: Path) -> None:
    """The twin of one has seen the training rows alone; so few ratings that groups differ."""
    data = planted.dataset(tmp_path, planted.checkerboard(60, 30, share=0.35), val_size=0.5)
    runs = [
        Run.load(planted.run(data, tmp_path / name, epochs=2, refit=name))
        for name in ("all", "val")
    ]
    page = page_of(*runs)
    titles = [a["aria-label"] or "" for tag, a in page.tags if tag == "svg"]
    assert sum(title.startswith("Error by how often the item") for title in titles) == 2
    for run in runs:
        bias = evaluation.evaluate(run)[0].baselines["bias"]
        assert f"{bias.rmse:.4f}" in page.sections["errors"]


def test_runs_of_other_datasets_are_told_apart(made: dict[str, Run], tmp_path: Path) -> None:
    data = planted.dataset(tmp_path, planted.checkerboard(seed=5))
    other = Run.load(planted.run(data, tmp_path / "adam", epochs=1))
    text = report.report([made["adam"], other])[0]
    page = Page(text)
    assert "they were judged by different rows" in text
    assert "on the same rows" not in text
    assert (
        sum(tag == "svg" and a["aria-label"].startswith("Error by the") for tag, a in page.tags)
        == 2
    )  # type: ignore[union-attr]
    assert len({one["name"] for one in page.items}) == 2


def test_users_have_letters_unless_ids_are_asked_for(made: dict[str, Run]) -> None:
    run = made["gibbs"]
    users = page_of(run).sections["users"]
    assert "User A" in users
    names = [f"User {name} " for name in run.users[run.info.columns.user]]
    assert not any(name in users for name in names)
    users = page_of(run, show_ids=True).sections["users"]
    assert sum(name in users for name in names) == 3
    assert "User A" not in users


def test_users_liked_what_they_rated_best_and_get_what_they_have_not_rated(
    made: dict[str, Run],
) -> None:
    run = made["gibbs"]
    titles = dict(zip(run.items["title"], range(run.items.height), strict=True))
    pairs = set(run.seen_pairs().select("user", "item").rows())
    shown = examples({"mf": run}, show_ids=True)
    assert len(shown) == 3
    for one in shown:
        user = run.ids.user.index(pl.Series([one.name.removeprefix("user ")]))[0]
        rated = pl.concat([run.rows(side) for side in run.trained_sides])
        best = rated.filter(pl.col("user") == user)["rating"].sort(descending=True)
        assert one.ratings == len(best)
        assert [liked.rating for liked in one.liked] == best[: len(one.liked)].to_list()
        assert all((user, titles[liked.title]) in pairs for liked in one.liked)
        assert one.lists["mf"]
        assert not any((user, titles[found.title]) in pairs for found in one.lists["mf"])
        assert all((user, titles[found.because]) in pairs for found in one.lists["mf"])


def test_progress_is_told_step_by_step(made: dict[str, Run]) -> None:
    said: list[str] = []
    report.report([made["adam"]], progress=said.append)
    assert said == ["judging mf 2", "drawing the map of mf 2", "writing the page"]
    assert len(said) == report.steps_of([made["adam"]])


def test_runs_of_one_name_are_told_apart_by_their_folders(
    made: dict[str, Run], tmp_path: Path
) -> None:
    data = made["adam"].dataset()
    other = Run.load(planted.run(data, tmp_path / "again", epochs=1, dim=2))
    names = [part.name for part in report.report([made["adam"], other])[1]]
    assert names == ["mf 2 (adam)", "mf 2 (again)"]


def test_the_same_run_twice_is_refused(made: dict[str, Run]) -> None:
    with pytest.raises(InputError, match="given twice"):
        report.report([made["adam"], made["adam"]])


def test_without_its_dataset_a_run_still_has_a_page(tmp_path: Path) -> None:
    data = planted.dataset(tmp_path, planted.checkerboard())
    run = Run.load(planted.run(data, tmp_path / "run", epochs=1))
    (tmp_path / "data").rename(tmp_path / "moved")
    page, parts = report.report([run])
    assert "no dataset there" in parts[0].missing
    assert "no dataset there" in page
    assert "No held-out rows" in Page(page).sections["errors"]
    assert report.report([run], data=tmp_path / "moved")[1][0].missing == ""


def test_ten_thousand_items_take_less_than_two_megabytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With titles and genres as long as MovieLens' are (mean 25 and 17 characters), ten neighbours
    each. Where the items lie changes nothing, so that they need no t-SNE, which takes 15 seconds."""
    monkeypatch.setattr(layout, "tsne", lambda vectors, _: layout.principal(vectors))
    random = np.random.default_rng(0)
    n, users = 10_000, 600
    title = [
        " ".join(["abcdefg hijkl mno"[: 3 + k % 12], "pqrs tuv", f"({1900 + k % 120})"])
        for k in range(n)
    ]
    genres = ["Action|Adventure|Thriller", "Drama|Romance", "Comedy", "Documentary|Musical"]
    titles = "item,title,genres\n" + "".join(
        f"{k},{title[k]:<25}x,{genres[k % 4]}\n" for k in range(n)
    )
    pairs = {(u, int(i)) for u in range(users) for i in random.integers(0, n, 170)} | {
        (k % users, k) for k in range(n)
    }
    ratings = "user,item,rating\n" + "".join(
        f"{u},{i},{1 + (u + i) % 5}\n" for u, i in sorted(pairs)
    )
    config = PrepareConfig(val_size=0, test_size=0)
    dataset, _ = preparation.prepare(
        [text_source(ratings)], tmp_path / "data", config, items=text_source(titles)
    )
    tensors = {
        "user_embedding.weight": random.normal(size=(users, 8)).astype(np.float32),
        "item_embedding.weight": random.normal(size=(n, 8)).astype(np.float32) + 1,
        "linear.weight": np.ones((1, 1), np.float32),
        "linear.bias": np.zeros(1, np.float32),
    }
    epoch = Epoch(1, 1.0, 1.0, None, None, None, 0.1, 1.0, 1.0)
    model = TrainedModel(
        tensors, Shape(users, n, 1.0, 5.0, 3.0), [epoch], epoch, "cpu", 32, 1.0, None
    )
    with writing.create_run(tmp_path / "run", TrainConfig.of(dim=8, biases=False)) as new:
        models = Models(model, ("train",), "none")
        writing.write_run(new, dataset, TrainConfig.of(dim=8, biases=False), models)
    text, parts = report.report([Run.load(tmp_path / "run")])
    near = parts[0].items.near
    assert (len(near), sum(map(len, near)) / n / 2) == (n, pytest.approx(10, abs=0.5))
    assert len(text.encode()) < 2_000_000
