"""The compiled contract: ABI and bytecode, committed so that users need no compiler.

``python -m ledger.protocol.artifacts`` compiles the sources anew (needs vyper) and writes the file.
"""

import json
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

NAME = "consortium"
EVM_VERSION = "cancun"
_FOLDER = Path(__file__).parents[1]


@cache
def load() -> dict[str, Any]:
    """The committed artifact: contract, compiler, evm_version, abi, bytecode."""
    text = (resources.files("ledger") / "artifacts" / f"{NAME}.json").read_text()
    artifact: dict[str, Any] = json.loads(text)
    return artifact


def bytecode() -> bytes:
    """Creation bytecode, without constructor arguments."""
    return bytes.fromhex(load()["bytecode"][2:])


def compile_sources() -> dict[str, Any]:
    """Compile the sources in ``contracts/`` with the installed vyper."""
    import vyper
    from vyper.cli.vyper_compile import compile_files

    source = _FOLDER / "contracts" / f"{NAME}.vy"
    # Metadata would put a hash of the sources' paths and versions behind the code.
    (output,) = compile_files(
        [source], ["abi", "bytecode"], paths=[str(source.parent)], no_bytecode_metadata=True
    ).values()
    return {
        "contract": NAME,
        "compiler": f"vyper {vyper.__version__}",
        "evm_version": EVM_VERSION,
        "abi": output["abi"],
        "bytecode": output["bytecode"],
    }


def main() -> None:
    """Write the artifact."""
    path = _FOLDER / "artifacts" / f"{NAME}.json"
    path.write_text(json.dumps(compile_sources(), indent=1) + "\n")


if __name__ == "__main__":
    main()
