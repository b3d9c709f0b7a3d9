"""The permissioned chain: contract, client, export and audit. Needs neither torch nor CrypTen.

`open_chain` starts an EVM chain in this process, creates the contract and registers everybody
under simulation keys: a `Consortium`, in which each member signs for itself. A round is then::

    chain = ledger.open_chain(hospitals=3)
    chain.open_round(1, model_hash)                 # rounds count 1, 2, 3, ...
    chain.commit(1, {0: root0, 1: root1, 2: root2}) # each hospital signs its own; then closed
    chain.commitments(1)                            # {hospital: root}, as the contract holds them
    chain.record_aggregate(1, result_hash, [True, False, None], new_model_hash)
    chain.attest(1, [(accuracy, loss, f1)] * 5, new_model_hash)
    outcome = chain.finalize(1)                     # "accepted", or "abnormal": rolled back
    chain.open_round(2, outcome.model)              # the last accepted model, or it reverts

Hashes are 32 bytes. A call that the contract refuses raises `Reverted` with the contract's reason
and records nothing. `chain.abandon_round(n)` ends a round that cannot complete.
`chain.export(path)` writes the chain as JSON lines; `ledger.audit.audit(path)`, or
``python -m ledger.audit FILE``, re-executes it and checks everything in it.

`connect` gives the same on an EVM node by URL. Who only carries what others signed holds a
`LedgerClient`, which has no key but the coordinator's (`Consortium.carrier`).

Modules: `merkle` (commitments to shares; standard library alone), `parameters`, `reputation` (the
rule in plain Python, the contract's oracle), `keys`, `keystore`, `typed_data`, `members`, `roles`
(who signs what), `commitments` (the tree over a round's), `contract` and `artifacts` (ABI), `chain`
and `store` (py-evm), `rpc` and `node` (any EVM node), `connection`, `standings`, `administration`,
`client` (carries), `consortium` (everybody in one process), `export`, `history` (a chain file
read), `audit` (a chain file executed). Those from `contract` on load the chain libraries (about a
second), so this module imports them only when a chain is opened.
"""

import os
from typing import TYPE_CHECKING, Any

from ledger.errors import LedgerError, Reverted
from ledger.protocol.parameters import Parameters

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ledger.client.client import LedgerClient
    from ledger.client.consortium import Consortium
    from ledger.client.outcome import RoundOutcome
    from ledger.members.members import Members

__all__ = [
    "Consortium",
    "LedgerClient",
    "LedgerError",
    "Parameters",
    "Reverted",
    "RoundOutcome",
    "connect",
    "open_chain",
]

CHAIN_ID = 20_260
GENESIS_TIMESTAMP = 1_767_225_600  # 2026-01-01 00:00 UTC
SALT_BYTES = 32


def open_chain(
    hospitals: int,
    *,
    validators: int = 5,
    nodes: int = 2,
    administrators: int = 3,
    threshold: int = 2,
    seed: int = 0,
    parameters: Parameters | None = None,
    mode: str = "each",
    chain_id: int = CHAIN_ID,
    timestamp: int = GENESIS_TIMESTAMP,
    funded: "Sequence[bytes]" = (),
    salt: bytes | None = None,
) -> "Consortium":
    """A new chain in this process with the contract set up and everybody registered.

    Args:
        hospitals, validators, nodes, administrators: how many, 1 to 1024 and 1 to 32.
        threshold: administrators who must approve a change.
        seed: of the members' simulation keys.
        parameters: rule of reputation and limits.
        mode: "each" to verify every commitment on the chain, "merkle" to post one Merkle root.
        chain_id, timestamp: of the genesis.
        funded: addresses beside the coordinator's that can pay for transactions.
        salt: the contract's address, and so what every signature is bound to, follows from it.
            By default fresh from the operating system: no two chains take each other's
            signatures. The same salt, seed and calls give the same blocks.
    """
    from ledger.chains.in_process import Genesis, InProcessChain
    from ledger.client.consortium import Consortium
    from ledger.members.keys import deployer_key
    from ledger.members.members import Members

    members = Members.simulated(seed, hospitals, nodes, validators, administrators, threshold)
    deployer = deployer_key(os.urandom(SALT_BYTES) if salt is None else salt)
    paying = (members.coordinator.address, deployer.address, *funded)
    chain = InProcessChain(Genesis(chain_id, timestamp, paying))
    return Consortium.found(chain, members, parameters or Parameters(), mode, deployer)


def connect(
    url: str,
    members: "Members",
    *,
    chain_id: int,
    contract: bytes | None = None,
    parameters: Parameters | None = None,
    mode: str = "each",
    patience: float = 60.0,
) -> "Consortium":
    """A consortium whose contract is on an EVM node.

    Args:
        url: of the node's JSON-RPC, ``http://...`` or ``https://...``.
        members: keys, see `ledger.members.keystore`; the coordinator's pays for the transactions.
        chain_id: EIP-155 chain id that the node must have.
        contract: 20-byte address of the contract; if not given, it is created and all members are
            registered.
        parameters: rule and limits of a new contract.
        mode: "each" or "merkle", see `open_chain`.
        patience: seconds to wait for a node that does not answer.

    Raises:
        WrongChain, ContractMissing, NoFunds, NodeUnavailable: see `ledger.errors`.
    """
    from ledger.chains.node import NodeChain
    from ledger.client.connection import Connection
    from ledger.client.consortium import Consortium

    chain = NodeChain(url, chain_id, patience)
    if contract is None:
        return Consortium.found(chain, members, parameters or Parameters(), mode)
    return Consortium(Connection.attach(chain, contract, members.coordinator), members, mode)


def __getattr__(name: str) -> Any:
    if name in ("Consortium", "LedgerClient", "RoundOutcome"):
        from ledger import client

        return getattr(client, name)
    raise AttributeError(f"module 'ledger' has no attribute {name!r}")
