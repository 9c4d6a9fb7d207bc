"""The dashboard in headless Chromium, as a person with a keyboard and a screen reader meets it."""

import base64
import hashlib
import io
import re
import shutil
import subprocess
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from cluster import PATIENCE

DESKTOP = (1280, 900)
PHONE = (390, 844)


def key_hash(certificate):
    """What Chromium calls the hash of a certificate's key: base64 of SHA-256 over its SubjectPublicKeyInfo."""
    pem = subprocess.run(
        ["openssl", "x509", "-in", certificate, "-pubkey", "-noout"], capture_output=True, check=True, text=True
    ).stdout
    der = base64.b64decode("".join(line for line in pem.splitlines() if not line.startswith("-----")))
    return base64.b64encode(hashlib.sha256(der).digest()).decode()


class Page:
    """A browser that trusts one certificate, and short ways to what the page says."""

    def __init__(self, certificate, profile):
        options = Options()
        found = map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))
        options.binary_location = next(path for path in found if path is not None)
        for argument in (
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--hide-scrollbars",
            f"--user-data-dir={profile}",
            f"--ignore-certificate-errors-spki-list={key_hash(certificate)}",
        ):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        self.resize(*DESKTOP)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.driver.quit()

    def script(self, body, *arguments):
        return self.driver.execute_script(body, *arguments)

    def wait(self, condition, what):
        """Waits for a condition on the page and returns what it came to."""
        waiting = WebDriverWait(self.driver, PATIENCE, poll_frequency=0.1)
        return waiting.until(lambda _: condition(), f"still not: {what}")

    def text(self, selector):
        """Everything that an element says, whether it is in sight or for screen readers only."""
        return self.script("return document.querySelector(arguments[0])?.textContent ?? ''", selector)

    def visible(self, selector):
        """What those of the elements say that are in sight."""
        return self.script(
            """return [...document.querySelectorAll(arguments[0])]
              .filter((e) => e.checkVisibility()).map((e) => e.textContent.trim())""",
            selector,
        )

    def rows(self, selector):
        """The cells of a table's body."""
        return self.script(
            """return [...document.querySelectorAll(arguments[0] + ' tbody tr')]
              .map((row) => [...row.cells].map((cell) => cell.textContent))""",
            selector,
        )

    def state(self):
        return self.text("#job-state").strip()

    def outer_step(self):
        """The newest outer step that the curves have, from the text that describes them."""
        found = re.search(r"Outer steps [\d,]+ to ([\d,]+)\.", self.text("#curve-0-summary"))
        return int(found[1].replace(",", "")) if found else 0

    def resize(self, width, height, scale=1):
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 600},
        )

    def scheme(self, name):
        feature = {"name": "prefers-color-scheme", "value": name}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})

    def press(self, *keys):
        ActionChains(self.driver).send_keys(*keys).perform()

    def focused(self):
        """What a person who tabs through the page has reached: its own text or label."""
        return self.script(
            "const e = document.activeElement; return e.getAttribute('aria-label') || e.textContent.trim()"
        )

    def tab_to(self, name):
        """Presses Tab until something with this name has the focus."""
        for _ in range(400):
            if self.focused() == name:
                return
            self.press(Keys.TAB)
        raise AssertionError(f"Tab never reached “{name}”")

    def focus_ring(self):
        return self.script(
            """const style = getComputedStyle(document.activeElement);
            return style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2"""
        )

    def sideways(self):
        """Pixels by which the page is wider than the window."""
        return self.script("return document.documentElement.scrollWidth - document.documentElement.clientWidth")

    def height(self):
        """Height of the page in windows."""
        return self.script("return document.documentElement.scrollHeight / document.documentElement.clientHeight")

    def scrolls_over_nothing(self):
        """The parts of the page that scroll further than anything in them reaches."""
        return self.script(
            """const seen = (e) => e.checkVisibility() && !e.closest('.sr-only') && e.getClientRects().length > 0;
            const empty = (box) => {
              const end = box.getBoundingClientRect().top - box.scrollTop + box.scrollHeight;
              const inner = [...box.querySelectorAll('*')].filter(seen);
              return end - Math.max(...inner.map((e) => e.getBoundingClientRect().bottom)) > 60;
            };
            const boxes = [document.documentElement, ...document.querySelectorAll('.scroll, .job-list')];
            return boxes.filter((e) => e.checkVisibility() && e.scrollHeight > e.clientHeight && empty(e))
              .map((e) => e.id || e.tagName)"""
        )

    def fits(self):
        """Whether all curves were drawn for the window as it is."""
        return self.script(
            """return [...document.querySelectorAll('#curves canvas')]
              .every((c) => c.clientWidth > 0 && c.width === Math.round(c.clientWidth * devicePixelRatio))"""
        )

    def drawn(self, selector):
        """How many colours a canvas shows."""
        return self.script(
            """const canvas = document.querySelector(arguments[0]);
            const { width, height } = canvas;
            const copy = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true });
            copy.drawImage(canvas, 0, 0);
            return new Set(new Uint32Array(copy.getImageData(0, 0, width, height).data.buffer)).size""",
            selector,
        )

    def background(self):
        """Brightness of the page, from 0 to 255."""
        color = self.script("return getComputedStyle(document.body).backgroundColor")
        return sum(map(int, re.findall(r"\d+", color)[:3])) / 3

    def complaints(self):
        """What the browser complained about, failed requests aside."""
        entries = [entry for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
        return [entry["message"] for entry in entries if "Failed to load resource" not in entry["message"]]

    def screenshot(self, path):
        """Writes what is in the window, in 256 colours, which keeps the file small."""
        from PIL import Image  # only here, so that the checks need nothing but selenium

        Path(path).parent.mkdir(parents=True, exist_ok=True)
        picture = Image.open(io.BytesIO(self.driver.get_screenshot_as_png())).convert("RGB")
        picture.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
