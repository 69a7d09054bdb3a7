"""
What the engine does in one step, as Lua.

Rule 1: a script reads no JSON and joins no names: it gets keys, and text in
pieces. Rule 2: nothing is written before everything is known that can refuse
it. Rule 3: what a script returns is checked by whoever called it.

Where a later version may write more behind, that is passed over.

The top of a stream is one string: epoch, seq, id, the mean size of its events,
and when the window's time is next prolonged. It is written with its expiry in
one command, and kept longer than the window. The entries of the window are
numbered ``<seq>-<second>``, so a cursor is found without a search, and the
age needs no member.
"""

from __future__ import annotations

import math
from hashlib import sha1
from typing import TYPE_CHECKING, Final, final

from .versions import VERSION

if TYPE_CHECKING:
    from ...settings import Settings

__all__ = ("NOW", "Script", "publish_script", "read_script")

_NIL: Final = "00000000-0000-0000-0000-000000000000"
_PROLONG_SECONDS: Final = 15
"""Between two prolongations of a window: a command less in each publish."""

_FEW: Final = 100
"""Events of a window below which it is cut exactly; above it, a few more may stay for a while."""


@final
class Script:
    """A script and its name on the engine."""

    __slots__ = ("sha", "text")

    def __init__(self, text: str) -> None:
        self.text: str = text
        self.sha: str = sha1(text.encode(), usedforsecurity=False).hexdigest()


NOW: Final = """
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
"""
"""Milliseconds by the engine's clock."""

_OPEN: Final = """
local found = redis.call('GET', KEYS[1])
local time = redis.call('TIME')
local now = tonumber(time[1])
local epoch, seq, last, mean, due
if found then
  epoch, seq, last, mean, due = string.match(found, '^(%S+) (%d+) (%S+) (%d+) (%d+)')
end
local is_new = not epoch
if is_new then
  epoch = redis.sha1hex(ARGV[1] .. KEYS[1] .. time[1] .. '.' .. time[2])
  seq, last, mean, due = '0', '@NIL', '0', '0'
end
"""

# KEYS: top, window. ARGV: node, head, tail, signature, id, bytes, kind (new, again or piece), channel.
# The channel is no key: nothing stands there, and a node of a Cluster refuses calls about keys some of which are not
# there while their slot is on its way.
_PUBLISH: Final = (
    _OPEN
    + """
local kind = ARGV[7]
if kind == 'again' then
  for _, entry in ipairs(redis.call('XREVRANGE', KEYS[2], '+', '-')) do
    local e, s, p, i = string.match(entry[2][2], '"e":"([^"]*)","s":(%d+),"p":"([^"]*)"[^\\n]*}\\n.-"id":"([^"]*)"')
    if i == ARGV[5] and e == epoch then return {e, s, p} end
  end
end
local place, prev = seq, ''
if kind ~= 'piece' then place, prev = string.format('%.0f', tonumber(seq) + 1), last end
local size = #ARGV[2] + #place + #ARGV[3]
if size > tonumber(ARGV[6]) then return size end
local message = '{"v":@VERSION,"n":"' .. ARGV[1] .. '","e":"' .. epoch .. '","s":' .. place
  .. ',"p":"' .. prev .. '"}\\n' .. ARGV[4] .. '\\n' .. ARGV[2] .. place .. ARGV[3]
if is_new then redis.call('DEL', KEYS[2]) end
if kind ~= 'piece' then
  seq, last = place, ARGV[5]
  mean = tonumber(mean)
  mean = mean == 0 and size or math.floor((mean * 7 + size) / 8)
  local most = math.min(@EVENTS, math.max(1, math.floor(@BYTES / mean)))
  redis.call('XADD', KEYS[2], 'MAXLEN', '@TRIM', most, seq .. '-' .. time[1], 'm', message)
  if now >= tonumber(due) then
    due = now + @PROLONG
    redis.call('EXPIRE', KEYS[2], @WINDOW)
  end
end
if is_new or kind ~= 'piece' then
  redis.call('SET', KEYS[1], epoch .. ' ' .. seq .. ' ' .. last .. ' ' .. mean .. ' ' .. due, 'EX', @TOP)
end
redis.call('@SAY', ARGV[8], message)
return {epoch, place, prev}
"""
)

# KEYS: top, window. ARGV: node, epoch of the cursor or '' for all, first seq; nothing is wanted where that is 0.
_READ: Final = (
    _OPEN
    + """
if is_new then
  redis.call('DEL', KEYS[2])
  redis.call('SET', KEYS[1], epoch .. ' 0 @NIL 0 0', 'EX', @TOP)
else
  redis.call('EXPIRE', KEYS[1], @TOP)
end
local page = {epoch, seq, last}
if ARGV[3] == '0' or (ARGV[2] ~= '' and ARGV[2] ~= epoch) then return page end
for _, entry in ipairs(redis.call('XRANGE', KEYS[2], ARGV[3] .. '-0', '+')) do
  if tonumber(string.match(entry[1], '%d+$')) > now - @SECONDS then page[#page + 1] = entry[2][2] end
end
return page
"""
)


def _filled(text: str, settings: Settings, say: str) -> Script:
    window = math.ceil(settings.window_seconds)
    top = math.ceil(max(settings.stream_seconds, window, 2 * settings.tip_seconds))
    for name, value in (
        ("@NIL", _NIL),
        ("@VERSION", VERSION),
        ("@EVENTS", settings.window_events),
        ("@TRIM", "~" if settings.window_events >= _FEW else "="),
        ("@BYTES", settings.window_bytes),
        ("@SECONDS", window),
        ("@PROLONG", _PROLONG_SECONDS),
        ("@WINDOW", window + 2 * _PROLONG_SECONDS),
        ("@TOP", top + 4 * _PROLONG_SECONDS),
        ("@SAY", say),
    ):
        text = text.replace(name, str(value))
    return Script(text.strip())


def publish_script(settings: Settings, say: str, /) -> Script:
    """Return the script that gives an event its place, keeps it and announces it with the command *say*."""
    return _filled(_PUBLISH, settings, say)


def read_script(settings: Settings, /) -> Script:
    """Return the script that reads the top and what is kept behind a place."""
    return _filled(_READ, settings, "")
