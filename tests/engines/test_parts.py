"""
What is decided without an engine: addresses, names, what waits, who listens, and when to come back.
"""

from __future__ import annotations

import ssl
from typing import Any, Final, final

import attrs
import pytest
from typing_extensions import override

from ws_isolation import errors
from ws_isolation.backplanes.redis import RedisBackplane
from ws_isolation.backplanes.redis.address import Address
from ws_isolation.backplanes.redis.backoff import delay
from ws_isolation.backplanes.redis.names import Names
from ws_isolation.backplanes.redis.pending import Job, Pending
from ws_isolation.backplanes.redis.topics import Topics
from ws_isolation.keys import Identity

ALICE: Final = Identity(None, "alice")
BOB: Final = Identity(None, "bob")
KEY: Final = b"k" * 32


# Addresses.


def test_addresses() -> None:
    """
    Host, port, socket, database and credentials come out of the URL.
    """
    full = Address.parse("redis://me:p%40ss@engine.example:7000/3")
    least = Address.parse("redis://localhost")
    path = Address.parse("unix:///run/redis%20one.sock?db=2")

    assert ("engine.example", 7000, 3, "me", "p@ss", None) == (
        full.host, full.port, full.database, full.username, full.password, full.tls,
    )  # fmt: skip
    assert ("localhost", 6379, 0, None, None) == (
        least.host, least.port, least.database, least.username, least.password,
    )  # fmt: skip
    assert ("/run/redis one.sock", 2, "") == (path.path, path.database, path.host)


def test_tls() -> None:
    """
    ``rediss`` checks certificate and name unless another context is given; ``redis`` has none.
    """
    own = ssl.create_default_context()
    made = Address.parse("rediss://engine.example").tls

    assert made is not None
    assert ssl.CERT_REQUIRED == made.verify_mode
    assert own is Address.parse("rediss://engine.example", own).tls
    assert None is Address.parse("redis://engine.example", own).tls


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("redis://localhost", True),
        ("redis://127.0.0.1:1", True),
        ("redis://[::1]", True),
        ("unix:///run/redis.sock", True),
        ("redis://10.0.0.1", False),
        ("redis://localhost.example", False),
    ],
)
def test_is_local(url: str, *, local: bool) -> None:
    """
    Loopback and Unix sockets do not leave the machine, everything else does.
    """
    assert local is Address.parse(url).is_local


@pytest.mark.requirement("WS-28")
@pytest.mark.parametrize(
    "url",
    [
        7,
        "",
        "http://host",
        "redis://",
        "redis://host:port",
        "redis://host/one",
        "redis://host/70000",
        "redis://host/123456",
        "redis://host?ssl=no",
        "unix://",
        "unix:///",
        "unix:///x?db=a",
        "redis://:secret@host:99999",
    ],
)
def test_bad_addresses(url: Any) -> None:
    """
    What is no URL of an engine is refused, and never repeated: it may hold a password.
    """
    with pytest.raises(errors.SettingsError) as caught:
        Address.parse(url)
    assert "secret" not in str(caught.value)


@pytest.mark.requirement("WS-28")
def test_no_password_is_printed() -> None:
    """
    The backplane prints where its engine is, and no credential.
    """
    plane = RedisBackplane("redis://me:secret@localhost:1/0", keys=(KEY,))

    assert "localhost" in repr(plane)
    assert "secret" not in repr(plane)
    assert KEY.decode() not in repr(plane)


def test_another_machine_wants_tls_and_keys() -> None:
    """
    An engine on another machine is refused in the clear and without keys, unless that was said by name.
    """
    with pytest.raises(errors.SettingsError, match="allow_plain"):
        RedisBackplane("redis://engine.example", keys=(KEY,))
    with pytest.raises(errors.SettingsError, match="allow_unsigned"):
        RedisBackplane("rediss://engine.example")

    RedisBackplane("rediss://engine.example", keys=(KEY,))
    RedisBackplane("redis://engine.example", allow_plain=True, allow_unsigned=True)
    RedisBackplane("redis://localhost")


# Names.


@pytest.mark.requirement("P1")
def test_names_hold_no_id() -> None:
    """
    No name has a user's or tenant's id in it, whatever that id is, and no two identities share one.
    """
    names = Names("shop", 0)
    seen: set[str] = set()
    users = [
        (None, "a:b"),
        ("a", "b"),
        ("a:b", "c"),
        ("a", "b:c"),
        (None, "*"),
        (None, "{x}"),
        (None, "x"),
        (None, "X"),
    ]
    for tenant, user in users:
        whose = Identity(tenant, user)
        made = {*names.stream(whose), names.bar(whose), *names.leases(whose)}
        tags = {name[: name.index("}")] for name in made}
        assert 1 == len(tags), "one script, one slot"
        assert not seen & made
        assert all("*" not in name and "?" not in name and "[" not in name for name in made)
        seen |= made

    assert 6 * len(users) == len(seen)


@pytest.mark.scenario("S65")
@pytest.mark.requirement("P1")
def test_joined_names_collide() -> None:
    """
    A key that is joined from the ids is one key for two users: what the hash is there for.
    """

    def joined(whose: Identity) -> str:
        return f"ws:{whose.tenant_id}:{whose.user_id}"

    one, two = Identity("a:b", "c"), Identity("a", "b:c")

    assert joined(one) == joined(two)
    assert set(Names("ws", 0).stream(one)).isdisjoint(Names("ws", 0).stream(two))


def test_applications_and_databases_are_apart() -> None:
    """
    Two applications, or one in two databases, share no name: channels know no databases.
    """
    made = [Names(app, database).stream(ALICE)[2] for app, database in (("a", 0), ("b", 0), ("a", 1), ("a.1", 0))]

    assert 4 == len(set(made))


@pytest.mark.parametrize("app", ["", "Shop", "{x}", "a b", "-a", "a" * 33, "a*"])
def test_bad_names_of_applications(app: str) -> None:
    """
    Nothing that is special to the engine can be an application's name.
    """
    with pytest.raises(errors.SettingsError, match="1 to 32"):
        Names(app, 0)


# Coming back.


def test_delays() -> None:
    """
    The first attempts follow soon, later ones within a second, spread over the whole.
    """
    assert 0.0 == delay(5, 0.0)
    assert 0.05 == pytest.approx(delay(0, 1.0))
    assert 0.2 == pytest.approx(delay(3, 0.5))
    assert 1.0 == delay(10_000, 1.0)


# What waits.


@final
@attrs.define(eq=False, slots=False)
class Note(Job):
    """
    A job with a name.
    """

    name: str
    when: float = 10.0
    is_gone: bool = False

    def __attrs_post_init__(self) -> None:
        super().__init__(self.when, 10)

    @property
    @override
    def is_over(self) -> bool:
        return self.is_gone

    @override
    def packed(self) -> bytes:
        return self.name.encode()

    @override
    def answered(self, reply: object, /) -> None:
        self.is_gone = True

    @override
    def failed(self, error: Exception, /) -> None:
        self.is_gone = True

    @override
    def expired(self) -> None:
        self.is_gone = True


def taken(pending: Pending) -> list[str]:
    """
    Take all, and return their names.
    """
    names: list[str] = []
    while (job := pending.take()) is not None:
        names.append(job.packed().decode())
    return names


def test_what_was_sent_comes_first_again() -> None:
    """
    After a lost connection what had been sent goes out first, in its order, marked; whoever has gone is left out.
    """
    pending = Pending(10, 1_000)
    jobs = [Note(name) for name in "abcd"]
    for job in jobs:
        pending.add(job)
    sent = [pending.take(), pending.take(), pending.take()]
    jobs[1].is_gone = True
    pending.put_back([job for job in sent if job is not None])

    assert ["a", "c", "d"] == taken(pending)
    assert [True, False, True, False] == [job.again for job in jobs]
    assert (0, 0) == (len(pending), pending.size)


def test_nobody_who_has_gone_is_sent() -> None:
    """
    A job whose caller has gone is passed over, and its bytes are counted no more.
    """
    pending = Pending(10, 1_000)
    jobs = [Note(name) for name in "ab"]
    for job in jobs:
        pending.add(job)
    jobs[0].is_gone = True

    assert ["b"] == taken(pending)
    assert 0 == pending.size


def test_some_are_taken_off() -> None:
    """
    Those that are not told to stay come out in their order; whoever has gone is in neither part.
    """
    pending = Pending(10, 1_000)
    jobs = [Note(name) for name in "abcd"]
    for job in jobs:
        pending.add(job)
    jobs[1].is_gone = True

    assert [b"c"] == [job.packed() for job in pending.sift(lambda job: job.packed() != b"c")]
    assert ["a", "d"] == taken(pending)
    assert 0 == pending.size


def test_bounds() -> None:
    """
    It is full by number or by bytes, whichever comes first.
    """
    by_number, by_bytes = Pending(2, 1_000), Pending(10, 20)
    for pending in (by_number, by_bytes):
        was_full: list[bool] = []
        for step in (lambda: pending.add(Note("a")), lambda: pending.add(Note("b")), pending.take):  # noqa: B023  # at once
            step()
            was_full.append(pending.is_full)
        assert [False, True, False] == was_full


def test_nothing_waits_for_ever() -> None:
    """
    Jobs leave when their time is over, the later ones stay.
    """
    pending = Pending(10, 1_000)
    for name, due in (("a", 1.0), ("b", 2.0), ("c", 3.0)):
        pending.add(Note(name, due))

    assert [b"a", b"b"] == [job.packed() for job in pending.expire(2.0)]
    assert ["c"] == taken(pending)
    assert [] == pending.expire(9.0)


# Who listens.


@attrs.define(eq=False)
class Ear:
    """
    Counts what it is told.
    """

    interruptions: int = 0
    gone: list[str] = attrs.field(factory=list[str])

    def arrived(self, envelope: object, /) -> None:
        """
        Take it.
        """

    def revoked(self) -> None:
        """
        Hear it.
        """

    def replaced(self, connection_id: str, /) -> None:
        """
        Note it.
        """
        self.gone.append(connection_id)

    def interrupted(self) -> None:
        """
        Count.
        """
        self.interruptions += 1


def nothing() -> None:
    """
    Tell nobody.
    """


def test_a_listener_hears_once_it_is_confirmed() -> None:
    """
    One subscription for all listeners of an identity; each hears from its confirmation on, later ones at once.
    """
    topics, told = Topics(), list[str]()
    one, two, three = Ear(), Ear(), Ear()
    topics.join(ALICE, b"a", one, lambda: told.append("one"))
    topics.join(ALICE, b"a", two, lambda: told.append("two"))

    assert topics.has_commands
    assert [("SUBSCRIBE", [b"a"])] == list(topics.commands())
    topic = topics.find(ALICE)
    assert topic is not None
    assert ((), []) == (topic.listeners, told)
    topics.confirmed(b"a")
    topics.join(ALICE, b"a", three, lambda: told.append("three"))
    assert ((one, two, three), ["one", "two", "three"]) == (topic.listeners, told)
    assert topic is topics.by_channel(b"a")
    assert not topics.has_commands


def test_the_last_one_unsubscribes() -> None:
    """
    Listeners leave by object; with the last one the identity goes, and the engine is told.
    """
    topics = Topics()
    one, two = Ear(), Ear()
    topics.leave(ALICE, one)
    topics.join(ALICE, b"a", one, nothing)
    topics.join(ALICE, b"a", two, nothing)
    list(topics.commands())
    topics.confirmed(b"a")
    topics.leave(ALICE, two)
    assert not topics.has_commands
    topics.leave(ALICE, one)
    topics.leave(ALICE, one)

    assert [("UNSUBSCRIBE", [b"a"])] == list(topics.commands())
    assert 0 == len(topics)
    topics.confirmed(b"a")


def test_a_confirmation_of_before_does_not_count() -> None:
    """
    Released and asked for again before the first answer: only the answer to the last question makes it heard.
    """
    topics, told = Topics(), list[str]()
    one, two = Ear(), Ear()
    topics.join(ALICE, b"a", one, nothing)
    list(topics.commands())
    topics.leave(ALICE, one)
    list(topics.commands())
    topics.join(ALICE, b"a", two, lambda: told.append("two"))
    assert [("SUBSCRIBE", [b"a"])] == list(topics.commands())

    topics.confirmed(b"a")
    assert [] == told
    topics.confirmed(b"a")
    assert ["two"] == told


def test_all_is_joined_again_after_a_loss() -> None:
    """
    On a new connection everybody is subscribed again, told of it once, and whoever was joining only then hears.
    """
    topics, told = Topics(), list[str]()
    heard, joining = Ear(), Ear()
    topics.join(ALICE, b"a", heard, nothing)
    list(topics.commands())
    topics.confirmed(b"a")
    topics.join(BOB, b"b", joining, lambda: told.append("bob"))
    topics.lost()
    topics.join(ALICE, b"a", joining, lambda: told.append("late"))

    assert [("SUBSCRIBE", [b"a", b"b"])] == list(topics.commands())
    topics.confirmed(b"a")
    topics.confirmed(b"a")
    topics.confirmed(b"b")
    assert ["late", "bob"] == told
    assert topics.is_interrupted
    assert 0 == topics.interrupted(10)
    assert (1, 1) == (heard.interruptions, joining.interruptions)
    assert 0 == topics.interrupted(10)


def test_subscriptions_go_in_batches() -> None:
    """
    Many identities travel in few commands, and are told of an interruption some at a time.
    """
    topics = Topics()
    for number in range(1_001):
        topics.join(Identity(None, f"u{number}"), b"%d" % number, Ear(), nothing)
    assert [500, 500, 1] == [len(channels) for _, channels in topics.commands()]
    for number in range(1_001):
        topics.confirmed(b"%d" % number)
    assert not topics.is_interrupted
    topics.lost()
    list(topics.commands())
    for number in range(1_001):
        topics.confirmed(b"%d" % number)

    assert 751 == topics.interrupted(250)


def test_what_was_refused_is_asked_again() -> None:
    """
    A channel that the engine does not announce is asked for once more, one that it announces is not.
    """
    topics = Topics()
    topics.join(ALICE, b"a", Ear(), nothing)
    topics.join(BOB, b"b", Ear(), nothing)
    list(topics.commands())
    topics.confirmed(b"a")

    topics.ask_again()

    assert [("SUBSCRIBE", [b"b"])] == list(topics.commands())
    topics.confirmed(b"b")
    assert not topics.has_commands
