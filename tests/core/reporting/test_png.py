"""Charts as PNG files."""

from dataclasses import replace
from pathlib import Path

import pytest

from cfcli.core.errors import MachineError
from cfcli.core.reporting import png
from cfcli.core.reporting.charts import Chart, Series


def chart(*series: Series, labels: list[str] | None = None) -> Chart:
    return Chart("x", "A title", "across", "up", series, labels, zero=True)


def size(path: Path) -> tuple[int, int]:
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def test_charts_stand_side_by_side(tmp_path: Path) -> None:
    one = chart(Series("s", [1.0, 2.0]))
    path = tmp_path / "new" / "x.png"
    for n in (1, 2):
        png.draw([one] * n, path)
        assert size(path) == (720 * n, 480)
    assert [p.name for p in path.parent.iterdir()] == ["x.png"]


def test_each_chart_has_a_file_of_its_name(tmp_path: Path) -> None:
    one = chart(Series("s", [1.0, 2.0]))
    png.write([one, Chart("y", "T", "", "", [Series("s", [1.0])])], tmp_path / "plots")
    assert {p.name for p in (tmp_path / "plots").iterdir()} == {"x.png", "y.png"}


def test_a_file_in_the_way_is_an_error_of_the_machine(tmp_path: Path) -> None:
    (tmp_path / "plots").write_text("in the way")
    with pytest.raises(MachineError, match="plots"):
        png.write([chart(Series("s", [1.0]))], tmp_path / "plots")


@pytest.mark.parametrize("kind", ["line", "points", "bars"])
def test_what_a_chart_shows_changes_its_picture(kind: str, tmp_path: Path) -> None:
    """Titles, names in the legend, labels, values and colours all are in the picture."""

    def drawn(one: Chart) -> bytes:
        png.draw([one], tmp_path / "x.png")
        return (tmp_path / "x.png").read_bytes()

    def series(name: str, last: float, muted: bool = False) -> Series:
        return Series(name, [1.0, None, last], kind=kind, muted=muted)  # type: ignore[arg-type]

    labels = ["a", "b\n1", "c"]
    plain = Chart("x", "A title", "across", "up", [series("s", 3.0)], labels, zero=True)
    others = [
        replace(plain, title="Another title"),
        replace(plain, x=""),
        replace(plain, y=""),
        replace(plain, series=[series("s", 2.5)]),
        replace(plain, series=[series("s", 3.0, muted=True)]),
        replace(plain, series=[series("s", 3.0), series("s", 3.0)]),
        replace(plain, series=[series("s", 3.0), series("t", 3.0)]),
        replace(plain, labels=["a", "b\n1", "d"]),
        replace(plain, mark=(1, "here")),
    ]
    pictures = [drawn(one) for one in (plain, *others)]
    assert len(set(pictures)) == len(pictures)
