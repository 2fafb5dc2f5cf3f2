"""A third-party notification client (genesys-notifications 1.3) against the simulator.

It is given the address of the channel and is not changed. Only what the
language has taken away since it was written is put back: it hands coroutines
to `asyncio.wait`, which newer versions of Python refuse.
"""

import asyncio
import base64
import json
import logging
import urllib.request

import genesys_notifications.channel as library
from genesys_notifications import Channel
from genesys_notifications.exceptions import (
    ChannelExpiring,
    ChannelFailure,
    InitializationFailure,
    SubscriptionFailure,
)

from simulator import Simulator, acw

DEADLINE = 15


class OlderAsyncio:
    """asyncio, with a `wait` that takes coroutines."""

    def __getattr__(self, name):
        return getattr(asyncio, name)

    @staticmethod
    async def wait(things, **named):
        # The trigger must stay the same object: the client looks for it in the answer.
        return await asyncio.wait([asyncio.ensure_future(t) for t in things], **named)


library.asyncio = OlderAsyncio()


def rest(simulator, token, method, path, body=None):
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        f"{simulator.api_url}/api/v2{path}", data=data, method=method, headers=headers
    )
    with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
        return json.load(answer)


def login(simulator):
    pair = f"{simulator.client_id}:{simulator.client_secret}".encode()
    request = urllib.request.Request(
        f"{simulator.api_url}/oauth/token",
        data=b"grant_type=client_credentials",
        headers={"Authorization": "Basic " + base64.b64encode(pair).decode()},
    )
    with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
        return json.load(answer)["access_token"]


async def soon(awaitable):
    return await asyncio.wait_for(awaitable, DEADLINE)


async def raises(kind, awaitable):
    try:
        await soon(awaitable)
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was not raised")


async def holds(what, condition):
    """Waits until something that the simulator tells holds."""
    end = asyncio.get_running_loop().time() + DEADLINE
    while not condition():
        assert asyncio.get_running_loop().time() < end, what
        await asyncio.sleep(0.02)


async def trial(simulator):
    token = login(simulator)
    quiet = logging.getLogger("trial")
    quiet.setLevel(logging.CRITICAL)

    def new_uri():
        return rest(simulator, token, "POST", "/notifications/channels")["connectUri"]

    def topic_count():
        return sum(c["topics"] for c in simulator.control("GET", "/truth")["channels"])

    # Subscribe, receive.
    one, two = simulator.start(agents=3), simulator.start(media="message")
    channel = Channel(new_uri(), [acw(one), acw(two)], logger=quiet)
    await soon(channel)
    await holds("the subscription", lambda: topic_count() == 2)
    simulator.act(one, "wrap-up", notes="first")
    event = await soon(channel.__anext__())
    assert event["topicName"] == acw(one)
    assert event["eventBody"]["wrapupNotes"] == "first"
    simulator.act(two, "finish")
    event = await soon(channel.__anext__())
    assert event["eventBody"]["mediaType"] == "MESSAGE"

    # Extend by subscribing again: the life of the channel begins anew.
    lives = lambda: simulator.control("GET", "/truth")["channels"][0]["expiresInMs"]
    await asyncio.sleep(0.2)
    before = lives()
    await soon(channel.extend())
    await holds("the extension", lambda: lives() > before)

    # The client pings every second; the link breaks; it connects again and still hears.
    simulator.fault("drop-socket", channel="all", code=1011)
    waiting = asyncio.ensure_future(channel.__anext__())
    await holds("the new socket", lambda: simulator.control("GET", "/truth")["sockets"] == 1)
    simulator.act(one, "wrap-up", notes="second")
    event = await soon(waiting)
    assert event["eventBody"]["wrapupNotes"] == "second"

    # Maintenance: told in time, it rolls over to a new address with the same topics.
    simulator.fault("closing", channel="all")
    await raises(ChannelExpiring, channel.__anext__())
    await soon(channel.rollover(new_uri()))
    await holds("the roll-over", lambda: topic_count() == 4)
    simulator.act(one, "wrap-up", notes="third")
    event = await soon(channel.__anext__())
    assert event["eventBody"]["wrapupNotes"] == "third"
    await soon(channel.close())

    # A malformed topic.
    channel = Channel(new_uri(), ["nonsense"], logger=quiet)
    await soon(channel)
    await raises(SubscriptionFailure, channel.__anext__())
    await soon(channel.close())

    # An evicted channel: requests are answered with 404, a new socket is refused.
    simulator.control("POST", "/switches", {"channel-expiry": "socket-stays"})
    uri = new_uri()
    channel = Channel(uri, [acw(one)], logger=quiet)
    await soon(channel)
    await holds("the subscription", lambda: topic_count() == 5)
    simulator.fault("expire-channel", channel=uri[-8:])
    await soon(channel.subscribe())
    await raises(ChannelFailure, channel.__anext__())
    await soon(channel.close())
    await raises(InitializationFailure, Channel(uri, [acw(one)], logger=quiet).initialize())


def main():
    with Simulator() as simulator:
        asyncio.run(trial(simulator))
    print("notification client: passed")


main()
