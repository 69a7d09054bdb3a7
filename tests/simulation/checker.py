"""
What must hold of every history, whatever happened.
"""

from __future__ import annotations

from tests.simulation.world import World


def check(world: World) -> None:
    """
    Hold the invariants: nothing foreign, order, nothing lost in silence, nothing after expiry, closes explained.
    """
    for device in world.devices:
        sent = world.sent[device.who]
        known = set(sent)
        assert known.issuperset(device.got), "a foreign event"
        assert len(device.got) == len(set(device.got)), "something twice"
        assert device.got == [mark for mark in sent if mark in set(device.got)], "out of order"
        assert set(sent[device.reloaded :]) <= set(device.got), "lost in silence"
        for socket, session in zip(device.sockets, device.sessions, strict=True):
            places = [frame["seq"] for frame in socket.events]
            assert places == sorted(set(places)), "places that do not rise"
            said = [frame["code"] for frame in socket.frames if frame["type"] == "ws.goodbye"]
            assert len(said) <= 1, "two goodbyes"
            if said:
                assert "ws.goodbye" == socket.types()[-1], "something after goodbye"
            if socket.closed is not None:
                assert [socket.closed[0]] == said, "a close without its goodbye"
            expires = session.context.expires_at
            if expires is not None:
                end = expires.timestamp() + world.factory.settings.expiry_skew_seconds
                stamps = [frame["time"] for frame in socket.events]
                limit = type(expires).fromtimestamp(end, expires.tzinfo).strftime("%Y-%m-%dT%H:%M:%S")
                assert all(stamp[:19] <= limit for stamp in stamps), "an event after the authority ended"
    stats = world.factory.stats()
    assert (0, 0, 0, 0) == (stats.sessions, stats.streams, stats.work, stats.foreign), "something is left"
