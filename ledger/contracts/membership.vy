# pragma version ~=0.4.3
"""
@title Membership: who may do what, decided by a quorum of administrators
@license MIT
@notice Administrators, hospitals, nodes, validators and the coordinator, each with its own key and
        the hash of its certificate. No key holds two roles. Every change carries the signatures
        of at least `threshold` administrators over the change and a running nonce, so that no
        single key registers, replaces or reinstates anybody.
@dev Approvals come in ascending order of the signers' addresses, which makes them distinct.
"""

import signatures
import reputation

uses: signatures

MAX_HOSPITALS: constant(uint256) = 1024
MAX_SEATS: constant(uint256) = 32
MAX_REGISTER: constant(uint256) = 128

ADMINISTRATOR: constant(uint256) = 1
HOSPITAL: constant(uint256) = 2
NODE: constant(uint256) = 3
VALIDATOR: constant(uint256) = 4
COORDINATOR: constant(uint256) = 5

REGISTER_TYPEHASH: constant(bytes32) = keccak256(
    "Register(uint256 role,address[] accounts,bytes32[] certificates,uint256 nonce)"
)
REPLACE_TYPEHASH: constant(bytes32) = keccak256(
    "ReplaceKey(uint256 role,uint256 index,address account,bytes32 certificate,uint256 nonce)"
)

event Registered:
    role: indexed(uint256)
    index: indexed(uint256)
    account: indexed(address)
    certificate: bytes32

event KeyReplaced:
    role: indexed(uint256)
    index: indexed(uint256)
    account: indexed(address)
    certificate: bytes32

# Role of each key that was ever registered, shifted left once more when retired: a retired key
# never comes back in another role.
role_of: public(HashMap[address, uint256])
# One word per hospital, laid out by reputation.vy.
hospitals: uint256[MAX_HOSPITALS]
# The suspended among them as a bit set, so that a posted set is checked word by word.
suspended: public(uint256[MAX_HOSPITALS // 256])
seats: HashMap[uint256, address[MAX_SEATS]]
count: public(HashMap[uint256, uint256])
certificate: public(HashMap[uint256, HashMap[uint256, bytes32]])
threshold: public(uint256)
nonce: public(uint256)


@deploy
def __init__(
    administrators: DynArray[address, MAX_SEATS], threshold: uint256, coordinator: address
):
    """
    @param administrators Keys of the administrators.
    @param threshold How many of them must approve a change.
    @param coordinator Key that opens rounds and carries messages to the contract.
    """
    assert threshold > 0, "membership: threshold of zero"
    assert threshold <= len(administrators), "membership: threshold above administrators"
    self.threshold = threshold
    for account: address in administrators:
        self._seat(ADMINISTRATOR, account, empty(bytes32))
    self._seat(COORDINATOR, coordinator, empty(bytes32))


@external
@view
def seat(role: uint256, index: uint256) -> address:
    """
    @notice The key at a seat; for hospitals see `hospital_words` of the ledger.
    """
    if role == HOSPITAL:
        return reputation._key(self.hospitals[index])
    return self.seats[role][index]


@internal
def _replace_key(
    role: uint256,
    index: uint256,
    account: address,
    certificate: bytes32,
    approvals: DynArray[signatures.Signature, MAX_SEATS],
):
    """
    @dev Puts a new key at a member's seat; a hospital keeps its reputation and its standing.
    """
    assert index < self.count[role], "membership: no such member"
    self._approve(
        keccak256(
            abi_encode(REPLACE_TYPEHASH, role, index, account, certificate, self.nonce)
        ),
        approvals,
    )
    retired: address = self.seats[role][index]
    if role == HOSPITAL:
        retired = reputation._key(self.hospitals[index])
        self.hospitals[index] = reputation._with_key(self.hospitals[index], account)
    else:
        self.seats[role][index] = account
    self._claim(account, role)
    self.role_of[retired] = role << 8
    self.certificate[role][index] = certificate
    log KeyReplaced(role=role, index=index, account=account, certificate=certificate)


@internal
def _register(
    role: uint256,
    accounts: DynArray[address, MAX_REGISTER],
    certificates: DynArray[bytes32, MAX_REGISTER],
    initial: uint256,
    approvals: DynArray[signatures.Signature, MAX_SEATS],
):
    """
    @dev Checks the approvals, then gives each account the next seat of the role.
    """
    assert role >= HOSPITAL and role <= VALIDATOR, "membership: role not open"
    assert len(accounts) == len(certificates), "membership: one certificate per account"
    self._approve(
        keccak256(
            abi_encode(
                REGISTER_TYPEHASH,
                role,
                keccak256(slice(abi_encode(accounts), 64, 32 * len(accounts))),
                keccak256(slice(abi_encode(certificates), 64, 32 * len(accounts))),
                self.nonce,
            )
        ),
        approvals,
    )
    for i: uint256 in range(len(accounts), bound=MAX_REGISTER):
        if role == HOSPITAL:
            self._admit(accounts[i], certificates[i], initial)
        else:
            self._seat(role, accounts[i], certificates[i])


@internal
def _admit(account: address, certificate: bytes32, initial: uint256):
    """
    @dev Gives a hospital its word with the initial reputation.
    """
    index: uint256 = self.count[HOSPITAL]
    assert index < MAX_HOSPITALS, "membership: no seat left"
    self._claim(account, HOSPITAL)
    self.hospitals[index] = reputation._fresh(account, initial, 0)
    self.certificate[HOSPITAL][index] = certificate
    self.count[HOSPITAL] = index + 1
    log Registered(role=HOSPITAL, index=index, account=account, certificate=certificate)


@internal
def _seat(role: uint256, account: address, certificate: bytes32):
    """
    @dev Gives the account the next seat of the role.
    """
    index: uint256 = self.count[role]
    assert index < MAX_SEATS, "membership: no seat left"
    self._claim(account, role)
    self.seats[role][index] = account
    self.certificate[role][index] = certificate
    self.count[role] = index + 1
    log Registered(role=role, index=index, account=account, certificate=certificate)


@internal
def _claim(account: address, role: uint256):
    """
    @dev One key, one role, for ever.
    """
    assert account != empty(address), "membership: the zero address is nobody"
    assert self.role_of[account] == 0, "membership: key already used"
    self.role_of[account] = role


@internal
def _approve(struct_hash: bytes32, approvals: DynArray[signatures.Signature, MAX_SEATS]):
    """
    @dev Reverts unless `threshold` distinct administrators signed; uses up the nonce.
    """
    assert len(approvals) >= self.threshold, "membership: too few approvals"
    last: uint256 = 0
    for approval: signatures.Signature in approvals:
        signer: address = signatures._signer(struct_hash, approval)
        assert self.role_of[signer] == ADMINISTRATOR, "membership: not an administrator"
        assert convert(signer, uint256) > last, "membership: approvals not in order"
        last = convert(signer, uint256)
    self.nonce += 1


@internal
@view
def _check_coordinator():
    """
    @dev Reverts unless the caller is the coordinator.
    """
    assert msg.sender == self.seats[COORDINATOR][0], "membership: caller is not the coordinator"


@internal
@view
def _check_hospital(hospital: uint256):
    """
    @dev Reverts unless a hospital has this number.
    """
    assert hospital < self.count[HOSPITAL], "ledger: no such hospital"
