"""The page of the API: its document as people read it, each address with its fields and what it answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from corpushooks.web.render import Renderer
from corpushooks.web.sessions import known

Document = Mapping[str, Any]
PATH = "/api"


@dataclass(frozen=True)
class Manual:
    """The page of the API; it is for anyone, as the document is."""

    renderer: Renderer
    document: Document

    def routes(self) -> Iterator[Route]:
        """Yield the route."""
        yield Route(PATH, self.page)

    async def page(self, request: Request) -> Response:
        """Show what can be asked."""
        shown = {
            "entries": entries(self.document), "types": types(self.document),
            "base": self.document["servers"][0]["url"], "origin": str(request.base_url).rstrip("/"),
        }  # fmt: skip
        return self.renderer.page("api.html", {**shown, **known(request)})


@dataclass(frozen=True)
class Field:
    """A field of what is asked, or of a type."""

    name: str
    type: str
    where: str = ""  # path, query, header or body
    needed: bool = False


@dataclass(frozen=True)
class Entry:
    """What can be asked at one address."""

    method: str
    path: str
    does: str
    right: str
    fields: tuple[Field, ...]
    answers: str  # the type of what it answers
    accepted: bool  # it can answer 202, and go on


def entries(document: Document) -> list[Entry]:
    """Return what can be asked, in the order of the document."""
    return [
        Entry(
            method.upper(), path, one["summary"], one["description"], tuple(_asked(one)),
            _answered(one), "202" in one["responses"],
        )
        for path, methods in document["paths"].items()
        for method, one in methods.items()
    ]  # fmt: skip


def types(document: Document) -> dict[str, list[Field]]:
    """Return the types that are named, each with its fields."""
    schemas = document["components"]["schemas"]
    return {name: list(_fields(schemas[name], "")) for name in sorted(schemas)}


def _asked(one: Mapping[str, Any]) -> Iterator[Field]:
    for each in one["parameters"]:
        yield Field(each["name"], spelled(each["schema"]), each["in"], each["required"])
    if "requestBody" in one:
        yield from _fields(one["requestBody"]["content"]["application/json"]["schema"], "body")


def _fields(schema: Mapping[str, Any], where: str) -> Iterator[Field]:
    for name, each in schema.get("properties", {}).items():
        yield Field(name, spelled(each), where, name in schema.get("required", ()))


def _answered(one: Mapping[str, Any]) -> str:
    content = one["responses"]["200"]["content"]
    inner = content.get("application/json")
    return spelled(inner["schema"]) if inner else ", ".join(content)


def spelled(schema: Mapping[str, Any]) -> str:
    """Return a type in a few words: string, Deployment, list of string."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "anyOf" in schema:
        return " or ".join(spelled(each) for each in schema["anyOf"])
    if schema.get("type") == "array":
        parts = schema.get("prefixItems")
        return f"[{', '.join(map(spelled, parts))}]" if parts else f"list of {spelled(schema['items'])}"
    return str(schema.get("type", "anything"))
