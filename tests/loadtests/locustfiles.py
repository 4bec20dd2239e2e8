"""Locustfiles whose runs end by themselves."""

_TEXT = '''
"""The users of the load test. The run ends when each kind has made so many requests, however long that takes."""

import gevent
from locust import events

from loadtests.locustfile import {users}


@events.init.add_listener
def end_when_enough(environment, **_):
    ending = []

    def count(**_):
        made = [entry.num_requests for entry in environment.stats.entries.values()]
        if len(made) == len(environment.user_classes) and min(made) >= {requests} and not ending:
            ending.append(gevent.spawn(environment.runner.quit))

    environment.events.request.add_listener(count)
'''


def write_locustfile(requests: int, *users: str) -> str:
    """One with these classes of users, which ends when each has made so many requests."""
    return _TEXT.format(requests=requests, users=", ".join(users))
