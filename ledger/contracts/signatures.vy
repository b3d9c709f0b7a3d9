# pragma version ~=0.4.3
"""
@title EIP-712 digests and ECDSA recovery
@license MIT
@notice Every statement a member makes (a commitment, an attestation, an approval) is an EIP-712
        typed message bound to this chain and this contract, so it cannot be replayed elsewhere.
@dev Signatures come as `(r, vs)`, the compact form of EIP-2098: the top bit of `vs` is the parity.
"""

DOMAIN_TYPEHASH: constant(bytes32) = keccak256(
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
# Half the order of secp256k1: a larger s is the malleable twin of a valid signature (EIP-2).
HALF_ORDER: constant(uint256) = (
    57896044618658097711785492504343953926418782139537452191302581570759080747168
)
LOW_255_BITS: constant(uint256) = 2**255 - 1

struct Signature:
    r: bytes32
    vs: uint256

DOMAIN: immutable(bytes32)


@deploy
def __init__(name: String[32], version: String[8]):
    """
    @param name Name in the EIP-712 domain.
    @param version Version in the EIP-712 domain.
    """
    DOMAIN = keccak256(
        abi_encode(DOMAIN_TYPEHASH, keccak256(name), keccak256(version), chain.id, self)
    )


@external
@view
def domain_separator() -> bytes32:
    """
    @notice The EIP-712 domain separator: chain id and address of this contract are inside.
    """
    return DOMAIN


@internal
@view
def _digest(struct_hash: bytes32) -> bytes32:
    """
    @dev The 32 bytes that a member signs for a typed message.
    """
    return keccak256(concat(b"\x19\x01", DOMAIN, struct_hash))


@internal
@view
def _signer(struct_hash: bytes32, signature: Signature) -> address:
    """
    @dev The address that signed; the zero address, which is no member, if none did.
    """
    s: uint256 = signature.vs & LOW_255_BITS
    if s > HALF_ORDER:
        return empty(address)
    return ecrecover(
        self._digest(struct_hash), 27 + (signature.vs >> 255), convert(signature.r, uint256), s
    )
