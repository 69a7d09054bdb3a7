"""
Keys that tokens are verified with: each knows the algorithms that it may be used for.

Rule 1: a key has one kind, and an algorithm is asked of no key of another kind; so a public key is never taken for a
shared secret (RFC 8725 §2.1). Rule 2: no error shows a key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NoReturn, Protocol, cast, final

import attrs

from ..errors import MissingExtraError, SettingsError

try:
    import jwt
except ImportError as _error:
    _MESSAGE = "tokens need PyJWT. Install it with: pip install 'ws-isolation[jwt]'"
    raise MissingExtraError(_MESSAGE) from _error

__all__ = ("ALGORITHMS", "SHARED", "Key", "KeySource", "StaticKeys", "key_of_jwk")

SHARED: Final = "shared secret"
"""The kind of the keys of HS algorithms."""
ALGORITHMS: Final[Mapping[str, str]] = {
    "HS256": SHARED,
    "HS384": SHARED,
    "HS512": SHARED,
    "RS256": "RSA",
    "RS384": "RSA",
    "RS512": "RSA",
    "PS256": "RSA",
    "PS384": "RSA",
    "PS512": "RSA",
    "ES256": "P-256",
    "ES384": "P-384",
    "ES512": "P-521",
    "EdDSA": "Ed25519",
}
"""The algorithms that may be pinned, and the kind of key that each needs. ``none`` is no algorithm."""

_SECRET_BYTES: Final = {"HS256": 32, "HS384": 48, "HS512": 64}
"""At least as long as the digest: RFC 7518 §3.2."""
_RSA_BITS: Final = 2_048
"""RFC 7518 §3.3."""
_MOST_KEYS: Final = 8
_MOST_ID: Final = 255
_NOT_A_SECRET: Final = (b"-----BEGIN ", b"ssh-", b"ecdsa-sha2-", b'{"k')
"""How keys begin that belong to other algorithms."""
_CURVES: Final = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521", "ed25519": "Ed25519"}
_KINDS: Final = frozenset({("EC", "P-256"), ("EC", "P-384"), ("EC", "P-521"), ("OKP", "Ed25519")})


@final
@attrs.frozen(repr=False)
class Key:
    """
    One key and what it may be used for. Not shown: it may be a secret.

    Attributes:
        algorithms: Those that it verifies.
        material: As PyJWT takes it.
        key_id: The ``kid`` that tokens name it by, None where it has no name.
    """

    algorithms: frozenset[str]
    material: object
    key_id: str | None = None

    def __repr__(self) -> str:
        return f"<key for {', '.join(sorted(self.algorithms))}>"


class KeySource(Protocol):
    """Where the keys are. ``StaticKeys`` and ``ws_isolation.credentials.jwks.Jwks`` are two."""

    async def find(self, key_id: str | None, algorithm: str, /) -> Sequence[Key]:
        """
        Return the keys that a token may be signed with; none where it names one that is not there.

        Args:
            key_id: The token's ``kid``, None where it has none. Not verified: it only says where to look.
            algorithm: The token's ``alg``, one of those that are pinned.

        Raises:
            Exception: The keys cannot be had now; the client is told to come back (4300).
        """
        ...


@final
class StaticKeys:
    """
    Keys that are known from the start: bytes are shared secrets, text is a public key as PEM. 1 to 8, all of one kind.

    A value; holds secrets, so it has no printed form and is never pickled.

    Raises:
        SettingsError: A key is of the wrong kind for the algorithms, too short, or private.
    """

    __slots__ = ("_keys",)

    def __init__(self, keys: Sequence[bytes | str], algorithms: Sequence[str], /) -> None:
        if not 1 <= len(keys) <= _MOST_KEYS:
            raise SettingsError(f"keys must be 1 to {_MOST_KEYS} of them")
        self._keys = tuple(_static_key(key, algorithms) for key in keys)

    def __reduce__(self) -> NoReturn:
        msg = "StaticKeys may hold secrets and is never pickled: make it in each process, from its own settings"
        raise TypeError(msg)

    async def find(self, _key_id: str | None, algorithm: str, /) -> Sequence[Key]:
        """Do the same as ``KeySource.find()``: each that the algorithm allows, whatever the token calls it."""
        return tuple(key for key in self._keys if algorithm in key.algorithms)


def key_of_jwk(members: Mapping[str, object], /) -> Key | None:
    """
    Return the key with these members of a JSON Web Key.

    Returns:
        None where no signature of a stranger can be verified with it: it is for encryption, of an unknown kind,
        symmetric or private (neither is ever published on purpose), too weak, or broken.

    Source: RFC 7517 §4, RFC 7518 §6, RFC 8037 §2.
    """
    kind, use, operations = _kind_of(members), members.get("use", "sig"), members.get("key_ops", ["verify"])
    if kind is None or use != "sig" or type(operations) is not list or "verify" not in operations or "d" in members:
        return None
    key_id = members.get("kid")
    if key_id is not None and not (type(key_id) is str and 0 < len(key_id) <= _MOST_ID):
        return None
    pinned = members.get("alg")
    algorithms = frozenset(name for name, needs in ALGORITHMS.items() if needs == kind and pinned in (None, name))
    if not algorithms:
        return None
    try:
        material: object = jwt.PyJWK.from_dict(dict(members), min(algorithms)).key
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    return Key(algorithms, material, key_id) if _is_strong(material) else None


def _kind_of(members: Mapping[str, object]) -> str | None:
    family, curve = members.get("kty"), members.get("crv")
    if family == "RSA":
        return "RSA"
    # The types first: what is no text may not be hashable.
    is_known = type(family) is str and type(curve) is str and (family, curve) in _KINDS
    return cast("str", curve) if is_known else None


def _is_strong(material: object) -> bool:
    """Tell whether it is no RSA key, or one that is long enough; the other kinds have one length each."""
    return not hasattr(material, "public_numbers") or hasattr(material, "curve") or _bits(material) >= _RSA_BITS


def _bits(material: object) -> int:
    return int(getattr(material, "key_size", 0))


def _static_key(key: object, algorithms: Sequence[str]) -> Key:
    kinds = {ALGORITHMS[name] for name in algorithms}
    if type(key) is bytes:
        if kinds != {SHARED}:
            raise SettingsError("a key of bytes is a shared secret, for HS algorithms only: give a public key as text")
        if key.lstrip().startswith(_NOT_A_SECRET):
            raise SettingsError("this is no shared secret but a key of another kind: give a public key as text")
        least = max(_SECRET_BYTES[name] for name in algorithms)
        if len(key) < least:
            raise SettingsError(f"a secret for these algorithms must be at least {least} bytes: token_bytes({least})")
        return Key(frozenset(algorithms), key)
    if type(key) is not str or "-----BEGIN " not in key:
        raise SettingsError("a key must be bytes (a shared secret) or text (a public key as PEM)")
    kind, material = _public_key(key)
    if kinds != {kind}:
        raise SettingsError(f"this public key is {kind}, and the algorithms need {' and '.join(sorted(kinds))}")
    return Key(frozenset(algorithms), material)


def _public_key(text: str) -> tuple[str, object]:
    """Return the kind of a public key and the key."""
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415  # only where no secret is shared
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey  # noqa: PLC0415  # same
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415  # same
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey  # noqa: PLC0415  # same
    from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415  # same

    try:
        material = load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise SettingsError(
            "the text is no public key as PEM, '-----BEGIN PUBLIC KEY-----'; never a private one"
        ) from None
    if isinstance(material, RSAPublicKey):
        if material.key_size < _RSA_BITS:
            raise SettingsError(f"an RSA key must have at least {_RSA_BITS:,} bits")
        return "RSA", material
    name = "ed25519" if isinstance(material, Ed25519PublicKey) else ""
    if isinstance(material, EllipticCurvePublicKey):
        name = material.curve.name
    if name not in _CURVES:
        raise SettingsError("the public key is of a kind that no allowed algorithm uses")
    return _CURVES[name], material
