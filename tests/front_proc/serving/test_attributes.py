"""Attributes: what each session wants is what the child has when its command runs."""

from hypothesis import given
from hypothesis import strategies as st

from front_proc.serving.attributes import ResourceAttributes
from front_proc.serving.sessions import Client, Session

LOCAL = {1: 10, 2: 20, 3: 30}

steps = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.integers(0, 2), st.integers(1, 3), st.integers(0, 2)),
        st.tuples(st.just("run"), st.integers(0, 2)),
        st.tuples(st.just("were set"), st.integers(0, 2), st.integers(1, 5), st.integers(0, 2)),
        st.tuples(st.just("daemon"), st.integers(1, 3), st.integers(0, 2)),
        st.tuples(st.just("unknown")),
        st.tuples(st.just("reopen")),
    )
)


@given(steps)
def test_child_has_what_the_session_wants_whenever_it_runs(history):
    """A model of the child that is told only the changes, against what each session asked for."""
    attributes = ResourceAttributes()
    attributes.opened(list(LOCAL.items()))
    sessions = [Session(Client(f"10.0.0.1:{number}"), None) for number in range(3)]
    wanted = [dict(LOCAL) for _ in sessions]
    child, in_order, touched = dict(LOCAL), {}, set()

    def run(session):
        """The session's next command: the child sets what it is told to."""
        changes = attributes.changes(session)
        child.update(changes)
        touched.update(number for number, _ in changes)

    for what, *arguments in history:
        if what == "set":
            number, attribute, state = arguments
            attributes.set_local(sessions[number], attribute, state)
            wanted[number][attribute] = state
        elif what == "were set":
            number, attribute, state = arguments
            run(sessions[number])
            attributes.were_set(sessions[number], attribute, state)
            if attribute in LOCAL:
                wanted[number][attribute] = child[attribute] = state
            else:
                in_order.pop(attribute, None)
                in_order[attribute] = state
        elif what == "daemon":
            changes = attributes.changes_to({arguments[0]: arguments[1], 9: 9})
            assert changes in ([], [tuple(arguments)]), "an attribute that the library has not"
            child.update(changes)
            touched.update(number for number, _ in changes)
            assert child[arguments[0]] == arguments[1]
        elif what == "unknown":
            child.update(dict.fromkeys(touched, -1))
            attributes.are_unknown()
        elif what == "reopen":
            child = dict(LOCAL)
            attributes.opened(list(LOCAL.items()))
            assert attributes.to_restore == list(in_order.items())
        else:
            [number] = arguments
            run(sessions[number])
            assert child == wanted[number]
            assert attributes.changes(sessions[number]) == []


def test_what_nobody_ever_set_is_not_set_after_a_failure_either():
    """An attribute that the library gives and refuses to take would fail every command from then on."""
    attributes = ResourceAttributes()
    attributes.opened(list(LOCAL.items()))
    ann, bob = (Session(Client(f"10.0.0.1:{number}"), None) for number in range(2))
    attributes.set_local(ann, 1, 11)
    attributes.changes(ann)
    attributes.are_unknown()
    assert attributes.changes(bob) == [(1, 10)]
    attributes.are_unknown()
    assert attributes.changes(ann) == [(1, 11)]
