"""How long a page takes to open, to answer a hover and a choice, in a headless browser.

latentloom compare baseline latent-boost comparison laresa supcon --data cifar100 --folder runs/cifar100
python benchmarks/page.py runs/cifar100/report.html
python benchmarks/page.py runs/cifar100/report.html docs    # pictures of it, for docs/page.md

Needs playwright, and chromium on the path. Times are of the wall, from the event to the frame that shows
its effect; beside them the CPU time of the page's own thread, which other work on the machine prolongs less.
"""

from __future__ import annotations

import io
import shutil
import statistics
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, CDPSession, Page, sync_playwright

OPENINGS, MOVES = 5, 30
SIZE, PHONE = {"width": 1360, "height": 1000}, {"width": 390, "height": 844}
TOP = {"desktop": "#atlas", "dark": "#atlas", "phone": ".panels"}  # of a picture
FRAME = "() => new Promise(done => requestAnimationFrame(() => setTimeout(() => done(performance.now()))))"
# Milliseconds from a movement of the pointer to the frame after it, for movements over the first map.
HOVER = """() => {
  window.answers = [];
  document.addEventListener("pointermove", event =>
    requestAnimationFrame(() => setTimeout(() => answers.push(performance.now() - event.timeStamp))), true);
}"""


def main() -> None:
    path = Path(sys.argv[1]).resolve()
    if len(sys.argv) > 2:
        return pictures(path.as_uri(), Path(sys.argv[2]))
    print(f"{path.stat().st_size / 1e6:.1f} MB")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        opened = [opening(browser, path.as_uri()) for _ in range(OPENINGS)]
        told("open, maps drawn", [wall for wall, _ in opened], [cpu for _, cpu in opened])
        page, session = new_page(browser, path.as_uri())
        page.evaluate("document.getElementById('atlas').scrollIntoView()")
        told("hover", *hovering(page, session))
        told("mistakes only", *clicking(page, session, "#atlas-mistakes"))
        told("isolate a class", *clicking(page, session, "#atlas-classes button >> nth=0"))
        browser.close()


def pictures(address: str, folder: Path) -> None:
    """Of the maps, with an image pointed at: on a desktop, in the dark, on a phone."""
    looks = {"desktop": (SIZE, "light"), "dark": (SIZE, "dark"), "phone": (PHONE, "light")}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, (size, scheme) in looks.items():
            page = browser.new_context(viewport=size, color_scheme=scheme).new_page()
            page.goto(address, timeout=300_000)
            page.evaluate(f"document.querySelector('{TOP[name]}').scrollIntoView()")
            point_at_an_image(page)
            whole = Image.open(io.BytesIO(page.screenshot()))
            few = whole.convert("RGB").quantize(256, dither=Image.Dither.NONE)
            few.save(folder / f"page-{name}.png", optimize=True)
        browser.close()


def point_at_an_image(page: Page) -> None:
    """Move over the last map but one until there is a card with a thumbnail."""
    box = page.locator(".panel .ring").nth(-2).bounding_box()
    assert box is not None
    for k in range(60):
        page.mouse.move(
            box["x"] + (0.35 + 0.005 * k) * box["width"], box["y"] + (0.3 + 0.006 * k) * box["height"]
        )
        if page.locator("#atlas-card .thumbnail").is_visible():
            return


def new_page(browser: Browser, address: str) -> tuple[Page, CDPSession]:
    page = browser.new_context(viewport=SIZE).new_page()
    page.set_default_timeout(300_000)
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.goto(address)
    return page, session


def opening(browser: Browser, address: str) -> tuple[float, float]:
    """Milliseconds from the start of the navigation to the first frame with all maps, and of CPU."""
    page, session = new_page(browser, address)
    wall = page.evaluate(FRAME)
    assert page.locator(".panel").count() > 0
    cpu = busy(session)
    page.context.close()
    return wall, cpu


def hovering(page: Page, session: CDPSession) -> tuple[list[float], list[float]]:
    box = page.locator(".panel .ring").first.bounding_box()
    assert box is not None
    page.evaluate(HOVER)
    before = busy(session)
    for k in range(MOVES):
        share = 0.3 + 0.4 * k / MOVES
        page.mouse.move(box["x"] + share * box["width"], box["y"] + share * box["height"])
        page.evaluate(FRAME)
    return page.evaluate("answers"), [(busy(session) - before) / MOVES]


def clicking(page: Page, session: CDPSession, selector: str) -> tuple[list[float], list[float]]:
    before, walls = busy(session), []
    for _ in range(6):
        walls.append(page.evaluate(f"""selector => {{
          const start = performance.now();
          const [found, place] = selector.split(" >> nth=");
          document.querySelectorAll(found)[place || 0].click();
          return ({FRAME})().then(end => end - start);
        }}""", selector))  # fmt: skip
    return walls, [(busy(session) - before) / 6]


def busy(session: CDPSession) -> float:
    """Milliseconds of CPU that the page's main thread has taken for scripts, styles and layout."""
    metrics = {m["name"]: m["value"] for m in session.send("Performance.getMetrics")["metrics"]}
    return 1e3 * metrics["TaskDuration"]


def told(what: str, walls: list[float], cpus: list[float]) -> None:
    wall, worst, cpu = statistics.median(walls), max(walls), statistics.median(cpus)
    print(f"{what:<18} {wall:7.0f} ms median, {worst:7.0f} ms at most, {cpu:7.0f} ms of CPU")


if __name__ == "__main__":
    main()
