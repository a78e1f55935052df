"""What doctor says of the keys of a controller and of its nodes."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from corpushooks.core.rollouts import Node
from corpushooks.fleet.identity import HostKey, Identity
from corpushooks.store.fleet import Fleet
from corpushooks.system.process import run
from tests.support.box import Box
from tests.support.command import corpus


@pytest.fixture
def box(tmp_path: Path) -> Box:
    """Return a controller with one node, which nobody needs to reach."""
    box = Box(tmp_path / "box")
    box.root.mkdir()
    box.init()
    with closing(box.history) as history:
        Fleet(history).add(Node(name="n1", address="corpus@n1.example.org"))
    identity = Identity(box.host)
    kind, blob, _ = identity.public_key().split()
    identity.pin("n1", HostKey(kind, blob))
    return box


def wrong(box: Box) -> list[str]:
    told = json.loads(corpus(box, "doctor", "--json").text)
    return [f"{fault['what']}; {fault['repair']}" for each in told
            if each["check"] in ("nodes", "keys of nodes") for fault in each["faults"]]  # fmt: skip


def test_nothing_is_wrong_with_a_sound_controller(box: Box) -> None:
    assert wrong(box) == []


def test_a_key_that_others_can_read_is_found_and_the_repair_works(box: Box) -> None:
    key = box.host.fleet_dir / "key"
    key.chmod(0o644)
    (found,) = wrong(box)
    assert "has mode 0644: others have access" in found
    run(["sh", "-c", found.partition("; ")[2]])
    assert wrong(box) == []


def test_a_key_that_is_missing_damaged_or_of_another_is_found(box: Box) -> None:
    key, public = box.host.fleet_dir / "key", box.host.fleet_dir / "key.pub"
    kept = key.read_bytes()
    public.write_text(public.read_text().replace("AAAA", "AAAB"))
    (found,) = wrong(box)
    assert "is not the public key of" in found
    run(["sh", "-c", found.partition("; ")[2]])
    assert wrong(box) == []
    key.write_text("nonsense\n")
    (found,) = wrong(box)
    assert "is no private key that can be used" in found
    key.unlink()
    (found,) = wrong(box)
    assert found.startswith("the key of this controller is missing")
    key.write_bytes(kept)
    key.chmod(0o600)
    assert wrong(box) == []


@pytest.mark.parametrize("text", [None, "", "n1 ssh-ed25519 nonsense\n", "n2 KEY\n"])
def test_a_node_without_a_valid_host_key_is_named(box: Box, text: str | None) -> None:
    path = box.host.fleet_dir / "hosts" / "n1"
    _, kind, blob = path.read_text().split()
    if text is None:
        path.unlink()
    else:
        path.write_text(text.replace("KEY", f"{kind} {blob}"))
    (found,) = wrong(box)
    assert found.startswith("n1 has no valid host key here: nothing is sent to it; corpus ")
    assert found.endswith("node add n1 corpus@n1.example.org")
