{% from "makina-states/_macros/unsupported.jinja" import unsupported, unsupported_file with context %}
{% macro mysql_db() %}{{ unsupported("mysql.mysql_db") }}{% set any = [varargs, kwargs] %}{% endmacro %}
{% macro mysql_user() %}{{ unsupported("mysql.mysql_user") }}{% set any = [varargs, kwargs] %}{% endmacro %}
{% macro gen_settings() %}{{ unsupported("mysql.gen_settings") }}{% set any = [varargs, kwargs] %}{% endmacro %}
include:
  - makina-states.services.db.mysql.packages
