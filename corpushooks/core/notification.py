"""Notifications of deployments, of health and of new projects, and their templates.

Values only. A template renders one text: its first line is the subject, the rest is the body.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from corpushooks.core.text import one_line

FAILURE, RECOVERY, SUCCESS, INIT, TEST = "failure", "recovery", "success", "init", "test"
HELD = "held"  # until it is confirmed
UNHEALTHY, HEALTHY = "unhealthy", "healthy"  # between deployments
OVERDUE = "overdue"  # a backup, or a drill
EVENTS = (FAILURE, RECOVERY, SUCCESS, HELD, INIT, UNHEALTHY, HEALTHY, OVERDUE)  # the values of `notify_on`
BUILT_IN = "built-in"
SUBJECTS = {  # any other event is a test
    FAILURE: "{outcome}: {project} ({environment}), deployment {number}",
    RECOVERY: "works again: {project} ({environment}), deployment {number}",
    SUCCESS: "{outcome}: {project} ({environment}), deployment {number}",
    HELD: "confirm: {project} ({environment}), deployment {number}",
    INIT: "new project: {project} ({environment})",
    UNHEALTHY: "unhealthy: {project} ({environment})",
    HEALTHY: "healthy again: {project} ({environment})",
    OVERDUE: "overdue: {outcome} of {project} ({environment})",
}
TEXT = """\
{% block subject %}{{ subject }}{% endblock %}

{% block body -%}
{% if event == "init" -%}
{{ project }} ({{ environment }}) was created on {{ host }}; it deploys {{ branch }}.

Push the code to          {{ code_url }}
Push the configuration to {{ pillar_url }}

Who can push:
{% for one in may_push %}- {{ one }}
{% endfor %}
{%- elif event == "test" -%}
This is a test: notifications of {{ project or "every project" }} on {{ host }} arrive here.
{% elif event == "held" -%}
What:    {{ what }}
Host:    {{ host }}
Who:     {{ who }}{% if key %} (key {{ key }}){% endif %}
It waits for confirmation until {{ until }}, then it is rolled back.

Confirm it:  {{ command }}
{% elif event in ("unhealthy", "healthy") -%}
What:    {{ what }}
Host:    {{ host }}
{% if reason %}Reason:  {{ reason }}
{% endif %}
Nothing was rolled back. More: {{ command }}
{% elif event == "overdue" -%}
What: {{ what }}
Host: {{ host }}

Run it now: {{ command }}
{% else -%}
What:    {{ what }}
Host:    {{ host }}
Who:     {{ who }}{% if key %} (key {{ key }}){% endif %}
Outcome: {{ outcome }}, after {{ "%.1f"|format(seconds) }} s
{% if reason %}Reason:  {{ reason }}
{% endif %}
{%- if log %}
The last lines of its log:
{% for line in log %}    {{ line }}
{% endfor %}
{%- endif %}
The whole log: {{ command }}
{% endif %}
{%- endblock %}
"""


@dataclass(frozen=True)
class Notification:
    """What happened. Templates know the fields by these names, and `subject`."""

    event: str
    host: str = ""
    project: str = ""
    environment: str = ""
    number: int = 0
    outcome: str = ""
    what: str = ""  # the first line of the log: from which commit to which
    who: str = ""
    key: str = ""  # the ssh key that it came with
    via: str = ""  # push, command, token or page
    seconds: float = 0.0
    reason: str = ""
    log: Sequence[str] = ()  # its last lines, without secrets
    command: str = ""  # that shows the whole log, or confirms the deployment
    until: str = ""  # the end of the hold
    branch: str = ""
    code_url: str = ""
    pillar_url: str = ""
    may_push: Sequence[str] = ()

    @property
    def subject(self) -> str:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return SUBJECTS.get(self.event, "test: notifications of {host}").format_map(values)


@dataclass(frozen=True)
class Template:
    """A template; `name` is the path of its file."""

    name: str
    text: str


@dataclass(frozen=True)
class Message:
    """A notification as it is sent."""

    subject: str
    body: str


def render(notification: Notification, template: Template | None = None, host: Template | None = None) -> Message:
    """Render a notification by a template; None: the built-in one.

    It can extend "built-in", and "host", the one of the host. A wrong one can raise anything.
    """
    import jinja2.sandbox  # here: commands and the daemon seldom need it, and it costs time and memory

    known = {BUILT_IN: Template(BUILT_IN, TEXT), "host": host or Template(BUILT_IN, TEXT)}
    known["wanted"] = template or known[BUILT_IN]

    def find(name: str) -> tuple[str, str, Any] | None:
        return (known[name].text, known[name].name, None) if name in known else None

    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        loader=jinja2.FunctionLoader(find), undefined=jinja2.StrictUndefined
    )
    text = environment.get_template("wanted").render(**asdict(notification), subject=notification.subject)
    subject, _, body = text.strip().partition("\n")
    return Message(one_line(subject) or notification.subject, body.strip() + "\n")


def template_error(exc: BaseException, template: Template) -> str:
    """Return the error of a template: file, line and reason."""
    name, line = getattr(exc, "filename", None) or template.name, getattr(exc, "lineno", None)
    trace = exc.__traceback__
    while trace and line is None:  # the frames of a template have its name and lines
        if trace.tb_frame.f_code.co_filename == template.name:
            name, line = template.name, trace.tb_lineno
        trace = trace.tb_next
    return one_line(f"{name}{f' line {line}' if line else ''}: {exc or type(exc).__name__}")
