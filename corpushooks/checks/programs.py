"""Commands that states run: the programs in a script, and the packages that have them."""

from __future__ import annotations

import itertools
import re

from corpushooks.checks.texts import words

PHP = ("php-common", "php-cli", "php-fpm", "php")
# program -> packages of Debian 12 that have it, the usual one first; empty: none
PROVIDED_BY: dict[str, tuple[str, ...]] = {
    "a2disconf": ("apache2",), "a2dismod": ("apache2",), "a2dissite": ("apache2",), "a2enconf": ("apache2",),
    "a2enmod": ("apache2",), "a2ensite": ("apache2",), "acl": ("acl",), "ant": ("ant",),
    "apache2ctl": ("apache2",), "apachectl": ("apache2",), "bundle": ("ruby-bundler",), "bzip2": ("bzip2",),
    "casperjs": (), "cc": ("gcc", "build-essential"), "circusctl": (), "compass": (), "composer": ("composer",),
    "convert": ("imagemagick",), "createdb": ("postgresql-client", "postgresql"),
    "createuser": ("postgresql-client", "postgresql"), "cron": ("cron",), "crontab": ("cron",), "curl": ("curl",),
    "drush": (), "easy_install": (), "ffmpeg": ("ffmpeg",), "g++": ("g++", "build-essential"),
    "gcc": ("gcc", "build-essential"), "gdal-config": ("libgdal-dev",), "gem": ("ruby",), "getfacl": ("acl",),
    "gettext": ("gettext",), "git": ("git",), "go": ("golang-go",), "grunt": ("grunt",), "hg": ("mercurial",),
    "htpasswd": ("apache2-utils",), "java": ("default-jre-headless", "default-jdk-headless"), "jq": ("jq",),
    "ldapadd": ("ldap-utils",), "ldapsearch": ("ldap-utils",), "locale-gen": ("locales",),
    "lsb_release": ("lsb-release",), "make": ("make", "build-essential"), "mongo": (), "mongod": (),
    "mongodump": (), "msgfmt": ("gettext",), "mvn": ("maven",),
    "mysql": ("mariadb-client", "default-mysql-client", "default-mysql-server", "mariadb-server"),
    "mysqldump": ("mariadb-client", "default-mysql-client", "default-mysql-server", "mariadb-server"),
    "nginx": ("nginx", "nginx-light", "nginx-full", "nginx-extras"), "node": ("nodejs",), "nodejs": ("nodejs",),
    "npm": ("npm",), "ogr2ogr": ("gdal-bin",), "openssl": ("openssl",), "patch": ("patch",),
    "pg_dump": ("postgresql-client", "postgresql"), "pg_restore": ("postgresql-client", "postgresql"),
    "phantomjs": (), "php": ("php-cli", "php", "php-fpm"), "php5": (), "php5enmod": (),
    "phpdismod": PHP, "phpenmod": PHP, "phpquery": PHP, "pip": ("python3-pip",), "pip2": (), "pip3": ("python3-pip",),
    "psql": ("postgresql-client", "postgresql"),
    "python": ("python-is-python3",), "python2": (), "python2.7": (), "python3": ("python3",),
    "rabbitmqctl": ("rabbitmq-server",), "redis-cli": ("redis-tools", "redis-server", "redis"), "rsync": ("rsync",),
    "ruby": ("ruby",), "rvm": (), "sass": ("sassc",), "setfacl": ("acl",), "slapadd": ("slapd",), "sudo": ("sudo",),
    "supervisorctl": ("supervisor",), "svn": ("subversion",), "unzip": ("unzip",), "varnishadm": ("varnish",),
    "virtualenv": ("virtualenv", "python3-virtualenv"), "wget": ("wget",), "wkhtmltopdf": ("wkhtmltopdf",),
    "xsltproc": ("xsltproc",), "yarn": ("yarnpkg",), "zip": ("zip",),
}  # fmt: skip
INSTEAD = {  # programs that Debian 12 lacks -> what to use
    "python2": "use python3", "python2.7": "use python3", "pip2": "use pip in a virtualenv of python3",
    "easy_install": "use pip in a virtualenv", "php5": "use php", "php5enmod": "use phpenmod",
    "mongo": "add MongoDB's own repository", "mongod": "add MongoDB's own repository",
    "mongodump": "add MongoDB's own repository", "phantomjs": "use chromium --headless",
    "casperjs": "use chromium --headless", "drush": "install it with composer, and run vendor/bin/drush",
    "compass": "use sassc", "circusctl": "watchers are units here: systemctl restart circus-NAME",
    "rvm": "use Debian's ruby",
}  # fmt: skip
BUILTINS = frozenset({
    ":", ".", "[", "[[", "alias", "bg", "break", "case", "cd", "command", "continue", "declare", "do", "done",
    "echo", "elif", "else", "esac", "eval", "exec", "exit", "export", "false", "fg", "fi", "for", "function",
    "getopts", "hash", "help", "history", "if", "in", "jobs", "kill", "let", "local", "printf", "pushd", "popd",
    "pwd", "read", "readonly", "return", "select", "set", "shift", "shopt", "source", "test", "then", "time",
    "times", "trap", "true", "type", "typeset", "ulimit", "umask", "unalias", "unset", "until", "wait", "while",
    "{", "}", "!", "]", "]]",
})  # fmt: skip
WRAPPERS = {"sudo": "ugp", "env": "u", "nohup": "", "nice": "n", "time": "", "exec": "a", "command": "", "su": None}
_PROGRAM = re.compile(r"[A-Za-z0-9_.+-]+")
_SPLIT = re.compile(r"&&|\|\||[;|\n]")
_ELSEWHERE = re.compile(r"\s*(?:\.\s|source\s|(?:export\s+)?PATH=)")  # from here on programs are searched elsewhere
_ASSIGNED = re.compile(r"[A-Za-z_]\w*=")


def programs(script: str) -> list[str]:
    """Return the programs that a command line calls by name, as far as can be seen without a shell."""
    script = script.replace("\\\n", " ")
    if "<<" in script:
        script = script.partition("<<")[0]
    script = re.sub(r"'[^']*'|\"[^\"]*\"", lambda found: found[0].replace(";", " ").replace("|", " "), script)
    if re.search(r"\bfunction\b|\(\)|\bcase\b", script):
        return []
    parts = _SPLIT.split(script.replace("\n\n", "\n"))
    found = [_program(part) for part in itertools.takewhile(lambda part: not _ELSEWHERE.match(part), parts)]
    return list(dict.fromkeys(name for name in found if name))


def _program(part: str) -> str:
    """Return the program of a simple command; nothing if it is a builtin, a path, or computed."""
    left = words(part.strip())
    while left:
        word = left.pop(0)
        if _ASSIGNED.match(word) or word in ("if", "then", "else", "elif", "while", "until", "do", "!", "{", "("):
            continue
        if word in WRAPPERS:
            takes = WRAPPERS[word]
            if takes is None:
                return ""
            while left and left[0].startswith("-"):
                option = left.pop(0)
                if len(option) == 2 and option[1] in takes and left:
                    left.pop(0)
            continue
        usual = _PROGRAM.fullmatch(word) and word not in BUILTINS and word[0] != "-"
        return word if usual else ""
    return ""
