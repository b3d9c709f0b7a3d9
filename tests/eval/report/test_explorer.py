"""The explorer: true to the chain, self-contained, safe against hostile names."""

from __future__ import annotations

import hashlib
import html
import json
import re
from pathlib import Path

import pytest

import ledger
from eval.report import explorer
from eval.results.style import HONEST_COLOUR, MALICIOUS_COLOUR
from ledger.audit.chain_file import audit
from ledger.audit.history import read_history
from ledger.client.administration import pair
from ledger.client.consortium import Consortium
from ledger.protocol.merkle import merkle_root
from ledger.protocol.parameters import Parameters
from secure_fl.errors import InputError
from tests.eval.report.test_report import outline
from tests.support.chromium import look

SCALE = 10**18
LEAVES = [hashlib.sha256(bytes([i])).digest() for i in range(2)]


def sha(*parts: object) -> bytes:
    return hashlib.sha256(repr(parts).encode()).digest()


def run_round(client: Consortium, number: int, accepted: list[bool | None]) -> None:
    """One round; hospital 3 commits to the tree over LEAVES."""
    client.open_round(number, client.model_hash if number > 1 else sha("model", 0))
    out = client.suspended()
    roots = {i: sha("root", number, i) for i in range(3)} | {3: merkle_root(LEAVES)}
    client.commit(number, {i: root for i, root in roots.items() if not out[i]})
    if number == 2:
        deny_falsely(client)
    verdict = [None if gone else flag for gone, flag in zip(out, accepted, strict=True)]
    client.record_aggregate(number, sha("sum", number), verdict, sha("model", number))
    client.attest(number, [(0.8, 0.5, 0.7)] * 5, sha("model", number))
    client.finalize(number)


def deny_falsely(client: Consortium) -> None:
    """Node 1 denies the share of hospital 3, and its own receipt tells against it."""
    client.attest_shares(2, [client.committed(), [0, 1, 2]])
    if client.mode == "merkle":
        client.reveal_commitment(2, 3)
    message = client.connection.messages.receipt(2, 3, LEAVES[1], merkle_root(LEAVES))
    receipt = client.members.nodes[1].sign(message)
    client.connection.send([("dispute_denial", (2, 3, 1, LEAVES[1], pair(receipt)))])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two cells: hospital 0 is malicious in the second, and suspended in its end."""
    run = tmp_path_factory.mktemp("runs") / "sample"
    for mode, attack, share in (("each", "none", 0.0), ("merkle", "label_flip", 0.25)):
        client = ledger.open_chain(4, mode=mode, parameters=Parameters(rejection_keep=0.4))
        for number in (1, 2, 3):
            run_round(client, number, [attack == "none", True, True, True])
        cell = run / "cells" / f"guarded--{attack}"
        cell.mkdir(parents=True)
        client.export(cell / "chain.jsonl")
        row = {
            "defence": "guarded",
            "label": "Guarded",
            "attack": attack,
            "malicious_fraction": share,
            "accuracy": 0.8,
            "malicious": [0] if share else [],
        }
        (cell / "cell.json").write_text(json.dumps(row))
    return run


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return explorer.explorer_html(folder)


def text_of(page: str) -> str:
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)))


def test_the_page_is_written_and_needs_nothing_else(folder: Path, page: str) -> None:
    assert (folder / "explorer.html").read_text("utf-8") == page
    parsed = outline(page)
    assert parsed.fetched == []
    assert not {"script", "link", "img", "iframe", "object", "form"} & set(parsed.tags)
    assert "default-src 'none'" in page
    assert not re.search(r"@import|url\(", page)
    assert {anchor.removeprefix("#") for anchor in parsed.anchors} <= set(parsed.ids)
    assert len(set(parsed.ids)) == len(parsed.ids)


def test_every_block_and_transaction_is_there_with_its_hash(folder: Path, page: str) -> None:
    for cell in ("guarded--none", "guarded--label_flip"):
        history = read_history(folder / "cells" / cell / "chain.jsonl")
        assert len(history.blocks) > 15
        for block in history.blocks:
            assert "0x" + block.hash.hex() in page
            for call in block.calls:
                assert "0x" + call.hash.hex() in page
        for record in history.rounds:
            for root in record.commitments.values():
                assert "0x" + root.hex() in page


def test_what_is_read_is_what_the_audit_executes(folder: Path) -> None:
    """The reader executes nothing; the audit executes everything: both must tell one story."""
    for path in sorted(folder.glob("cells/*/chain.jsonl")):
        read, executed = read_history(path), audit(path)
        assert executed.faults == []
        assert read.rounds == executed.rounds
        assert (read.head, read.seats) == (executed.head, executed.seats)
        assert len(read.blocks) == executed.blocks
        assert sum(len(block.calls) for block in read.blocks) == executed.transactions


def test_the_picture_holds_every_reputation(folder: Path, page: str) -> None:
    rounds = read_history(folder / "cells/guarded--label_flip/chain.jsonl").rounds
    picture = explorer.picture(rounds, [0])
    assert picture is not None
    assert [line.hospital for line in picture.lines] == [1, 2, 3, 0]
    assert [line.colour for line in picture.lines] == [HONEST_COLOUR] * 3 + [MALICIOUS_COLOUR]
    for line in picture.lines:
        assert line.points in page
        heights = [float(point.split(",")[1]) for point in line.points.split()]
        # Back from pixels to reputations: 1 lies at the top tick, 0 at the bottom one.
        bottom, top = float(picture.levels[0][0]), float(picture.levels[-1][0])
        shown = [(bottom - height) / (bottom - top) for height in heights]
        held = [record.reputations[line.hospital] / SCALE for record in rounds]
        assert shown == pytest.approx(held, abs=0.001)
    # 1, 0.4, 0.12: suspended once, by its second rejection.
    assert [len(line.suspended) for line in picture.lines] == [0, 0, 0, 1]
    assert page.count('class="out"') == 1


def test_disputes_and_suspensions_are_told(page: str) -> None:
    text = text_of(page)
    assert text.count("node 1 and hospital 3 over a share node 1") == 2
    assert "hospital 0 suspended" in text
    assert "Guarded, label flip, 25 %" in text
    assert "malicious in this experiment" in text
    assert "commit_batch: 4 commitments" in text
    assert "post_commitments: round 1" in text


def test_a_forged_root_is_told(tmp_path: Path) -> None:
    client = ledger.open_chain(2, mode="merkle")
    client.open_round(1, sha("model", 0))
    signed = [client.sign_commitment(i, 1, sha("model", 0), sha(i)) for i in (0, 1)]
    client.connection.reach(client.connection.chain.height + 2)
    client.post_commitments(1, [signed[0], client.sign_commitment(1, 2, sha("model", 0), sha(1))])
    client.reveal_commitment(1, 1)
    client.export(tmp_path / "chain.jsonl")
    text = text_of(explorer.explorer_html(tmp_path))
    assert "commitments not signed by hospitals 1 under the root the coordinator" in text
    assert "The whole job" in text


def test_an_entry_without_hospitals_is_no_round(tmp_path: Path) -> None:
    """The initial model before the first round, and the closing of a run after the last."""
    client = ledger.open_chain(4)
    for number in (1, 2):
        run_round(client, number, [True] * 4)
    client.open_round(3, client.model_hash)
    client.commit(3, {})
    client.record_aggregate(3, sha("records"), [None] * 4, sha("model", 3))
    client.attest(3, [(0.8, 0.5, 0.7)] * 5, sha("model", 3))
    client.finalize(3)
    place = tmp_path / "chain.jsonl"
    client.export(place)
    history = read_history(place)
    assert [record.round for record in history.rounds] == [1, 2, 3]
    facts = dict(explorer._chain(history, "sample", place, {}).facts)
    assert facts["Rounds"] == "2"


def test_a_run_without_chains_says_so(tmp_path: Path) -> None:
    assert "No cell of this run kept a ledger." in explorer.explorer_html(tmp_path)


def test_hostile_names_are_escaped(tmp_path: Path) -> None:
    cell = tmp_path / "cells" / "a"
    cell.mkdir(parents=True)
    ledger.open_chain(1).export(cell / "chain.jsonl")
    row = {"defence": "<script>x</script>", "attack": "none", "malicious_fraction": 0.0}
    (cell / "cell.json").write_text(json.dumps({**row, "accuracy": 0.5}))
    parsed = outline(explorer.explorer_html(tmp_path))
    assert "script" not in parsed.tags


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw[:-200],
        lambda raw: raw.replace(b'"block"', b'"blook"', 1),
        lambda raw: b"",
        lambda raw: raw.replace(b"0xf9", b"0xf8", 1),
    ],
)
def test_a_damaged_chain_is_refused_by_name(folder: Path, tmp_path: Path, change: object) -> None:
    raw = (folder / "cells/guarded--none/chain.jsonl").read_bytes()
    (tmp_path / "chain.jsonl").write_bytes(change(raw))  # type: ignore[operator]
    with pytest.raises(InputError, match=r"chain\.jsonl"):
        explorer.explorer_html(tmp_path)
    assert not (tmp_path / "explorer.html").exists()


SEEN = """(() => ({
  width: document.documentElement.scrollWidth,
  lines: [...document.querySelectorAll("polyline")].map(p => p.getBoundingClientRect().width),
  text: document.body.innerText,
  folds: [...document.querySelectorAll("details")].map(d => {
    const before = d.open; d.querySelector("summary").click(); return before !== d.open; }),
}))()"""


@pytest.mark.parametrize("width", [1280, 380])
def test_a_browser_draws_the_picture_and_asks_for_nothing(
    folder: Path, page: str, tmp_path: Path, width: int
) -> None:
    path = tmp_path / "explorer.html"
    path.write_text(page, encoding="utf-8")
    seen = look(path, SEEN, width)
    assert seen.complaints == []
    assert seen.requests == [path.as_uri()[:80]]
    assert seen.value["width"] <= width
    assert seen.value["lines"]
    assert all(line > 100 for line in seen.value["lines"])
    assert seen.value["folds"]
    assert all(seen.value["folds"])
    for chain in folder.rglob("chain.jsonl"):
        assert f"{read_history(chain).head.hex()[:8]}" in seen.value["text"]
