"""Check the packages in SLS files: their lines, duplicates, and packages that were renamed."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from corpushooks.checks.finding import Finding
from corpushooks.checks.texts import uncommented

# Names in old releases -> the successor in Debian 12; empty: none. The first match counts.
SUCCESSORS: tuple[tuple[str, str], ...] = (
    (r"python-(imaging|pil)", "python3-pil"),
    (r"python-software-properties", "software-properties-common"),
    (r"python-(mysqldb|mysql)", "python3-mysqldb"),
    (r"python-virtualenv", "python3-virtualenv"),
    (r"python-(dev|all-dev|pip|setuptools|venv|distutils)", r"python3-\1"),
    (r"python(2|2\.\d|3\.[0-9]|3\.10)?-?minimal", "python3-minimal"),
    (r"python(2|2\.\d|3\.[0-9]|3\.10)", "python3"),
    (r"python(2|2\.\d|3\.[0-9]|3\.10)-dev", "python3-dev"),
    (r"libpython(2\.\d)?-dev", "libpython3-dev"),
    (r"python2?-(.+)", r"python3-\1"),
    (r"ipython", "ipython3"),
    (r"php(5|7\.\d|8\.[013])-(mysqlnd|mysql)", "php-mysql"),
    (r"php(5|7\.\d|8\.[013])-apc", "php-apcu"),
    (r"php(5|7\.\d|8\.[013])-sqlite", "php-sqlite3"),
    (r"php(5|7\.\d|8\.[013])-(mcrypt|suhosin|ffmpeg)", ""),
    (r"php(5|7\.\d|8\.[013])-(.+)", r"php-\2"),
    (r"php(5|7\.\d|8\.[013])", "php"),
    (r"php-apc", "php-apcu"),
    (r"libapache2-mod-php(5|7\.\d)", "libapache2-mod-php"),
    (r"libapache2-mod-wsgi", "libapache2-mod-wsgi-py3"),
    (r"libapache2-mod-fastcgi", "libapache2-mod-fcgid"),
    (r"apache2-mpm-.+|apache2\.2-.+", "apache2"),
    (r"apache2-(prefork|threaded)-dev", "apache2-dev"),
    (r"libmysqlclient(15|16)?-dev", "default-libmysqlclient-dev"),
    (r"mysql-(server|client)(-core)?(-\d\.\d)?", r"default-mysql-\1"),
    (r"postgresql-server-dev-\d[\d.]*", "postgresql-server-dev-all"),
    (r"postgresql-contrib-\d[\d.]*", "postgresql-contrib"),
    (r"postgresql-client-\d[\d.]*", "postgresql-client"),
    (r"postgresql-[\d.]+-postgis.*", "postgresql-postgis"),
    (r"postgresql-(8|9|10|11|12|13|14)(\.\d)?", "postgresql"),
    (r"libjpeg62-dev", "libjpeg62-turbo-dev"),
    (r"libjpeg-turbo8(-dev)?", r"libjpeg62-turbo\1"),
    (r"libjpeg8", "libjpeg62-turbo"),
    (r"libjpeg8-dev", "libjpeg-dev"),
    (r"libpng12(-dev|-0)?|libpng3", "libpng-dev"),
    (r"libtiff[45](-alt)?-dev", "libtiff-dev"),
    (r"libtiff[45]", "libtiff6"),
    (r"libwebp[2-6]", "libwebp7"),
    (r"libreadline[56](-dev)?", "libreadline-dev"),
    (r"libncursesw5-dev|ncurses-dev", "libncurses-dev"),
    (r"libfreetype6-dev", "libfreetype-dev"),
    (r"libgdal1?-dev|libgdal1.*", "libgdal-dev"),
    (r"libgeos-c1", "libgeos-c1v5"),
    (r"libgeos-3\.\S+", "libgeos-dev"),
    (r"libproj0", "libproj25"),
    (r"libldap-2\.4-2", "libldap-2.5-0"),
    (r"libsqlite0(-dev)?", "libsqlite3-dev"),
    (r"libzmq-dev", "libzmq3-dev"),
    (r"libgd-gd2-perl", "libgd-perl"),
    (r"libgraphicsmagick3", "libgraphicsmagick-q16-3"),
    (r"libmagickcore[45]", "libmagickcore-6.q16-6"),
    (r"(tcl|tk)8\.[0-5](-dev)?", r"\1\2"),
    (r"cython", "cython3"),
    (r"e2fslibs-dev", "libext2fs-dev"),
    (r"libssl(0\.9\.8|1\.0\.\d|1\.1)", "libssl3"),
    (r"libdb4\.\d(-dev)?|libdb5\.1-dev", "libdb-dev"),
    (r"libopenjpeg-dev", "libopenjp2-7-dev"),
    (r"libopenjpeg2", "libopenjp2-7"),
    (r"libgraphicsmagick1-dev|libmagickwand\d-dev", "libmagickwand-dev"),
    (r"libcurl3(-dev)?", "libcurl4-openssl-dev"),
    (r"libcurl-dev", "libcurl4-openssl-dev"),
    (r"liblcms1?(-dev)?", "liblcms2-dev"),
    (r"openjdk-([6-9]|1[0-6])-(jdk|jre)(-headless)?", r"default-\2\3"),
    (r"(sun|oracle)-java.*", "default-jdk"),
    (r"tomcat[5-9]", "tomcat10"),
    (r"ttf-indic-fonts-core", "fonts-indic"),
    (r"ttf-tamil-fonts", "fonts-taml"),
    (r"ttf-kannada-fonts", "fonts-knda"),
    (r"ttf-unifont", "fonts-unifont"),
    (r"fonts-droid", "fonts-droid-fallback"),
    (r"firefox", "firefox-esr"),
    (r"ttf-(dejavu|liberation|freefont)(-.+)?", r"fonts-\1\2"),
    (r"nodejs-legacy", "nodejs"),
    (r"chromium-browser", "chromium"),
    (r"libav-tools", "ffmpeg"),
    (r"git-core", "git"),
    (r"netcat", "netcat-openbsd"),
    (r"xpdf(-utils)?", "poppler-utils"),
    (r"awk", "gawk"),
    (r"ruby[12]\.\S+-dev", "ruby-dev"),
    (r"ruby[12]\.\S+|rubygems", "ruby"),
    (r"redis", "redis-server"),
    (r"mongodb.*|mongo|phantomjs|casperjs|rvm|solr-(tomcat|jetty)|xlhtml|ruby-compass", ""),
)
_RULES = tuple((re.compile(pattern), successor) for pattern, successor in SUCCESSORS)

NAME = r"[A-Za-z0-9][A-Za-z0-9+.:_-]*"
_LIST = re.compile(r"^(\s*)-?\s*(pkgs|names)\s*:\s*(\[.*\]|)\s*(?:#.*)?$")
_ITEM = re.compile(rf"^(\s*)-\s+(['\"]?)({NAME})\2\s*(?::\s*(['\"]?)([^'\"#{{}}]+?)\4)?\s*(?:[#{{].*)?$")
_STATE = re.compile(r"^\s*pkg(?:\.(?:installed|latest|\{\{.*?\}\}))?\s*:\s*(?:#.*)?$")
_SINGLE = re.compile(rf"^(\s*)-\s+name\s*:\s*(['\"]?)({NAME})\2\s*(?:#.*)?$")
_OPENS = re.compile(r"{%-?\s*(?:if|for)\b")
_CLOSES = re.compile(r"{%-?\s*end(?:if|for)\b")
# Other sources of packages than the host's lists.
_OTHER_SOURCE = re.compile(r"pkgrepo|sources\.list|apt-add-repository|add-apt-repository|ppa:|dpkg\s+-i|deb\s+https?:")


@dataclass(frozen=True)
class Named:
    """A package named in a text."""

    name: str
    line: int
    block: int  # of names in one list
    version: str = ""
    conditional: bool = False  # within {% if %} or {% for %}


def declared(text: str) -> list[Named]:
    """Return the packages that an SLS file names literally, without the results of Jinja."""
    return list(_declared(uncommented(text).splitlines()))


def _declared(lines: list[str]) -> Iterator[Named]:
    block, margin, depth, in_state, state_margin = 0, -1, 0, False, 0
    for number, line in enumerate(lines, 1):
        indent = len(line) - len(line.lstrip())
        if line.strip() and not line.lstrip().startswith(("#", "{%", "{#")):
            if state := _STATE.match(line):
                in_state, state_margin = bool(state), indent
            elif indent <= state_margin:
                in_state = False
            if indent <= margin:
                margin = -1
        started = _LIST.match(line) if in_state else None
        if started:
            block, margin = block + 1, indent
            for name in re.findall(NAME, started[3]):
                yield Named(name, number, block, conditional=depth > 0)
        elif in_state and (single := _SINGLE.match(line)):
            yield Named(single[3], number, (block := block + 1), conditional=depth > 0)
        elif margin >= 0 and (item := _ITEM.match(line)) and len(item[1]) > margin:
            yield Named(item[3], number, block, (item[5] or "").strip(), depth > 0)
        depth = max(0, depth + len(_OPENS.findall(line)) - len(_CLOSES.findall(line)))


def adds_sources(texts: Iterable[str]) -> bool:
    """Return whether files of a project add sources of packages that are not in the host's lists yet."""
    return any(_OTHER_SOURCE.search(uncommented(text)) for text in texts)


def successor(name: str) -> str | None:
    """Return the name of an old package in Debian 12: "" if it is gone, None if unknown."""
    for pattern, replacement in _RULES:
        if found := pattern.fullmatch(name):
            return found.expand(replacement)
    return None


def doubled(file: str, text: str) -> list[Finding]:
    """Find duplicate packages in one state, if they are literal and unconditional."""
    found: dict[tuple[int, str], Named] = {}
    said = []
    for each in declared(text):
        if each.conditional:
            continue
        first = found.setdefault((each.block, each.name), each)
        if first is not each:
            said.append(twice(file, each.line, each.name, {first.version, each.version} - {""}))
    return said


def twice(file: str, line: int | None, name: str, versions: Collection[str]) -> Finding:
    if len(versions) > 1:
        wanted = " and ".join(sorted(versions))
        return Finding("versions", file, line, f"duplicate package {name} with versions {wanted}", "keep one")
    return Finding("doubled", file, line, f"duplicate package {name} in this state", "it is installed once")


def judged(file: str, line: int | None, name: str, known: Collection[str] | None, *, sure: bool) -> Finding | None:
    """Return the problem with the name of a package.

    `known` are the looked-up names that have a candidate here (None: there are no lists); `sure`: nothing in the
    project can add others.
    """
    next_name = successor(name)
    if known is None:
        if next_name is None or next_name == name:
            return None
        return Finding("gone", file, line, f"Debian 12 has no package {name}", _advice(next_name))
    if name in known or name.partition(":")[0] in known:
        return None
    usable = next_name if next_name in known or next_name == "" else None
    what = f"package {name} has no candidate on this host"
    return Finding("package" if sure else "absent", file, line, what, _advice(usable))


def _advice(name: str | None) -> str:
    if name:
        return f"use {name}"
    return "it has no successor" if name == "" else "correct its name, or run apt-get update if the lists are old"


def asked(names: Iterable[str]) -> set[str]:
    """Return the names to look up: those that are used, and their successors."""
    used = {name.partition(":")[0] for name in names}
    return used | {found for name in used if (found := successor(name))}
