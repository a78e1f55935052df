"""The door to a provider of OpenID Connect: where it sends people, and whose identity it asserts. In a child only.

What a provider says is believed where its token has a right signature by a key of the provider, and is from it, for us,
for this sign-in and for now. The only user of Authlib and of its joserfc.
"""

from __future__ import annotations

import base64
import json
import os
import ssl
import stat
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, urlencode

from corpushooks.core.errors import ConfigError, CredentialError, DoorError
from corpushooks.core.provider import ADDRESS
from corpushooks.system import distribution

try:
    from authlib.oauth2.rfc7636 import create_s256_code_challenge
    from authlib.oidc.core import CodeIDToken
    from joserfc import jwt
    from joserfc.jwk import KeySet
except ImportError as exc:
    raise ConfigError("oidc requires the library Authlib", distribution.completing()) from exc

# never none, and none with a secret that both sides share
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
KINDS = ("RSA", "EC", "OKP")  # of keys: none that both sides share
SKEW = 60  # seconds that clocks may differ
LIMIT = 1 << 20  # bytes of an answer
SECRET_LIMIT = 4096
WRONG = "the identity provider's answer is not valid"

Said = dict[str, Any]


@dataclass(frozen=True)
class Prepared:
    """What only root can read: the secret, and the certificates that are trusted."""

    secret: str
    opener: urllib.request.OpenerDirector


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirection: a provider says where it is."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def prepared(secret_file: str | None) -> Prepared:
    """Read what is needed to ask a provider later, with fewer rights."""
    context = ssl.create_default_context()
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), _Stay())
    return Prepared(_secret(Path(secret_file)) if secret_file else "", opener)


def _secret(path: Path) -> str:
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            secret = file.read(SECRET_LIMIT).decode().strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"cannot read the secret: {exc}", where=(str(path),)) from exc
    if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO) or found.st_uid not in (0, os.geteuid()):
        raise ConfigError("the secret is readable by others", f"chown root {path}; chmod 600 {path}", (str(path),))
    return secret


# asking


def _ask(door: Prepared, url: Any, timeout: float, data: bytes | None = None, **headers: str) -> Said:
    """Return the JSON object at an address; raise DoorError."""
    if not isinstance(url, str) or not ADDRESS.fullmatch(url.partition("?")[0]):
        raise DoorError("the identity provider has an address that is not https")
    request = urllib.request.Request(url, data, {"Accept": "application/json", **headers})
    try:
        with door.opener.open(request, timeout=timeout) as answer:
            found = json.loads(answer.read(LIMIT))
    except urllib.error.HTTPError as exc:
        exc.close()
        raise DoorError(f"the identity provider answered {exc.code}") from None
    except (OSError, HTTPException, ValueError, RecursionError) as exc:
        raise DoorError(f"the identity provider did not answer: {type(exc).__name__}") from None
    if not isinstance(found, dict):
        raise DoorError("the identity provider's answer is not understood")
    return found


def discover(door: Prepared, issuer: str, timeout: float) -> Said:
    """Return what a provider says of itself; raise DoorError if it says that it is another."""
    found = _ask(door, f"{issuer.rstrip('/')}/.well-known/openid-configuration", timeout)
    if found.get("issuer") != issuer:
        raise DoorError("the identity provider says that it is another issuer")
    return found


def begin(door: Prepared, asked: Said) -> Said:
    """Return where to send a browser."""
    about = discover(door, asked["issuer"], asked["timeout"])
    where = about.get("authorization_endpoint")
    if not isinstance(where, str) or not ADDRESS.fullmatch(where.partition("?")[0]):
        raise DoorError("the identity provider has an address that is not https")
    query = {
        "response_type": "code", "client_id": asked["client_id"], "redirect_uri": asked["redirect"],
        "scope": " ".join(dict.fromkeys(["openid", *asked["scopes"]])), "state": asked["state"],
        "nonce": asked["nonce"], "code_challenge": create_s256_code_challenge(asked["verifier"]),
        "code_challenge_method": "S256",
    }  # fmt: skip
    return {"url": f"{where}{'&' if '?' in where else '?'}{urlencode(query)}"}


def finish(door: Prepared, asked: Said) -> Said:
    """Return whose identity a provider asserts; raise CredentialError if that is not valid."""
    about = discover(door, asked["issuer"], asked["timeout"])
    if asked["came_by"] not in ("", asked["issuer"]):  # RFC 9207
        raise CredentialError(WRONG)
    tokens = _tokens(door, about, asked)
    text = tokens.get("id_token")
    if not isinstance(text, str):
        raise CredentialError(WRONG)
    keys = _ask(door, about.get("jwks_uri"), asked["timeout"])
    return person(claims(text, keys, about, asked, tokens.get("access_token")), asked)


def _tokens(door: Prepared, about: Said, asked: Said) -> Said:
    """Return what a provider gives for a code."""
    form = {
        "grant_type": "authorization_code", "code": asked["code"], "redirect_uri": asked["redirect"],
        "code_verifier": asked["verifier"], "client_id": asked["client_id"],
    }  # fmt: skip
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    ways = about.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    if door.secret and "client_secret_basic" in ways:
        pair = f"{quote_plus(asked['client_id'])}:{quote_plus(door.secret)}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    elif door.secret:
        form["client_secret"] = door.secret
    return _ask(door, about.get("token_endpoint"), asked["timeout"], urlencode(form).encode(), **headers)


# judging


def claims(text: str, keys: Said, about: Said, asked: Said, access: Any = None) -> Said:
    """Return the claims of a token; raise CredentialError."""
    listed = about.get("id_token_signing_alg_values_supported", ["RS256"])
    algorithms = [each for each in ALGORITHMS if isinstance(listed, list) and each in listed]
    try:
        usable = [each for each in keys["keys"] if each["kty"] in KINDS and each.get("use", "sig") == "sig"]
        token = jwt.decode(text, KeySet.import_key_set({"keys": usable}), algorithms=algorithms)
        options = {"iss": {"essential": True, "value": asked["issuer"]},
                   "aud": {"essential": True, "value": asked["client_id"]}}  # fmt: skip
        params = {"client_id": asked["client_id"], "nonce": asked["nonce"], "access_token": access}
        found = CodeIDToken(token.claims, token.header, options, params)
        found.validate(now=int(time.time()), leeway=SKEW)
    except Exception as exc:  # the edge: whatever is wrong with a token that others wrote, it is not valid
        raise CredentialError(WRONG) from exc
    if found["iss"] != asked["issuer"] or found.get("nonce") != asked["nonce"]:  # what must be, in our own words
        raise CredentialError(WRONG)
    return dict(found)


def person(found: Said, asked: Said) -> Said:
    """Return who that is: `sub`, the name to show, and the groups."""
    sub, name = found.get("sub"), found.get(asked["name_claim"], "")
    if not isinstance(sub, str) or not 0 < len(sub) <= 255 or not sub.isascii() or not sub.isprintable():
        raise CredentialError(WRONG)
    groups = found.get(asked["groups_claim"], [])
    listed = [groups] if isinstance(groups, str) else groups if isinstance(groups, list) else []
    return {
        "sub": sub, "name": name if isinstance(name, str) else "",
        "groups": [each for each in listed if isinstance(each, str)],
    }  # fmt: skip
