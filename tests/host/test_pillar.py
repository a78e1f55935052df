"""Pushes to pillar.git: checked before they are stored, in effect with the next deployment or at once."""

from __future__ import annotations

import pytest

from tests.support.box import FAILING, Box, Work
from tests.support.pillars import SLS, pillar_of, value

SAMPLE = "makina-projects.projectname:\n  data:\n    v: default\n"


@pytest.fixture
def work(box: Box) -> Work:
    return box.app(files={".salt/10_value.sls": SLS, ".salt/PILLAR.sample": SAMPLE})


def test_pillar_takes_effect_with_the_next_deployment(box: Box, work: Work) -> None:
    work.push()
    assert value(box) == "default"
    pillar = box.work(repo="pillar")
    pillar.commit(pillar_of("one"))
    pushed = pillar.push()
    assert pushed.code == 0
    assert pushed.lines == ["hint: stored; it takes effect with the next deployment, or now with: corpus deploy hello"]
    assert box.ref(repo="pillar") == pillar.head
    assert value(box) == "default"
    assert box.row().pillar is None
    assert work.push("HEAD:refs/deploy/now").code == 0
    assert value(box) == "one"
    assert box.row().pillar == pillar.head


def test_pillar_before_the_first_deployment(box: Box, work: Work) -> None:
    pillar = box.work(repo="pillar")
    pillar.commit(pillar_of("one"))
    assert pillar.push().code == 0
    work.push()
    assert value(box) == "one"


def test_pillar_that_is_deployed_at_once(box: Box, work: Work) -> None:
    work.push()
    pillar = box.work(repo="pillar")
    pillar.commit(pillar_of("one"))
    pushed = pillar.push(options=("deploy",))
    assert pushed.code == 0, pushed.text
    assert value(box) == "one"
    assert box.ref(repo="pillar") == box.row().pillar == pillar.head
    assert box.row().code == work.head
    assert box.project().pillar.stat().st_mode & 0o777 == 0o700


def test_setting_deploys_each_pillar(box: Box, work: Work) -> None:
    box.settings("deploy_on_pillar_push: true\n")
    box.stop()
    box.start()
    work.push()
    pillar = box.work(repo="pillar")
    pillar.commit(pillar_of("one"))
    assert pillar.push().code == 0
    assert value(box) == "one"


def test_pillar_that_fails_is_rolled_back_and_its_ref_stays(box: Box, work: Work) -> None:
    fails = "{% if cfg.data.v == 'bad' %}\n" + FAILING + "{% endif %}\n"
    work.commit({".salt/20_maybe.sls": fails})
    work.push()
    pillar = box.work(repo="pillar")
    pillar.commit(pillar_of("good"))
    pillar.push(options=("deploy",))
    good = pillar.head
    pillar.commit(pillar_of("bad"))
    pushed = pillar.push(options=("deploy",))
    assert (pushed.code, pushed.rejected) == (1, "install 20_maybe failed; rolled back")
    assert box.ref(repo="pillar") == box.row().pillar == good
    assert "good" in (box.project().pillar / "init.sls").read_text()
    assert value(box) == "good"


def test_failed_code_brings_the_old_pillar_back(box: Box, work: Work) -> None:
    work.push()
    pillar = box.work(repo="pillar")
    pillar.commit(pillar_of("one"))
    pillar.push()
    work.commit({".salt/20_broken.sls": FAILING})
    assert work.push().code == 1
    assert list(box.project().pillar.iterdir()) == []
    assert value(box) == "default"
    assert box.ref(repo="pillar") == pillar.head


BAD = {
    "YAML": ("a: [1\n", "init.sls line "),
    "Jinja": ("a:\n  {% if %}\n", "init.sls line 2"),
    "no mapping": ("- a\n", "init.sls"),
}


@pytest.mark.parametrize("case", BAD)
def test_pillar_that_does_not_compile_is_not_stored(box: Box, work: Work, case: str) -> None:
    text, reason = BAD[case]
    pillar = box.work(repo="pillar")
    pillar.commit({"init.sls": text})
    pushed = pillar.push()
    assert pushed.code == 1
    assert reason in pushed.rejected
    assert box.ref(repo="pillar") is None
    assert pillar.push(options=("deploy",)).code == 1


def test_pillar_without_init_is_not_stored(box: Box) -> None:
    pillar = box.work(repo="pillar")
    pillar.commit({"other.sls": "a: 1\n"})
    assert pillar.push().rejected == "the pillar has no init.sls"


def test_pillar_needs_a_project_that_is_deployed(box: Box) -> None:
    pillar = box.work(repo="pillar")
    pillar.commit(pillar_of("one"))
    assert pillar.push(options=("deploy",)).rejected == "nothing is deployed yet"
    assert box.ref(repo="pillar") is None


def test_one_project_does_not_see_the_pillar_of_another(box: Box) -> None:
    box.init("other")
    for name in ("hello", "other"):
        pillar = box.work(name, "pillar")
        pillar.commit({"init.sls": f"secret-of-{name}: x\n"})
        assert pillar.push().code == 0
        box.app(name=name, files={".salt/10_see.sls": "see:\n  file.managed:\n    - name: {{ cfg.data_root }}/seen\n"
                                  "    - contents: '{{ pillar.keys()|sort|join(' ') }}'\n"}).push()  # fmt: skip
    seen = (box.project("other").data / "seen").read_text()
    assert "secret-of-other" in seen
    assert "secret-of-hello" not in seen
    top = (box.host.pillar_dir / "top.sls").read_text()
    assert "makina-projects.hello" in top and "makina-projects.other" in top
