#!/bin/sh
# See that this system has the programs that the tests run (and those that are named, which their packages are called
# after); install what is missing where that is ours to do.
set -eu

missing=
need() { # PROGRAM PACKAGE
    PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null || missing="$missing $2"
}

keep_services_down() { # a package must start no service: a policy of our own, where nobody has one
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ] && [ ! -L "$policy" ]; then
        trap 'rm -f "$policy"' EXIT
        trap 'exit 130' INT TERM
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
}

install() {
    keep_services_down
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update >/dev/null
    apt-get -qq install --yes --no-install-recommends "$@" </dev/null >/dev/null 2>&1
}

need git git
need setfacl acl
need borg borgbackup
need rsync rsync
need sqlite3 sqlite3
need strace strace
need nft nftables
need ssh openssh-client
need sshd openssh-server
need systemd-analyze systemd
need nginx nginx-light
need slapd slapd
need psql postgresql-client
need mariadbd mariadb-server
need chromium chromium
[ -d /usr/share/fonts/truetype/dejavu ] || missing="$missing fonts-dejavu-core"
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"
for program in "$@"; do
    case $program in
    systemd-nspawn) need systemd-nspawn systemd-container ;;
    *) need "$program" "$program" ;;
    esac
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    echo "The tests need:$missing (installed now, quietly; no service is started)"
    # shellcheck disable=SC2086  # one word per package
    install $missing && exit 0
fi
echo "The tests need:$missing; as root: apt-get install$missing" >&2
exit 1
