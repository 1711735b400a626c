"""Opening a page in headless Chromium, where one is installed."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

BROWSERS = ("chromium", "chromium-headless-shell", "chromium-browser", "google-chrome")

# Shows the page in frames of several widths, all its details open, and tells what it looks like.
HARNESS = """<!doctype html><body><script>
const widths = WIDTHS, told = {};
for (const width of widths) {
  const frame = document.createElement("iframe");
  frame.style = `width:${width}px;height:800px`;
  frame.onload = () => {
    const page = frame.contentDocument;
    page.querySelectorAll("details").forEach(part => part.open = true);
    told[width] = {
      width: page.documentElement.scrollWidth,
      broken: [...page.images].filter(image => !image.complete || !image.naturalWidth).length,
      images: page.images.length,
      text: page.body.innerText,
    };
    if (Object.keys(told).length === widths.length) {
      document.body.innerHTML = "<pre></pre>";
      document.querySelector("pre").textContent = JSON.stringify(told);
    }
  };
  frame.src = "PAGE";
  document.body.append(frame);
}
</script></body>"""


def find_browser() -> str | None:
    """Return the path of an installed browser."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def open_page(page: Path, widths: list[int]) -> tuple[dict[int, dict], list[str]]:
    """Open a page at several widths.

    Returns:
        per width in pixels {"width" of what the page shows, "images", "broken" ones among them,
        "text"}; and what the browser's console says of errors.
    """
    harness = page.with_name(f"harness-{page.name}")
    text = HARNESS.replace("WIDTHS", json.dumps(widths)).replace("PAGE", page.name)
    harness.write_text(text)
    command = [find_browser(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-sync"]
    command += ["--allow-file-access-from-files", "--enable-logging=stderr", "--dump-dom"]
    command += [f"--user-data-dir={page.parent / 'profile'}", "--virtual-time-budget=10000"]
    shown = subprocess.run(
        [*command, harness.as_uri()], capture_output=True, text=True, timeout=120
    )
    found = re.search(r"<pre>(.*)</pre>", shown.stdout, re.DOTALL)
    assert found, shown.stderr[-2000:]
    told = {int(width): entry for width, entry in json.loads(unescape(found[1])).items()}
    return told, [line for line in shown.stderr.splitlines() if "CONSOLE" in line]
