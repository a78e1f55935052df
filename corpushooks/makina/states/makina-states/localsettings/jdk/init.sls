{% from "makina-states/_macros/packages.jinja" import packages with context %}
include:
  - makina-states.localsettings.jdk.hooks
{{ packages('makina-states.localsettings.jdk', 'default-jdk-headless'.split(), 'makina-states-jdk_begin', 'makina-states-jdk_last') }}
