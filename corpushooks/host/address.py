"""The addresses of a project's repositories, for pushes."""

from __future__ import annotations

from corpushooks.core.project import Project
from corpushooks.core.settings import Settings
from corpushooks.host.layout import REPOS, repo_path
from corpushooks.system import hostname

URLS = ("code_url", "pillar_url")


def url(project: Project, repo: str, settings: Settings) -> str:
    """Return the URL of a repository of a project."""
    if project.host.embedded:
        return str(repo_path(project, repo))
    end = ".pillar" if repo == "pillar" else ""
    return f"ssh://{settings.account}@{settings.address or hostname.fqdn()}/{project.name}{end}"


def urls(project: Project, settings: Settings) -> dict[str, str]:
    """Return the URLs of the code and the pillar of a project."""
    return dict(zip(URLS, (url(project, repo, settings) for repo in REPOS), strict=True))


def called(account: str, address: str) -> str:
    """Return the ssh arguments for an account at an address: name or name:port."""
    name, _, port = address.partition(":")
    return f"{f'-p {port} ' if port else ''}{account}@{name}"
