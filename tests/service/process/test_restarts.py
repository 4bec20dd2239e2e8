"""When workers are started again, and who listens."""

from service.process.restarts import MAX_DELAY_S, Restarts, WorkerState, choose_listener, choose_paused


def test_worker_that_was_ready_is_started_at_once() -> None:
    """However often it dies; it has loaded its models each time, so nothing runs hot."""
    restarts = Restarts()
    assert [restarts.find_delay_s(was_ready=True) for _ in range(5)] == [0.0] * 5
    assert restarts.failures == 0


def test_worker_that_dies_at_start_waits_longer_each_time() -> None:
    """At once, then half a second, doubled each time up to a limit; one that gets ready clears that."""
    restarts = Restarts()
    assert [restarts.find_delay_s(was_ready=False) for _ in range(5)] == [0.0, 0.5, 1.0, 2.0, 4.0]
    for _ in range(50):
        last = restarts.find_delay_s(was_ready=False)
    assert last == MAX_DELAY_S
    assert restarts.find_delay_s(was_ready=True) == 0.0
    assert restarts.find_delay_s(was_ready=False) == 0.0


def test_first_worker_listens_before_it_is_ready() -> None:
    """So that probes hear that it loads; one is enough, and one whose event loop does not run could not answer."""
    importing, started, other = (WorkerState(is_first=True, has_started=each) for each in (False, True, True))
    assert choose_listener([importing, started, other]) is started
    started.listens = True
    assert choose_listener([importing, started, other]) is None


def test_worker_that_is_not_ready_pauses_when_another_is() -> None:
    """A caller whom a ready worker could answer hears from no other that it loads."""
    loading = WorkerState(is_first=True, has_started=True, listens=True)
    other = WorkerState(is_first=True, has_started=True)
    assert choose_paused([loading, other]) == []
    other.is_ready = other.listens = True
    [paused] = choose_paused([loading, other])
    assert paused is loading


def test_new_worker_leaves_connections_to_those_that_are_ready() -> None:
    """It is not asked to listen while another is ready, however long it loads; then the others must be gone."""
    ready = WorkerState(is_first=True, has_started=True, is_ready=True, listens=True)
    new = WorkerState(is_first=False, has_started=True, waits_long=True)
    assert choose_listener([ready, new]) is None
    assert choose_listener([new]) is new


def test_new_worker_that_is_alone_keeps_connections_waiting_but_not_for_long() -> None:
    """Callers wait for a quick start; when it takes long they hear that nobody is ready."""
    new = WorkerState(is_first=False, has_started=True)
    assert choose_listener([new]) is None
    new.waits_long = True
    assert choose_listener([new]) is new
