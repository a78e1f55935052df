{% from "makina-states/_macros/hooks.jinja" import hooks %}
{{ hooks("rabbitmq") }}
