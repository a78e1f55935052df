"""A small provider of OpenID Connect on loopback, which can be made to lie."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlsplit

from authlib.oauth2.rfc7636 import create_s256_code_challenge
from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT, SECRET = "corpus", "client secret+/"
Claims = dict[str, Any]


@dataclass
class Provider:
    """What it knows: who signed in, and how it answers."""

    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "one", "use": "sig", "alg": "RS256"}))
    port: int = 0
    codes: dict[str, tuple[Claims, dict[str, str]]] = field(default_factory=dict)
    about: Claims = field(default_factory=dict)  # what it says of itself otherwise
    change: Callable[[Claims], Claims] = lambda claims: claims
    sign: Callable[[Provider, Claims], str] | None = None
    asked: list[str] = field(default_factory=list)

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def truth(self) -> None:
        """Say the truth again."""
        self.about, self.change, self.sign = {}, lambda claims: claims, None

    def discovery(self) -> Claims:
        return {
            "issuer": self.issuer, "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token", "jwks_uri": f"{self.issuer}/keys",
            "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"], **self.about,
        }  # fmt: skip

    def approve(self, url: str, sub: str, *groups: str, **claims: Any) -> str:
        """Sign in somebody whose browser was sent to an address; return the path that it is sent back to."""
        parts = urlsplit(url)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        assert f"{parts.scheme}://{parts.netloc}{parts.path}" == f"{self.issuer}/authorize"
        assert (query["response_type"], query["client_id"], query["code_challenge_method"]) == ("code", CLIENT, "S256")
        assert "openid" in query["scope"].split()
        code = secrets.token_urlsafe(8)
        self.codes[code] = ({"sub": sub, "groups": list(groups), "nonce": query["nonce"], **claims}, query)
        back = urlsplit(query["redirect_uri"])
        return f"{back.path}?code={code}&state={query['state']}"

    def token(self, form: dict[str, str], authorization: str) -> Claims | None:
        """Return what a code gives, once; nothing where something is not as it was asked for."""
        kind, _, pair = authorization.partition(" ")
        name, _, secret = base64.b64decode(pair).decode().partition(":") if kind == "Basic" else ("", "", "")
        known = (unquote_plus(name), unquote_plus(secret)) == (CLIENT, SECRET)
        claims, query = self.codes.pop(form.get("code", ""), ({}, {}))
        right = query and create_s256_code_challenge(form.get("code_verifier", "")) == query["code_challenge"]
        if not (known and right and form.get("redirect_uri") == query["redirect_uri"]):
            return None
        now = int(time.time())
        whole = self.change({"iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 60, **claims})
        made = self.sign(self, whole) if self.sign else jwt.encode({"alg": "RS256", "kid": "one"}, whole, self.key)
        return {"access_token": "x", "token_type": "Bearer", "id_token": made}


def _coded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _joined(head: Claims, claims: Claims) -> str:
    return ".".join(_coded(json.dumps(each).encode()) for each in (head, claims))


def unsigned(provider: Provider, claims: Claims) -> str:
    """Return a token that says that it needs no signature."""
    return _joined({"alg": "none", "typ": "JWT"}, claims) + "."


def with_the_public_key(provider: Provider, claims: Claims) -> str:
    """Return a token that is signed with the public key as if that were a secret."""
    said = _joined({"alg": "HS256", "kid": "one"}, claims)
    made = hmac.new(provider.key.as_pem(private=False), said.encode(), hashlib.sha256).digest()
    return f"{said}.{_coded(made)}"


def with_another_key(provider: Provider, claims: Claims) -> str:
    """Return a token that somebody else signed."""
    return jwt.encode({"alg": "RS256", "kid": "one"}, claims, RSAKey.generate_key(2048))


def with_its_own_key(provider: Provider, claims: Claims) -> str:
    """Return a token that brings its key along."""
    key = RSAKey.generate_key(2048)
    return jwt.encode({"alg": "RS256", "jwk": key.as_dict(private=False)}, claims, key)


def changed_later(provider: Provider, claims: Claims) -> str:
    """Return a token whose claims were changed after it was signed."""
    head, _, signature = jwt.encode({"alg": "RS256", "kid": "one"}, {**claims, "groups": []}, provider.key).split(".")
    return f"{head}.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.{signature}"


@contextmanager
def providing() -> Iterator[Provider]:
    """Answer while the block runs."""
    found = Provider()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None: ...

        def _say(self, said: Claims | None) -> None:
            data = json.dumps(said).encode()
            self.send_response(200 if said is not None else 400)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            found.asked.append(self.path)
            says = {"/.well-known/openid-configuration": found.discovery,
                    "/keys": lambda: {"keys": [found.key.as_dict(private=False)]}}  # fmt: skip
            self._say(says[self.path]() if self.path in says else None)

        def do_POST(self) -> None:
            found.asked.append(self.path)
            data = self.rfile.read(int(self.headers["Content-Length"])).decode()
            form = {name: values[0] for name, values in parse_qs(data).items()}
            self._say(found.token(form, self.headers.get("Authorization", "")))

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield found
        finally:
            server.shutdown()
