"""The page of the report in a browser: it loads nothing, and its parts do what they say."""

from __future__ import annotations

import itertools

import pytest

from rdonet_jax import visualize
from rdonet_jax.evaluation.report import page
from tests import browser as browsers
from tests import page_samples

pytestmark = pytest.mark.once

SHIFTS = """
const done = arguments[0];
new PerformanceObserver((list) => done(list.getEntries().reduce((sum, e) => sum + e.value, 0)))
  .observe({type: "layout-shift", buffered: true});
setTimeout(() => done(0), 300);
"""

PIXEL = """
const canvas = document.getElementById("overlay"), box = canvas.getBoundingClientRect();
const [x, y] = [arguments[0] * canvas.width / 128, arguments[1] * canvas.height / 64];
return [...canvas.getContext("2d").getImageData(x, y, 1, 1).data];
"""


@pytest.fixture(scope="module")
def path(photograph, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    page.write(path, page_samples.curves(), page_samples.images(photograph), "jpeg")
    return path


@pytest.fixture(scope="module")
def driver():
    with browsers.started() as driver:
        yield driver


@pytest.fixture
def shown(driver, path):
    """The page, fresh, in a wide window."""
    browsers.show(driver, path, 1280)
    return driver


def find(shown, selector):
    return shown.find_element("css selector", selector)


def press(shown, selector, *keys):
    from selenium.webdriver.common.keys import Keys

    for key in keys:
        find(shown, selector).send_keys(getattr(Keys, key))


def drag(shown, selector, fraction):
    """Presses in the middle of an element, and lets go at a fraction of its width."""
    from selenium.webdriver import ActionChains

    place = find(shown, selector)
    aside = round((fraction - 0.5) * place.size["width"])
    ActionChains(shown, duration=20).move_to_element(place).click_and_hold().move_by_offset(
        aside, 0
    ).release().perform()


def split(shown):
    clip = shown.execute_script(
        "const s = getComputedStyle(document.getElementById('divider'));"
        "return 100 * parseFloat(s.left) / document.getElementById('stage').clientWidth"
    )
    assert float(find(shown, "#divider").get_attribute("aria-valuenow")) == pytest.approx(
        clip, abs=1
    )
    return clip


@pytest.mark.parametrize(("width", "scheme"), [*itertools.product((360, 1280), ("light", "dark"))])
def test_the_page_loads_without_errors_requests_and_sideways_scrolling(driver, path, width, scheme):
    driver.get_log("browser"), browsers.requests(driver)
    browsers.show(driver, path, width, scheme)
    assert driver.get_log("browser") == []
    assert browsers.requests(driver) == [path.as_uri()]
    wide = driver.execute_script("return document.documentElement.scrollWidth")
    assert wide <= width
    assert driver.execute_async_script(SHIFTS) < 0.01
    assert find(driver, "#rates tbody tr").is_displayed()
    assert find(driver, "#stage").size["width"] > 0.8 * (width - 80)


TEXTS = ("h1", "#summary", ".hint", "#rates thead th", "#rates .saved", "#legend button")

COLORS = """
let place = document.querySelector(arguments[0]);
const ink = getComputedStyle(place).color, paper = () => getComputedStyle(place).backgroundColor;
while (paper() === "rgba(0, 0, 0, 0)") place = place.parentElement;
return [ink, paper()].map((c) => c.match(/[\\d.]+/g).slice(0, 3).map(Number));
"""


def test_text_has_contrast_in_both_schemes(driver, path):
    for scheme in ("light", "dark"):
        browsers.show(driver, path, 1280, scheme)
        for selector in TEXTS:
            assert contrast(driver, selector) >= 4.5, (scheme, selector)


def contrast(driver, selector):
    """By WCAG, of an element's text with the nearest background that is not transparent."""
    ink, paper = driver.execute_script(COLORS, selector)
    light, dark = sorted((luminance(ink), luminance(paper)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(rgb):
    parts = [c / 255 for c in rgb]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_the_divider_follows_the_mouse(shown):
    assert split(shown) == pytest.approx(50, abs=0.5)
    drag(shown, "#stage", 0.8)
    assert split(shown) == pytest.approx(80, abs=1)
    drag(shown, "#stage", 0.2)
    assert split(shown) == pytest.approx(20, abs=1)


def test_the_divider_follows_the_keys_and_stays_inside(shown):
    press(shown, "#divider", "ARROW_RIGHT", "ARROW_RIGHT", "ARROW_LEFT")
    assert split(shown) == pytest.approx(51, abs=0.5)
    press(shown, "#divider", "PAGE_UP")
    assert split(shown) == pytest.approx(61, abs=0.5)
    press(shown, "#divider", "END", "ARROW_RIGHT")
    assert split(shown) == pytest.approx(100, abs=0.5)
    press(shown, "#divider", "HOME", "ARROW_LEFT")
    assert split(shown) == pytest.approx(0, abs=0.5)


def test_the_divider_hides_the_left_image_beyond_it(shown):
    press(shown, "#divider", "HOME", "PAGE_UP")
    clip = shown.execute_script(
        "return getComputedStyle(document.getElementById('left-image')).clipPath"
    )
    assert clip.replace(" ", "").startswith("inset(0") and "90%" in clip


def test_either_side_shows_the_version_that_is_chosen(shown):
    from selenium.webdriver.support.ui import Select

    sources = shown.execute_script(
        "const d = JSON.parse(document.getElementById('data').textContent);"
        "return d.images.map((p) => [p.original, ...p.versions.map((v) => v.src)])"
    )
    assert find(shown, "#left-image").get_attribute("src") == sources[0][0]
    assert find(shown, "#right-image").get_attribute("src") == sources[0][1]
    Select(find(shown, "#right")).select_by_visible_text("JPEG")
    Select(find(shown, "#left")).select_by_visible_text("ours")
    Select(find(shown, "#image")).select_by_index(1)
    assert find(shown, "#left-image").get_attribute("src") == sources[1][1]
    assert find(shown, "#right-image").get_attribute("src") == sources[1][2]
    assert "JPEG, quality 48" in find(shown, "#right-caption").text
    assert "900 bytes" in find(shown, "#right-caption").text
    assert "ours" in find(shown, "#left-image").get_attribute("alt")
    sizes = "return [...document.images].map((i) => i.decode().then(() => i.naturalWidth))"
    assert shown.execute_script(f"return Promise.all((() => {{ {sizes} }})())") == [128, 128]


def test_blocks_are_drawn_in_the_color_of_their_level(shown):
    assert shown.execute_script(PIXEL, 8, 8)[3] == 0
    find(shown, "#blocks").click()
    for (x, y), level in (((8, 8), 0), ((48, 16), 1), ((96, 32), 2)):
        *rgb, opacity = shown.execute_script(PIXEL, x, y)
        assert rgb == pytest.approx(visualize.LEVEL_COLORS[level], abs=4)
        assert 60 < opacity < 120
    assert "blocks" in find(shown, "#overlay").get_attribute("aria-label")
    assert find(shown, "#blocks-legend").text.split("\n") == [
        "16 × 16: 25 %", "32 × 32: 25 %", "64 × 64: 50 %",
    ]  # fmt: skip
    find(shown, "#blocks").click()
    assert shown.execute_script(PIXEL, 8, 8)[3] == 0


def test_the_heat_map_has_the_colors_of_the_bits(shown):
    find(shown, "#heat").click()
    for x, y, side, _, density in page.blocks(page_samples.LEVELS, page_samples.DENSITY):
        *rgb, opacity = shown.execute_script(PIXEL, x + side / 2, y + side / 2)
        assert rgb == pytest.approx(visualize.bits_colors(density).tolist(), abs=4)
        assert opacity > 190
    assert find(shown, "#heat-legend").is_displayed()
    find(shown, "#heat").click()
    assert shown.execute_script(PIXEL, 8, 8)[3] == 0


def test_the_arrow_keys_read_the_points_of_the_curves(shown):
    plot = ".chart .plot"
    assert not find(shown, ".tip").is_displayed()
    press(shown, plot, "ARROW_RIGHT")
    assert find(shown, ".tip").text.startswith("ours · quality 0\n")
    press(shown, plot, "ARROW_RIGHT")
    assert "0.1200 bpp · 30.50 dB PSNR" in find(shown, ".tip").text
    press(shown, plot, "ARROW_DOWN")
    assert find(shown, ".tip").text.startswith("JPEG · quality 0\n")
    press(shown, plot, "ESCAPE")
    assert not find(shown, ".tip").is_displayed()


def test_the_pointer_reads_the_nearest_point(shown):
    from selenium.webdriver import ActionChains

    marker = shown.find_elements("css selector", ".chart [data-curve='1'] path")[2]
    ActionChains(shown, duration=20).move_to_element(marker).perform()
    assert find(shown, ".tip").text.startswith("JPEG · quality 20\n")
    assert "0.4000 bpp" in find(shown, ".tip").text


def test_the_legend_hides_curves_and_the_switch_changes_the_axis(shown):
    drawn = "return document.querySelectorAll('.chart [data-curve]').length"
    assert shown.execute_script(drawn) == 6
    find(shown, "#legend button").click()
    assert shown.execute_script(drawn) == 4
    find(shown, "#legend button").click()
    gap = """
        const p = document.querySelector(".chart [data-curve='1'] polyline").getAttribute("points");
        const x = p.trim().split(/\\s+/).map((pair) => parseFloat(pair));
        return [x[1] - x[0], x[4] - x[3]];
    """
    first, last = shown.execute_script(gap)
    assert last > 4 * first
    find(shown, "#log-rate").click()
    first, last = shown.execute_script(gap)
    assert last == pytest.approx(first, rel=1e-3)


def test_enlarged_images_scroll_inside_their_frame(driver, path):
    from selenium.webdriver.support.ui import Select

    browsers.show(driver, path, 360)
    Select(find(driver, "#zoom")).select_by_value("4")
    assert find(driver, "#stage").size["width"] == 512
    assert driver.execute_script("return document.documentElement.scrollWidth") <= 360
    drag(driver, "#frame", 0.6)
    assert 0 < split(driver) < 60
