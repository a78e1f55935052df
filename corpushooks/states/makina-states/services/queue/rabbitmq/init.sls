{% from "makina-states/_macros/unsupported.jinja" import unsupported, unsupported_file with context %}
{{ unsupported_file('makina-states.services.queue.rabbitmq') }}
{% macro rabbitmq_vhost() %}{{ unsupported("rabbitmq.rabbitmq_vhost") }}{% set any = [varargs, kwargs] %}{% endmacro %}
{% macro rabbitmq_user() %}{{ unsupported("rabbitmq.rabbitmq_user") }}{% set any = [varargs, kwargs] %}{% endmacro %}
