"""Discovery: a search in a process of its own, with a deadline, whose last answer is kept. Processes are played."""

import pytest

from front_proc.configuration.limits import DEFAULTS as LIMITS
from front_proc.discovery import FIND_TIME, FRESH_TIME, Discovery, search_all
from instrument_proc import pipe


class Searches:
    """Discoveries on a stage, and what they complained of. A name is canonical in capitals; `?` is none."""

    def __init__(self, stage, *libraries):
        self.stage = stage
        self.troubles = []

        async def begin():
            return {library: Discovery(library, stage.next_child, self.troubles.append) for library in libraries}

        self.each = stage.result(begin())
        self.only = next(iter(self.each.values()))

    def all(self):
        return self.stage.start(search_all(self.each, self.troubles.append))

    def finds(self, *names, library="@py"):
        child = self._child(library)
        child.say(pipe.Listed(list(names), 0, "", ""))
        for name in names:
            assert child.order == pipe.Name(name)
            child.say(pipe.Named(None if name == "?" else name.upper(), ""))

    def fails(self, library="@py"):
        self._child(library).say(pipe.Listed([], -1073807298, "VI_ERROR_IO", "no bus"))

    def _child(self, library):
        return next(child for child in self.stage.children if child.order == pipe.List(library))


@pytest.fixture
def search(stage):
    return Searches(stage, "@py")


@pytest.fixture
def both(stage):
    return Searches(stage, "@py", "@ivi")


def test_names_are_canonical_and_each_is_there_once(stage, search):
    """In the order in which the library has them; what cannot be parsed is what it was found as."""
    searching = stage.start(search.only.resources())
    search.finds("b", "?", "a", "B")
    assert searching.result() == ["B", "?", "A"]


def test_who_asks_meanwhile_joins_the_search(stage, search):
    """One process, one order."""
    searching = [stage.start(search.only.resources()) for _ in range(3)]
    search.finds("A")
    assert [each.result() for each in searching] == [["A"]] * 3
    assert stage.child.orders == [pipe.List("@py"), pipe.Name("A")]


def test_search_that_hangs_is_killed(stage, search):
    """And says so; the next has a process of its own."""
    searching = stage.start(search.only.resources())
    hung = stage.child
    stage.pass_time(LIMITS.search_time + 0.1)
    assert searching.exception().token == "VI_ERROR_TMO"
    assert hung.is_being_killed
    stage.start(search.only.resources())
    assert stage.child is not hung


def test_search_whose_process_dies_naming_what_it_found_has_failed(stage, search):
    """A part of the answer is none."""
    searching = stage.start(search.only.resources())
    stage.child.say(pipe.Listed(["A", "B"], 0, "", ""))
    stage.child.dies()
    assert searching.exception().token == "VI_ERROR_TMO"


def test_failed_search_gives_the_last_answer(stage, search):
    """With its age, and its library, in the log."""
    stage.start(search.only.resources())
    search.finds("A")
    stage.pass_time(7)
    searching = stage.start(search.only.resources())
    search.fails()
    assert searching.result() == ["A"]
    assert search.troubles == ["@py: no bus; the answer of 7 s ago was given"]


def test_recent_answer_is_given_without_a_search(stage, search):
    """Until it is too old; a search that takes long is not waited for."""
    stage.start(search.only.resources())
    search.finds("A")
    stage.pass_time(FRESH_TIME - 1)
    assert stage.result(search.only.recent()) == ["A"]
    stage.pass_time(2)
    asking = stage.start(search.only.recent())
    stage.pass_time(FIND_TIME + 0.1)
    assert asking.result() == ["A"]
    assert stage.child.orders == [pipe.List("@py"), pipe.Name("A"), pipe.List("@py")]


def test_libraries_search_at_once(stage, both):
    """Each in a process of its own; the answer is there when the last of them has ended."""
    searching = both.all()
    both.finds("B", library="@ivi")
    assert not searching.done()
    both.finds("A")
    assert searching.result() == {"@py": ["A"], "@ivi": ["B"]}
    assert both.troubles == []


def test_one_that_fails_is_told_of_and_left_out(stage, both):
    """It hides nobody else's."""
    searching = both.all()
    both.fails()
    both.finds("B", library="@ivi")
    assert searching.result() == {"@ivi": ["B"]}
    assert both.troubles == ["@py: no bus; the list is without what it finds"]


def test_one_that_hangs_is_bounded(stage, both):
    """The others' results are there by then."""
    searching = both.all()
    both.finds("A")
    stage.pass_time(LIMITS.search_time + 0.1)
    assert searching.result() == {"@py": ["A"]}


def test_all_that_fail_are_a_failure(stage, both):
    """The first one's."""
    searching = both.all()
    both.fails("@ivi")
    both.fails()
    assert searching.exception().text == "no bus"
