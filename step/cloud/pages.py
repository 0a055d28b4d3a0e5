"""The one page loop: pages that end, of a size that can be received."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from step.cloud.connection import Connection
from step.cloud.methods import Method
from step.errors import TooLarge, Unavailable


def pages(connection: Connection, method: Method, request: Any, resource: str) -> Iterator[Any]:
    """The pages that answer a request to list, read as they are used.

    A page that is too large to be received is asked for anew, with half as many entries: a token
    may be used with another page size (https://google.aip.dev/158). The number of pages has no
    bound but the run's deadline. Raises what `Connection.call` raises, and Unavailable for a token
    that comes again, since that has no end.
    """
    seen: set[str] = set()
    while True:
        try:
            pager: Any = connection.call(method, request, resource)
        except TooLarge:
            if request.page_size <= 1:
                raise
            request.page_size //= 2
            continue
        page = next(iter(pager.pages))  # the answer itself; what is next, is asked for here
        yield page
        token = page.next_page_token
        if not token:
            return
        if token in seen:
            raise Unavailable(
                f"{method.name}: {method.service} names the same next page again",
                "It would never end; nothing was refused, and running again is safe.",
            )
        seen.add(token)
        request.page_token = token
