"""The pictures of this project's own reports, as the app shows them on a desktop and on a phone: none runs out of its card."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from serving import ROOT, browser, served

from catalog.database import db

SYSTEMS = sorted(path.parent.name for path in (ROOT / "stages").glob("*/README.md") if (ROOT / "reports" / path.parent.name).is_dir())
DESKTOP, PHONE = 1440, 390
DRAWN = """() => {
    const charts = [...document.querySelectorAll('[data-testid=stVegaLiteChart]')];
    return charts.length > 0 && charts.every(chart => chart.querySelector('svg.marks, canvas.marks'));
}"""
# Of each picture: how far it and its drawing stand out of the card, and what is wrong with its legends.
MEASURED = """() => [...document.querySelectorAll('[data-testid=stVegaLiteChart]')].map(chart => {
    const box = element => element.getBoundingClientRect();
    const card = box(chart.closest('[data-testid=stVerticalBlock]'));
    const svg = chart.querySelector('svg.marks');
    const beyond = inner => legend => Math.max(box(inner).left - box(legend).left, box(legend).right - box(inner).right,
                                               box(legend).bottom - box(inner).bottom);
    const filled = path => !['none', 'transparent', null].includes(path.getAttribute('fill'));  // dashes around a dot are not seen
    const legends = [...svg.querySelectorAll('g.role-legend')];
    const symbols = legend => [...legend.querySelectorAll('g.role-legend-symbol path')].map(
        path => ['d', 'fill', 'stroke', ...(filled(path) ? [] : ['stroke-dasharray'])].map(name => path.getAttribute(name)).join(' '));
    return {
        title: chart.getAttribute('aria-label'),
        beyond: box(chart).right - card.right,
        drawn: svg.clientWidth - chart.clientWidth,
        scrolls: getComputedStyle(chart).overflowX === 'auto',
        legend: Math.max(0, ...legends.map(beyond(svg))),
        cut: legends.flatMap(legend => [...legend.querySelectorAll('text')]).map(t => t.textContent).filter(t => t.endsWith('…')),
        alike: legends.map(symbols).filter(all => new Set(all).size < all.length).length,
    };
})"""
SIDEWAYS = "() => [document.documentElement, document.querySelector('[data-testid=stMain]')].map(e => e.scrollWidth - e.clientWidth)"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(db.build(ROOT, tmp_path_factory.mktemp("own") / "catalog.duckdb"), ROOT) as url:
        yield url


@pytest.fixture(scope="module", params=[DESKTOP, PHONE])
def page(request, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("browser"), width=request.param) as context:
        yield context.new_page()


@pytest.mark.parametrize("system", SYSTEMS)
def test_no_picture_runs_out_of_its_card(page, address, system):
    page.goto(f"{address}/system?system={system}")
    expect(page.get_by_role("heading", name="Pictures")).to_be_visible(timeout=60_000)
    page.wait_for_function(DRAWN, timeout=60_000)
    page.wait_for_timeout(1_000)  # a chart is drawn again once its card has its width
    pictures = page.evaluate(MEASURED)
    files = len(list((Path(ROOT) / "reports" / system / "small" / "plots").glob("*.json")))
    assert len(pictures) >= files > 0
    phone = page.viewport_size["width"] == PHONE
    for picture in pictures:
        assert picture["beyond"] <= 0, picture
        assert picture["drawn"] <= 0 or (phone and picture["scrolls"]), picture  # only on a phone may it scroll, and within its card
        assert picture["legend"] <= 1 and not picture["cut"] and not picture["alike"], picture
    assert max(page.evaluate(SIDEWAYS)) <= 0
