"""A headless Chromium for the tests of pages, installed from npm into a cache of this tree."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

PACKAGES = ("@sparticuz/chromium@147.0.0", "puppeteer-core@24.43.1")
CACHE = Path(__file__).parents[2] / ".cache" / "chromium-147"
DRIVER = Path(__file__).with_name("look.mjs")
# The package holds Brotli files, which Node can read.
INFLATE = """
const fs = require("fs"), zlib = require("zlib");
for (const name of fs.readdirSync(".").filter((name) => name.endsWith(".br")))
  fs.writeFileSync(name.slice(0, -3), zlib.brotliDecompressSync(fs.readFileSync(name)));
"""
FONTS = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>{0}/fonts</dir><cachedir>{0}/fonts-cache</cachedir></fontconfig>
"""


class Look(NamedTuple):
    """What a page showed.

    Attributes:
        value: of the expression.
        complaints: lines on the console, errors, failed requests.
        requests: addresses asked for.
    """

    value: Any
    complaints: list[str]
    requests: list[str]


@cache
def _installed() -> Path:
    """Folder of the browser; the test is skipped, with the reason, where it cannot be had."""
    if not CACHE.exists():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("npm is missing: no Chromium to look at pages with")
        CACHE.parent.mkdir(parents=True, exist_ok=True)
        # Put together beside the cache and moved there at once: tests may do so side by side.
        with tempfile.TemporaryDirectory(dir=CACHE.parent) as folder:
            _install(npm, Path(folder))
            if not CACHE.exists():
                Path(folder, "browser").rename(CACHE)
    return CACHE


def _install(npm: str, folder: Path) -> None:
    command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts"]
    command += ["--prefix", str(folder / "browser"), *PACKAGES]
    (folder / "browser").mkdir()
    try:
        done = subprocess.run(command, capture_output=True, timeout=240, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("npm cannot install Chromium: no answer for four minutes")
    if done.returncode:
        pytest.skip(f"npm cannot install Chromium: exit status {done.returncode}")
    content = folder / "browser" / "node_modules" / "@sparticuz" / "chromium" / "bin"
    node = Path(npm).with_name("node")
    subprocess.run([str(node), "-e", INFLATE], cwd=content, timeout=120, check=True)
    for archive in content.glob("*.tar"):
        with tarfile.open(archive) as packed:
            packed.extractall(content, filter="data")
    (content / "chromium").chmod(0o755)
    content.rename(folder / "browser" / "bin")
    (folder / "browser" / "fonts.conf").write_text(FONTS.format(CACHE / "bin"), encoding="utf-8")
    shutil.copy(DRIVER, folder / "browser" / DRIVER.name)


def look(
    page: Path, expression: str, width: int = 1280, height: int = 900, shot: Path | None = None
) -> Look:
    """Open a page from disk, without a network, and evaluate an expression in it.

    Raises:
        CalledProcessError, TimeoutExpired: the browser failed, or took more than two minutes.
    """
    folder = _installed()
    # Node finds packages beside the program that it runs.
    shutil.copy(DRIVER, folder / DRIVER.name)
    with tempfile.TemporaryDirectory() as home:
        environment = {
            **os.environ,
            "HOME": home,
            "LD_LIBRARY_PATH": str(folder / "bin" / "lib"),
            "FONTCONFIG_FILE": str(folder / "fonts.conf"),
        }
        command = ["node", DRIVER.name, str(folder / "bin" / "chromium"), page.as_uri()]
        command += [str(width), str(height), expression, *([] if shot is None else [str(shot)])]
        done = subprocess.run(
            command, cwd=folder, capture_output=True, timeout=120, check=True, env=environment
        )
    return Look(**json.loads(done.stdout))
