"""The small parts: AES-CTR streams, words of bits, a hospital's shares, CrypTen's import, sources
of randomness."""

from __future__ import annotations

import ast
import importlib
import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st

import secure_fl.backends
import secure_fl.mpc
import secure_fl.nodes
from secure_fl.aggregation.worlds.fixedpoint import encode
from secure_fl.errors import InputError, SecureFLError
from secure_fl.hospital.randomness import HospitalSecrets
from secure_fl.hospital.sharing import commit, split
from secure_fl.mpc import compat
from secure_fl.mpc.bit_slicing import from_planes, to_planes, unpack_bits, word_count
from secure_fl.mpc.prg import Stream, fresh_stream
from secure_fl.nodes.shares import ShareMessage, check

# --- the generator --------------------------------------------------------------------------

# NIST SP 800-38A, F.5.1 (CTR-AES128.Encrypt): key, and F.1.1 (ECB-AES128.Encrypt), whose first
# block shows AES alone. The stream starts its counter at zero, so the published counter blocks
# are reached by encrypting them as F.5.1 lists them.
KEY = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")
COUNTERS = [
    bytes.fromhex(f"f0f1f2f3f4f5f6f7f8f9fafbfcfd{tail}")
    for tail in ("feff", "ff00", "ff01", "ff02")
]
OUTPUTS = [
    "ec8cdf7398607cb0f2d21675ea9ea1e4",
    "362b7c3c6773516318a077d7fc5073ae",
    "6a2cc3787889374fbeb4c81b17ba6c44",
    "e89c399ff0f198c6d40a31db156cabfe",
]


def block(key: bytes, counter: bytes) -> bytes:
    """One AES block by another route: the library's ECB mode."""
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(counter)


def test_the_cipher_gives_the_published_output_blocks() -> None:
    assert [block(KEY, counter).hex() for counter in COUNTERS] == OUTPUTS
    plain = bytes.fromhex("6bc1bee22e409f96e93d7e117393172a")
    stream = Cipher(algorithms.AES(KEY), modes.CTR(COUNTERS[0])).encryptor()
    assert stream.update(plain).hex() == "874d6191b620e3261bef6864990db6ce"


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.integers(0, 40), max_size=6), key=st.binary(min_size=16, max_size=16))
def test_a_stream_is_the_cipher_on_the_counter(sizes: list[int], key: bytes) -> None:
    """However the words are asked for, they are AES of 0, 1, 2, ... in order."""
    stream = Stream(key)
    got = b"".join(stream.words(size).tobytes() for size in sizes)
    blocks = -(-sum(sizes) // 2)
    wanted = b"".join(block(key, i.to_bytes(16, "big")) for i in range(blocks))
    assert got == wanted[: len(got)]


def test_a_stream_crosses_its_buffer() -> None:
    count = (1 << 17) + 5  # words; the buffer of zeros holds 2^17
    words = Stream(KEY).words(count + 2)
    assert words[-2:].tobytes()[:8] == block(KEY, ((count - 1) // 2).to_bytes(16, "big"))[8:]
    assert Stream(KEY).words((3, 7)).shape == (3, 7)
    assert Stream(KEY).ring(4).dtype == np.int64
    with pytest.raises(ValueError, match="16 bytes; got 15"):
        Stream(KEY[1:])


def test_fresh_streams_differ() -> None:
    assert len({fresh_stream().words(2).tobytes() for _ in range(50)}) == 50


# --- words ----------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 5),
    columns=st.integers(1, 200),
    bits=st.integers(1, 64),
    seed=st.integers(0),
)
def test_planes_hold_the_bits(rows: int, columns: int, bits: int, seed: int) -> None:
    values = np.random.default_rng(seed).integers(-(2**62), 2**62, (rows, columns))
    planes = to_planes(values, bits)
    assert planes.shape == (bits, rows, word_count(columns))
    j, r, c = seed % bits, seed % rows, seed % columns
    assert int(planes[j, r, c // 64]) >> (c % 64) & 1 == int(values[r, c]) >> j & 1
    assert unpack_bits(planes[j], columns)[r, c] == int(values[r, c]) >> j & 1
    low = from_planes(planes, columns).astype(object) % 2**bits
    assert (low == values.astype(object) % 2**bits).all()
    padding = unpack_bits(planes, word_count(columns) * 64)[..., columns:]
    assert not padding.any()


# --- shares ---------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    bits=st.sampled_from([9, 18, 24, 31, 32, 33, 64]),
    nodes=st.integers(2, 4),
    seed=st.integers(0, 2**32),
)
def test_shares_add_up_and_open_their_commitment(bits: int, nodes: int, seed: int) -> None:
    half = 2 ** (min(bits, 53) - 1) / 2**16
    row = torch.as_tensor(np.random.default_rng(seed).uniform(-half, half, 9) * 0.999)
    shares = split(row, bits, nodes, fresh_stream())
    total = sum(share.astype(object) for share in shares) % 2**bits
    assert (total == encode(row).numpy().astype(object) % 2**bits).all()
    root, messages = commit(shares, [os.urandom(32) for _ in range(nodes)])
    for rank, message in enumerate(messages):
        opened = check(message, root, rank, nodes, bits, 9)
        assert (opened.view(np.uint64) == shares[rank].astype(np.uint64)).all()


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("nodes", [2, 3, 4])
def test_any_but_all_shares_together_are_uniform(bits: int, nodes: int) -> None:
    """Of a fixed update: every sum over some nodes is uniform, that over all is the update."""
    row = torch.full((4096,), -0.75)
    shares = split(row, bits, nodes, fresh_stream())
    for count in range(1, nodes):
        for some in itertools.combinations(range(nodes), count):
            pooled = sum(shares[i] for i in some)  # wraps in the shares' own width
            octets = np.ascontiguousarray(pooled).view(np.uint8)
            counts = np.bincount(octets, minlength=256)
            expected = len(octets) / 256
            # 255 degrees of freedom: above 420 with probability 3e-10.
            assert ((counts - expected) ** 2 / expected).sum() < 420
    whole = sum(shares[1:], shares[0].copy())
    assert len(np.unique(whole)) == 1


def shared(bits: int = 18) -> tuple[bytes, list[ShareMessage]]:
    shares = split(torch.tensor([0.5, -0.25]), bits, 2, fresh_stream())
    return commit(shares, [os.urandom(32) for _ in shares])


def test_a_changed_share_does_not_open_the_commitment() -> None:
    root, (message, other) = shared()
    bad = [
        message._replace(share=bytes([message.share[0] ^ 1]) + message.share[1:]),
        message._replace(salt=bytes(32)),
        message._replace(proof=[bytes(32)]),
        message._replace(proof=[]),
        other,
    ]
    for forged in bad:
        with pytest.raises(InputError, match="does not open its commitment"):
            check(forged, root, 0, 2, 18, 2)
    with pytest.raises(InputError, match="does not open its commitment"):
        check(message, root, 1, 2, 18, 2)
    with pytest.raises(InputError, match="does not open its commitment"):
        check(message, os.urandom(32), 0, 2, 18, 2)


def test_one_root_holds_one_share_for_a_node() -> None:
    """A hospital that commits to a deeper tree cannot choose later which share it meant."""
    halves = [split(torch.tensor([value, 0.25]), 18, 2, fresh_stream()) for value in (0.5, -0.5)]
    salts = [os.urandom(32) for _ in range(4)]
    (first, second), (third, fourth) = halves
    # Node 1's place is the second leaf of four, and of the left half of that tree.
    root, messages = commit([first, second, third, fourth], salts)
    for message, rank in ((messages[1], 1), (messages[2], 0), (messages[3], 1)):
        with pytest.raises(InputError, match="does not open its commitment"):
            check(message, root, rank, 2, 18, 2)
    short = messages[1]._replace(proof=messages[1].proof[:1])
    with pytest.raises(InputError, match="does not open its commitment"):
        check(short, root, 1, 2, 18, 2)


@pytest.mark.parametrize("size", [0, 4, 7, 9, 16])
def test_a_share_of_the_wrong_length_is_refused(size: int) -> None:
    root, (message, _) = shared()
    with pytest.raises(InputError, match=f"must be 8 bytes; got {size}"):
        check(message._replace(share=bytes(size)), root, 0, 2, 18, 2)


@settings(max_examples=100, deadline=None)
@given(
    bits=st.integers(9, 31),
    words=st.lists(st.integers(0, 2**32 - 1), min_size=2, max_size=4),
)
def test_no_choice_of_shares_stands_for_a_value_out_of_range(bits: int, words: list[int]) -> None:
    """Whatever words a hospital sends, nodes hold a sharing of exactly one value in range."""
    shares = [np.array([word], "<u4") for word in words]
    root, messages = commit(shares, [os.urandom(32) for _ in shares])
    read = [int(check(m, root, rank, len(shares), bits, 1)[0]) for rank, m in enumerate(messages)]
    assert all(0 <= share < 2**bits for share in read)
    value = (sum(read) + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1)
    assert (value - sum(words)) % 2**bits == 0
    # The same value could have been submitted by the book.
    row = torch.tensor([value / 2**16], dtype=torch.float64)
    honest = split(row, bits, len(words), fresh_stream())
    assert (sum(int(s[0]) for s in honest) - value) % 2**bits == 0


def test_hospitals_keys_come_from_the_system_unless_a_simulation_says_otherwise() -> None:
    own = HospitalSecrets()
    assert own.draw("share 1 0", 16) != own.draw("share 1 0", 16)
    first, second = HospitalSecrets(b"a" * 32), HospitalSecrets(b"a" * 32)
    assert first.draw("share 1 0", 16) == second.draw("share 1 0", 16)
    assert first.draw("share 1 0", 16) != first.draw("share 1 1", 16)
    assert first.draw("x", 16) != HospitalSecrets(b"b" * 32).draw("x", 16)


# --- where randomness comes from --------------------------------------------------------------

ROOMS = (secure_fl.mpc, secure_fl.nodes, secure_fl.backends)
SOURCES = sorted(path for room in ROOMS for path in Path(room.__path__[0]).glob("*.py"))
PREDICTABLE_MODULES = {"random", "numpy.random", "torch.random"}
PREDICTABLE_CALLS = {
    *("rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial", "rand_like"),
    *("randn_like", "randint_like", "random_", "uniform_", "normal_", "manual_seed", "seed"),
    *("default_rng", "RandomState", "Generator", "PCG64", "MT19937", "shuffle"),
    *("generate_random_ring_element", "generate_kbit_random_tensor"),
}


def predictable(source: str) -> list[str]:
    """Uses of generators that an observer could predict, as `line: what`."""
    found = []
    tree = ast.parse(source)
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [a.name for a in node.names if a.name in PREDICTABLE_MODULES]
        elif isinstance(node, ast.ImportFrom) and node.module != "collections.abc":  # a type
            whole = [f"{node.module}.{a.name}" for a in node.names]
            names = [
                w
                for w in whole
                if w in PREDICTABLE_MODULES
                or w.split(".")[-1] in PREDICTABLE_CALLS
                or node.module in PREDICTABLE_MODULES
            ]
        elif isinstance(node, ast.Attribute) and node.attr in PREDICTABLE_CALLS | {"random"}:
            # A public seed may be named; to seed a generator is a call.
            names = [node.attr] if node.attr != "seed" or id(node) in called else []
        found += [f"{getattr(node, 'lineno', 0)}: {name}" for name in names]
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.stem)
def test_nothing_predictable_hides_a_secret(path: Path) -> None:
    """No generator of torch, NumPy, CrypTen or Python is used anywhere in the package.

    The launcher renews NumPy's from the system in every party that it forks, and takes no number.
    """
    source = path.read_text(encoding="utf-8")
    if path.stem == "launcher":
        assert source.count("numpy.random") == 2
        for used in ("import numpy.random\n", "numpy.random.seed()  #"):
            assert source.count(used) == 1
            source = source.replace(used, "pass\n" if used.startswith("import") else "pass  #")
    assert predictable(source) == []


@pytest.mark.parametrize(
    "line",
    [
        "import random",
        "import numpy.random as r",
        "from numpy import random",
        "from numpy.random import default_rng",
        "x = torch.randint(0, 5, (3,))",
        "x = torch.empty(3).random_()",
        "x = np.random.bytes(3)",
        "g = torch.Generator()",
        "from crypten.common.rng import generate_random_ring_element",
    ],
)
def test_the_search_for_predictable_generators_finds_them(line: str) -> None:
    assert predictable(line)


def test_the_whole_package_is_searched() -> None:
    names = {path.stem for path in SOURCES}
    assert {"prg", "shares", "dealer", "correlations", "ring", "node", "shared"} <= names


# --- where values are opened ------------------------------------------------------------------


def places(attribute: str) -> set[str]:
    """`module.function` of every use of an attribute in the package."""
    found = set()
    for path in SOURCES:
        for outer in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(outer, ast.FunctionDef):
                inside = (n.attr for n in ast.walk(outer) if isinstance(n, ast.Attribute))
                found |= {f"{path.stem}.{outer.name}" for attr in inside if attr == attribute}
    return found


def test_bits_are_opened_in_one_place() -> None:
    """The messages of an opened bit are its mask, so that no transcript shows an opening.

    In the federation bits leave by `Ops.open` alone, which writes every opening down;
    `functions` is for CrypTen programs, where whoever calls decides.
    """
    assert places("reveal_wires") == {"shared.open_bits"}
    assert places("reveal") == {"shared.open_numbers"}
    assert places("open_bits") == places("open_numbers") == set()  # but in `FixedPoint._reveal`


# --- CrypTen ----------------------------------------------------------------------------------


def test_crypten_imports_under_this_torch() -> None:
    """In a fresh process, since this one may have imported it already."""
    program = (
        "import sys\n"
        "from secure_fl.mpc.compat import import_crypten\n"
        "assert 'crypten' not in sys.modules\n"
        "crypten = import_crypten()\n"
        "assert crypten is import_crypten() is sys.modules['crypten']\n"
        "import torch.onnx._internal.registration as old\n"
        "assert hasattr(old, 'onnx_symbolic') or hasattr(old, 'registry')\n"
        "print(crypten.__name__, hasattr(crypten, 'cryptensor'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.split()) == (0, ["crypten", "True"]), done.stderr


def test_without_crypten_the_error_says_what_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "crypten", raising=False)
    monkeypatch.setattr(compat, "_exists", lambda module: False)
    with pytest.raises(SecureFLError, match=r"pip install --no-deps crypten==0\.4\.1"):
        compat.import_crypten()


def test_crypten_is_imported_in_one_package_only() -> None:
    root = Path(importlib.import_module("secure_fl").__path__[0]).parent
    for package in ("secure_fl", "ledger", "attacks", "eval"):
        for path in (root / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
                modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                direct = any(m.split(".")[0] == "crypten" for m in modules)
                assert not direct or path.parent.name == "mpc", path
