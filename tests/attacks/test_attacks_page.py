"""The page of all attacks says what their classes say."""

from pathlib import Path

import pytest

import attacks
from attacks.catalogue import page, source

PAGE = Path(__file__).parents[2] / "docs" / "attacks.md"


def test_the_page_is_what_the_classes_say():
    assert PAGE.read_text() == page(), "run: python -m attacks.catalogue"


def test_every_attack_has_a_row_and_a_source():
    rows = [line for line in page().split("## ")[0].splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == attacks.names()
    assert {row.replace("\\|", "").count("|") for row in rows} == {8}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Do.\n\nRef: Xie, Koyejo, Gupta, UAI 2019.", "Xie, Koyejo, Gupta, UAI 2019"),
        (
            "Do.\n\nv = 2. After Wu et al., ICLR 2024 (here), who wait.",
            "Wu et al., ICLR 2024 (here)",
        ),
        ("Do.\n\nRef: Wu et al., ICML 2020 (2007.1; no more).", "Wu et al., ICML 2020"),
        ("Do.\n\nRef: Wu, ICML 2020 (here, with noise).", "Wu, ICML 2020"),
        ("Do.\n\nRef: ByzFL's `Inf`.", "ByzFL's `Inf`"),
        ("Do.\n\nOwn attack.", "own"),
        ("No attack: nothing.", "the baseline"),
    ],
)
def test_sources(text, expected):
    assert source(text) == expected
