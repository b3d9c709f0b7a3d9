"""A headless Chromium for the tests of pages, installed from npm into a cache of this tree."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.npm import CACHE, installed

PACKAGES = ("@sparticuz/chromium@147.0.0", "puppeteer-core@24.43.1")
DRIVER = Path(__file__).with_name("look.mjs")
# Changes with the packages and with the program that drives them.
NAME = f"chromium-{zlib.crc32(' '.join([*PACKAGES, DRIVER.read_text()]).encode()):08x}"
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


def _finish(folder: Path) -> None:
    """Unpack the browser, and tell it where its fonts are."""
    content = folder / "node_modules" / "@sparticuz" / "chromium" / "bin"
    subprocess.run(["node", "-e", INFLATE], cwd=content, timeout=120, check=True)
    for archive in content.glob("*.tar"):
        with tarfile.open(archive) as packed:
            packed.extractall(content, filter="data")
    (content / "chromium").chmod(0o755)
    content.rename(folder / "bin")
    (folder / "fonts.conf").write_text(FONTS.format(CACHE / NAME / "bin"), encoding="utf-8")
    # Node finds packages beside the program that it runs.
    shutil.copy(DRIVER, folder / DRIVER.name)


def look(
    page: Path, expression: str, width: int = 1280, height: int = 900, shot: Path | None = None
) -> Look:
    """Open a page from disk, without a network, and evaluate an expression in it.

    Raises:
        CalledProcessError, TimeoutExpired: the browser failed, or took more than two minutes.
    """
    folder = installed(NAME, PACKAGES, _finish)
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
