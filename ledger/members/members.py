"""Who takes part, and the typed messages each of them signs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NoReturn

from ledger.errors import LedgerError, require
from ledger.members.keys import Signature, Signer, fresh_key, keccak, simulation_key

ADMINISTRATOR, HOSPITAL, NODE, VALIDATOR, COORDINATOR = 1, 2, 3, 4, 5
ROLE_NAMES = {
    ADMINISTRATOR: "administrator",
    HOSPITAL: "hospital",
    NODE: "node",
    VALIDATOR: "validator",
    COORDINATOR: "coordinator",
}
MAX_HOSPITALS = 1024
MAX_SEATS = 32


@dataclass(frozen=True)
class Elsewhere:
    """A member whose key another process holds; here its 20-byte address alone is known."""

    address: bytes

    @property
    def secret(self) -> NoReturn:
        """Not here.

        Raises:
            LedgerError: always.
        """
        raise LedgerError(f"the key of 0x{self.address.hex()} is held by another process")

    def sign(self, digest: bytes) -> Signature:
        """Not here: raises `LedgerError`."""
        return self.secret


@dataclass(frozen=True, eq=False)
class Locked:
    """A member whose key stays in its file until it signs here, if it ever does.

    Attributes:
        address: 20 bytes, as the file states it.
        unlock: reads the key.
    """

    address: bytes
    unlock: Callable[[], Signer]

    @cached_property
    def _signer(self) -> Signer:
        return self.unlock()

    @property
    def secret(self) -> bytes:
        """The key; raises what `unlock` raises."""
        return self._signer.secret

    def sign(self, digest: bytes) -> Signature:
        """Sign a 32-byte digest; raises what `unlock` raises."""
        return self._signer.sign(digest)


@dataclass(frozen=True)
class Roster:
    """Addresses of all members, 20 bytes each, in order of seat; no key.

    Attributes:
        administrators, hospitals, nodes, validators: of each role.
        coordinator: the one.
    """

    administrators: tuple[bytes, ...]
    coordinator: bytes
    hospitals: tuple[bytes, ...]
    nodes: tuple[bytes, ...]
    validators: tuple[bytes, ...]

    def of_role(self, role: int) -> tuple[bytes, ...]:
        """Addresses of one role."""
        if role == COORDINATOR:
            return (self.coordinator,)
        accounts: tuple[bytes, ...] = getattr(self, f"{ROLE_NAMES[role]}s")
        return accounts


@dataclass(frozen=True)
class Members:
    """Keys of all members. In a deployment each holds its own; a simulation holds them all.

    Attributes:
        administrators: approve registrations and changes, `threshold` of them each time.
        threshold: how many administrators must approve.
        coordinator: opens rounds and carries the others' signed messages.
        hospitals, nodes, validators: in the order of their numbers on the chain. Nodes that are
            processes of their own hold their keys themselves (`without_node_keys`).
    """

    administrators: tuple[Signer, ...]
    threshold: int
    coordinator: Signer
    hospitals: tuple[Signer, ...]
    nodes: tuple[Signer | Elsewhere | Locked, ...]
    validators: tuple[Signer, ...]

    def __post_init__(self) -> None:
        require(
            1 <= len(self.hospitals) <= MAX_HOSPITALS,
            "hospitals",
            f"1 to {MAX_HOSPITALS}",
            len(self.hospitals),
        )
        for name in ("administrators", "nodes", "validators"):
            size = len(getattr(self, name))
            require(1 <= size <= MAX_SEATS, name, f"1 to {MAX_SEATS}", size)
        require(
            1 <= self.threshold <= len(self.administrators),
            "threshold",
            f"1 to {len(self.administrators)}",
            self.threshold,
        )

    @classmethod
    def simulated(
        cls,
        seed: int,
        hospitals: int,
        nodes: int = 2,
        validators: int = 5,
        administrators: int = 3,
        threshold: int = 2,
    ) -> "Members":
        """Members with simulation keys, the same for the same seed."""
        sizes = {
            ADMINISTRATOR: administrators,
            COORDINATOR: 1,
            HOSPITAL: hospitals,
            NODE: nodes,
            VALIDATOR: validators,
        }
        return cls._made(
            sizes, threshold, lambda role, seat: simulation_key(seed, ROLE_NAMES[role], seat)
        )

    @classmethod
    def fresh(cls, sizes: Mapping[int, int], threshold: int) -> "Members":
        """Members with new keys from the operating system's random source.

        Args:
            sizes: how many of each role but the coordinator, who is one.
            threshold: how many administrators approve a change.
        """
        return cls._made({**sizes, COORDINATOR: 1}, threshold, lambda role, seat: fresh_key())

    @classmethod
    def _made(
        cls, sizes: Mapping[int, int], threshold: int, key: Callable[[int, int], Signer]
    ) -> "Members":
        keys = {role: tuple(key(role, seat) for seat in range(sizes[role])) for role in ROLE_NAMES}
        return cls(
            administrators=keys[ADMINISTRATOR],
            threshold=threshold,
            coordinator=keys[COORDINATOR][0],
            hospitals=keys[HOSPITAL],
            nodes=keys[NODE],
            validators=keys[VALIDATOR],
        )

    def without_node_keys(self) -> "Members":
        """The same members; the nodes are known by their addresses and sign elsewhere."""
        return replace(self, nodes=tuple(Elsewhere(node.address) for node in self.nodes))

    @property
    def roster(self) -> Roster:
        """Their addresses."""
        accounts = {
            f"{name}s": tuple(signer.address for signer in self.of_role(role))
            for role, name in ROLE_NAMES.items()
            if role != COORDINATOR
        }
        return Roster(coordinator=self.coordinator.address, **accounts)

    def of_role(self, role: int) -> tuple[Signer, ...]:
        """Keys of one role, in seat order."""
        if role == COORDINATOR:
            return (self.coordinator,)
        keys: tuple[Signer, ...] = getattr(self, f"{ROLE_NAMES[role]}s")
        return keys


def simulated_certificate(account: bytes) -> bytes:
    """Stands in for the hash of a member's certificate where nobody has one."""
    return keccak(b"no certificate: simulation" + account)
