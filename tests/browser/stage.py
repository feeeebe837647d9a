"""The sample fleet at a fixed instant, commands on a terminal, and a browser."""

import contextlib
import fcntl
import os
import pathlib
import pty
import re
import struct
import subprocess
import tempfile
import termios

from selenium import webdriver

ROOT = pathlib.Path(__file__).parents[2]
NOW = "2026-03-02T12:00:00Z"
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]


@contextlib.contextmanager
def fleet(reapctl):
    """An emulator with the sample fleet; the environment in which commands reach it, at NOW."""
    with tempfile.TemporaryDirectory() as folder:
        seeds = pathlib.Path(folder) / "fleet.yaml"
        sample = (ROOT / "reapctl/demo/fleet.yaml").read_text(encoding="utf-8")
        seeds.write_text(f"now: {NOW}\n{sample}", encoding="utf-8")
        emulator = subprocess.Popen(
            [reapctl, "emulate", "--port", "0", "--fleet", seeds], stdout=subprocess.PIPE, text=True
        )
        try:
            yield {
                "AWS_ACCESS_KEY_ID": "emulator",
                "AWS_CONFIG_FILE": os.devnull,
                "AWS_ENDPOINT_URL": re.search(r"http://[\d.:]+\d", emulator.stdout.readline())[0],
                "AWS_REGION": "eu-central-1",
                "AWS_SECRET_ACCESS_KEY": "emulator",
                "PATH": os.environ["PATH"],
                "TERM": "xterm-256color",
                "TZ": "UTC",
            }
        finally:
            emulator.kill()
            emulator.communicate()


def at_now(command):
    """The command, for which it is always NOW."""
    instant = NOW.replace("T", " ").removesuffix("Z")
    return ["faketime", "--exclude-monotonic", "-f", instant, *command]


def on_a_terminal(command, environment, columns, prompt=None, keys=""):
    """What a command leaves on a terminal, on which `keys` are typed when it shows `prompt`."""
    leader, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    process = subprocess.Popen(
        at_now(command),
        cwd=ROOT,
        env=environment,
        start_new_session=True,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    screen = b""
    with contextlib.suppress(OSError):  # So ends a terminal that nobody writes to any more.
        while data := os.read(leader, 65536):
            screen += data
            if prompt and prompt.encode() in screen:
                os.write(leader, keys.encode())
                prompt = None
    os.close(leader)
    process.wait()
    # Of a line that was written anew, as that of the progress is, the last writing stays.
    lines = screen.decode().replace("\r\n", "\n").split("\n")
    return "\n".join(re.split(r"\r|\x1b\[2K", line)[-1] for line in lines)


@contextlib.contextmanager
def browser():
    """A headless Chromium whose profile is empty and goes with it."""
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with tempfile.TemporaryDirectory() as profile:
        for flag in [*FLAGS, f"--user-data-dir={profile}"]:
            options.add_argument(flag)
        driver = webdriver.Chrome(options, webdriver.ChromeService("/usr/bin/chromedriver"))
        try:
            yield driver
        finally:
            driver.quit()


def show(driver, page, width, scheme, height=900, scale=1):
    """Opens a file at this width, in the light or the dark scheme."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    driver.get(pathlib.Path(page).resolve().as_uri())
