"""Start the app on a free port of this machine, and a headless Chromium that talks to nobody else."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import BrowserContext, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextlib.contextmanager
def served(catalog: Path, root: Path) -> Iterator[str]:
    """Serve the app for the catalog file `catalog`, with the reports of the project folder `root`; give its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["--server.port", str(port), "--server.address", "127.0.0.1", "--server.headless", "true"]
    process = subprocess.Popen(
        [sys.executable, "-m", "streamlit", "run", str(ROOT / "app.py"), *options],
        cwd=ROOT,
        env=os.environ | {"CATALOG_DB": str(catalog), "CATALOG_ROOT": str(root)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{address}/_stcore/health", process)
        yield address
    finally:
        process.terminate()
        process.wait(timeout=20)


def _wait_for(address: str, process: subprocess.Popen) -> None:
    for _ in range(300):
        if process.poll() is not None:
            raise RuntimeError("The app ended before it answered; run `streamlit run app.py` to see why.")
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            with urllib.request.urlopen(address, timeout=1):
                return
        time.sleep(0.1)
    raise RuntimeError(f"The app did not answer at {address} within 30 seconds.")


@contextlib.contextmanager
def browser(profile: Path, width: int = 1400, height: int = 900, theme: str = "light") -> Iterator[BrowserContext]:
    """Give a browser window.

    Args:
        profile: an empty folder for the browser's own files.
        theme: `light` or `dark`, what the browser says the user prefers.
    """
    found = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if found is None:
        raise RuntimeError("There is no Chromium; install one, for instance with `apt-get install chromium`.")
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            profile,
            executable_path=found,
            args=FLAGS,
            viewport={"width": width, "height": height},
            color_scheme=theme,
        )
        try:
            yield context
        finally:
            context.close()
