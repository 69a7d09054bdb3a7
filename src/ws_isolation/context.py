"""
``UserExecutionContext``: who, in which thread, run and request.

Rule 1: there is one class of this name, and the gate asks for exactly it
(:func:`require_context`). Subclasses, duck types, mocks and second copies of
the library are how one user came to see another's events. Rule 2: a context is
made by its constructor, whole, and never changes; a fingerprint that covers the
object's own address tells a made one from a copied or edited one. It detects
defects. Python code in the same process can always cheat; this is no sandbox.
Rule 3: nothing about a context is looked up, guessed or cached.
"""

# The fingerprint and the gate read the slots of this module's own class.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar, final

import attrs
import msgspec

from . import duplicates
from ._version import __version__
from .errors import (
    ContextIntegrityError,
    ContextTypeError,
    InvalidContextError,
    UnknownFieldError,
    bounded,
    class_text,
    shown,
    type_name,
)
from .frozen import FrozenDict, Json, JsonValueError, freeze, thaw
from .identifiers import DEFAULT_POLICY, IdPolicy, check_id, check_user_id
from .ids import new_uuid7, utc_now

if TYPE_CHECKING:
    from typing import Never, Self

__all__ = ("MAX_DEPTH", "UserExecutionContext", "is_intact", "require_context")

_T = TypeVar("_T")

MAX_DEPTH: Final = 16
"""How many times ``child()`` may be applied: agents that call agents stop somewhere (EVENTS L20)."""

_CLAIMS_BYTES: Final = 8_192
"""Bytes of claims: as much as common proxies accept for all headers of a request."""

_CLAIMS_DEPTH: Final = 8
_MOST_SHOWN: Final = 64
_EVOLVED: Final = "made_by_evolve"
"""What attrs.evolve() and copy.replace() pass for the fingerprint; no constructor argument, so both fail."""


@final
@attrs.define(init=False, eq=False, repr=False, frozen=True, getstate_setstate=False)
class UserExecutionContext:
    """
    Who acts, in which thread, run and request: the only source of identity.

    Lives as long as a request, a socket or a run. Frozen, hashable, compared by
    object identity. It cannot be subclassed or pickled; ``copy`` and
    ``deepcopy`` return the same object.

    Args:
        user_id: Who. 1 to 255 printable ASCII characters, kept verbatim;
            ``None``, ``null``, ``undefined`` and ``NaN`` are refused.
        tenant_id: The tenant, None in a single-tenant service. Tenant and user
            together are the *identity*: the border that isolation guards.
        thread_id: The conversation, or None.
        run_id: The agent execution, or None.
        request_id: Made if absent.
        expires_at: When the authority ends; aware. Sessions close with 4101.
        claims: What else is known of the user: JSON of at most 8 KiB, nested at
            most 8 deep, copied and frozen. It never influences the identity.
        policy: Which user and tenant ids are accepted.

    Raises:
        InvalidContextError: Names the field. No context exists.
        UnknownFieldError: There is no such argument; names the nearest one.

    Source: OpenID Connect Core 1.0 §2 (``sub``) for the ids' bounds.
    """

    user_id: str
    """Who acts."""
    tenant_id: str | None
    """The tenant, or None in a single-tenant service."""
    thread_id: str | None
    """The conversation, or None."""
    run_id: str | None
    """The agent execution, or None."""
    request_id: str
    """This request, unique."""
    expires_at: datetime | None
    """When the authority ends: aware, UTC, or None."""
    parent_request_id: str | None
    """The request id of the context that ``child()`` was called on, or None."""
    depth: int
    """How many times ``child()`` was applied to get here."""
    _policy: IdPolicy
    _claims: FrozenDict
    _fingerprint: tuple[object, ...] = attrs.field(alias=_EVOLVED)

    def __init__(
        self,
        *,
        user_id: str,
        tenant_id: str | None = None,
        thread_id: str | None = None,
        run_id: str | None = None,
        request_id: str | None = None,
        expires_at: datetime | None = None,
        claims: Mapping[str, Json] | None = None,
        policy: IdPolicy = DEFAULT_POLICY,
        **unknown: Never,
    ) -> None:
        # Validation stands here and in no attrs validator: those can be switched off for the whole process.
        _refuse_finished(self)
        if unknown:
            _refuse_unknown(unknown)
        if type(policy) is not IdPolicy:
            raise InvalidContextError("policy", f"must be an IdPolicy, not {type_name(type(policy))}")
        _fill(
            self,
            check_user_id(user_id, policy),
            None if tenant_id is None else check_id("tenant_id", tenant_id, unicode_letters=policy.unicode_letters),
            None if thread_id is None else check_id("thread_id", thread_id),
            None if run_id is None else check_id("run_id", run_id),
            new_uuid7() if request_id is None else check_id("request_id", request_id),
            _check_expiry(expires_at),
            None,  # parent_request_id
            0,  # depth
            policy,
            _freeze_claims(claims),
        )

    def __init_subclass__(cls) -> NoReturn:
        """Refuse: the gate accepts exactly this class, so a subclass could never be used."""
        msg = "UserExecutionContext is final: put what you want to add into claims"
        raise TypeError(msg)

    @property
    def claims(self) -> Mapping[str, Any]:
        """What else is known of the user: deep-frozen JSON (dicts that refuse changes, tuples, scalars)."""
        return self._claims

    def claims_as(self, kind: type[_T], /) -> _T:
        """
        Return the claims as *kind*: an attrs class, dataclass, TypedDict or msgspec.Struct.

        Args:
            kind: The type to convert to; strictly, without coercion.

        Raises:
            InvalidContextError: Names the claim's path and what was expected.
        """
        try:
            return msgspec.convert(thaw(self._claims), kind)
        except msgspec.ValidationError as error:
            raise InvalidContextError("claims", bounded(str(error), 160)) from None

    def child(
        self,
        *,
        thread_id: str | None = None,
        run_id: str | None = None,
        request_id: str | None = None,
    ) -> Self:
        """
        Return a context of the same identity for a request, run or thread within this one.

        Args:
            thread_id: The same thread where None.
            run_id: The same run where None.
            request_id: Made if absent.

        Returns:
            A new context with the same identity, expiry and claims, one deeper.

        Raises:
            InvalidContextError: A bad id, or more than 16 levels deep.
            ContextIntegrityError: This context was edited.
        """
        if not is_intact(self):
            caller = "child()"
            raise ContextIntegrityError(caller)
        if self.depth >= MAX_DEPTH:
            raise InvalidContextError("depth", f"must be at most {MAX_DEPTH}: does an agent call itself?")
        made = object.__new__(type(self))
        _fill(
            made,
            self.user_id,
            self.tenant_id,
            self.thread_id if thread_id is None else check_id("thread_id", thread_id),
            self.run_id if run_id is None else check_id("run_id", run_id),
            new_uuid7() if request_id is None else check_id("request_id", request_id),
            self.expires_at,
            self.request_id,  # parent_request_id
            self.depth + 1,
            self._policy,
            self._claims,
        )
        return made

    def is_expired(self, now: datetime | None = None, /) -> bool:
        """Tell whether ``expires_at`` has passed at *now* (aware; the clock's time where None)."""
        return self.expires_at is not None and self.expires_at <= (now or utc_now())

    def log_form(self) -> dict[str, str | int | None]:
        """Return the ids as JSON for a structured log: no claims, nothing secret, not shortened."""
        return {
            "tenant_id": self.tenant_id,
            "user_id": self.user_id,
            "thread_id": self.thread_id,
            "run_id": self.run_id,
            "request_id": self.request_id,
            "parent_request_id": self.parent_request_id,
            "depth": self.depth,
            "expires_at": None if self.expires_at is None else self.expires_at.isoformat(),
        }

    def __repr__(self) -> str:
        if not is_intact(self):
            return "<UserExecutionContext that its constructor did not make or that was changed>"
        ids = {
            "tenant_id": self.tenant_id,
            "user_id": self.user_id,
            "thread_id": self.thread_id,
            "run_id": self.run_id,
            "request_id": self.request_id,
        }
        parts = [f"{name}='{bounded(value, _MOST_SHOWN)}'" for name, value in ids.items() if value is not None]
        return f"UserExecutionContext({', '.join(parts)})"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        _refuse_pickle()

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        _refuse_pickle()

    def __getstate__(self) -> NoReturn:
        _refuse_pickle()

    def __setstate__(self, _state: object) -> NoReturn:
        _refuse_pickle()


_FIELDS: Final = (
    "user_id",
    "tenant_id",
    "thread_id",
    "run_id",
    "request_id",
    "expires_at",
    "parent_request_id",
    "depth",
    "_policy",
    "_claims",
)
_ARGUMENTS: Final = (
    "user_id",
    "tenant_id",
    "thread_id",
    "run_id",
    "request_id",
    "expires_at",
    "claims",
    "policy",
)


_FINGERPRINT: Final = "_fingerprint"
_NO_CLAIMS: Final = FrozenDict()


def _fill(context: UserExecutionContext, *values: object) -> None:
    """Set the slots in the order of ``_FIELDS``, past the frozen ``__setattr__``."""
    # By name and not by this class's own slots: after a reload, objects of the old class come here as well.
    for name, value in zip(_FIELDS, values, strict=True):
        object.__setattr__(context, name, value)
    # The fingerprint goes last: an object that was left half made has none and is refused everywhere.
    object.__setattr__(context, _FINGERPRINT, (id(context), type(context), *values))


def is_intact(context: UserExecutionContext, /) -> bool:
    """
    Tell whether the constructor made *context* and nothing changed it since.

    Args:
        context: Exactly a ``UserExecutionContext``.

    Returns:
        False for whatever was made or edited another way; never raises.
    """
    # The fingerprint: the object's address, which tells copied slots from made ones, its class, and what the
    # constructor put into each slot. They are compared by identity: no == of an intruder is asked, and what
    # stands in the slots cannot change. See SECURITY.md for what this is not.
    try:
        made = context._fingerprint  # noqa: SLF001  # this module's own class
        address, kind, user, tenant, thread, run, request, expiry, parent, depth, policy, claims = made
        return (
            id(context) == address
            and kind is type(context)
            and context.user_id is user
            and context.tenant_id is tenant
            and context.thread_id is thread
            and context.run_id is run
            and context.request_id is request
            and context.expires_at is expiry
            and context.parent_request_id is parent
            and context.depth is depth
            and context._policy is policy  # noqa: SLF001  # this module's own class
            and context._claims is claims  # noqa: SLF001
        )
    except Exception:  # noqa: BLE001  # missing or foreign slots: that is the answer
        return False


def require_context(value: object, /, *, caller: str) -> UserExecutionContext:
    """
    Return *value* if it is an intact ``UserExecutionContext``: the gate of promise P6.

    Args:
        value: Anything. It is touched through ``type()`` only, until that fits.
        caller: The call that the error names.

    Raises:
        ContextTypeError: Says where both types come from and what to change.
        ContextIntegrityError: Of the right type, but copied, decoded or edited.
    """
    if type(value) is not UserExecutionContext:
        kind = type(value)
        raise ContextTypeError(caller, _origin(UserExecutionContext), _origin(kind), _hint(value, kind))
    if not is_intact(value):
        raise ContextIntegrityError(caller)
    return value


def _origin(kind: type) -> str:
    """Name module, qualified name, file, id and version of a class, without trusting any of them."""
    copy = duplicates.copy_of(kind)
    if copy is not None:
        # Where it was loaded from, which its module's name need not tell any more.
        return f"{type_name(kind)} ({bounded(copy.file, 200)}, id {id(kind):#x}, version {bounded(copy.version, 40)})"
    return f"{type_name(kind)} ({_file_of(class_text(kind, '__module__'))}, id {id(kind):#x})"


def _file_of(module: str) -> str:
    try:
        # Past the module's own __getattr__: a lazy one would load something, or raise.
        file = object.__getattribute__(sys.modules.get(module), "__file__")
    except Exception:  # noqa: BLE001  # anything can stand in sys.modules; the error path is total
        file = None
    return bounded(file, 200) if type(file) is str else "no file"


def _hint(value: object, kind: type) -> str:
    name = class_text(kind, "__name__")
    # By identity, and past the metaclass: it may have an == and an mro() of its own.
    is_subclass = any(base is UserExecutionContext for base in vars(type)["__mro__"].__get__(kind))
    hints = (
        (value is None, "pass the context that authenticate() returned; there is no default user"),
        (duplicates.copy_of(kind), "ws_isolation is loaded twice; import it under one name from one place"),
        (is_subclass, "subclasses are refused; put what you want to add into claims"),
        (name == "UserExecutionContext", "same name, different class; import it from ws_isolation"),
        (
            class_text(kind, "__module__") == "unittest.mock",
            "a mock is no context; use ws_isolation.testing.make_context()",
        ),
        ("roxy" in name, "a proxy is no context; pass the object that it stands for"),
        (True, "build one with UserExecutionContext(user_id=...)"),
    )
    return next(hint for applies, hint in hints if applies)


def _check_expiry(value: object) -> datetime | None:
    if value is None:
        return None
    if type(value) is not datetime:
        raise InvalidContextError("expires_at", f"must be a datetime, not {type_name(type(value))}", shown(value))
    try:
        moment = value.astimezone(UTC) if value.utcoffset() is not None else None
    except Exception:  # noqa: BLE001  # a foreign tzinfo may raise anything
        moment = None
    if moment is None:
        raise InvalidContextError("expires_at", "must be aware: datetime.now(UTC) + timedelta(...)")
    return moment


def _freeze_claims(claims: object) -> FrozenDict:
    if claims is None:
        return _NO_CLAIMS
    try:
        frozen = freeze(claims, limit=_CLAIMS_BYTES, depth=_CLAIMS_DEPTH)
    except JsonValueError as error:
        raise InvalidContextError("claims", f"{error.problem} (at {bounded(error.path, 80)})") from None
    if type(frozen) is not FrozenDict:
        raise InvalidContextError("claims", f"must be a mapping, not {type_name(type(claims))}")
    return frozen


def _refuse_finished(context: UserExecutionContext) -> None:
    # A second __init__ on a finished object would re-label a context that others hold.
    try:
        object.__getattribute__(context, _FINGERPRINT)
    except AttributeError:
        return
    hint = "it is made once; derive others with child()"
    raise UnknownFieldError("__init__", hint)


def _refuse_unknown(unknown: Mapping[str, object]) -> NoReturn:
    name = next(iter(unknown))
    if _EVOLVED in unknown:
        name = "copy"
        hint = "attrs.evolve() and copy.replace() are refused; use child(), which keeps the identity"
    elif nearest := difflib.get_close_matches(name[:64], _ARGUMENTS, n=1, cutoff=0.5):
        hint = f"did you mean {nearest[0]}?"
    else:
        hint = f"it takes {', '.join(_ARGUMENTS)}"
    raise UnknownFieldError(name, hint)


def _refuse_pickle() -> NoReturn:
    msg = (
        "a UserExecutionContext is never pickled: give the other process a token, with export_context() and "
        "import_context() of ws_isolation.context_tokens.ContextTokens, or authenticate again there"
    )
    raise TypeError(msg)


duplicates.register(UserExecutionContext, file=__file__, version=__version__)
