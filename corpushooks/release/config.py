"""The cfg, the configuration that SLS files see: merged layers with `{references}` resolved. No effects."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from corpushooks.core import claims
from corpushooks.core.errors import ConfigError, UsageError
from corpushooks.core.project import check_environment
from corpushooks.core.schema import plain
from corpushooks.release import assigned
from corpushooks.release.keys import FIXED, MAPPINGS, SHORT_FORM, TABLES, check, shown_kind
from corpushooks.release.references import resolve

Body = dict[str, Any]
Stack = list[tuple[str, Body]]


@dataclass(frozen=True)
class Layers:
    """The layers of a cfg, from low to high."""

    builtin: Mapping[str, Any]  # made by cfg_keys.builtin()
    sample: Mapping[str, Any]  # PILLAR.sample, rendered, whole
    pillar: Mapping[str, Any]  # the compiled pillar, whole
    grains: Mapping[str, Any]
    minion: Mapping[str, Any]  # the minion configuration of the host
    request: Mapping[str, Any]  # keys of cfg; any other key is a variable of data
    odd: tuple[tuple[str, str, str], ...] = ()  # "pillar" or "sample", key, its type before it became text
    port: claims.Give = claims.first  # for the keys of data that say auto
    given: assigned.Given = field(default_factory=assigned.Given)  # by `corpus set`

    @property
    def host(self) -> tuple[tuple[str, Mapping[str, Any]], ...]:
        """The host's layers for a project, highest first."""
        return (("minion", self.minion), ("pillar", self.pillar), ("grains", self.grains))


@dataclass(frozen=True)
class Cfg:
    """A cfg, and the origin of each of its values."""

    values: dict[str, Any]
    origin: dict[tuple[str, ...], str]  # by the path of each leaf; a list is one leaf
    sample_defaults: dict[str, Any]  # the whole sample, resolved: below the pillar
    odd: tuple[tuple[str, str, str], ...] = ()  # values that were converted to text
    above: dict[str, Any] = field(default_factory=dict)  # above the pillar


def compute(layers: Layers, *, name: str, env_defaults_win: bool = False) -> Cfg:
    """Return the cfg of the project `name`; raise ConfigError with layer and key.

    `env_defaults_win` puts env_defaults above the pillar's data, as in makina-states.
    """
    stack = _stack(layers, name, env_defaults_win)
    stack.append(_group(stack))
    merged = functools.reduce(merge, (body for _, body in stack), Body())
    values = assigned.unguarded(_resolve_cfg(claims.given(merged, layers.port)))
    check("cfg", values)  # a reference may have put a list in place of text
    group = values["group"]
    values["groups"] = [group, *(other for other in values["groups"] if other != group)]
    above = assigned.laid_over(layers.given, layers.pillar, name)
    return Cfg(
        values, dict(_origin(values, stack)), values["sls_default_pillar"], _converted_values(layers, name), above
    )


def _converted_values(layers: Layers, name: str) -> tuple[tuple[str, str, str], ...]:
    """Return the values converted to text in the sample, and in the pillar of this project."""
    own = (f"makina-projects.{name}", f"makina-states.{name}")
    return tuple(each for each in layers.odd if each[0] == "sample" or each[1].startswith(own))


def _stack(layers: Layers, name: str, env_defaults_win: bool) -> Stack:
    """Return what each layer says, from low to high."""
    base = _mapping(layers.builtin, "built-in")
    sample = _sample(layers.sample)
    host = _host_bodies(layers, name, base)
    chosen, origin = default_env(layers, name)
    tables: Body = functools.reduce(merge, [sample, *(body for _, body in host)], Body.fromkeys(TABLES, {}))
    env = [(f"env_defaults.{chosen}", {"data": tables["env_defaults"].get(chosen, {})})]
    return [
        ("built-in", merge(base, {"env_defaults": {chosen: {}}})),
        ("pillar", _short_form(layers.pillar, name)),
        ("PILLAR.sample", sample),
        *([] if env_defaults_win else env),
        *_os_layer(tables["os_defaults"], layers.grains),
        *_node_layers(tables["node_defaults"], layers.builtin.get("node_labels") or ()),
        *host,
        *(env if env_defaults_win else []),
        *([(assigned.LAYER, {"data": assigned.guarded(layers.given.data)})] if layers.given.data else []),
        ("request", _request(layers.request, base)),
        (origin, {"default_env": chosen}),
    ]


def default_env(layers: Layers, name: str) -> tuple[str, str]:
    """Return the environment of the project `name`, and the layer it comes from.

    The request comes first, then for each key minion configuration, pillar and grains; the default is the host's
    environment, in the built-in layer. Raise ConfigError for an invalid one.
    """
    paths = (
        f"makina-projects.{name}.default_env",
        f"makina-states.{name}.default_env",
        f"{name}.default_env",
        "makina-states.localsettings.env.env",
        "default_env",
    )
    found = [("request", layers.request.get("default_env"))]
    for path in paths:
        found += [(layer, said) for layer, source in layers.host for said in reversed([*_values_at(source, path)])]
    found.append(("built-in", layers.builtin["default_env"]))
    layer, environment = next((layer, said) for layer, said in found if said)
    check(layer, {"default_env": environment})
    try:
        return check_environment(environment), layer
    except UsageError as exc:
        raise ConfigError(exc.message, where=(layer, "default_env")) from exc


def _sample(sample: Mapping[str, Any]) -> Body:
    """Return the sample's values for the project, whatever name it uses."""
    whole = _mapping(sample, "PILLAR.sample")
    result = Body()
    for key, said in whole.items():
        prefix, _, rest = str(key).partition(".")
        old = prefix == "makina-states" and "." not in rest and isinstance(said, dict)
        if rest and (prefix == "makina-projects" or old):
            body = _nested(rest.split(".")[1:], said)
            result = merge(result, _mapping(body, "PILLAR.sample", str(key)))
    return {**_body("PILLAR.sample", result), "sls_default_pillar": whole}


def _short_form(pillar: Mapping[str, Any], name: str) -> Body:
    """Return the known keys of the pillar's `NAME: {...}`; the others are not ours."""
    said = pillar.get(name)
    body = {key: said[key] for key in SHORT_FORM if key in said} if isinstance(said, Mapping) else {}
    return _body("pillar", body)


def _host_bodies(layers: Layers, name: str, known: Body) -> Stack:
    """Return the host's values for the project, the old keys below the new ones."""
    stack: Stack = []
    for prefix in ("makina-states", "makina-projects"):
        path = f"{prefix}.{name}"
        for layer, source in reversed(layers.host):
            parts = [_mapping(said, layer, path) for said in _values_at(source, path)]
            body = functools.reduce(merge, parts, Body())
            if prefix == "makina-states":  # which also has other things than projects
                body = {key: value for key, value in body.items() if key in known}
            stack.append((layer, _body(layer, body)))
    return stack


def _os_layer(tables: Body, grains: Mapping[str, Any]) -> Stack:
    """Return the defaults of the operating system: those for `os`, else those for `os_family`."""
    names = [str(grains.get(grain)) for grain in ("os", "os_family")]
    return [(f"os_defaults.{name}", {"data": tables[name]}) for name in names if name in tables][:1]


def _node_layers(tables: Body, labels: Sequence[str]) -> Stack:
    """Return the defaults of the labels of this node, in their order."""
    return [(f"node_defaults.{label}", {"data": tables[label]}) for label in labels if label in tables]


def _request(request: Mapping[str, Any], known: Body) -> Body:
    """Return the values of a request: keys of cfg at the first level, everything else in data."""
    said = {"only_steps" if key == "steps" else key: value for key, value in request.items()}
    body = _mapping({key: value for key, value in said.items() if key in known}, "request")
    data = _mapping({key: value for key, value in said.items() if key not in known}, "request")
    return merge({"data": data}, _body("request", body))


def _group(stack: Stack) -> tuple[str, Body]:
    """Return the main group, as a layer: from the highest layer that sets a group."""
    said = ((layer, body.get("group") or body.get("groups")) for layer, body in reversed(stack))
    layer, highest = next((layer, group) for layer, group in said if group)
    return layer, {"group": highest[0] if isinstance(highest, list) else highest}


def _values_at(source: Mapping[str, Any], path: str) -> Iterator[Any]:
    """Yield the values at a dotted path, nested or in flat keys; more precise ones come later."""
    for key in sorted(key for key in source if isinstance(key, str)):  # a prefix sorts first
        if key == path:
            yield source[key]
        elif key.startswith(f"{path}."):
            yield _nested(key[len(path) + 1 :].split("."), source[key])
        elif path.startswith(f"{key}.") and isinstance(source[key], Mapping):
            yield from _values_at(source[key], path[len(key) + 1 :])


def _nested(path: list[str], value: Any) -> Any:
    return functools.reduce(lambda inner, key: {key: inner}, reversed(path), value)


def _mapping(value: Any, *where: str) -> Body:
    """Return a plain copy of a mapping, or an empty one for None; raise ConfigError."""
    if value is not None and not isinstance(value, Mapping):
        raise ConfigError(f"expected a mapping, got {shown_kind(value)}", where=where)
    found: Body = plain(value or {})
    return found


def _body(layer: str, said: Body) -> Body:
    """Check and return a layer; without the environment, which a repository cannot set."""
    for key in FIXED:
        if key in said:  # otherwise SLS files would work on the wrong paths
            raise ConfigError("is fixed by the host and cannot be set", where=(layer, key))
    body = {key: {} if value is None and key in MAPPINGS else value for key, value in said.items()}
    body.pop("default_env", None)
    check(layer, body)
    for table in TABLES:
        if table in body:
            items = body[table].items()
            body[table] = {key: _mapping(value, layer, f"{table}.{key}") for key, value in items}
    return body


def merge(low: Mapping[Any, Any], high: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return `low` overlaid with `high`: mappings merge, everything else (lists and None, too) is replaced."""
    result = dict(low)
    for key, value in high.items():
        both = isinstance(value, Mapping) and isinstance(low.get(key), Mapping)
        result[key] = merge(low[key], value) if both else value
    return result


def _resolve_cfg(cfg: Body) -> Body:
    """Resolve the references in a cfg: within data those to data first, elsewhere those to cfg first."""
    # `data: {user: "{user}-x"}` can only refer to cfg; resolve it first, or it would look like a cycle.
    own = {key: {key: cfg[key]} if key in cfg else {} for key in cfg["data"]}
    data = {key: resolve(value, own[key]) for key, value in cfg["data"].items()}
    data = resolve(data, data)
    cfg = {**cfg, "data": resolve(data, {**cfg, "data": data})}
    cfg = resolve(cfg, cfg)
    cfg = resolve(cfg, cfg["data"])
    return cfg


def _origin(values: Body, stack: Stack) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the layer of each leaf: the highest that has it, or a reference in its place."""
    for path in _leaves(values, ()):
        layer = next(layer for layer, body in reversed(stack) if _has_path(body, path))
        yield tuple(str(key) for key in path), layer


def _leaves(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    if not value or not isinstance(value, dict):
        yield path
        return
    for key, inner in value.items():
        yield from _leaves(inner, (*path, key))


def _has_path(body: Any, path: tuple[Any, ...]) -> bool:
    for key in path:
        if not isinstance(body, dict):
            return True
        if key not in body:
            return False
        body = body[key]
    return True


def sources(layers: Layers, cfg: Cfg, *, name: str, own_pillar: Mapping[str, Any]) -> dict[tuple[str, ...], str]:
    """Return the source of each value: its layer, or the layer that env_defaults come from.

    `own_pillar` has the values of the project's own init.sls; their source is "init.sls" instead of "pillar".
    """
    own = replace(layers, pillar=own_pillar, minion={}, grains={})
    host = _host_bodies(layers, name, _mapping(layers.builtin, "built-in"))
    read = [("PILLAR.sample", _sample(layers.sample)), *host]
    mine = [_short_form(own_pillar, name), *(body for _, body in _host_bodies(own, name, {**layers.builtin}))]
    found = {}
    for path, layer in cfg.origin.items():
        table, _, chosen = layer.partition(".")
        if table in TABLES:
            path_there: tuple[str, ...] = (table, chosen, *path[1:])
            layer = next(source for source, body in reversed(read) if _has_path(_with_text_keys(body), path_there))
        else:
            path_there = path
        inside = layer == "pillar" and any(_has_path(_with_text_keys(body), path_there) for body in mine)
        found[path] = "init.sls" if inside else layer
    return found


def _with_text_keys(value: Any) -> Any:
    """Return mappings with text keys, as in the paths of origins."""
    return {str(key): _with_text_keys(inner) for key, inner in value.items()} if isinstance(value, Mapping) else value
