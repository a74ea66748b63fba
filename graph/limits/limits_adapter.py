"""Counters of several keys in Redis by one command: the sliding window counter of `limits`.

`limits` needs two commands to count a request and to learn what is left, and one connection for
each concurrent request. This module runs its two scripts as one, for several keys. It is the only
one that uses undocumented parts of `limits`: the scripts and the client behind a storage.
"""

import math
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from limits import RateLimitItem
from limits.aio.storage.redis.bridge import RedisBridge
from limits.storage import storage_from_string
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from graph.limits.shared import Hit
from graph.limits.sliding_window import Quota
from graph.limits.storage_url import StorageAddress

if TYPE_CHECKING:
    from limits.aio.storage.redis import RedisStorage

ERRORS: Final = (RedisError, OSError)
PREFIX: Final = "roster"
_CONNECT_SECONDS: Final = 1.0
_MILLISECONDS: Final = 1000
# How an error of redis-py names a sentinel: by all arguments of its connection.
_SENTINEL: Final = re.compile(r"<redis\.asyncio\.client\.Redis\(.*?host=(.*?),port=(\d+).*?>\)> - ")
_SCRIPT: Final = f"""
local function acquire(KEYS, ARGV)
{RedisBridge.SCRIPT_ACQUIRE_SLIDING_WINDOW.decode()}
end
local function look(KEYS, ARGV)
{RedisBridge.SCRIPT_SLIDING_WINDOW.decode()}
end
-- Keys from before the clock was set back, or of a primary whose clock is ahead, would refuse
-- their caller for that time.
local function limit_expiry(key, milliseconds)
  if redis.call('pttl', key) > milliseconds then
    redis.call('set', key, redis.call('get', key), 'PX', milliseconds)
  end
end
local counts = {{}}
for n = 1, #KEYS, 2 do
  limit_expiry(KEYS[n], ARGV[n + 1] * 1000)
  limit_expiry(KEYS[n + 1], ARGV[n + 1] * 2000)
  local keys = {{KEYS[n], KEYS[n + 1]}}
  local admitted = acquire(keys, {{ARGV[n], ARGV[n + 1], 1}})
  counts[n] = admitted
  counts[n + 1] = look(keys, {{ARGV[n + 1]}})
end
return counts
"""


class RedisWindows:
    """The counters, by one connection."""

    def __init__(self, address: StorageAddress) -> None:
        # A second attempt at once, because an idle connection may have been closed.
        options: dict[str, Any] = {
            "implementation": "redispy",
            "key_prefix": PREFIX,
            "retry": Retry(NoBackoff(), 1),
            "socket_connect_timeout": _CONNECT_SECONDS,
        }
        if address.sentinels:
            options["sentinel_kwargs"] = _sentinel_options(address.sentinels)
        storage = storage_from_string(address.uri, **options, **address.options)
        self._bridge = cast("RedisStorage", storage).bridge
        self._client: Any = self._bridge.get_connection()  # type: ignore[attr-defined] # of its subclass for redis-py
        self._script: Callable[..., Any] = self._client.register_script(_SCRIPT)

    async def hit(self, hits: Sequence[Hit]) -> list[Quota]:
        """Count hits in one round trip."""
        keys: list[str] = []
        arguments: list[int] = []
        for rate, kind, key in hits:
            # As in `RedisStorage`: the braces keep both keys on one server.
            current = f"{{{rate.key_for(kind, key)}}}"
            keys += self._bridge.prefixed_key(f"{current}/-1"), self._bridge.prefixed_key(current)
            arguments += rate.amount, rate.get_expiry()
        found = await self._script(keys=keys, args=arguments)
        return [_quota(hit.rate, *found[2 * n : 2 * n + 2]) for n, hit in enumerate(hits)]

    async def disconnect(self) -> None:
        sentinel: Any = getattr(self._bridge, "sentinel", None)  # with a URL of sentinels
        for client in (self._client, *(sentinel.sentinels if sentinel else ())):
            await client.connection_pool.disconnect()


def reason_of(error: Exception) -> str:
    """Return the message without credentials."""
    # A server without AUTH repeats its arguments.
    message = str(error).partition(", with args beginning with")[0]
    return _SENTINEL.sub(r"\1:\2 ", message) or type(error).__name__


def _sentinel_options(sentinels: int) -> dict[str, Any]:
    """Limit the time for each sentinel so that the last one is asked within the time to connect.

    The defaults of redis-py are several attempts with pauses, and no limit for an answer.
    """
    seconds = _CONNECT_SECONDS / sentinels
    return {
        "retry": Retry(NoBackoff(), 0),
        "socket_connect_timeout": seconds,
        "socket_timeout": seconds,
    }


def _quota(rate: RateLimitItem, admitted: object, counts: Sequence[Any]) -> Quota:
    """Compute what `SlidingWindowCounterRateLimiter.get_window_stats` of `limits` does.

    The current window's key expires one window after its end.
    """
    window = rate.get_expiry()
    before, count = int(counts[0] or 0), int(counts[2] or 0)
    before_left, left = (max(0, each) / _MILLISECONDS for each in (counts[1], counts[3]))
    used = math.floor(before * before_left / window + count)
    reset = max(0, left - window)
    if before:
        reset = min(reset, before_left % (window / before))
    return Quota(bool(admitted), max(0, rate.amount - used), reset)
