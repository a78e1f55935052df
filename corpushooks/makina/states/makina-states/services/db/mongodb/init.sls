{% from "makina-states/_macros/unsupported.jinja" import unsupported, unsupported_file with context %}
{{ unsupported_file('makina-states.services.db.mongodb') }}
{% macro mongodb_db() %}{{ unsupported("mongodb.mongodb_db") }}{% set any = [varargs, kwargs] %}{% endmacro %}
{% macro mongodb_user() %}{{ unsupported("mongodb.mongodb_user") }}{% set any = [varargs, kwargs] %}{% endmacro %}
