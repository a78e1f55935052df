{% from "makina-states/_macros/packages.jinja" import packages with context %}
include:
  - makina-states.localsettings.nodejs.hooks
{{ packages('makina-states.localsettings.nodejs', 'nodejs'.split(), 'nodejs-pre-install', 'nodejs-post-install') }}
