"""demo.sh: the story is true."""


def test_demo_tells_its_story_to_the_end(script):
    """Sharing, hang, recovery, audit, clean end: each claim is checked by the story itself."""
    done = script("demo.sh", "--fast")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing is left running" in done.stdout
    assert "✗" not in done.stdout + done.stderr
