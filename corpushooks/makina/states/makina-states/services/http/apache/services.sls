{% from "makina-states/_macros/packages.jinja" import service with context %}
include:
  - makina-states.services.http.apache.hooks
{{ service(salt['mc_apache.service'](), (
    ('makina-apache-restart', true, 'makina-apache-pre-hardrestart', 'makina-apache-post-hardrestart'),
    ('makina-apache-reload', false, 'makina-apache-pre-restart', 'makina-apache-post-restart'))) }}
