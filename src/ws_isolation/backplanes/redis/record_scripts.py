"""
What the engine does in one step for revocations, and for what processes say of their settings, as Lua.
"""

from __future__ import annotations

from typing import Final

from .scripts import NOW, Script

__all__ = ("AGREE", "REVOKE")

# KEYS: record. ARGV: milliseconds since 1970 or 'ever', letter, command that announces, record, channel.
# How long a record holds is how long its key lives, whatever somebody wrote into it: of two the later end holds.
REVOKE: Final = Script("""
local ends = redis.call('PEXPIRETIME', KEYS[1])
if ARGV[1] == 'ever' or ends == -1 then
  redis.call('SET', KEYS[1], ARGV[4])
else
  redis.call('SET', KEYS[1], ARGV[4], 'PXAT', string.format('%.0f', math.max(ends, tonumber(ARGV[1]))))
end
redis.call(ARGV[3], ARGV[5], ARGV[2])
return 1
""")

# KEYS: what the processes say of their settings. ARGV: what this one says, milliseconds for which that holds.
AGREE: Final = Script(
    NOW
    + """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZADD', KEYS[1], string.format('%.0f', now + tonumber(ARGV[2])), ARGV[1])
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -17)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call('ZRANGE', KEYS[1], 0, -1)
"""
)
