"""The page of `reapctl backtest` in a real browser: phone and desktop, light and dark.

    python tests/browser/page.py target/debug/reapctl

Needs faketime, chromium and its driver, and the packages of requirements.txt.
"""

import contextlib
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

import stage

REAPCTL = pathlib.Path(sys.argv.pop(1)).resolve()
VIEWS = [(width, scheme) for width in [360, 1440] for scheme in ["light", "dark"]]
SMALLEST_TEXT = 11.5  # CSS pixels, as they reach the screen.
SUMS = [("Rule", "rules"), ("Owner", "owners"), ("Day", "days"), ("Warning", "warnings")]
CONTRAST = 4.5  # WCAG 2.2, AA.

RULES = """
rules:
  - { id: one-each, when: all, require: { concurrent: { per: target, at_most: 1, keep: oldest } } }
  - { id: short, when: all, require: { max_age: 2h }, effect: warn }
"""

# Every element with a text of its own: that text, its size on the screen, and the contrast.
TEXTS = """
const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
function colour(css) {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = css;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
}
function luminance(rgb) {
    const [r, g, b] = rgb.map(it => (it /= 255) <= 0.04045 ? it / 12.92 : ((it + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
function paper(element) {
    for (let it = element; it; it = it.parentElement) {
        const [r, g, b, alpha] = colour(getComputedStyle(it).backgroundColor);
        if (alpha === 255) return [r, g, b];
        if (alpha !== 0) throw new Error("a background that is half transparent");
    }
    throw new Error("no background");
}
const has_text = it => [...it.childNodes].some(node => node.nodeType === 3 && node.data.trim());
const shown = [...document.body.querySelectorAll("*")]
    .filter(it => has_text(it) && !it.closest("title"));
return shown.map(it => {
    const style = getComputedStyle(it);
    const drawing = it.ownerSVGElement;
    const scale = drawing ? drawing.getBoundingClientRect().width / drawing.viewBox.baseVal.width : 1;
    const [low, high] = [colour(drawing ? style.fill : style.color).slice(0, 3), paper(it)]
        .map(luminance).sort((a, b) => a - b);
    return {text: it.textContent, size: parseFloat(style.fontSize) * scale,
            contrast: (high + 0.05) / (low + 0.05)};
});
"""

TABLES = """
return Object.fromEntries([...document.querySelectorAll(".sums section")].map(it =>
    [it.querySelector("th").textContent, [...it.querySelectorAll("tr")].slice(1).map(row =>
        [...row.cells].slice(0, 2).map(cell => cell.textContent))]));
"""

# Of each session: what its title says, and the classes, widths and colours of its bars.
BARS = """
return [...document.querySelectorAll("svg g")].map(it => [it.querySelector("title").textContent,
    [...it.querySelectorAll("rect")].map(bar =>
        [bar.getAttribute("class"), bar.getBoundingClientRect().width, getComputedStyle(bar).fill])]);
"""

OVERFLOW = """
return [document.documentElement.scrollWidth, document.documentElement.clientWidth,
    [...document.querySelectorAll(".sums *, h1, h2, p, .key *")]
        .filter(it => it.getBoundingClientRect().right > innerWidth + 0.5).map(it => it.outerHTML)];
"""


class Page(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        cls.page = folder / "backtest.html"
        # With a rule that counts, and one that warns.
        starter = (stage.ROOT / "policies/starter.yaml").read_text(encoding="utf-8")
        policy = folder / "policy.yaml"
        policy.write_text(starter.replace("\nrules:\n", RULES), encoding="utf-8")
        old = ["--against", "policies/zombies.yaml"]
        command = ["backtest", policy, *old, "--html", cls.page, "--output", "json"]
        environment = cls.enterClassContext(stage.fleet(REAPCTL))
        ran = subprocess.run(
            stage.at_now([REAPCTL, *command]),
            check=True,
            cwd=stage.ROOT,
            env=environment,
            stdout=subprocess.PIPE,
        )
        cls.json = json.loads(ran.stdout)
        cls.driver = cls.enterClassContext(stage.browser())

    @contextlib.contextmanager
    def view(self, width, scheme):
        with self.subTest(width=width, scheme=scheme):
            stage.show(self.driver, self.page, width, scheme)
            yield

    def test_the_console_is_silent(self):
        for view in VIEWS:
            with self.view(*view):
                self.assertEqual(self.driver.get_log("browser"), [])

    def test_only_the_timeline_and_the_changes_scroll_sideways(self):
        for view in VIEWS:
            with self.view(*view):
                scrolled, seen, over = self.driver.execute_script(OVERFLOW)
                self.assertEqual((scrolled, seen, over), (view[0], view[0], []))

    def test_every_text_can_be_read(self):
        papers = set()
        for view in VIEWS:
            with self.view(*view):
                paper = "return getComputedStyle(document.body).backgroundColor"
                papers.add(self.driver.execute_script(paper))
                texts = self.driver.execute_script(TEXTS)
                self.assertGreater(len(texts), 80)
                small = [it for it in texts if it["size"] < SMALLEST_TEXT]
                faint = [it for it in texts if it["contrast"] < CONTRAST]
                self.assertEqual((small, faint), ([], []))
        self.assertEqual(len(papers), 2, "the dark page is not the light one")

    def test_the_tables_have_the_numbers_of_the_json(self):
        for view in VIEWS:
            with self.view(*view):
                tables = self.driver.execute_script(TABLES)
                for name, key in SUMS:
                    expected = [[it, str(sums["sessions"])] for it, sums in self.json[key].items()]
                    self.assertGreater(len(expected), 0 if key == "warnings" else 2)
                    self.assertEqual(tables[name], expected)
                rows = self.driver.execute_script(
                    'return [...document.querySelectorAll(".scroll table tr")].map(it => it.innerText)'
                )
                changes = self.json["changes"]
                self.assertEqual(len(rows), 1 + len(changes))
                for row, change in zip(rows[1:], changes, strict=True):
                    self.assertTrue(row.startswith(change["change"]), row)
                    self.assertTrue(row.rstrip().endswith(change["session_id"]), row)

    def test_the_policy_counts_and_warns(self):
        sessions = self.json["sessions"]
        self.assertIn("one-each", self.json["rules"])
        self.assertTrue(any(it["warnings"] and it["would_terminate_at"] for it in sessions))
        self.assertTrue(any(it["warnings"] and not it["would_terminate_at"] for it in sessions))

    def test_the_timeline_has_a_bar_of_the_right_length_for_each_session(self):
        for view in VIEWS:
            with self.view(*view):
                bars = self.driver.execute_script(BARS)
                sessions = self.json["sessions"]
                self.assertEqual(len(bars), len(sessions))
                whole = self.driver.execute_script(
                    'return document.querySelector("svg").getBoundingClientRect().width'
                )
                for (title, parts), session in zip(bars, sessions, strict=True):
                    self.assertIn(f"on {session['target']}, from ", title)
                    ended, unknown = session["would_terminate_at"], session["unknown"]
                    kinds = ["open" if unknown and not ended else "active"]
                    kinds += ["warn"] if session["warnings"] else []
                    kinds += ["cut", "end"] if ended else []
                    self.assertEqual([kind for kind, _, _ in parts], kinds, title)
                    self.assertEqual("; warning at " in title, bool(session["warnings"]), title)
                    minimum = whole / 1000
                    for kind, width, fill in parts:
                        self.assertGreaterEqual(width, minimum - 0.1, title)
                        self.assertNotEqual(fill, "rgb(0, 0, 0)", kind)
                    if ended:
                        after = session["minutes"] / (30 * 24 * 60) * whole
                        self.assertAlmostEqual(parts[-2][1], max(after, minimum), delta=1, msg=title)


if __name__ == "__main__":
    unittest.main(verbosity=2)
