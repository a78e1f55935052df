{% from "makina-states/_macros/unsupported.jinja" import unsupported, unsupported_file with context %}
{{ unsupported_file('makina-states.localsettings.users') }}
{% macro create_user() %}{{ unsupported("users.create_user") }}{% set any = [varargs, kwargs] %}{% endmacro %}
