"""What is judged of a project's files: values in, findings out."""

from __future__ import annotations

import pytest

from corpushooks.checks import fixes, keys, packages, programs, sent, states, texts
from corpushooks.checks.finding import KINDS, Finding, errors, ordered

PREREQS = """\
{% set cfg = opts.ms_project %}
prepreqs-{{cfg.name}}:
  pkg.installed:
    - pkgs:
      - git
      - "python-dev"   # for psycopg2
      {% if grains['os'] == 'Ubuntu' %}
      - git
      - python-imaging
      {% endif %}
      - libxml2-dev: 2.9
      - git
      - {{ other }}
    - require:
      - mc_proxy: before
client:
  pkg.latest:
    - name: libmysqlclient-dev
several:
  pkg.installed:
    - pkgs: [php5-cli, php5-gd, php5-cli]
not-a-package:
  cmd.run:
    - names:
      - python-dev
"""


def said(findings: list[Finding]) -> list[tuple[str, int | None, str]]:
    return [(each.kind, each.line, each.what) for each in findings]


# packages


def test_packages_are_found_where_a_text_names_them() -> None:
    found = [(each.name, each.line, each.conditional) for each in packages.declared(PREREQS)]
    assert found == [
        ("git", 5, False), ("python-dev", 6, False), ("git", 8, True), ("python-imaging", 9, True),
        ("libxml2-dev", 11, False), ("git", 12, False), ("libmysqlclient-dev", 18, False), ("php5-cli", 21, False),
        ("php5-gd", 21, False), ("php5-cli", 21, False),
    ]  # fmt: skip
    mode = "a:\n  pkg.{{ salt['mc_pkgs.settings']()['installmode'] }}:\n    - pkgs:\n      - vim\n"
    assert packages.declared(mode)[0].name == "vim"
    required = (
        "a:\n  pkg.installed:\n    - require:\n      - pkg: b\n    - pkgs:\n      - c\n{#\n      - d\n#}\n      - e\n"
    )
    assert [(each.name, each.line) for each in packages.declared(required)] == [("c", 6), ("e", 10)]
    assert packages.declared("a:\n  pkg:\n    - installed\n    - pkgs:\n      - vim\n")[0].name == "vim"


def test_a_package_named_twice_in_one_state() -> None:
    assert said(packages.doubled("a.sls", PREREQS)) == [
        ("doubled", 12, "duplicate package git in this state"),
        ("doubled", 21, "duplicate package php5-cli in this state"),
    ]
    text = "a:\n  pkg.installed:\n    - pkgs:\n      - x: 1.0\n      - x: 2.0\n      - y\n      - y: 1\n"
    assert said(packages.doubled("a.sls", text)) == [
        ("versions", 5, "duplicate package x with versions 1.0 and 2.0"),
        ("doubled", 7, "duplicate package y in this state"),
    ]
    two_states = "a:\n  pkg.installed:\n    - pkgs:\n      - x\nb:\n  pkg.installed:\n    - pkgs:\n      - x\n"
    assert packages.doubled("a.sls", two_states) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("python-dev", "python3-dev"), ("python-lxml", "python3-lxml"), ("python2.7-dev", "python3-dev"),
        ("python2.7", "python3"), ("python-imaging", "python3-pil"), ("php5-mysql", "php-mysql"), ("php5", "php"),
        ("php7.0-fpm", "php-fpm"), ("php5-mcrypt", ""), ("libapache2-mod-php5", "libapache2-mod-php"),
        ("libmysqlclient-dev", "default-libmysqlclient-dev"), ("mysql-server", "default-mysql-server"),
        ("mysql-client-5.5", "default-mysql-client"), ("postgresql-9.4", "postgresql"),
        ("postgresql-server-dev-9.3", "postgresql-server-dev-all"), ("libjpeg8-dev", "libjpeg-dev"),
        ("libtiff5", "libtiff6"), ("libtiff5-dev", "libtiff-dev"), ("tcl8.5-dev", "tcl-dev"),
        ("ruby1.9.1-dev", "ruby-dev"), ("php5-sqlite", "php-sqlite3"), ("cython", "cython3"),
        ("openjdk-7-jre-headless", "default-jre-headless"), ("ttf-dejavu", "fonts-dejavu"), ("mongodb-org", ""),
        ("nginx", None), ("python3-dev", None), ("php-cli", None), ("libxml2-dev", None), ("php8.2-fpm", None),
    ],
)  # fmt: skip
def test_what_an_old_package_is_called_now(old: str, new: str | None) -> None:
    assert packages.successor(old) == new


def test_no_successor_has_a_successor() -> None:
    for pattern, successor in packages.SUCCESSORS:
        plain = successor.replace("\\1", "x").replace("\\2", "x").replace("\\3", "")
        assert plain == "" or packages.successor(plain) in (None, plain), pattern


def test_packages_without_a_candidate() -> None:
    known = {"git", "python3-dev"}

    def judged(name: str, known: set[str] | None, *, sure: bool = True) -> tuple[str, str] | None:
        found = packages.judged("a.sls", 1, name, known, sure=sure)
        return (found.kind, found.help) if found else None

    assert judged("git", known) is None and judged("git:amd64", known) is None
    assert judged("python-dev", known) == ("package", "use python3-dev")
    assert judged("python-dev", known, sure=False) == ("absent", "use python3-dev")
    assert judged("php5-gd", known) == ("package", "correct its name, or run apt-get update if the lists are old")
    assert judged("mongodb", known) == ("package", "it has no successor")
    assert judged("python-dev", None) == ("gone", "use python3-dev")
    assert judged("anything", None) is None
    assert packages.asked(["python-dev", "a:i386"]) == {"python-dev", "python3-dev", "a"}


def test_what_may_bring_other_packages() -> None:
    assert packages.adds_sources(["a:\n  pkgrepo.managed: []\n"])
    assert packages.adds_sources(["- name: /etc/apt/sources.list.d/x.list\n"])
    assert not packages.adds_sources([PREREQS])


# resetperms


def test_options_of_resetperms_that_it_does_not_have() -> None:
    text = (
        "a:\n  cmd.run:\n    - name: |\n        {{locs.resetperms}} --no-acls -q -o --path x \\\n"
        "          --wrong --users w:--x \"--quoted\" --user '--u' \n"
        "        ls --users a:--x --color\n# resetperms --comment\n"
        '        if true; then "{{locs.resetperms}}" --no; fi; cp --archive a b\n'
    )
    assert said(texts.resetperms("fixperms.sls", text)) == [
        ("option", 5, "resetperms has no option --wrong"),
        ("option", 8, "resetperms has no option --no"),
    ]


def test_the_options_known_here_are_those_of_the_program() -> None:
    from corpushooks.makina.resetperms import parser

    made = parser().option_list
    assert {name for option in made for name in option._long_opts} == {*texts.VALUED, *texts.FLAGS}
    assert {name[1] for option in made for name in option._short_opts} == texts.SHORT


# bytes


def test_what_is_not_utf_8() -> None:
    found = texts.encoding(".salt/a.sls", "a: 1\nb: café\n".encode("latin-1"))
    assert found and str(found) == "a.sls line 2: not UTF-8 (byte 0xe9)"
    assert texts.encoding("a.sls", "café".encode()) is None
    wide = texts.encoding("a.sls", "a: 1\n".encode("utf-16-le"))
    assert wide and (wide.line, wide.what) == (1, "not UTF-8 (byte 0x00)")
    found = texts.encoding(".salt/a.sls", texts.POINTER + b"v1\noid sha256:1\nsize 1\n")
    assert found and found.what == "an LFS pointer, not the file itself"


# commands


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("drush cc all", ["drush"]),
        ("cd /srv && sudo -u www-data drush cc all | grep x; FOO=1 pip install y", ["drush", "grep", "pip"]),
        ("set -e\nls\n. venv/bin/activate\npython manage.py \\\n  migrate", ["ls"]),
        (". bin/activate && pip install x", []), ("cd x; source bin/activate; pip list", []),
        ("rm y && export PATH=/opt/x:$PATH && thing", ["rm"]), ("PATH=/opt/x thing", []), ("PATHS=1 thing", ["thing"]),
        ("if [ -e x ];then rm y; fi", ["rm"]),
        ("env LANG=C nice -n 10 rsync a b", ["rsync"]),
        ("/usr/bin/thing x", []), ("bin/buildout", []), ("$PYTHON x", []), ("for i in a b; do echo $i; done", []),
        ("cat <<EOF\nnot a command\nEOF", ["cat"]), ("echo 'a; b'", []), ("x() { y; }", []), ("echo 'unclosed", []),
    ],
)  # fmt: skip
def test_programs_of_a_command_line(script: str, found: list[str]) -> None:
    assert programs.programs(script) == found


def rendered(function: str, **arguments: object) -> states.Rendered:
    return states.Rendered("a", function, dict(arguments), ".salt/a.sls", 1, lambda text: None)


def test_commands_that_are_not_here_and_that_nothing_brings() -> None:
    every = [rendered("cmd.run", name="drush cc && psql -l && ls && special"), rendered("file.managed", name="drush")]
    found = list(states.commands(every, {"ls"}.__contains__, {"postgresql-client"}))
    assert [(each.what, each.help) for each in found] == [
        ("command drush not found on this host", "install it with composer, and run vendor/bin/drush"),
        ("command special not found on this host", "provide it by a file or a package of the project"),
    ]


# states


def test_files_of_salt_that_do_not_exist() -> None:
    there = {"makina-projects/x/a.conf"}.__contains__
    every = [
        rendered("file.managed", source="salt://makina-projects/x/a.conf"),
        rendered("file.managed", source="salt://makina-projects/x/b.conf"),
        rendered("file.managed", source=["salt://makina-projects/x/b.conf", "salt://makina-projects/x/a.conf"]),
        rendered("archive.extracted", source="https://example.org/a.tgz"),
        rendered("file.recurse", source="salt://makina-projects/x/gone?saltenv=base"),
    ]
    assert [each.what for each in states.sources(every, there)] == [
        "salt://makina-projects/x/b.conf does not exist", "salt://makina-projects/x/gone does not exist",
    ]  # fmt: skip


def test_packages_that_jinja_named_twice() -> None:
    every = [
        rendered("pkg.installed", pkgs=["a", {"b": "1"}, "a:amd64", {"b": "2"}]),
        rendered("pkg.installed", name="c"),
    ]
    assert said(list(states.doubled(every))) == [
        ("doubled", 1, "duplicate package a in this state"),
        ("versions", 1, "duplicate package b with versions 1 and 2"),
    ]
    assert [name for _, name, _ in states.packages(every)] == ["a", "b", "a:amd64", "b", "c"]
    conditional = [rendered("pkg.installed", name="gone", unless="true")]
    (found,) = states.installed(conditional, set(), sure=True, among={"gone"})
    assert found.kind == "absent"


# keys


READERS = keys.Readers("shop", {"data", "keep_archives", "env_defaults"}, {"custom"}.__contains__, {"port", "domain"})


def unread(text: str, *, any_project: bool = False) -> list[tuple[int | None, str, str]]:
    found = keys.unread("pillar/init.sls", text, READERS, any_project=any_project)
    return [(each.line, each.what, each.help) for each in found]


def test_keys_of_another_project() -> None:
    text = "makina-projects.projectname:\n  data:\n    port: 1\n"
    assert unread(text) == [
        (1, "nothing reads makina-projects.projectname: this project is shop", "rename it to makina-projects.shop"),
        (None, "it has nothing for the project shop", "use the key makina-projects.shop"),
    ]
    assert unread(text, any_project=True) == []
    assert len(unread(f"{text}other: 1\n")) == 1  # an SLS may read that
    assert len(unread(f"{text}include:\n  - more\n")) == 1
    assert unread("makina-projects:\n  shop:\n    data: {}\n") == []
    assert [each[0] for each in unread("makina-projects:\n  blog:\n    data: {}\n")] == [2, None]
    assert unread("makina-projects.shop.data.port: 1\n") == []


def test_misspelt_keys_and_the_nearest_name() -> None:
    assert unread("makina-project.shop:\n  data:\n    port: 1\nmakina-projects.shop: {}\n") == [
        (1, "nothing reads makina-project.shop", "did you mean makina-projects.shop?")
    ]
    assert unread("makina-project.shop:\n  data:\n    port: 1\n")[-1][1] == "it has nothing for the project shop"
    text = "makina-projects.shop:\n  dta:\n    x: 1\n  keep_archive: 3\n  custom: 1\n  colour: red\n"
    assert unread(text) == [
        (2, "nothing reads the key dta", "did you mean data?"),
        (4, "nothing reads the key keep_archive", "did you mean keep_archives?"),
        (6, "nothing reads the key colour", "variables of the project belong below data"),
    ]
    assert unread("makina-projects.shop:\n  data:\n    potr: 1\n    port: 2\n    free: 3\n") == [
        (3, "nothing reads data.potr", "did you mean port?")
    ]


def test_text_and_jinja_are_no_keys() -> None:
    assert keys.keys("{#\nmakina-projects.blog:\n  x: 1\n#}\na: 1\n") == [keys.Key(5, ("a",))]
    text = "a: |\n  makina-projects.blog:\n    x: 1\n{% if x %}\nb: 1\n{% endif %}\nc:\n  - d: 1\n# e: 1\n"
    assert [key.path for key in keys.keys(text)] == [("a",), ("b",), ("c",)]
    assert keys.data_keys("makina-projects.x:\n  data:\n    a: 1\n    b:\n      c: 1\n") == {"a", "b"}


# what git sends


def test_a_salt_folder_that_is_none() -> None:
    for mode, word in ((sent.SUBMODULE, "submodule"), (sent.LINK, "symbolic link")):
        (found,) = sent.of_commit({".salt": mode}, {}, "prod")
        assert found.is_error and word in found.what


def test_submodules_and_filters_are_named() -> None:
    attributes = {".gitattributes": "# *.x filter=none\n*.psd filter=lfs diff=lfs -text\nsecret/** filter=git-crypt\n"}
    found = sent.of_commit({"lib": sent.SUBMODULE, ".salt/a.sls": 0o100644}, attributes, "prod")
    assert [(each.file, each.line, each.kind) for each in found] == [
        ("lib", None, "submodule"), (".gitattributes", 2, "filter"), (".gitattributes", 3, "filter"),
    ]  # fmt: skip
    assert "*.psd has the filter lfs" in found[1].what and "git-crypt" in found[2].what


def test_files_and_folders_that_look_as_if_they_were_read() -> None:
    modes = dict.fromkeys((".salt/00_a.sls", ".salt/10_b.SLS", ".salt/pillar.sample", ".salt/staging/00_a.sls",
                           ".salt/include/a.sls"), 0o100644)  # fmt: skip
    found = sent.of_commit(modes, {}, "prod")
    assert [(each.file, each.help) for each in found] == [
        (".salt/10_b.SLS", "rename it to 10_b.sls"), (".salt/pillar.sample", "rename it to PILLAR.sample"),
        (".salt/staging", "the folder of this environment would be .salt/prod"),
    ]  # fmt: skip
    assert not [
        each for each in sent.of_commit({**modes, ".salt/prod/00_a.sls": 0}, {}, "prod") if "staging" in each.file
    ]


def test_files_that_are_not_sent() -> None:
    few = sent.Sent({}, untracked=(".salt/a.sls",), ignored=(".salt/b.sls",), changed=(".salt/c.sls",))
    assert [(each.file, each.help) for each in sent.of_folder(few)] == [
        (".salt/a.sls", "git add .salt/a.sls"), (".salt/b.sls", "git add -f .salt/b.sls"),
        (".salt/c.sls", "git commit .salt/c.sls"),
    ]  # fmt: skip
    (many,) = sent.of_folder(sent.Sent({}, untracked=tuple(f".salt/{n}.sls" for n in range(9))))
    assert many.what.startswith("9 files are not in git (0.sls, 1.sls, 2.sls, …)")


def test_states_under_a_condition() -> None:
    text = "a:\n  x.y:\n    - unless: z\n    - source: salt://a/b\n{{ c }}:\n  x.y:\n    - source: salt://c/d\n"
    assert texts.guarded(text) == {1, 2, 3, 4}
    assert texts.sources(text, "shop") == [(7, "c/d")]


# fixes


def test_what_a_program_can_rewrite() -> None:
    fixed = fixes.fix(PREREQS, None)
    changed = set(fixed.splitlines()) - set(PREREQS.splitlines())
    assert changed == {
        '      - "python3-dev"   # for psycopg2', "      - python3-pil", "    - name: default-libmysqlclient-dev",
        "    - pkgs: [php-cli, php-gd]",
    }  # fmt: skip
    assert fixed.count("- git\n") == 2  # the one under a condition stays
    assert fixes.fix(fixed, None) == fixed
    assert fixes.fix(PREREQS, {"git"}).count("python-dev") == 2  # no candidate for the new name either
    text = "a:\n  cmd.run:\n    - name: resetperms --no-acl --path x --user y\n"
    assert "resetperms --no-acls --paths x --user y\n" in fixes.fix(text, None)
    assert fixes.fix("a:\r\n  test.nop: []\r\n", None) == "a:\r\n  test.nop: []\r\n"


# findings


def test_every_kind_has_a_severity_and_a_meaning() -> None:
    assert {each.severity for each in KINDS.values()} == {"error", "warning"}
    assert all(each.means and each.helps for each in KINDS.values())


def test_findings_are_ordered_and_said_once() -> None:
    one = Finding("absent", ".salt/b.sls", 2, "package x has no candidate on this host")
    two = Finding("package", ".salt/b.sls", 2, "package x has no candidate on this host")
    three = Finding("name", ".salt/a.sls", None, "wrong", "right it")
    assert ordered([one, two, three, two]) == [three, two]
    assert errors([one, two]) == [two]
    assert (three.text, str(two)) == ("a.sls: wrong; right it", f"b.sls line 2: {two.what}")
    assert three.as_json() == {
        "file": ".salt/a.sls", "line": None, "kind": "name", "severity": "error", "what": "wrong", "help": "right it",
    }  # fmt: skip


# what a text includes and copies


def test_files_that_a_text_names_whatever_jinja_decides() -> None:
    text = (
        "{% set cfg = opts.ms_project %}\ninclude:\n  - makina-projects.{{cfg.name}}.include.a\n  - makina-states.x\n"
        "{% if y %}\n  - makina-states.y\n{% endif %}\n  - {{ z }}.b\na:\n  file.managed:\n"
        "    - source: salt://makina-projects/{{ cfg.name }}/files/a.conf\n"
        "    # - source: salt://makina-projects/{{cfg.name}}/files/b.conf\n"
        "    - source: salt://{{ c }}/d\n    - contents: salt://no/source\n    - list:\n      - c\n"
    )
    assert texts.includes(text, "shop") == [(3, "makina-projects.shop.include.a"), (4, "makina-states.x")]
    assert texts.sources(text, "shop") == [(11, "makina-projects/shop/files/a.conf")]
