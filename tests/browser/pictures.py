"""Draws the pictures in docs/pictures, from the sample fleet at a fixed instant.

    python tests/browser/pictures.py target/debug/reapctl            # draws all of them
    python tests/browser/pictures.py target/debug/reapctl --check    # compares those of terminals

Pictures drawn by a browser differ with its fonts, so only those of terminals are compared.
Needs faketime, chromium and its driver, and the packages of requirements.txt.
"""

import base64
import io
import pathlib
import re
import subprocess
import sys
import tempfile

import PIL.Image
import rich.console
import rich.terminal_theme
import rich.text

import stage

REAPCTL = pathlib.Path(sys.argv[1]).resolve()
PICTURES = stage.ROOT / "docs" / "pictures"
COLUMNS = 128
WIDTH = 1080  # Of the page, in CSS pixels.
POLICY = "policies/starter.yaml"
TERMINALS = {
    "plan": (f"plan --policy {POLICY} --only violation,undetermined,exempt", None, ""),
    "sweep": (f"sweep --policy {POLICY} --enforce", "[y/N] ", "y\n"),
}
THEME = rich.terminal_theme.TerminalTheme(
    (22, 27, 34),
    (201, 209, 217),
    [(72, 79, 88), (255, 123, 114), (86, 211, 100), (227, 179, 65)]
    + [(121, 192, 255), (210, 168, 255), (86, 212, 221), (201, 209, 217)],
)
# As rich's own, without a font of the network's.
SVG = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font: {char_height}px/{line_height}px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; white-space: pre; }}
.{unique_id}-title {{ font: 600 17px system-ui, sans-serif; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g></g>
</svg>
"""


def terminal(words, prompt, keys):
    with stage.fleet(REAPCTL) as environment:
        command = [REAPCTL, *words.split()]
        screen = stage.on_a_terminal(command, environment, COLUMNS, prompt, keys)
    if other := re.search(r"[\x00-\x09\x0b-\x1a\x1c-\x1f]|\x1b(?!\[[\d;]*m)|[^\x00-\x7e]", screen):
        sys.exit(f"{other[0]!r} is not drawn: {screen!r}")
    console = rich.console.Console(
        color_system="256", file=io.StringIO(), force_terminal=True, record=True, width=COLUMNS
    )
    console.print(rich.text.Text.assemble(("$ ", "bright_green"), (f"reapctl {words}", "bold")))
    console.print(rich.text.Text.from_ansi(screen.rstrip("\n")), soft_wrap=True)
    return console.export_svg(title="reapctl", theme=THEME, code_format=SVG)


def page(scheme):
    with tempfile.TemporaryDirectory() as folder, stage.fleet(REAPCTL) as environment:
        html = pathlib.Path(folder) / "backtest.html"
        command = stage.at_now([REAPCTL, "backtest", POLICY, "--html", html])
        subprocess.run(command, check=True, cwd=stage.ROOT, env=environment, stdout=subprocess.DEVNULL)
        with stage.browser() as driver:
            stage.show(driver, html, WIDTH, scheme, scale=2)
            height = driver.execute_script("return document.documentElement.offsetHeight")
            clip = {"x": 0, "y": 0, "width": WIDTH, "height": height, "scale": 1}
            options = {"captureBeyondViewport": True, "clip": clip}
            png = driver.execute_cdp_cmd("Page.captureScreenshot", options)["data"]
    few_colours = PIL.Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB").quantize(64)
    few_colours.save(PICTURES / f"backtest-{scheme}.png", optimize=True)


if "--check" not in sys.argv:
    for scheme in ["light", "dark"]:
        page(scheme)
n_stale = 0
for name, session in TERMINALS.items():
    drawn, path = terminal(*session), PICTURES / f"{name}.svg"
    if "--check" not in sys.argv:
        path.write_text(drawn, encoding="utf-8")
    elif drawn != path.read_text(encoding="utf-8"):
        n_stale += 1
        print(f"{path} is stale: draw it again with tests/browser/pictures.py", file=sys.stderr)
sys.exit(n_stale != 0)
