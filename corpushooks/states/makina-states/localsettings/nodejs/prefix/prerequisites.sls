{% from "makina-states/_macros/unsupported.jinja" import unsupported, unsupported_file with context %}
{% macro install() %}{{ unsupported("node.install") }}{% set any = [varargs, kwargs] %}{% endmacro %}
