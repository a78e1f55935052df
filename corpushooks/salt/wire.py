"""The configurations of a Salt master and of a minion that carry the orders of a controller, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from corpushooks.salt.configuration import DUMPER

NODE_MODULES = Path(__file__).parent / "node"  # what a minion loads of us
NODE_MODULE = "corpus_node"
MASTER_PORTS = 4505, 4506
MASTER_FILE, MINION_FILE = "master", "minion"  # the names of the files of configuration
ALL = "0.0.0.0"  # every address of this machine
HEAD = "# Written by the setup of corpushooks. What is changed here stays as it is.\n"


def master_configuration(
    folder: Path, rest: Path, run: Path, user: str, interface: str = ALL, ports: tuple[int, int] = MASTER_PORTS
) -> dict[str, Any]:
    """Return the configuration of a master: its keys are in a folder, its sockets in `run`, what it can lose in `rest`.

    Minions get nothing from it but published jobs: no files, no pillar, no word to each other. No account but its own
    can publish. Nothing is kept of jobs: their outcome is in the journals of the nodes.
    """
    return {
        "interface": interface, "publish_port": ports[0], "ret_port": ports[1], "user": user,
        "ipv6": ":" in interface,
        **_places(folder, rest, run, MASTER_FILE),
        "key_logfile": str(rest / "log/key"), "token_dir": str(rest / "tokens"),
        "sqlite_queue_dir": str(rest / "queues"), "syndic_dir": str(rest / "syndics"),
        "open_mode": False, "auto_accept": False, "autosign_timeout": 0,
        "publisher_acl": {}, "publisher_acl_blacklist": {}, "external_auth": {}, "sudo_acl": False,
        "peer": {}, "peer_run": {}, "reactor": [], "engines": [], "schedule": {}, "presence_events": False,
        "file_recv": False, "allow_minion_key_revoke": False, "rotate_aes_key": True,
        "file_roots": {"base": [str(rest / "empty")]}, "pillar_roots": {"base": [str(rest / "empty")]},
        "ext_pillar": [], "master_tops": {}, "enable_ssh_minions": False,
        "job_cache": False, "minion_data_cache": False, "keep_jobs_seconds": 600,
        "worker_threads": 3, "sign_pub_messages": True, "enforce_mine_cache": False,
        "log_level": "warning", "log_level_logfile": "warning",
    }  # fmt: skip


def minion_configuration(
    name: str, folder: Path, rest: Path, run: Path, user: str, to: str, finger: str, ours: Mapping[str, str],
    ports: tuple[int, int] = MASTER_PORTS,
) -> dict[str, Any]:  # fmt: skip
    """Return the configuration of a minion that connects to a master with this fingerprint, and loads our module only.

    `ours` tells the module where the daemon is, and which controller comes by this master.
    """
    return {
        "id": name, "master": to, "publish_port": ports[0], "master_port": ports[1], "user": user,
        "ipv6": ":" in to, "master_finger": finger,
        **_places(folder, rest, run, MINION_FILE),
        "module_dirs": [str(NODE_MODULES)], "corpushooks": dict(ours), "whitelist_modules": [NODE_MODULE],
        "multiprocessing": False,  # a thread for each order costs little
        "acceptance_wait_time": 2, "acceptance_wait_time_max": 10, "auth_timeout": 5, "auth_tries": 3,
        "rejected_retry": True,
        "random_reauth_delay": 2, "recon_default": 500, "recon_max": 3000, "recon_randomize": True,
        "tcp_keepalive_idle": 30, "master_tries": -1, "retry_dns": 10,
        "ping_interval": 0, "master_alive_interval": 0, "mine_enabled": False, "schedule": {}, "beacons": {},
        "startup_states": "", "autoload_dynamic_modules": False, "start_event_grains": [],
        "enable_legacy_startup_events": False, "grains_cache": False, "grains": {},
        "enable_fqdns_grains": False, "enable_gpu_grains": False, "cython_enable": False, "enable_zip_modules": False,
        "return_retry_timer": 2, "return_retry_timer_max": 5, "return_retry_tries": 3,
        "log_level": "warning", "log_level_logfile": "warning",
    }  # fmt: skip


def _places(folder: Path, rest: Path, run: Path, name: str) -> dict[str, Any]:
    return {
        "root_dir": "/", "conf_file": str(folder / name), "pki_dir": str(folder / "pki"),
        "cachedir": str(rest / "cache"), "extension_modules": str(rest / "cache/extmods"),
        "sock_dir": str(run), "pidfile": str(run / f"{name}.pid"), "log_file": str(rest / f"log/{name}"),
        "default_include": "", "enable_lspci": False,
    }  # fmt: skip


def wire_text(content: Mapping[str, Any]) -> str:
    """Return a configuration as the text of its file."""
    text: str = yaml.dump(dict(content), Dumper=DUMPER, sort_keys=False)
    return HEAD + text


def read_wire(path: Path) -> dict[str, Any] | None:
    """Return a configuration that was written; None if there is none."""
    try:
        found = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError):
        return None
    return found if isinstance(found, dict) else None
