"""Which versions should be in service, and which answers by default."""

from typing import Any

import pytest
from pydantic import ValidationError

from service.models.choice import ByHand, Choice, Facts, Policy, choose, settle_aliases
from service.settings import Settings, SettingsError

FIVE = (1, 2, 3, 4, 5)


def facts(policy: str = "latest:1", numbers: tuple[int, ...] = FIVE, **more: Any) -> Facts:
    return Facts(numbers, policy=Policy.parse(policy), **{"aliases": {}, **more})


@pytest.mark.parametrize(
    ("policy", "failed", "default", "wanted"),
    [
        ("latest:1", (), 5, (5,)),
        ("latest:2", (), 5, (5, 4)),
        ("latest:9", (), 5, (5, 4, 3, 2, 1)),
        ("all", (), 5, (5, 4, 3, 2, 1)),
        ("1+3", (), 3, (3, 1)),
        ("3+9", (), 3, (3,)),
        ("pinned:2", (), 2, (2,)),
        ("latest:1", (5, 4), 3, (3,)),  # an older version takes the place of one that fails
        ("latest:2", (4,), 5, (5, 3)),
        ("1+3", (3,), 1, (1,)),
        ("pinned:2", (2,), None, ()),  # what is pinned has no substitute
        ("pinned:9", (), None, ()),
        ("latest:1", FIVE, None, ()),
    ],
)
def test_policy_names_what_serves(
    policy: str, failed: tuple[int, ...], default: int | None, wanted: tuple[int, ...]
) -> None:
    """The default is the newest version that the policy names and that has not failed."""
    assert choose(facts(policy), failed) == Choice(default, wanted)


def test_stable_is_the_default_and_the_policy_holds_beside_it() -> None:
    """Requests that name no version get ``stable``; the newest is in service too, and so is every other alias."""
    assert choose(facts(aliases={"stable": 2, "test": 3})) == Choice(2, (2, 5, 3))


def test_nothing_newer_than_stable_answers_in_its_place() -> None:
    """If it fails or is not in the store, an older version does, or none."""
    assert choose(facts(aliases={"stable": 3}), failed=(3,)).default == 2
    assert choose(facts(numbers=(1, 2, 5), aliases={"stable": 3})).default == 2
    assert choose(facts(aliases={"stable": 1}), failed=(1,)).default is None


def test_alias_that_moves_to_a_version_that_fails_goes_on_meaning_the_old_one() -> None:
    """Also if it is the default; the version between the two does not take its place."""
    moved = facts(aliases={"stable": 4}, held={"stable": 2})
    assert choose(moved).default == 4
    assert choose(moved, failed=(4,)) == Choice(2, (2, 5))
    assert settle_aliases(moved, in_service={2, 5}) == {"stable": 2}
    assert settle_aliases(moved, in_service={2, 4, 5}) == {"stable": 4}


def test_alias_that_meant_nothing_means_its_version_at_once_and_a_removed_one_nothing() -> None:
    """So callers of a new alias learn that its version is being loaded."""
    assert settle_aliases(facts(aliases={"new": 4}, held={"old": 5}), in_service={5}) == {"new": 4}


def test_pinned_alias_follows_the_alias_and_comes_before_stable() -> None:
    """``pinned`` takes a number or an alias."""
    known = facts("pinned:live", aliases={"live": 2, "stable": 4})
    assert choose(known) == Choice(2, (2, 4))
    assert choose(facts("pinned:live")).default is None


def test_version_on_trial_is_in_service_and_no_default() -> None:
    """It is not the default as the newest, nor in place of one that failed, and does not count among the latest."""
    assert choose(facts(tried={4})) == Choice(5, (5, 4))
    assert choose(facts(tried={5})) == Choice(4, (4, 5))
    assert choose(facts("latest:2", tried={5})) == Choice(4, (4, 5, 3))
    assert choose(facts("all", tried={5})).default == 4
    assert choose(facts(tried={2}, aliases={"stable": 3}), failed=(3,)).default == 1


def test_version_on_trial_is_the_default_where_it_is_named_or_alone() -> None:
    """A policy or ``stable`` may name it; and if there is no other, it is better than none."""
    assert choose(facts(tried={5}, aliases={"stable": 5})).default == 5
    assert choose(facts("pinned:5", tried={5})).default == 5
    assert choose(facts(numbers=(5,), tried={5})).default == 5


def test_version_that_was_loaded_by_hand_takes_a_place_until_a_newer_one_appears() -> None:
    """It is the default, unless ``stable`` or a policy says otherwise."""
    by_hand = ByHand().load(2, FIVE)
    assert choose(facts(by_hand=by_hand)) == Choice(2, (2,))
    assert choose(facts("latest:2", by_hand=by_hand)) == Choice(2, (2, 5))
    assert choose(facts("all", by_hand=by_hand)).default == 2
    assert choose(facts(by_hand=by_hand, aliases={"stable": 3})) == Choice(3, (3, 2))
    assert choose(facts("pinned:4", by_hand=by_hand)) == Choice(4, (4, 2))
    assert by_hand.after(FIVE) == by_hand
    assert by_hand.after((1, 2)).loaded == 2  # others were removed
    assert by_hand.after((1, 2)).after(FIVE) == by_hand.after(()).after(FIVE) == ByHand()  # and have come back
    assert by_hand.after((*FIVE, 6)) == ByHand()
    assert ByHand().load(7, (7,)).after((1,)) == ByHand()  # all versions are others


def test_version_that_was_unloaded_by_hand_is_not_replaced_by_an_older_one() -> None:
    """It keeps its place among the latest until a newer one appears, or somebody loads it."""
    by_hand = ByHand().unload({5}, FIVE)
    assert choose(facts(by_hand=by_hand)) == Choice(None, ())
    assert choose(facts("latest:2", by_hand=by_hand)) == Choice(4, (4,))
    assert choose(facts(by_hand=by_hand, aliases={"old": 2})) == Choice(2, (2,))
    assert choose(facts(by_hand=by_hand.load(5, FIVE))).default == 5
    assert choose(facts(numbers=(*FIVE, 6), by_hand=by_hand.after((*FIVE, 6)))) == Choice(6, (6,))


def test_unloading_a_version_that_was_loaded_by_hand_forgets_that() -> None:
    """And it stays unloaded."""
    by_hand = ByHand().load(2, FIVE).unload({2}, FIVE)
    assert by_hand == ByHand(None, frozenset({2}), frozenset(FIVE))


@pytest.mark.parametrize("text", ["latest", "latest:0", "latest:", "0", "1+", "1,3", "newest", "pinned:", "pinned:-a"])
def test_policy_that_says_nothing_is_refused(text: str) -> None:
    """The error names the setting and what was expected."""
    with pytest.raises(SettingsError, match=r"SLUICE_VERSIONS=.*: .*expected latest:N, all, versions such as 1\+3"):
        Settings.from_environ({"SLUICE_VERSIONS": text})
    with pytest.raises(SettingsError, match=r"SLUICE_MODEL_VERSIONS"):
        Settings.from_environ({"SLUICE_MODEL_VERSIONS": f"m={text}"})


def test_policies_come_from_the_environment_and_go_to_the_workers() -> None:
    """A default, and others for some models; in any case of letters."""
    settings = Settings.from_environ({"SLUICE_VERSIONS": "ALL", "SLUICE_MODEL_VERSIONS": "a=1+3, b=pinned:live"})
    assert Policy.parse(settings.versions) == Policy()
    policies = {name: Policy.parse(text) for name, text in settings.model_versions.items()}
    assert policies == {"a": Policy(listed=(1, 3)), "b": Policy(pinned="live")}
    again = Settings.from_environ(settings.to_environ())
    assert (again.versions, again.model_versions) == (settings.versions, settings.model_versions)
    with pytest.raises(ValidationError):
        Settings().replace(versions="none")
