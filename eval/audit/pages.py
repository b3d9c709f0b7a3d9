"""Draw report, explorer and figures again, and compare them with those in the folder.

No chain holds a page, and a manifest can be made anew: what says that a page shows the run is that
the run gives this page. Drawing is a function of the records, of the versions that draw and of the
kind of machine. Under others than the run had, pictures are not compared; the words of the report
are.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from eval.audit.outcome import RunAudit, Unchecked
from eval.audit.records import Finding
from eval.jobs.environment import DRAWING, version
from eval.report.report import EXPLORER, FIGURES, REPORT, draw_pages
from eval.results.records import read_object

NOT_THERE = "not there (secure-fl report draws it)"
_PICTURE = re.compile(rb"data:image/png;base64,[A-Za-z0-9+/=]*")


def check_pages(run: Path, report: RunAudit) -> Iterator[Finding]:
    """Compare each page and figure that is there with what the records give; name the others."""
    present = sorted(_pages(run))
    if not present:
        report.unchecked.append(Unchecked("pages and figures", NOT_THERE))
        return
    drawn = draw_pages(run)
    report.unchecked += [Unchecked(name, NOT_THERE) for name in drawn if name not in present]
    other = other_versions(read_object(run / "environment.json"))
    for name in present:
        if name not in drawn:
            yield Finding(name, "is no page or figure of this run")
        elif (content := (run / name).read_bytes()) == drawn[name]:
            report.pages.append(name)
        elif other and _words(content) == _words(drawn[name]):
            report.unchecked.append(Unchecked(name, f"the run was drawn elsewhere: {other}"))
        else:
            yield Finding(name, "is not what the run's files give (secure-fl report draws it)")


def _pages(run: Path) -> Iterator[str]:
    """Relative paths of what is drawn, as far as it is there; all below `figures` counts."""
    for name in (REPORT, EXPLORER):
        if (run / name).exists():
            yield name
    if (run / FIGURES).is_file():
        yield FIGURES
    for path in (run / FIGURES).rglob("*"):
        if not path.is_dir():
            yield path.relative_to(run).as_posix()


def _words(content: bytes) -> bytes:
    """A page without its pictures; nothing of a file that is a picture itself."""
    return b"" if content.startswith(b"\x89PNG") else _PICTURE.sub(b"", content)


def other_versions(environment: Mapping[str, Any]) -> str:
    """Packages that draw, and kind of machine, that are not those of the record, in words."""
    packages = environment.get("packages")
    recorded = dict(packages) if isinstance(packages, Mapping) else {}
    recorded["machine"] = environment.get("machine")
    here = {name: version(name) for name in DRAWING} | {"machine": platform.machine()}
    return ", ".join(
        f"{name} {recorded.get(name)}, here {found}"
        for name, found in here.items()
        if recorded.get(name) != found
    )
