{% from "makina-states/_macros/hooks.jinja" import hooks %}
include:
  - makina-states.services.http.apache.hooks
{{ hooks("php") }}
