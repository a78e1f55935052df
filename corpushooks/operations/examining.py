"""The operations that look at the host: how it is reached, what runs there, and what doctor finds."""

from __future__ import annotations

import platform
import shutil
from importlib import metadata

from corpushooks import __version__, git
from corpushooks.admin import doctor as doctors
from corpushooks.admin import setup
from corpushooks.admin.doctor import patient
from corpushooks.host import address
from corpushooks.operations.call import Call
from corpushooks.protocol import asks, gives
from corpushooks.reports import places
from corpushooks.reports.report import Report
from corpushooks.system import hostname


def host(call: Call[asks.Nothing]) -> Report:
    """Report how this host is reached, and what it runs."""
    site, settings = call.site, call.site.settings
    room = shutil.disk_usage(site.host.state_dir)
    reached, frozen = settings.address or hostname.fqdn(), site.history.frozen("")
    found = gives.HostOf(
        name=places.name_of(reached.partition(":")[0], call.check), ssh=address.called(settings.account, reached),
        version=__version__, python=platform.python_version(), git=".".join(map(str, git.version())), salt=_salt(),
        engine=settings.engine, system=platform.platform(terse=True), projects=len(site.history.projects()),
        frozen=str(frozen) if frozen else None, free=room.free, total=room.total,
    )  # fmt: skip
    return Report(found, [f"{found.name.name}: corpushooks {found.version}, {found.projects} projects"])


def _salt() -> str:
    """Return the version of the Salt beside us; empty where it is that of another Python."""
    try:
        return metadata.version("salt")
    except metadata.PackageNotFoundError:
        return ""


def doctor(call: Call[asks.Nothing]) -> Report:
    """Report what the checks of doctor find."""
    site = call.site
    found = doctors.examine(patient.admit(site.host, setup.machine_of(site.host)))
    value = [
        gives.Examined(check=each.check, notes=list(each.notes),
                       faults=[gives.Fault(what=one.what, repair=str(one.repair)) for one in each.faults])
        for each in found
    ]  # fmt: skip
    return Report(value, [line for each in found for line in each.lines()])
