"""
What the engine does in one step for leases, as Lua.

Leases are two keys: when each ends (a sorted set, by the engine's clock), and
what is known of each (a hash): ``since number signature``, or ``gone
signature`` where it was taken for a newer one. The number says who came first;
it is given here, as the end is, and nobody signs it.

Rule: no script can tell a signature. Where one would decide by entries that
nobody has vouched for yet, it changes nothing, and returns them: its caller
looks, and asks again with what it found. What lies below the limit decides
nothing, so most who enter ask once.
"""

from __future__ import annotations

from typing import Final

from .scripts import NOW, Script

__all__ = ("ENTER", "LEAVE", "PRESENT", "RENEW")

# Far more than any lease lasts: what somebody else wrote as an end must not be an error, nor keep the keys for ever.
_KEEP: Final = """
local last = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
if last then
  last = string.format('%.0f', math.max(1, math.min(tonumber(last), now + 7200000)))
  redis.call('PEXPIREAT', KEYS[1], last)
  redis.call('PEXPIREAT', KEYS[2], last)
end
"""

# What is longer than anything of ours goes by its hash: answers stay small.
_TOLD: Final = """
local function told(text)
  if #text > 256 then return '!' .. redis.sha1hex(text) end
  return text
end
local function number_of(value)
  local number = string.match(value, '^%S+ (%d+) %x+$')
  return number and #number <= 15 and tonumber(number) or 0
end
"""

# KEYS: ends, leases. ARGV: connection id, since, signature, most or '', 1 to replace, milliseconds, and of each entry
# that was looked at: its id and what stood there, 1 if that is believed, the signature with which it may be taken.
ENTER: Final = Script(
    NOW
    + _TOLD
    + """
local verdicts = {}
for at = 7, #ARGV, 4 do
  verdicts[ARGV[at] .. '\\n' .. ARGV[at + 1]] = {ARGV[at + 2], ARGV[at + 3]}
end
local held, unknown, number = {}, {}, 0
local known = redis.call('HGETALL', KEYS[2])
for at = 1, #known, 2 do
  local id, value = known[at], known[at + 1]
  local verdict = verdicts[told(id) .. '\\n' .. told(value)]
  local ends = tonumber(redis.call('ZSCORE', KEYS[1], id) or 0)
  if ends <= now or (verdict and verdict[1] ~= '1') then
    redis.call('HDEL', KEYS[2], id)
    redis.call('ZREM', KEYS[1], id)
  elseif id == ARGV[1] then
    if value == ARGV[2] .. ' ' .. string.format('%.0f', number_of(value)) .. ' ' .. ARGV[3] then return {} end
  elseif string.sub(value, 1, 5) ~= 'gone ' then
    number = math.max(number, number_of(value))
    if verdict then
      held[#held + 1] = {id, tonumber(string.match(value, '^%S+')), number_of(value), verdict[2]}
    else
      unknown[#unknown + 1] = {told(id), told(value)}
    end
  end
end
local many = ARGV[4] == '' and 0 or #held + #unknown + 1 - tonumber(ARGV[4])
if many > 0 and #unknown > 0 then
  local some = {}
  for at = 1, math.min(#unknown, @LOOK) do some[at] = unknown[at] end
  return some
end
if many > 0 and ARGV[5] ~= '1' then return 0 end
table.sort(held, function(a, b) if a[2] == b[2] then return a[3] < b[3] end return a[2] < b[2] end)
local gone = {}
local ends = string.format('%.0f', now + tonumber(ARGV[6]))
for at = 1, math.min(many, #held) do
  gone[at] = held[at][1]
  redis.call('HSET', KEYS[2], gone[at], 'gone ' .. held[at][4])
  redis.call('ZADD', KEYS[1], ends, gone[at])
end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2] .. ' ' .. string.format('%.0f', number + 1) .. ' ' .. ARGV[3])
redis.call('ZADD', KEYS[1], ends, ARGV[1])
""".replace("@LOOK", "1000")
    + _KEEP
    + "return gone"
)

# KEYS: ends, leases. ARGV: milliseconds; of each: connection id, since, signature, what is not believed to be gone.
RENEW: Final = Script(
    NOW
    + _TOLD
    + """
local gone = {}
local ends = string.format('%.0f', now + tonumber(ARGV[1]))
for at = 2, #ARGV, 4 do
  local id = ARGV[at]
  local value = redis.call('HGET', KEYS[2], id) or ''
  local is_gone = string.sub(value, 1, 5) == 'gone ' and told(value) ~= ARGV[at + 3]
  if is_gone and tonumber(redis.call('ZSCORE', KEYS[1], id) or 0) > now then
    gone[#gone + 1] = id
    gone[#gone + 1] = told(value)
  else
    local kept = string.format('%.0f', number_of(value))
    redis.call('HSET', KEYS[2], id, ARGV[at + 1] .. ' ' .. kept .. ' ' .. ARGV[at + 2])
    redis.call('ZADD', KEYS[1], ends, id)
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

# KEYS: ends, leases. Returns what stands there, in no order: whoever enters next forgets what is over.
PRESENT: Final = Script(
    NOW
    + _TOLD
    + """
local all = {}
local known = redis.call('HGETALL', KEYS[2])
for at = 1, #known, 2 do
  local ends = tonumber(redis.call('ZSCORE', KEYS[1], known[at]) or 0)
  if ends > now and string.sub(known[at + 1], 1, 5) ~= 'gone ' then
    all[#all + 1] = told(known[at])
    all[#all + 1] = told(known[at + 1])
  end
end
return all
"""
)
