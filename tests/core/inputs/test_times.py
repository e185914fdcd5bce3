"""Times mean the same in whatever form they are written, and wherever a block ends."""

import io
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.data.prepare import prepare
from cfcli.core.errors import ConfigError, InputError
from cfcli.core.inputs import delimited, ratings
from cfcli.core.inputs.roles import Form
from cfcli.core.inputs.sources import Source

Written = Callable[[datetime], str]
CLEAR = datetime(2011, 10, 25, 13, 14, 15)  # no month is the 25th


def source(times: Iterable[str], name: str = "r.csv") -> Source:
    lines = [f"{k}\t{k % 7}\t{k % 5}\t{time}\n" for k, time in enumerate(times)]
    data = ("user\titem\trating\ttime\n" + "".join(lines)).encode()
    return Source(name, lambda: io.BytesIO(data))


def read(times: Iterable[str], **keys: str) -> tuple[list[datetime | None], list[str]]:
    """The times, and what is said about them."""
    frame, intake = ratings.read([source(times)], Form(PrepareConfig(**keys)))
    return frame["timestamp"].to_list(), intake.all_notes()[1:]  # the first is on the separator


def seconds(moment: datetime) -> int:
    return round(moment.replace(tzinfo=UTC).timestamp())


def written(form: str) -> Form:
    return lambda moment: moment.strftime(form)


def zoned(form: str, hours: float) -> Form:
    zone = timezone(timedelta(hours=hours))
    return lambda moment: moment.replace(tzinfo=UTC).astimezone(zone).strftime(form)


FORMS: dict[str, Written] = {
    "s": lambda moment: str(seconds(moment)),
    "s as a float": lambda moment: f"{seconds(moment)}.0",
    "ms": lambda moment: str(seconds(moment) * 10**3),
    "us": lambda moment: str(seconds(moment) * 10**6),
    "ns": lambda moment: str(seconds(moment) * 10**9),
    "T": written("%Y-%m-%dT%H:%M:%S"),
    "blank": written("%Y-%m-%d %H:%M:%S"),
    "fractions": written("%Y-%m-%d %H:%M:%S.000"),
    "Z": written("%Y-%m-%dT%H:%M:%SZ"),
    "fractions and Z": written("%Y-%m-%dT%H:%M:%S.%fZ"),
    "UTC": written("%Y-%m-%d %H:%M:%S UTC"),
    "+0000": written("%Y-%m-%d %H:%M:%S +0000"),
    "offset": lambda moment: (
        moment.replace(tzinfo=UTC).astimezone(timezone(timedelta(hours=2))).isoformat()
    ),
    "negative offset": zoned("%Y-%m-%dT%H:%M:%S%z", -5),
    "offset of half an hour": zoned("%d/%m/%Y %H:%M:%S%z", 5.5),
    "compact": written("%Y%m%dT%H%M%SZ"),
    "digits": written("%Y%m%d%H%M%S"),
    "slashes": written("%Y/%m/%d %H:%M:%S"),
    "day first": written("%d/%m/%Y %H:%M:%S"),
    "month first": written("%m/%d/%Y %H:%M:%S"),
    "German": written("%d.%m.%Y %H:%M:%S"),
    "hyphens": written("%m-%d-%Y %H:%M:%S"),
    "American": written("%m/%d/%Y %I:%M:%S %p"),
    "without zeros": lambda m: f"{m.month}/{m.day}/{m.year} {m.hour}:{m:%M:%S}",
    "offset in some rows": lambda m: (zoned("%Y-%m-%dT%H:%M:%S%z", 3) if m.second % 2 else str)(m),
}
INSTANTS = st.lists(
    st.datetimes(datetime(1990, 1, 1), datetime(2030, 1, 1)).map(
        lambda moment: moment.replace(microsecond=0)
    ),
    max_size=12,
)


@settings(deadline=None, max_examples=30)
@given(INSTANTS)
def test_the_same_instants_in_all_forms(instants: list[datetime]) -> None:
    moments = [*instants, CLEAR]
    for name, form in FORMS.items():
        assert read(map(form, moments))[0] == moments, name


@settings(deadline=None, max_examples=30)
@given(INSTANTS)
def test_the_same_days_in_all_forms(instants: list[datetime]) -> None:
    days = [datetime(m.year, m.month, m.day) for m in [*instants, CLEAR]]
    forms = ("%Y-%m-%d", "%Y%m%d", "%Y/%m/%d", "%d.%m.%Y", "%m/%d/%Y", "%d-%m-%Y", "%Y-%m-%d UTC")
    for form in forms:
        assert read(day.strftime(form) for day in days)[0] == days, form
    mixed = [day.strftime(forms[k % 2]) for k, day in enumerate(days)]
    assert read(mixed)[0] == days


@pytest.mark.parametrize(
    ("texts", "expected", "note"),
    [
        (["2020", "1999"], ["2020-01-01", "1999-01-01"], "times such as 2020 are read as dates"),
        (["202002", "199912"], ["2020-02-01", "1999-12-01"], "times such as 202002 are read"),
        (["20200101", "20200102.0"], ["2020-01-01", "2020-01-02"], "such as 20200101 are read"),
        (["2020010112"], ["2020-01-01 12:00"], "times such as 2020010112 are read as dates"),
        (["20200101", "20200102", "x"], ["2020-01-01", "2020-01-02", None], "1 rating has no"),
        (["20200101", "20200102", "20201301"], ["2020-01-01", "2020-01-02", None], "1 rating has"),
        (["2020-01-01", "2020-01-01 10:00", "20200102"], ["2020-01-01", "2020-01-01 10:00",
          "2020-01-02"], "times such as 20200102"),
        (["03/03/2020", "4/4/2020"], ["2020-03-03", "2020-04-04"], ""),
        (["03/04/2020", "25/04/2020"], ["2020-04-03", "2020-04-25"], "'25/04/2020' are read day first"),
        (["3/4/2020", "4/25/2020"], ["2020-03-04", "2020-04-25"], "'4/25/2020' are read month first"),
        (["13/04/2020", "04/13/2020"], ["2020-04-13", None], "1 rating has no readable time"),
        (["03/04/2020", "2020-01-31"], [None, "2020-01-31"],
         "1 dates, such as '03/04/2020', have two readings and are left out"),
        (["2020-02-30", "2020-02-29"], [None, "2020-02-29"], "1 rating has no readable time"),
        (["5", "2000", "1950"], ["1970-01-01 00:00:05", "1970-01-01 00:33:20",
          "1970-01-01 00:32:30"], "read as seconds since 1970, and all lie before 1980"),
         (["43831", "44196.5"], ["1970-01-01 12:10:31", "1970-01-01 12:16:36.5"], "days or rows, put dates"),
        (["", "NA", "Jan 1, 2020", "2020-01-01"], [None, None, None, "2020-01-01"], "3 ratings"),
    ],
)  # fmt: skip
def test_texts(texts: list[str], expected: list[str | None], note: str) -> None:
    found, notes = read(texts)
    assert found == [text and datetime.fromisoformat(text) for text in expected]
    assert note in " ".join(notes)
    assert bool(note) == bool(notes)


def test_seconds_of_1970_are_no_surprise_where_they_are_asked_for() -> None:
    assert read(["43831"], time_format="s") == ([datetime(1970, 1, 1, 12, 10, 31)], [])
    [note] = read(["43831", "1262304000"])[1]
    assert note.startswith("1 rating is dated before 1980")


@pytest.mark.parametrize(
    ("form", "texts"),
    [
        ("%d/%m/%Y", ["03/04/2020", "3/4/2020", "03/04/2020 00:00", "03/04/2020 12:00 AM"]),
        ("%m.%d.%Y", ["04.03.2020"]),
        ("%d/%m/%y", ["03/04/20"]),
        ("%b %d, %Y", ["Apr 3, 2020", " Apr 03, 2020"]),
        ("%Y%m%d", ["20200403"]),
        (
            "ISO",
            ["2020-04-03", "20200403", "2020-04-03T02:00+02:00", "2020-04-03 00:00:00.000 UTC"],
        ),
        ("%d/%m/%Y %H:%M:%S.%f", ["03/04/2020 00:00:00.000"]),
        ("%d/%m/%Y %H:%M %z", ["03/04/2020 02:00 +0200"]),
        ("s", ["1585872000", "1585872000.0"]),
        ("ms", ["1585872000000"]),
    ],
)
def test_a_named_form(form: str, texts: list[str], tmp_path: Path) -> None:
    expected = [datetime(2020, 4, 3)] * len(texts)
    assert read(texts, time_format=form)[0] == expected
    assert read(["Fri", *texts], time_format=form)[0] == [None, *expected]
    path = tmp_path / "r.parquet"
    for kind in (pa.string(), pa.int64(), pa.float64()):
        try:
            times = pa.array(texts).cast(kind)
        except pa.ArrowInvalid:
            continue
        columns = {"user": texts, "item": texts, "rating": [1.0] * len(texts), "time": times}
        pq.write_table(pa.table(columns), path)
        frame, _ = ratings.read([Source.of(path)], Form(PrepareConfig(time_format=form)))
        assert frame["timestamp"].to_list() == expected


@pytest.mark.parametrize(("given", "form"), [("iso", "ISO"), ("Ms", "ms"), ("%M", "%M")])
def test_names_of_forms_have_any_case(given: str, form: str) -> None:
    assert PrepareConfig(time_format=given).time_format == form


def test_a_named_unit_is_that_of_each_value() -> None:
    assert read(["5", "20200101", "1585872000000"], time_format="ms")[0] == [
        datetime(1970, 1, 1, 0, 0, 0, 5000),
        datetime(1970, 1, 1, 5, 36, 40, 101000),
        datetime(2020, 4, 3),
    ]


@pytest.mark.parametrize(
    "form", ["iso8601", "%Q", "%Y %H", "%d/%m/%Y %Z", "%H:%M", "%Y-%m-%d%f", ""]
)
def test_what_is_no_form_is_refused(form: str) -> None:
    with pytest.raises(ConfigError, match="time_format: "):
        read(["2020-01-01"], time_format=form)


EARLY = [f"0{1 + k % 9}/0{1 + k // 9 % 9}/2020" for k in range(9000)]
EPOCH = [str(964982703 + k) for k in range(9000)]
DIGITS = [f"2020010{1 + k % 9}" for k in range(9000)]
ISO = [f"2020-01-0{1 + k % 9} 10:00:00" for k in range(9000)]
LATE: dict[str, tuple[list[str], str]] = {
    "ambiguous": (EARLY, r"r.csv:2: .*'01/01/2020'|r.csv:3: .*'02/01/2020'"),
    "clear at the end": ([*EARLY, "25/01/2020"], ""),
    "two orders": ([*EARLY, "25/01/2020", "01/25/2020"], r"r.csv:9003: .*'01/25/2020' has day"),
    "no date among numbers": ([*EPOCH, "Jan 1, 2020"], r"r.csv:9002: .*'Jan 1, 2020'"),
    "ISO, then words": ([*ISO, "soon", "later"], r"r.csv:9002: .*'soon' .*\(\+1 more rows\)"),
    "ISO, then other forms": ([*ISO, "2020-01-02", "2020-01-02T10:00Z", "20200102"], ""),
    "words, then ISO": (["soon", *ISO], r"r.csv:2: .*'soon'"),
    "digits, then a number": ([*DIGITS, "964982703"], r"r.csv:9002: .*'964982703' is not a date"),
    "a number, then digits": (["964982703", *DIGITS], ""),
    "ISO, then dates": ([*ISO, *EARLY], r"r.csv:9003: .*'02/01/2020'"),
}


@pytest.mark.parametrize("name", LATE)
def test_no_time_depends_on_where_blocks_end(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    texts, message = LATE[name]
    found = []
    for size in (delimited.BLOCK, 4000):
        monkeypatch.setattr(delimited, "BLOCK", size)
        monkeypatch.setattr(delimited, "PIECE", size)
        error = ""
        try:
            prepare([source(texts)], tmp_path / str(size), PrepareConfig(split="time"))
        except InputError as refused:
            error = str(refused)
        found.append((read(texts), error))
    assert found[0] == found[1]
    error = found[0][1]
    assert bool(error) == bool(message)
    if message:
        with pytest.raises(InputError, match=message):
            raise InputError(error)


def test_a_later_file_tells_the_order_of_an_earlier_one() -> None:
    frame, _ = ratings.read([source(["03/04/2020"]), source(["25/04/2020"], "s.csv")], Form())
    assert frame["timestamp"].to_list() == [datetime(2020, 4, 3), datetime(2020, 4, 25)]


def test_a_file_without_times_beside_one_of_two_readings(tmp_path: Path) -> None:
    timeless = Source("t.csv", lambda: io.BytesIO(b"user,item,rating\n90,1,3\n"))
    both = [source(["03/04/2020", "25/04/2020"]), timeless]
    dataset, _ = prepare(both, tmp_path / "d", PrepareConfig(val_size=0, test_size=0))
    assert dataset.split("train", times=True)["timestamp"].to_list() == [
        datetime(2020, 4, 3),
        datetime(2020, 4, 25),
        None,
    ]


DUPLICATES = "user,item,rating,time\n1,1,{}\n1,1,{}\n2,1,3,2020-01-01\n"


@pytest.mark.parametrize(
    ("rows", "keys", "is_refused"),
    [
        (("1,soon", "2,later"), {}, True),
        (("1,soon", "2,2020-01-01"), {}, True),
        (("1,03/04/2020", "2,04/05/2020"), {}, True),
        (("1,soon", "1,later"), {}, False),  # all the same which stays
        (("1,soon", "2,later"), {"duplicates": "first"}, False),
        (("1,soon", "2,later"), {"duplicates": "mean"}, False),
        (("1,", "2,2020-01-01"), {}, False),  # no time is older than any
    ],
)
def test_times_that_choose_among_duplicates_must_be_read(
    rows: tuple[str, str], keys: dict[str, str], is_refused: bool, tmp_path: Path
) -> None:
    data = DUPLICATES.format(*rows).encode()
    config = PrepareConfig(val_size=0, test_size=0, **keys)  # type: ignore[arg-type]
    inputs = [Source("r.csv", lambda: io.BytesIO(data))]
    if is_refused:
        with pytest.raises(InputError, match=r"r\.csv:2: .*--duplicates last needs the times"):
            prepare(inputs, tmp_path / "d", config)
    else:
        assert prepare(inputs, tmp_path / "d", config)[0].info.ratings == 2


def test_a_bad_row_is_no_example_of_a_time(tmp_path: Path) -> None:
    data = b"user,item,rating,time\n1,1,x,soon\n2,1,3,later\n3,1,3,2020-01-01\n"
    config = PrepareConfig(split="time", max_bad_rows="1")
    with pytest.raises(InputError, match=r"r\.csv:3: column 'time': 'later'"):
        prepare([Source("r.csv", lambda: io.BytesIO(data))], tmp_path / "d", config)


def test_times_of_parquet_categories() -> None:
    frame = pl.DataFrame({"user": ["1"], "item": ["1"], "rating": [1.0], "time": ["2020-01-01"]})
    found, _ = ratings.read(
        [Source.of_frame(frame.with_columns(pl.col("time").cast(pl.Categorical)), "frame")],
        Form(),
    )
    assert found["timestamp"].to_list() == [datetime(2020, 1, 1)]
