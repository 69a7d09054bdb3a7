"""
What the engine does in one step for revocations and leases, as Lua.

Leases are two keys: when each ends (a sorted set, by the engine's clock), and
what is known of each (a hash: since when and which it was, or ``gone`` where it
was taken for a newer one).
"""

from __future__ import annotations

from typing import Final

from .scripts import Script

__all__ = ("AGREE", "ENTER", "LEAVE", "PRESENT", "RENEW", "REVOKE")

# KEYS: record, channel. ARGV: milliseconds since 1970 or 'ever', letter, command that announces, record.
# How long a record holds is how long its key lives, whatever somebody wrote into it: of two the later end holds.
REVOKE: Final = Script("""
local ends = redis.call('PEXPIRETIME', KEYS[1])
if ARGV[1] == 'ever' or ends == -1 then
  redis.call('SET', KEYS[1], ARGV[4])
else
  redis.call('SET', KEYS[1], ARGV[4], 'PXAT', string.format('%.0f', math.max(ends, tonumber(ARGV[1]))))
end
redis.call(ARGV[3], KEYS[2], ARGV[2])
return 1
""")

_NOW: Final = """
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
"""

_KEEP: Final = """
local last = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
if last then
  redis.call('PEXPIREAT', KEYS[1], last)
  redis.call('PEXPIREAT', KEYS[2], last)
end
"""

_HELD: Final = """
local held, number = {}, 0
local known = redis.call('HGETALL', KEYS[2])
for at = 1, #known, 2 do
  local since, n = string.match(known[at + 1], '^(%S+) (%d+)$')
  local ends = tonumber(redis.call('ZSCORE', KEYS[1], known[at]) or 0)
  if ends > now and since then
    number = math.max(number, tonumber(n))
    held[#held + 1] = {known[at], tonumber(since), tonumber(n), since}
  elseif ends <= now then
    @FORGET
  end
end
table.sort(held, function(a, b) if a[2] == b[2] then return a[3] < b[3] end return a[2] < b[2] end)
"""

# KEYS: ends, leases. ARGV: connection id, since, most or '', 1 to replace, milliseconds.
ENTER: Final = Script(
    _NOW
    + _HELD.replace("@FORGET", "redis.call('HDEL', KEYS[2], known[at])\n    redis.call('ZREM', KEYS[1], known[at])")
    + """
local gone = {}
local ends = string.format('%.0f', now + tonumber(ARGV[5]))
for _, lease in ipairs(held) do
  if lease[1] == ARGV[1] then return gone end
end
local many = ARGV[3] == '' and 0 or #held + 1 - tonumber(ARGV[3])
if many > 0 and ARGV[4] ~= '1' then return 0 end
for at = 1, math.min(many, #held) do
  gone[at] = held[at][1]
  redis.call('HSET', KEYS[2], gone[at], 'gone')
  redis.call('ZADD', KEYS[1], ends, gone[at])
end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2] .. ' ' .. (number + 1))
redis.call('ZADD', KEYS[1], ends, ARGV[1])
"""
    + _KEEP
    + "return gone"
)

# KEYS: ends, leases. ARGV: milliseconds, then connection id and since of each.
RENEW: Final = Script(
    _NOW
    + """
local gone = {}
local ends = string.format('%.0f', now + tonumber(ARGV[1]))
for at = 2, #ARGV, 2 do
  local value = redis.call('HGET', KEYS[2], ARGV[at])
  if value == 'gone' and tonumber(redis.call('ZSCORE', KEYS[1], ARGV[at]) or 0) > now then
    gone[#gone + 1] = ARGV[at]
  else
    if not value or value == 'gone' then redis.call('HSET', KEYS[2], ARGV[at], ARGV[at + 1] .. ' 0') end
    redis.call('ZADD', KEYS[1], ends, ARGV[at])
  end
end
"""
    + _KEEP
    + "return gone"
)

# KEYS: ends, leases. ARGV: connection id.
LEAVE: Final = Script("""
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
return 1
""")

# KEYS: ends, leases.
PRESENT: Final = Script(
    _NOW
    + _HELD.replace("@FORGET", "-- whoever enters next forgets it")
    + """
local all = {}
for _, lease in ipairs(held) do
  all[#all + 1] = lease[1]
  all[#all + 1] = lease[4]
end
return all
"""
)

# KEYS: what the processes say of their settings. ARGV: what this one says, milliseconds for which that holds.
AGREE: Final = Script(
    _NOW
    + """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZADD', KEYS[1], string.format('%.0f', now + tonumber(ARGV[2])), ARGV[1])
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -17)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call('ZRANGE', KEYS[1], 0, -1)
"""
)
