"""Predictions for frames in memory."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from fake_run import make_run, text_source

from cfcli.core.errors import InputError
from cfcli.core.inputs import delimited
from cfcli.core.runs.run import Run
from cfcli.core.serving.predict import predict, predict_frame

PAIRS = pl.DataFrame({"note": ["a", "b"], "item": [10, 20], "userId": ["1", "77"]})


@pytest.fixture
def run(tmp_path: Path) -> Run:
    ratings = "user,item,rating\n1,10,1\n1,20,5\n2,10,2\n"
    return make_run(tmp_path, ratings, [[1, 0], [0, 1]], [[2, 3], [1, 1]])


def test_all_columns_stay_and_the_predictions_follow(run: Run) -> None:
    found = predict_frame(run, PAIRS)
    assert found.select(PAIRS.columns).equals(PAIRS)
    assert found.columns == [*PAIRS.columns, "prediction", "source"]
    assert found["source"].to_list() == ["model", "item_bias"]
    first = np.array([0])
    assert found["prediction"][0] == run.predictor().predict(first, first)[0]


def test_what_becomes_of_unknown_ids(run: Run) -> None:
    assert predict_frame(run, PAIRS, "skip")["note"].to_list() == ["a"]
    assert predict_frame(run, PAIRS, "nan")["prediction"].is_null().to_list() == [False, True]
    with pytest.raises(InputError, match=r"the frame:1: column 'userId': '77' is not in"):
        predict_frame(run, PAIRS, "error")
    with pytest.raises(InputError, match="no column for the user"):
        predict_frame(run, PAIRS.drop("userId"))


def test_many_pieces_keep_their_order(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "PIECE", 64)
    row = range(500)
    pairs = pl.DataFrame(
        {"userId": [n % 3 for n in row], "item": [10 * (n % 4) for n in row], "n": row}
    )
    texts = pairs.cast(pl.String)
    notes: list[str] = []
    found = list(predict(run, text_source(texts.write_csv()), note=notes.append))
    assert len(found) > 50
    assert pl.concat(found).equals(predict_frame(run, texts))
    same = predict_frame(run, pairs)  # ids as numbers
    assert same.select("prediction", "source").equals(pl.concat(found)[["prediction", "source"]])
    assert notes == [
        "167 of 500 rows: user not in the run, such as '0'",
        "250 of 500 rows: item not in the run, such as '0'",
    ]
