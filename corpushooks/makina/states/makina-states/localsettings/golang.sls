{% from "makina-states/_macros/packages.jinja" import packages with context %}
{{ packages('makina-states.localsettings.golang', 'golang-go'.split()) }}
