"""Content negotiation: the media type of the response (RFC 9110, section 12.5.1)."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

GRAPHQL: Final = "application/graphql-response+json"
JSON: Final = "application/json"
EVENTS: Final = "text/event-stream"
HTML: Final = "text/html"
# Clients send the same Accept header with each request, so results are cached. The cache is bounded
# in the number and length of its keys.
_LONGEST_KEPT: Final = 300


def offered(accept: str, *, page: bool) -> str | None:
    """Return the media type for a GraphQL request; None if nothing that is offered is acceptable.

    With `page`, HTML is offered too, but only if the header names it: wildcards do not select it.
    """
    return (_offered if len(accept) > _LONGEST_KEPT else _kept)(accept, page)


def _offered(accept: str, page: bool) -> str | None:  # noqa: FBT001 - `lru_cache` keys by position
    more = (HTML,) if page and names(accept, HTML) else ()
    return best(accept, (JSON, GRAPHQL, EVENTS, *more))


_kept = lru_cache(maxsize=256)(_offered)


def best(accept: str, offered: Sequence[str]) -> str | None:
    """Return the offered type with the highest weight; None if none is acceptable.

    Of types with equal weights, the one that the client lists first is chosen. A wildcard matches
    the first offered type.
    """
    chosen: tuple[float, str] | None = None
    ranges = [_range(part) for part in (accept or "*/*").split(",")]
    # A type that is refused by name (q=0) is not accepted by a wildcard.
    refused = {media for media, weight in ranges if weight == 0}
    for media, weight in ranges:
        found = next((o for o in offered if _matches(media, o) and o not in refused), None)
        if found and weight > 0 and (chosen is None or weight > chosen[0]):
            chosen = (weight, found)
    return chosen and chosen[1]


def names(accept: str, media: str) -> bool:
    """Return whether the header contains the type itself. Wildcards do not count."""
    return any(_range(part)[0] == media for part in accept.split(","))


def _range(part: str) -> tuple[str, float]:
    media, *parameters = (piece.strip().lower() for piece in part.split(";"))
    weight = next((p[2:] for p in parameters if p.startswith("q=")), "1")
    try:
        return media, min(1.0, max(0.0, float(weight)))
    except ValueError:
        return media, 0.0


def _matches(media: str, offered: str) -> bool:
    return media in {"*/*", offered, offered.partition("/")[0] + "/*"}
