"""The committed artifact is what the sources compile to."""

import re
from pathlib import Path

import ledger
from ledger.protocol import artifacts, contract
from ledger.protocol.parameters import Parameters


def test_artifact_is_the_compiled_source() -> None:
    assert artifacts.compile_sources() == artifacts.load()


def test_deployed_code_fits_the_limit() -> None:
    from tests.ledger.conftest import small_chain

    client = small_chain(seed=3)
    code = client.connection.chain.code(client.connection.address)
    assert 0 < len(code) <= 24_576  # EIP-170


def test_selectors_are_known() -> None:
    # keccak("finalize(uint256)")[:4] and keccak("Suspended(uint256,uint256)") by other tools.
    from eth_utils import function_signature_to_4byte_selector as selector

    assert contract.functions()["finalize"].selector == selector("finalize(uint256)")
    name, args = contract.decode_call(contract.encode_call("open_round", 7, bytes(32)))
    assert (name, args) == ("open_round", {"round": 7, "model": bytes(32)})


def test_creation_arguments_come_back() -> None:
    rule, limits = Parameters().rule_words(), Parameters().limit_words()
    timing = Parameters().timing_words()
    keys = [bytes(range(20)), bytes(range(1, 21))]
    args = contract.decode_creation(
        contract.encode_creation(keys, 1, keys[0], rule, limits, timing)
    )
    assert args == {
        "administrators": keys,
        "threshold": 1,
        "coordinator": keys[0],
        "rule": rule,
        "limits": limits,
        "timing": timing,
    }


def test_the_contract_reads_of_its_block_the_number_alone_and_calls_nobody() -> None:
    """So it can be executed again alone, without a node's blocks and other contracts."""
    folder = Path(ledger.__file__).parent / "contracts"
    source = "\n".join(
        line.partition("#")[0]
        for path in sorted(folder.glob("*.vy"))
        for line in re.sub(r'"""[\s\S]*?"""', "", path.read_text()).splitlines()
    )
    assert "msg.sender" in source
    outside = (
        r"block\.(?!number\b)|blockhash|\btx\.|msg\.(?!sender\b)|\.balance|\.code|raw_call|extcall"
    )
    assert re.findall(outside + r"|staticcall|create_|send\(", source) == []
