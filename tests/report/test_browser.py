"""The page as a reader meets it, in a headless browser."""

import shutil

import pytest

from latentloom.records import load_record
from latentloom.report.page import write_report

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
READS = "Multiple readback operations"  # what a browser says of these tests, which look at pixels
WAIT = 120_000  # ms; the machine may be busy

# A place on the first map where an image is drawn, in pixels of the window. Ink, black, is of names.
ON_AN_IMAGE = """share => {
  const canvas = document.querySelector(".panel canvas"), box = canvas.getBoundingClientRect();
  const { width, height } = canvas, pixels = canvas.getContext("2d").getImageData(0, 0, width, height).data;
  const place = (x, y) => [box.left + (x * box.width) / width, box.top + (y * box.height) / height];
  const hits = [];
  for (let y = 30; y < height - 30; y += 5)
    for (let x = 30; x < width - 30; x += 5) {
      const [red, green, blue, alpha] = pixels.slice(4 * (y * width + x), 4 * (y * width + x) + 4);
      const isGrey = Math.max(red, green, blue) - Math.min(red, green, blue) < 12;
      if (alpha > 200 && !isGrey) hits.push(place(x, y));
    }
  return hits[Math.floor(hits.length * share)];
}"""
# How many maps have something drawn on a layer: 0 the images, 1 the ring.
DRAWN = """layer => [...document.querySelectorAll(".panel")].filter(panel => {
  const canvas = panel.querySelectorAll("canvas")[layer];
  return canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.some(Boolean);
}).length"""


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright, which drives the browser")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def written(left, tmp_path_factory):
    """The page of two recipes, the first of which has groups, and a class whose name would be a script."""
    page = tmp_path_factory.mktemp("page") / "report.html"
    folders = {recipe: left[recipe] for recipe in ("boosted", "baseline")}
    runs = {recipe: [load_record(folder / "record.json")] for recipe, folder in folders.items()}
    write_report(page, runs, folders)
    return page


@pytest.fixture
def page(browser, written):
    """The page, opened; whatever its console says is an error."""
    said = []
    with browser.new_context(viewport={"width": 1300, "height": 1000}) as context:
        page = context.new_page()
        page.set_default_timeout(WAIT)
        page.on("console", lambda message: said.append(message.text) if READS not in message.text else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: said.append(request.url) if request.url[:4] == "http" else None)
        page.goto(written.as_uri())
        page.evaluate("document.getElementById('atlas').scrollIntoView()")
        yield page
    assert said == []


def point_at(page, share):
    """Move to an image of the first map, the one after that share of them; the text of the card."""
    page.mouse.move(*page.evaluate(ON_AN_IMAGE, share))
    page.locator("#atlas-card").wait_for(state="visible")
    return page.locator("#atlas-card").inner_text()


def abouts(page):
    """What is said below the names of the maps."""
    return page.locator(".panel figcaption").all_inner_texts()


def slide(page, place):
    page.locator("#atlas-epoch").focus()
    page.keyboard.press("Home")
    for _ in range(place):
        page.keyboard.press("ArrowRight")


def test_the_maps_are_drawn_and_counted(page):
    assert page.evaluate(DRAWN, 0) == 2
    assert abouts(page) == ["seed 0, epoch 2: 359 images, 36 wrong"] * 2
    assert page.locator("#atlas-note").inner_text().startswith("Latents of each recipe's chosen epoch")


def test_an_image_is_shown_and_ringed_in_every_map(page):
    for box in page.locator("#atlas-marks input").all():  # which would be pointed at where one covers images
        box.uncheck()
    assert page.evaluate(DRAWN, 1) == 0
    cards = [point_at(page, share) for share in (0.1, 0.35, 0.6, 0.85)]
    assert page.evaluate(DRAWN, 1) == 2
    assert all(text in card for card in cards for text in ("boosted", "baseline"))
    assert len(set(cards)) > 1
    pixels = page.locator("#atlas-card canvas").evaluate(
        "canvas => canvas.getContext('2d').getImageData(0, 0, 96, 96).data.filter(v => v % 255 > 50).length"
    )
    assert pixels > 300  # of the digit
    page.mouse.move(5, 5)
    page.locator("#atlas-card").wait_for(state="hidden")
    assert page.evaluate(DRAWN, 1) == 0


def test_arrow_keys_go_from_image_to_image(page):
    page.locator(".drawn").nth(1).focus()
    cards = []
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft"):
        page.keyboard.press(key)
        cards.append(page.locator("#atlas-card canvas").evaluate("canvas => canvas.toDataURL()"))
        assert page.evaluate(DRAWN, 1) == 2
    assert cards[0] == cards[2] != cards[1]
    page.keyboard.press("Escape")
    assert page.locator("#atlas-card").is_hidden()
    assert page.evaluate(DRAWN, 1) == 0


def test_a_class_is_isolated_and_another_added_and_all_come_back(page):
    buttons = page.locator("#atlas-classes button")
    buttons.nth(3).click()
    assert buttons.nth(3).get_attribute("aria-pressed") == "true"
    assert [about.split(": ")[1].split(",")[0] for about in abouts(page)] == ["37 images"] * 2
    assert point_at(page, 0.5).startswith("3")
    buttons.nth(0).click()
    assert abouts(page)[0].split(": ")[1].startswith("73 images")
    page.locator("#atlas-all").click()
    assert abouts(page)[0].split(": ")[1].startswith("359 images")


def test_classes_are_searched_and_the_found_shown(page):
    page.locator("#atlas-search").fill("IMG")
    assert page.locator("#atlas-classes button").count() == 1
    assert page.locator("#atlas-found").inner_text() == "1 found"
    page.keyboard.press("Enter")
    assert abouts(page)[0].split(": ")[1].startswith("36 images")
    page.locator("#atlas-search").fill("")
    assert page.locator("#atlas-classes button").count() == 10


def test_mistakes_are_shown_alone(page):
    page.locator("#atlas-mistakes").check()
    assert abouts(page) == ["seed 0, epoch 2: 36 wrong"] * 2
    for box in page.locator("#atlas-marks input").all():
        box.uncheck()
    assert "✗" in point_at(page, 0.5)


def test_epochs_are_gone_through_and_played(page):
    page.select_option("#atlas-view", label="144 validation images, over epochs")
    assert page.locator("#atlas-epoch-said").inner_text() == "epoch 10"
    last = page.locator(".panel canvas").first.evaluate("canvas => canvas.toDataURL()")
    slide(page, 0)
    assert page.locator("#atlas-epoch-said").inner_text() == "epoch 5"
    assert abouts(page)[0].startswith("seed 0, epoch 5: 144 images")
    assert page.locator(".panel canvas").first.evaluate("canvas => canvas.toDataURL()") != last
    slide(page, 1)
    assert page.locator(".panel canvas").first.evaluate("canvas => canvas.toDataURL()") == last
    page.locator("#atlas-play").click()
    page.wait_for_function("document.getElementById('atlas-epoch-said').textContent === 'epoch 5'")
    page.locator("#atlas-play").click()
    assert page.locator("#atlas-play").inner_text() == "Play"


def test_groups_colour_and_are_chosen(page):
    page.select_option("#atlas-colour", label="group")
    assert page.locator("#atlas-classes button span").all_inner_texts() == ["round", "straight"]
    page.locator("#atlas-classes button").nth(1).click()
    assert abouts(page)[0].split(": ")[1].startswith("108 images")  # of 1, 4 and 7


def test_another_projection_is_another_map(page):
    before = page.locator(".panel canvas").first.evaluate("canvas => canvas.toDataURL()")
    page.select_option("#atlas-projection", label="PCA")
    assert page.locator(".panel canvas").first.evaluate("canvas => canvas.toDataURL()") != before
    page.locator(".panel button").first.click()
    assert page.evaluate(DRAWN, 0) == 2


def test_everything_is_reached_by_tab(page):
    page.locator("#atlas-view").focus()
    seen = []
    for _ in range(40):
        seen.append(page.evaluate("document.activeElement.id || document.activeElement.title"))
        page.keyboard.press("Tab")
    wanted = ["atlas-projection", "atlas-colour", "atlas-mistakes", "atlas-search", "7"]
    assert [name for name in wanted if name not in seen] == []


def test_a_name_that_would_be_a_script_is_text(page):
    page.select_option("#atlas-view", index=1)
    for button in page.locator("#atlas-classes button").all()[-1:]:
        button.click()
    assert "<img src=x" in point_at(page, 0.5)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.wait_for_function(
        "[...document.querySelectorAll('.plot')].every(plot => plot.querySelector('.main-svg'))"
    )
    assert page.evaluate("window.hurt") is None
    assert page.locator("img[src=x]").count() == 0


def test_figures_are_drawn_when_they_come_in_sight(page):
    last = page.locator(".plot").last
    assert last.get_attribute("data-drawn") is None
    last.scroll_into_view_if_needed()
    page.wait_for_function("[...document.querySelectorAll('.plot')].at(-1).querySelector('.main-svg')")


def test_the_recipe_of_the_matrices_is_chosen(page):
    page.locator("select[data-chooses]").select_option("baseline")
    hidden = page.locator("[data-part=classes]").evaluate_all("parts => parts.map(part => part.hidden)")
    assert hidden == [True, False, True, False]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_all_of_it_without_scrolling_sideways(browser, written, scheme):
    options = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "color_scheme": scheme}
    with browser.new_context(**options) as context:
        page = context.new_page()
        page.set_default_timeout(WAIT)
        page.goto(written.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        page.locator(".panel").first.scroll_into_view_if_needed()
        page.touchscreen.tap(*page.evaluate(ON_AN_IMAGE, 0.5))
        box = page.locator("#atlas-card").bounding_box()
        assert box["x"] == 0
        assert box["y"] + box["height"] == pytest.approx(844, abs=1)
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == {"light": "rgb(252, 252, 253)", "dark": "rgb(22, 24, 28)"}[scheme]
