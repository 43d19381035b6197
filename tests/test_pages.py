"""The report as a reader meets it: in a browser, wide and narrow, with nothing fetched from elsewhere."""
import re
import shutil

import pytest

from calcnb.formats.files import project_root
from calcnb.report.stage import PIPELINE, STAGES

REPORT = project_root() / "reports" / "small"
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_report = pytest.mark.skipif(not (REPORT / "index.html").exists(), reason="reports/small is made by `make test`")
needs_browser = pytest.mark.skipif(not BROWSER, reason="no chromium on this machine: the pages are not looked at in a browser")


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright
    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield chromium
        chromium.close()


def opened(browser, path, width):
    """A page at a width, the addresses it asked for and what its console complained of."""
    page = browser.new_page(viewport=dict(width=width, height=900))
    asked, said = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(path.as_uri())
    return page, asked, said


@needs_report
@needs_browser
@pytest.mark.parametrize("width", [1400, 400])
@pytest.mark.parametrize("name", ["index", *(STAGES[s] for s in PIPELINE)])
def test_a_page_opens_whole(browser, name, width):
    page, asked, said = opened(browser, REPORT / f"{name}.html", width)
    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "the page is wider than the window"
    broken = page.evaluate("[...document.images].filter(i => i.complete && i.naturalWidth === 0).length")
    assert broken == 0
    page.close()


@needs_report
@needs_browser
def test_a_card_leads_to_its_page_and_back(browser):
    page, _, _ = opened(browser, REPORT / "index.html", 1400)
    assert page.locator(".card").count() == len(PIPELINE)
    assert page.locator(".card .badge.done").count() == len(PIPELINE)
    page.locator("#explore h3 a").click()
    assert page.url.endswith("01_explore.html")
    assert page.locator("details.code[open]").count() == 0, "code is folded until asked for"
    page.locator("p.crumb a").click()
    assert page.url.endswith("index.html")
    page.close()


@needs_report
def test_pages_name_no_place_on_this_machine_and_fetch_nothing():
    for path in REPORT.glob("*.html"):
        text = path.read_text()
        assert not re.search(r"""(src|href)=["']?(https?:)?//""", text), path.name
        assert str(project_root()) not in text, f"{path.name} shows where the project lies"
        assert "not a medical device" in text
