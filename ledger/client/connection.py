"""The deployed contract, as functions to send and to read."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain as joined
from typing import Any

from eth_abi.exceptions import DecodingError

from ledger.chains.in_process import Chain, Transaction
from ledger.client.standings import Standings
from ledger.errors import ContractMissing, Reverted, WrongMembers
from ledger.members.keys import Signer
from ledger.members.members import ROLE_NAMES, Members, Roster
from ledger.protocol import contract
from ledger.protocol.contract import Event
from ledger.protocol.messages import Messages
from ledger.protocol.parameters import Parameters
from ledger.protocol.typed_data import Domain
from ledger.protocol.words import hospital_record

Call = tuple[str, tuple[Any, ...]]


class Connection:
    """One contract on one chain, and the key that pays for transactions.

    Attributes:
        address: 20-byte address of the contract.
        messages: digests that members sign for this contract.
    """

    def __init__(self, chain: Chain, address: bytes, sender: Signer) -> None:
        self.chain = chain
        self.address = address
        self.messages = Messages(Domain(chain.chain_id, address))
        self._sender = sender
        self._standings: Standings | None = None

    @classmethod
    def deploy(
        cls,
        chain: Chain,
        members: Members,
        parameters: Parameters,
        deployer: Signer | None = None,
    ) -> "Connection":
        """Create the contract for the administrators and the coordinator among `members`.

        Args:
            chain: where.
            members: for whom.
            parameters: by which rule.
            deployer: key that pays and whose address gives the contract its own; the coordinator's
                by default.
        """
        sender = members.coordinator
        data = contract.encode_creation(
            [signer.address for signer in members.administrators],
            members.threshold,
            sender.address,
            parameters.rule_words(),
            parameters.limit_words(),
            parameters.timing_words(),
        )
        (receipt,) = chain.send([Transaction("__init__", b"", data)], deployer or sender)
        return cls(chain, receipt.created, sender)

    @classmethod
    def attach(cls, chain: Chain, address: bytes, sender: Signer) -> "Connection":
        """Use a contract that is there already.

        Raises:
            ContractMissing: there is no contract at the address, or another one.
        """
        connection = cls(chain, address, sender)
        place = f"at 0x{address.hex()} on chain {chain.chain_id}"
        if not chain.code(address):
            raise ContractMissing(f"no contract {place}")
        try:
            domain = connection.read("domain_separator")
        except (Reverted, DecodingError) as error:
            raise ContractMissing(f"the contract {place} is not a consortium's") from error
        if domain != connection.messages.domain.separator:
            raise ContractMissing(f"the contract {place} is not a consortium's of this version")
        return connection

    def require_seats(self, roster: Roster) -> None:
        """Check that the contract seats these members and nobody else.

        Raises:
            WrongMembers: naming the first seat that differs.
        """
        for role, name in ROLE_NAMES.items():
            keys = roster.of_role(role)
            held = [self.read("seat", role, i)[2:] for i in range(self.read("count", role))]
            place = f"the contract 0x{self.address.hex()}"
            if len(held) != len(keys):
                raise WrongMembers(f"{place} seats {len(held)} {name}(s), not {len(keys)}")
            for i, (theirs, mine) in enumerate(zip(held, keys, strict=True)):
                if bytes.fromhex(theirs) != mine:
                    raise WrongMembers(
                        f"{place} seats the key 0x{theirs} as {name} {i}, not 0x{mine.hex()}"
                    )

    def send(self, calls: Sequence[Call], sender: Signer | None = None) -> list[list[Event]]:
        """Put the calls into one block, all or none; returns the events of each.

        Args:
            calls: functions with their arguments.
            sender: who pays and calls, if not the coordinator.

        Raises:
            Reverted: the contract refused one.
        """
        transactions = [
            Transaction(name, self.address, contract.encode_call(name, *args))
            for name, args in calls
        ]
        before = self._known()
        receipts = self.chain.send(transactions, sender or self._sender)
        events = [[contract.decode_event(log) for log in receipt.logs] for receipt in receipts]
        if before is not None:
            self._standings = before.after(joined.from_iterable(events), self.chain.head_hash)
        return events

    def reach(self, block: int) -> None:
        """Wait until what is sent now can be in block `block`."""
        before = self._known()
        self.chain.reach(block)
        if before is not None:  # empty blocks move nobody's reputation
            self._standings = replace(before, head=self.chain.head_hash)

    def standings(self, hospitals: int) -> Standings:
        """Reputation and suspension of the first `hospitals` hospitals after the newest block."""
        known = self._known()
        if known is None or len(known.suspended) != hospitals:
            head = self.chain.head_hash if self.chain.private else b""
            words = self.read("hospital_words", 0, hospitals)
            records = [hospital_record(word).standing for word in words]
            known = Standings(
                head,
                tuple(record.reputation for record in records),
                tuple(record.suspended for record in records),
            )
            self._standings = known
        return known

    def _known(self) -> Standings | None:
        """The standings, if nothing was written to the chain since they were taken."""
        if not self.chain.private or self._standings is None:
            return None
        return self._standings if self._standings.head == self.chain.head_hash else None

    def read(self, name: str, *args: Any) -> Any:
        """Result of a view function: the value, or a tuple of several."""
        output = self.chain.call(name, self.address, contract.encode_call(name, *args))
        values = contract.decode_output(name, output)
        return values[0] if len(values) == 1 else values
