{% from "makina-states/_macros/packages.jinja" import packages with context %}
{{ packages('makina-states.services.base.ssh.client', ['openssh-client']) }}
