"""Settings of the ledger: the contract's rule, and the chain that it runs on.

A chain is in this process unless a node is named by `url`. What is secret never stands here: keys
lie in an encrypted keystore whose password is in LEDGER_KEYSTORE_PASSWORD, and a node's address
with credentials in it is named by the environment variable that holds it. So the settings can be
written into a run's folder as they are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from urllib.parse import urlsplit

import ledger
from secure_fl.checks import check, check_name, positive
from secure_fl.errors import ConfigError

LEDGER_MODES = ("each", "merkle")
# `ledger.url` in the environment, for a node whose address holds a key or a password.
ENVIRONMENT = "env:"
# Settings that say where a node and its keys are; the results do not depend on them.
PLACES = ("url", "keystore", "patience")
_NODE_SETTINGS = ("chain_id", "contract", "keystore")


@dataclass
class LedgerConfig:
    """The contract's rule on reputations and its limits of degradation (see `ledger.Parameters`),
    and the node that serves the chain.

    Attributes:
        initial: reputation of a newly registered hospital.
        growth: share of the gap to 1 gained when accepted, R += growth (1 - R).
        rejection_keep: factor on R at the first rejection.
        repetition_step: subtracted from that factor for each rejection directly before.
        abnormal_keep: factor on R for those accepted into a round that was rolled back.
        floor: suspension below it.
        reinstated: reputation after a reinstatement.
        probation_rounds: accepted rounds until a reinstated hospital is in full standing again.
        accuracy_drop: largest loss of the validators' median accuracy.
        loss_rise: largest gain of their median loss.
        f1_drop: largest loss of their median F1.
        quorum: attestations that a round needs.
        open_blocks: blocks that commitments stay open at least, unless all hospitals committed.
        dispute_blocks: blocks for claims after the closing, and for evidence after a denial.
        quorum_blocks: blocks after the quorum for the other validators, unless all attested.
        mode: `each` checks every commitment on the chain; `merkle` posts one root a round, with
            disputes, for hundreds of hospitals.
        url: of an EVM node, `http://HOST:PORT`, or `env:NAME` for one that stands in the
            environment variable NAME; null for a chain in this process.
        chain_id: EIP-155 chain id that the node must have.
        contract: address of a contract made before, without rounds yet; null makes one for every
            cell of the job.
        keystore: folder with the members' encrypted keys; the password is in
            LEDGER_KEYSTORE_PASSWORD.
        threshold: administrators in the keystore who approve a change.
        simulated_keys: use the simulation's public keys on a node, which must be on this machine.
        patience: seconds to wait for a node that does not answer.
    """

    initial: float = 1.0
    growth: float = 0.1
    rejection_keep: float = 0.5
    repetition_step: float = 0.1
    abnormal_keep: float = 0.9
    floor: float = 0.2
    reinstated: float = 0.3
    probation_rounds: int = 5
    accuracy_drop: float = 0.05
    loss_rise: float = 0.25
    f1_drop: float = 0.1
    quorum: int = 4
    open_blocks: int = 1
    dispute_blocks: int = 1
    quorum_blocks: int = 1
    mode: str = "each"
    url: str | None = None
    chain_id: int | None = None
    contract: str | None = None
    keystore: str | None = None
    threshold: int = 2
    simulated_keys: bool = False
    patience: float = 60.0

    def __post_init__(self) -> None:
        check_name("ledger.mode", self.mode, LEDGER_MODES)
        check(1 <= self.threshold <= 32, "ledger.threshold", "from 1 to 32", self.threshold)
        check(positive(self.patience), "ledger.patience", "> 0 and finite", self.patience)
        if self.url is None:
            for key in _NODE_SETTINGS:
                value = getattr(self, key)
                check(value is None, f"ledger.{key}", "null without ledger.url", value)
            check(
                not self.simulated_keys, "ledger.simulated_keys", "false without ledger.url", True
            )
        else:
            self._check_node(self.url)
        self.build()

    def _check_node(self, url: str) -> None:
        if url.startswith(ENVIRONMENT):
            name = url.removeprefix(ENVIRONMENT)
            check(re.fullmatch(r"\w+", name) is not None, "ledger.url", "env:NAME", url)
        else:
            check_plain(url)
        chain_id, contract = self.chain_id, self.contract
        check(
            chain_id is not None and 0 < chain_id < 2**63,
            "ledger.chain_id",
            "the id of the node's chain, above 0",
            chain_id,
        )
        check(
            contract is None or re.fullmatch(r"0x[0-9a-fA-F]{40}", contract) is not None,
            "ledger.contract",
            "null or an address, 0x and 40 hexadecimal digits",
            contract,
        )
        if self.keystore is None and not self.simulated_keys:
            raise ConfigError(
                "ledger.url needs ledger.keystore, a folder of encrypted keys; on a test chain on "
                "this machine ledger.simulated_keys=true uses keys that protect nothing"
            )
        check(
            self.keystore is None or not self.simulated_keys,
            "ledger.simulated_keys",
            "false with ledger.keystore",
            True,
        )
        if self.simulated_keys and not url.startswith(ENVIRONMENT):
            check_loopback(url)

    def build(self) -> ledger.Parameters:
        """Build the contract's parameters; one out of range raises `ConfigError`."""
        try:
            names = [field.name for field in fields(ledger.Parameters)]
            return ledger.Parameters(**{name: getattr(self, name) for name in names})
        except ValueError as error:
            raise ConfigError(f"ledger.{error}") from error


def check_plain(url: str) -> None:
    """Refuse an address that could hold a secret; the error does not repeat it.

    Raises:
        ConfigError: it is not scheme, host and port alone.
    """
    plain = re.fullmatch(r"https?://(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9.-]+)(:\d{1,5})?/?", url)
    if plain is None:
        raise ConfigError(
            "ledger.url must be http://HOST:PORT or https://HOST:PORT, without user, path or query "
            "(they may hold a secret, and settings are written into the run's folder); an address "
            "with more in it goes into an environment variable: ledger.url=env:NAME"
        )


def check_loopback(url: str) -> None:
    """Refuse simulation keys on another machine's node.

    Raises:
        ConfigError: the node is not on this machine.
    """
    host = urlsplit(url).hostname or ""
    local = host in ("localhost", "::1") or re.fullmatch(r"127(\.\d{1,3}){3}", host) is not None
    if not local:
        raise ConfigError(
            "ledger.simulated_keys must be false with a node on another machine: everybody can "
            f"derive these keys and sign with them; got the host {host!r}"
        )
