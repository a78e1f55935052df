{% from "makina-states/_macros/unsupported.jinja" import unsupported_file with context %}
{{ unsupported_file('makina-states.localsettings.casperjs') }}
