"""The page of the API: every address of the document, with its fields and types in words."""

from __future__ import annotations

import re

from corpushooks.operations.routes import ROUTES
from corpushooks.web import manual, openapi

DOCUMENT = openapi.document("/api/v1")


def test_every_address_is_on_it_with_what_it_takes_and_gives() -> None:
    found = manual.entries(DOCUMENT)
    places = {re.sub(r":\w+", "", place) for each in ROUTES.values() for place in each}
    assert {f"{each.method} {each.path}" for each in found} == places
    deploy = next(each for each in found if (each.method, each.path) == ("POST", "/projects/{project}/deployments"))
    fields = {each.name: each for each in deploy.fields}
    assert deploy.accepted and deploy.answers == "Deployment" and deploy.right == "Right: push."
    assert (fields["project"].where, fields["project"].needed) == ("path", True)
    assert (fields["only"].where, fields["only"].needed, fields["only"].type) == ("body", False, "list of string")
    assert fields["Idempotency-Key"].where == "header"
    log = next(each for each in found if each.path.endswith("/log") and "deployments" in each.path)
    assert log.answers == "text/plain, application/jsonl, text/event-stream"


def test_what_is_said_there_has_no_flags_of_the_command() -> None:
    assert not [
        each.does for each in manual.entries(DOCUMENT) if re.search(r"\(-", each.does) and "(-)" not in each.does
    ]


def test_every_type_that_is_named_is_explained() -> None:
    types = manual.types(DOCUMENT)
    named = {each.answers.removeprefix("list of ") for each in manual.entries(DOCUMENT) if each.answers[0].isupper()}
    assert {name for answers in named for name in answers.split(" or ")} <= types.keys()
    assert {each.name: each.type for each in types["Status"]}["live"] == "integer or null"


def test_types_are_spelled_in_words() -> None:
    text = {"type": "string"}
    assert manual.spelled({"type": "array", "prefixItems": [text, {"type": "integer"}]}) == "[string, integer]"
    assert manual.spelled({"type": "array", "items": text}) == "list of string"
    assert manual.spelled({}) == "anything"
