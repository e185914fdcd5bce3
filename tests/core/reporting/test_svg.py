"""Charts as SVG."""

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfcli.core.reporting import svg
from cfcli.core.reporting.charts import Chart, Series

NUMBERS = st.floats(-1e9, 1e9, allow_nan=False).map(lambda x: round(x, 6))


@given(NUMBERS, NUMBERS)
def test_ticks_are_round_and_inside(one: float, other: float) -> None:
    low, high = min(one, other), max(one, other)
    found = svg.ticks(low, high)
    assert 1 <= len(found) <= 10
    if high - low > 1e-5:
        step = (found[-1] - found[0]) / max(len(found) - 1, 1)
        assert all(low - step * 1e-6 <= tick <= high + step * 1e-6 for tick in found)
        assert f"{step:.0e}"[0] in "0125"


def test_ticks_by_hand() -> None:
    assert svg.ticks(0, 10) == [0, 2, 4, 6, 8, 10]
    assert svg.ticks(0.8, 1.08) == pytest.approx([0.8, 0.85, 0.9, 0.95, 1, 1.05])
    assert svg.ticks(3, 3) == [3]
    assert svg.ticks(1, 3, least=1.0) == [1, 2, 3]


@pytest.mark.parametrize("kind", ["line", "points", "bars"])
def test_marks_stand_where_their_values_are(kind: str) -> None:
    chart = Chart(
        "x",
        "T",
        "a",
        "b",
        [Series("s", [0, 5, None, 10], kind=kind)],
        ["p", "q", "r", "s"],
        zero=True,
    )  # type: ignore[arg-type]
    root = ElementTree.fromstring(svg.draw(chart))
    bottom, top = svg.HEIGHT - svg.BOTTOM, svg.TOP
    if kind == "bars":
        marks = [mark for mark in root.iter("rect") if mark.find("title") is not None]
        heights = [float(mark.get("height", "")) for mark in marks]
    else:
        marks = list(root.iter("circle"))
        heights = [bottom - float(mark.get("cy", "")) for mark in marks]
    assert heights == pytest.approx([0, (bottom - top) / 2, bottom - top], abs=0.06)
    assert [mark.find("title").text for mark in marks] == ["s, p: 0", "s, q: 5", "s, s: 10"]  # type: ignore[union-attr]


@given(st.lists(st.none() | NUMBERS, min_size=1, max_size=8), st.booleans())
def test_whatever_the_values_it_is_xml_within_its_frame(
    values: list[float | None], labelled: bool
) -> None:
    labels = [f"<{k}> & co" for k in range(len(values))] if labelled else None
    series = [
        Series("a < b", values, kind="points", low=values, high=values),
        Series("b", values, muted=True),
    ]
    root = ElementTree.fromstring(
        svg.draw(Chart("x", 'a "title" <b>', "x & y", "y", series, labels, mark=(1, "<i>")))
    )
    assert root.get("aria-label") == 'a "title" <b>'
    for circle in root.iter("circle"):
        assert 0 <= float(circle.get("cy", "")) <= svg.HEIGHT
    assert not root.findall(".//b")


def test_labels_that_have_no_room_are_staggered_or_left_out() -> None:
    def shown(labels: list[str]) -> tuple[int, int]:
        chart = Chart("x", "T", "", "y", [Series("s", [1.0] * len(labels))], labels)
        found = [
            t for t in ElementTree.fromstring(svg.draw(chart)).iter("text") if t.text in labels
        ]
        return len(found), len({t.get("y") for t in found})

    assert shown(["a", "b", "c"]) == (3, 1)
    assert shown([f"a longer label {k}" for k in range(6)]) == (6, 2)
    assert shown([f"a label that is longer than its place {k}" for k in range(6)]) == (2, 1)


@pytest.mark.parametrize(
    ("x", "labels", "text"),
    [
        (None, ["a", "b", "a label of the length of two"], "a label of the length of two"),
        ([0, 1, 90_000], None, "80k"),
        ([0, 1, 4000], None, "4,000"),
    ],
)
def test_labels_stay_in_their_frame(
    x: list[float] | None, labels: list[str] | None, text: str
) -> None:
    chart = Chart("x", "T", "", "y", [Series("s", [1.0] * 3, x)], labels)
    texts = ElementTree.fromstring(svg.draw(chart)).iter("text")
    last = next(found for found in texts if found.text == text)
    assert float(last.get("x", "")) + svg.LETTER * len(text) / 2 < svg.WIDTH + 0.1


def test_an_axis_of_epochs_has_whole_numbers() -> None:
    chart = Chart("x", "T", "epoch", "y", [Series("s", [1.0, 2.0, 3.0], [1, 2, 3])], whole=True)
    texts = ElementTree.fromstring(svg.draw(chart)).iter("text")
    below = {text.text for text in texts if text.get("y") == f"{svg.FLOOR + svg.LINE + 3:.1f}"}
    assert below == {"1", "2", "3"}


def test_a_legend_is_text_beside_its_colours() -> None:
    several = [Series("a <b>", [1.0], muted=True), Series("b", [1.0])]
    items = ElementTree.fromstring(svg.legend(Chart("x", "T", "", "y", several, ["p"]))).findall(
        "li"
    )
    assert [("".join(item.itertext()), item.find("i").get("class")) for item in items] == [  # type: ignore[union-attr]
        ("a <b>", "muted"),
        ("b", "c1"),
    ]
    assert svg.legend(Chart("x", "T", "", "y", several[:1])) == ""
