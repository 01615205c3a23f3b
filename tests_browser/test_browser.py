"""The app in a real browser: how soon it shows, the way from the overview to an answer in SQL, no foreign request."""

import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import demo_maps
import demo_project
import pytest
from playwright.sync_api import Page, expect
from serving import browser, served

from catalog.database import db

expect.set_options(timeout=30_000)  # a busy machine draws late
FIRST_PAGE_SECONDS = 5.0  # about 1 s on an idle machine; the rest is for a busy one


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = demo_project.make(tmp_path_factory.mktemp("demo"))
    catalog = db.build(root)
    demo_maps.add(catalog)
    with served(catalog, root) as url:
        yield url


@pytest.fixture
def page(address: str, tmp_path: Path) -> Iterator[Page]:
    """A window that fails the test on an error in the console or a request to anywhere else."""
    wrong: list[str] = []
    with browser(tmp_path) as context:
        page = context.new_page()
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: None if _is_own(request.url, address) else wrong.append(request.url))
        yield page
    assert not wrong


def _is_own(url: str, address: str) -> bool:
    return url.startswith((address, address.replace("http", "ws", 1), "data:", "blob:"))


def test_first_page_shows_soon(page, address):
    page.goto(address)  # the first session imports the libraries
    expect(page.get_by_role("heading", name="Paper catalog")).to_be_visible()
    started = time.perf_counter()
    page.goto(address)
    expect(page.get_by_text("full: fails")).to_be_visible()
    assert time.perf_counter() - started < FIRST_PAGE_SECONDS


def test_from_the_overview_to_an_answer_in_sql(page, address):
    page.goto(address)
    expect(page.get_by_text("small: holds")).to_have_count(2)
    page.get_by_role("link", name="Open").first.click()
    expect(page).to_have_url(f"{address}/system?system=demo_heads")  # the overview has the same heading: wait for the page
    expect(page.get_by_role("heading", name="Heads of a demo model")).to_be_visible()
    expect(page.get_by_text("Removing few heads costs most of the accuracy.")).to_be_visible()
    expect(page.get_by_test_id("stVegaLiteChart").locator("canvas, svg").first).to_be_visible()

    page.get_by_role("tab", name="Pipeline").click()
    expect(page.get_by_test_id("stGraphVizChart").locator("text", has_text="model@demo_base")).to_be_visible()
    page.get_by_role("tab", name="Tables").click()
    expect(page.get_by_text("12 rows")).to_be_visible()

    page.get_by_role("link", name="SQL").click()
    expect(page.get_by_role("heading", name="SQL")).to_be_visible()
    page.get_by_role("combobox", name="Named query").click()
    page.get_by_role("option", name="Heads that matter most").click()
    expect(page.get_by_text("24 rows")).to_be_visible()
    editor = page.get_by_role("textbox", name="Statement")
    editor.fill("SELECT count(*) AS n FROM nowhere")
    editor.press("Control+Enter")
    expect(page.get_by_text("Table with name nowhere does not exist")).to_be_visible()
    editor.fill("SELECT count(*) AS n FROM results")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_text("1 row,")).to_be_visible()
    expect(page.get_by_text("does not exist")).to_have_count(0)
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    assert Path(download.value.path()).read_text().splitlines() == ["n", "9"]


def test_the_address_of_a_system_can_be_shared(page, address):
    page.goto(address)
    expect(page.get_by_role("heading", name="Paper catalog")).to_be_visible()
    page.get_by_role("link", name="System").click()
    page.get_by_role("combobox", name="System").click()
    page.get_by_role("option", name="Texts of a demo model").click()
    expect(page.get_by_role("heading", name="Texts of a demo model")).to_be_visible()
    expect(page).to_have_url(f"{address}/system?system=demo_text")


def test_outputs_stay_folded_until_they_are_asked_for(page, address):
    page.goto(address)
    page.get_by_role("link", name="Open").nth(1).click()
    page.get_by_role("tab", name="Tables").click()
    fold = page.get_by_text("some of which may offend")
    expect(fold).to_be_visible()
    expect(page.get_by_test_id("stDataFrame")).to_have_count(2)
    fold.click()
    expect(page.get_by_test_id("stDataFrame")).to_have_count(3)


def test_from_a_system_to_another_map_of_another_image(page, address):
    page.goto(address)
    page.get_by_role("link", name="Open").first.click()
    page.get_by_role("main").get_by_role("link", name="Where it looks").click()
    expect(page.get_by_role("heading", name="What colour is the cat?")).to_be_visible()
    page.get_by_role("combobox", name="Method").click()
    page.get_by_role("option", name="each head").click()
    page.get_by_role("combobox", name="Head").click()
    page.get_by_role("option", name="head 5.0").click()
    expect(page.get_by_role("img", name="The map of head 5.0 over the picture seen-1")).to_be_visible()
    page.get_by_role("button", name="Next image").click()
    expect(page.get_by_role("img", name="The map of head 5.0 over the picture unseen-1")).to_be_visible()
    expect(page.get_by_role("heading", name=demo_maps.HOSTILE)).to_be_visible()  # the text itself, no markup
    asked = parse_qs(urlsplit(page.url).query)
    assert asked == {"system": ["demo_heads"], "image": ["unseen-1"], "method": ["each head"], "head": ["head 5.0"]}


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390])
def test_the_map_and_its_legend_fit_their_column(address, tmp_path, width, theme):
    with browser(tmp_path, width=width, theme=theme) as context:
        page = context.new_page()
        page.goto(f"{address}/where?image=seen-1&method=all%20heads")
        picture, over = (
            page.get_by_role("img", name=name, exact=True)
            for name in ("The picture seen-1", "The map of all heads over the picture seen-1")
        )
        expect(over).to_be_visible()
        legend = page.get_by_role("img", name="Values from -2 to 2")
        expect(legend).to_have_text("0-22")
        page.wait_for_timeout(500)
        boxes = [element.bounding_box() for element in (picture, over, legend)]
        assert boxes[0]["width"] == pytest.approx(boxes[1]["width"], abs=1) and boxes[1]["width"] == pytest.approx(
            boxes[1]["height"], abs=1
        )
        assert boxes[1]["x"] <= boxes[2]["x"] and all(box["x"] >= 0 and box["x"] + box["width"] <= width for box in boxes)
        assert boxes[2]["width"] <= boxes[1]["width"] + 1 and page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.parametrize("path", ["", "compare", "where", "datasets", "models", "pipeline", "sql"])
def test_nothing_is_wider_than_a_phone(address, tmp_path, path):
    with browser(tmp_path, width=390, height=844) as context:
        page = context.new_page()
        page.goto(f"{address}/{path}")
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        page.wait_for_timeout(500)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
