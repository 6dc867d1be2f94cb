"""docs/how-to/check-who-is-there.md: its file is used, its conversations go as shown, and the keys are what it says."""

import json

from tests.docs.pages import CHECK_WHO_IS_THERE, examples
from tests.docs.test_examples import TURN

SHOWN = "TCPIP0::192.168.0.2::5025::SOCKET"
FIRST, SECOND = "ACME,SCOPE,1,1.0", "ACME,SCOPE,2,1.0"


def test_page_goes_as_shown(daemon_factory, instrument, tmp_path):
    [config] = examples("toml", CHECK_WHO_IS_THERE)
    (tmp_path / "lab.toml").write_text(config.text)
    daemon = daemon_factory("--config", str(tmp_path / "lab.toml"), "--linger", "0")
    instrument.ask(f"BE {FIRST};*OPC?")
    with daemon.text() as client:
        client.ask(f".#.open_resource {instrument.resource}")
        client.ask(".#.close_resource")
        instrument.ask(f"BE {SECOND};*OPC?")
        for line in "".join(example.text for example in examples("text", CHECK_WHO_IS_THERE)).splitlines():
            _, direction, text = TURN.fullmatch(line.replace(SHOWN, instrument.resource)).groups()
            if direction == ">":
                client.send(text.encode() + b"\n")
            else:
                assert client.reply().decode() == text
    [changed] = daemon.audit(event="changed")
    assert (changed["identity"], changed["known"]) == (SECOND, FIRST)
    assert json.loads((daemon.run_dir / "identities.json").read_text()) == {instrument.resource.lower(): SECOND}
