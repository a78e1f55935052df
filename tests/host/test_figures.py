"""What many deployments come to."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import pytest

from corpushooks.core.deployment import Deployment, Request
from corpushooks.core.events import SlsEnded, Text
from corpushooks.protocol import gives
from corpushooks.reports import statistics
from tests.support.box import FAILING, Box
from tests.support.command import asked, corpus


def one(number: int, state: str, took: float = 1.0, kind: str = "deploy") -> Deployment:
    return Deployment("hello", number, "t", state, Request(kind=kind), started=10.0, decided=10.0 + took)


def test_rates_count_what_was_tried() -> None:
    found = [one(4, "refused"), one(3, "done", kind="task"), one(2, "rolled_back", 9.0), one(1, "deployed", 2.0)]
    told = statistics.figures("hello", found, [("00_a", 1.0), ("00_a", 3.0), ("10_b", 5.0)])
    assert (told.deployments, told.succeeded, told.rate) == (2, 1, 0.5)
    assert (told.median, told.p95) == (2.0, 2.0)
    assert told.slowest == [("10_b", 5.0), ("00_a", 2.0)]
    assert statistics.lines(told)[0] == "hello            1 of 2 succeeded (50 %), 2.0 s median, 2.0 s p95"
    assert statistics.lines(statistics.figures("x", [], [])) == ["x                never deployed"]


@pytest.mark.parametrize(("count", "wanted"), [(0, None), (1, 1), (19, 19), (20, 19), (100, 95)])
def test_the_95th_percentile_is_a_value_that_was_there(count: int, wanted: float | None) -> None:
    assert statistics.percentile(list(range(1, count + 1)), 0.95) == wanted


def test_times_are_those_of_install_sls_that_went_well() -> None:
    told = [
        SlsEnded("00_a", "install", True, seconds=1.26),
        SlsEnded("00_b", "install", False, seconds=1.0),
        SlsEnded("fixperms", "hook", True, seconds=1.0),
        SlsEnded("00_c", "plan", True),
    ]
    assert statistics.install_times(told) == [("00_a", 1.26)]


def test_times_are_read_from_the_rows_of_older_logs() -> None:
    lines = [
        "[4/8] install 00_a           12 states, 2 changed             1.3 s",
        "      install 10_b                                            0.0 s",
        "      install 20_c",
        "        changed  install x.y 1.0 s",
    ]
    assert statistics.install_times(map(Text, lines)) == [("00_a", 1.3), ("10_b", 0.0)]


QUIET = gives.Status(
    project="hello", environment="prod", branch="master", live=None, since=None, by=None, commit=None, branch_at=None,
    branch_moved=False, tree=None, pillar=None, pillar_ahead=False, broken=None, frozen=None, open=[], last=None,
    last_deployment=None, last_failure=None, drift=[], health=None, backup=None, faults=[],
)  # fmt: skip


def test_metrics_are_what_prometheus_reads() -> None:
    status = replace(
        QUIET, open=[gives.Open(**one(3, "held").as_json(), left=5.0)], frozen="so", drift=["a", "b"],
        since=1700000000.5, health=gives.Health(state="failing", since=1.0, times=3, reason=""),
        faults=[gives.Fault(what="so", repair="do")],
    )  # fmt: skip
    text = statistics.metrics([(status, [one(2, "rolled_back", 2.5), one(1, "deployed")])])
    assert 'corpushooks_deployments_total{project="hello",outcome="rolled_back"} 1' in text
    assert 'corpushooks_last_success_timestamp_seconds{project="hello"} 1700000000.500' in text
    assert 'corpushooks_last_duration_seconds{project="hello"} 2.5' in text
    assert 'corpushooks_last_failed{project="hello"} 1' in text
    assert 'corpushooks_drift_files{project="hello"} 2' in text
    assert 'corpushooks_frozen{project="hello"} 1' in text
    assert 'corpushooks_faults{project="hello"} 1' in text
    assert 'corpushooks_healthy{project="hello"} 0' in text
    helped = [line.split()[2] for line in text if line.startswith("# HELP")]
    typed = [line.split()[2] for line in text if line.startswith("# TYPE")]
    assert helped == typed and all(line.startswith(("#", "corpushooks_")) for line in text)


# for real


def test_what_is_told_of_a_host(box: Box) -> None:
    sample = "makina-projects.hello:\n  data:\n    colour: {}\n"
    work = box.app(files={".salt/PILLAR.sample": sample.format("red")})
    work.push()
    work.commit({"index.html": "two", ".salt/PILLAR.sample": sample.format("blue")})
    work.push()
    work.commit({".salt/10_broken.sls": FAILING})
    work.push()
    box.ended(3)
    told = asked(box, "stats", "hello")
    assert (told[0]["deployments"], told[0]["succeeded"]) == (3, 2)
    assert told[0]["slowest"][0][0] in ("00_page", "10_broken")
    assert [one["number"] for one in asked(box, "archives", "hello")] == [3, 2, 1]
    assert [bool(one["failed"]) for one in asked(box, "archives", "hello")] == [True, False, False]
    differs = asked(box, "diff", "hello")
    assert (differs["from"], differs["to"]) == (1, 2)
    assert differs["files"] == [["M", ".salt/PILLAR.sample"], ["M", "index.html"]]
    assert '~ data.colour: "red" -> "blue"' in differs["cfg"]
    assert corpus(box, "diff", "hello", "2", "1").text.startswith("deployment 2 -> 1: ")
    assert 'corpushooks_deployments_total{project="hello",outcome="deployed"} 2' in corpus(box, "metrics").text
    (box.project().tree / "index.html").write_text("edited")
    status = asked(box, "status", "hello")
    assert (status["drift"], status["last_failure"]["number"]) == (["index.html"], 3)
    assert "changed in project/ since: index.html" in corpus(box, "status").text
    for words in (("diff", "hello", "1"), ("diff", "hello", "9", "2"), ("archives", "nothing")):
        output = corpus(box, *words)
        assert output.code in (0, 2) and b"Traceback" not in output.stderr


@pytest.mark.parametrize(
    ("state", "kind"),
    [("refused", "rollback"), ("refused", "task"), ("done", "task"), ("done", "plan"), ("cancelled", "deploy")],
)
def test_what_did_not_deploy_clears_no_alarm(state: str, kind: str) -> None:
    status = replace(QUIET, drift=None)
    text = statistics.metrics([(status, [one(3, state, kind=kind), one(2, "rolled_back"), one(1, "deployed")])])
    assert 'corpushooks_last_failed{project="hello"} 1' in text
    assert not [line for line in text if line.startswith("corpushooks_drift_files{")]


def test_a_typing_error_clears_no_alarm_and_a_good_push_does(box: Box) -> None:
    failed, well = 'corpushooks_last_failed{project="hello"} 1', 'corpushooks_last_failed{project="hello"} 0'
    work = box.app("one")
    assert work.push().code == 0
    assert well in corpus(box, "metrics").text
    work.commit({".salt/10_broken.sls": FAILING})
    assert work.push().code == 1
    box.ended(2)
    said = "    last: deployment 2 rolled back: install 10_broken failed: broken"
    for words in (("task", "hello", "clena"), ("rollback", "hello", "2"), ("rollback", "hello", "77")):
        assert corpus(box, *words).code in (2, 3), words
        assert failed in corpus(box, "metrics").text, words
        assert said in corpus(box, "status").stdout.decode().splitlines(), words
    with closing(box.history) as history:
        assert "refused" in {each.state for each in history.deployments("hello", 3)}, "not all were refused unnumbered"
    work.commit({".salt/10_broken.sls": None})
    assert work.push().code == 0
    assert well in corpus(box, "metrics").text
    assert "    last: " not in corpus(box, "status").text
