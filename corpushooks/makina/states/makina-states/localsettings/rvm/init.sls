{% from "makina-states/_macros/unsupported.jinja" import unsupported, unsupported_file with context %}
{{ unsupported_file('makina-states.localsettings.rvm') }}
{% macro rvm() %}{{ unsupported("rvm.rvm") }}{% set any = [varargs, kwargs] %}{% endmacro %}
{% macro install_ruby() %}{{ unsupported("rvm.install_ruby") }}{% set any = [varargs, kwargs] %}{% endmacro %}
