"""In which media type to answer (RFC 9110, section 12.5.1)."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

GRAPHQL: Final = "application/graphql-response+json"
JSON: Final = "application/json"
EVENTS: Final = "text/event-stream"
HTML: Final = "text/html"
# A client sends the same header again and again. What is kept is bounded in number and in length.
_LONGEST_KEPT: Final = 300


def offered(accept: str, *, page: bool) -> str | None:
    """Choose among what a GraphQL request is answered in; a page only for who names HTML."""
    return (_offered if len(accept) > _LONGEST_KEPT else _kept)(accept, page)


def _offered(accept: str, page: bool) -> str | None:  # noqa: FBT001 - so that it can be kept
    more = (HTML,) if page and names(accept, HTML) else ()
    return best(accept, (JSON, GRAPHQL, EVENTS, *more))


_kept = lru_cache(maxsize=256)(_offered)


def best(accept: str, offered: Sequence[str]) -> str | None:
    """Choose what the client likes best; of equals what it names first, then what we do.

    None where it takes nothing that there is. Wildcards take the first that is offered.
    """
    chosen: tuple[float, str] | None = None
    ranges = [_range(part) for part in (accept or "*/*").split(",")]
    # A named type that is refused (q=0) is not let in by a wildcard.
    refused = {media for media, weight in ranges if weight == 0}
    for media, weight in ranges:
        found = next((o for o in offered if _matches(media, o) and o not in refused), None)
        if found and weight > 0 and (chosen is None or weight > chosen[0]):
            chosen = (weight, found)
    return chosen and chosen[1]


def names(accept: str, media: str) -> bool:
    """Tell whether a type is asked for by its name, and not only by a wildcard."""
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
