"""A node's memory on disk: kept before it counts, read again, refused to a second process."""

from __future__ import annotations

from pathlib import Path

import pytest

from secure_fl.errors import InputError, NodeFailure
from secure_fl.nodes.memory import Memory

CONTRACT = bytes(range(20))
FIRST, SECOND = bytes([1]) * 32, bytes([2]) * 32


def test_a_round_is_taken_once(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "node-0.log")
    memory.claim(7, CONTRACT, 1)
    for other in ((8, CONTRACT, 1), (7, bytes(20), 1), (7, CONTRACT, 2)):
        memory.claim(*other)
    with pytest.raises(InputError, match=r"round 1 of the contract 0x0001.* was taken before"):
        memory.claim(7, CONTRACT, 1)


def test_a_share_is_taken_once(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "node-0.log")
    assert memory.take({FIRST}) == {FIRST}
    assert memory.take({FIRST, SECOND}) == {SECOND}
    assert memory.take({FIRST, SECOND}) == set()
    assert memory.take(set()) == set()


def test_what_was_taken_is_on_the_disk_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "node-0.log"
    memory = Memory(path)
    memory.claim(7, CONTRACT, 1)
    memory.take({SECOND, FIRST})
    lines = [f"round 7 {CONTRACT.hex()} 1", f"share {FIRST.hex()}", f"share {SECOND.hex()}"]
    assert path.read_text().splitlines() == lines
    assert path.stat().st_mode & 0o777 == 0o600
    memory.close()
    again = Memory(path)
    assert again.take({FIRST}) == set()
    with pytest.raises(InputError, match="was taken before"):
        again.claim(7, CONTRACT, 1)


@pytest.mark.parametrize("torn", [b"share 01", b"r", b"round 7 " + bytes(range(128, 140))])
def test_a_line_that_was_cut_off_counts_for_nothing(tmp_path: Path, torn: bytes) -> None:
    """Its write had not come back, so nothing was done because of it."""
    path = tmp_path / "node-0.log"
    whole = f"share {FIRST.hex()}\n".encode()
    for before in (b"", whole):
        path.write_bytes(before + torn)
        memory = Memory(path)
        assert path.read_bytes() == before
        assert memory.take({FIRST, SECOND}) == ({SECOND} if before else {FIRST, SECOND})
        memory.close()
        assert Memory(path).take({FIRST, SECOND}) == set()


def test_two_processes_do_not_share_a_memory(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "node-0.log")
    with pytest.raises(NodeFailure, match="another process uses the node's memory"):
        Memory(tmp_path / "node-0.log")
    memory.close()
    Memory(tmp_path / "node-0.log").close()


def test_another_file_is_not_taken_for_a_memory(tmp_path: Path) -> None:
    path = tmp_path / "node-0.log"
    path.write_text("something else\n")
    with pytest.raises(NodeFailure, match="is not a node's memory: it has the line 'something"):
        Memory(path)
    (tmp_path / "link.log").symlink_to(path)
    with pytest.raises(OSError, match="symbolic link"):
        Memory(tmp_path / "link.log")
