# SPDX-License-Identifier: Apache-2.0
"""Pages one after another: opaque links, followed as they were given, within the base, never in circles."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, replace

from medagent.errors import FhirError
from medagent_fhir.client.channel import Channel
from medagent_fhir.client.exchange import Answer, Ask
from medagent_fhir.client.received import Received, Shape, named, received


@dataclass(frozen=True, slots=True, repr=False)
class Walk:
    """Through the pages of one question."""

    ask: Ask
    """For the first page, by GET."""
    shape: Shape
    judge: Callable[[Received], None] | None = None
    """Sees each page before its call goes on record."""
    place: str | None = None
    """What a relative link of the first page starts from. None: the page's own address."""


First = Callable[[Callable[[Answer], Received]], Awaitable[Received]]


async def pages(channel: Channel, walk: Walk, first: First | None = None) -> AsyncGenerator[Received, None]:
    """All of them. `first` asks for the first one, where that is not a plain GET."""
    seen = {walk.ask.address.url}
    ask, place, number = walk.ask, walk.place or walk.ask.address.url, 1
    while True:
        page = await _page(channel, walk, ask, number, first if number == 1 else None)
        link = page.next
        yield page
        if link is None:
            return
        del page  # who waits for a slot holds no body, so that the limit of calls bounds their memory, too
        number += 1
        ask = await _next(channel, walk, link, place, number, seen)
        place = ask.address.url


async def _page(channel: Channel, walk: Walk, ask: Ask, number: int, first: First | None) -> Received:
    name = f"{walk.ask.name} page {number}"

    def take(answer: Answer) -> Received:
        page = received(answer, name, walk.shape)
        if walk.judge is not None:
            walk.judge(page)
        return page

    if first is not None:
        return await first(take)
    try:
        return named(await channel.ask(replace(ask, name=name), take))
    except FhirError as error:
        if number == 1 or error.status not in (404, 410):
            raise
        told = f"{name}: the server keeps this page no longer; search again"
        raise FhirError("gone", told, status=error.status, outcome=error.outcome) from None


async def _next(channel: Channel, walk: Walk, link: str, place: str, number: int, seen: set[str]) -> Ask:
    """The call for the page that a link names. What must not be followed goes on record as refused."""
    name = f"{walk.ask.name} page {number}"
    unfollowed = replace(walk.ask, name=name)
    try:
        address = channel.base.linked(link, place)
        ask = replace(unfollowed, address=address)
        if address.url in seen:
            raise FhirError("invalid", f"{name}: the server's pages lead in a circle")
        if number > channel.limits.pages:
            raise FhirError("invalid", f"{name}: the server gives more than {channel.limits.pages} pages")
        seen.add(address.url)
    except FhirError as error:
        problem = error
    else:
        return ask
    return await channel.refuse(unfollowed, problem)
