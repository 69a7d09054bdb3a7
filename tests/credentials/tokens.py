"""
Tokens and keys for tests: what an issuer signs, and what a forger would like it to have signed.
"""

from __future__ import annotations

import base64
import json
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.openings import handshake
from ws_isolation import Handshake
from ws_isolation.credentials.jwt import JwtAuthenticate
from ws_isolation.testing import FakeClock

SECRET: Final = b"s" * 64
RSA: Final = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
OTHER_RSA: Final = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
SHORT_RSA: Final = rsa.generate_private_key(public_exponent=65_537, key_size=1_024)  # noqa: S505  # to be refused
P256: Final = ec.generate_private_key(ec.SECP256R1())
P384: Final = ec.generate_private_key(ec.SECP384R1())
P521: Final = ec.generate_private_key(ec.SECP521R1())
K256: Final = ec.generate_private_key(ec.SECP256K1())
ED: Final = ed25519.Ed25519PrivateKey.generate()
ISSUER: Final = "https://login.example.com"
AUDIENCE: Final = "chat"
LIBRARY: Any = jwt

KEYS: Final[dict[str, Any]] = {
    "HS256": SECRET,
    "HS384": SECRET,
    "HS512": SECRET,
    "RS256": RSA,
    "RS384": RSA,
    "RS512": RSA,
    "PS256": RSA,
    "PS384": RSA,
    "PS512": RSA,
    "ES256": P256,
    "ES384": P384,
    "ES512": P521,
    "EdDSA": ED,
}
"""What signs with each algorithm."""


def pem(key: Any, /) -> str:
    """
    Return the public half of *key* as text.
    """
    text: str = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return text


def private_pem(key: Any, /) -> str:
    """
    Return *key* itself as text.
    """
    text: str = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return text


def verifier(algorithm: str, /) -> Any:
    """
    Return what verifies the algorithm: the secret, or the public key as text.
    """
    key = KEYS[algorithm]
    return key if type(key) is bytes else pem(key)


def claims(clock: FakeClock | None = None, /, **more: Any) -> dict[str, Any]:
    """
    Return the claims of Alice's token; those that are None are left out.
    """
    now = int((FakeClock() if clock is None else clock).unix())
    all_of_them = {"sub": "alice", "aud": AUDIENCE, "iss": ISSUER, "iat": now, "exp": now + 300, **more}
    return {name: value for name, value in all_of_them.items() if value is not None}


def signed(body: dict[str, Any] | None = None, algorithm: str = "HS256", key: Any = None, **header: Any) -> str:
    """
    Return a token of *body*, signed with the algorithm's own key unless another is given.
    """
    # Not by jwt.encode(), which would not sign what is wrong.
    payload = json.dumps(claims() if body is None else body).encode()
    token: str = LIBRARY.PyJWS().encode(payload, KEYS[algorithm] if key is None else key, algorithm, header or None)
    return token


def packed(value: Any, /) -> str:
    """
    Return one part of a token.
    """
    raw = value if type(value) is bytes else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def checking(keys: Any = SECRET, /, **options: Any) -> JwtAuthenticate:
    """
    Return the application's check.
    """
    given: dict[str, Any] = {
        "algorithms": ["HS256"],
        "audience": AUDIENCE,
        "issuer": ISSUER,
        "clock": FakeClock(),
        **options,
    }
    return JwtAuthenticate(keys, **given)


def bearing(token: str, /, query: str = "") -> Handshake:
    """
    Return a handshake with *token* in its header.
    """
    return handshake(("authorization", f"Bearer {token}"), query=query)


def jwk(key: Any, key_id: str | None = "k1", /, **more: Any) -> dict[str, Any]:
    """
    Return the public half of *key* as it is published.
    """
    algorithm = next(name for name, one in KEYS.items() if type(one) is type(key) and name[:2] != "HS")
    made: Any = LIBRARY.get_algorithm_by_name(algorithm).to_jwk(key.public_key(), as_dict=True)
    named = {} if key_id is None else {"kid": key_id}
    members: dict[str, Any] = {**made, **named, **more}
    members.pop("key_ops", None)
    return members


def published(*keys: dict[str, Any]) -> bytes:
    """
    Return a key set as an issuer publishes it.
    """
    return json.dumps({"keys": keys}).encode()
