{% from "makina-states/_macros/packages.jinja" import packages with context %}
include:
  - makina-states.localsettings.nodejs
{{ packages('makina-states.localsettings.npm', 'npm'.split(), 'nodejs-post-install', 'nodejs-pre-system-install') }}
