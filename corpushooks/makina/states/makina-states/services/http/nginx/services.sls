{% from "makina-states/_macros/packages.jinja" import service with context %}
include:
  - makina-states.services.http.nginx.hooks
{{ service(salt['mc_nginx.service'](), (
    ('makina-nginx-restart-service', true, 'nginx-pre-hardrestart-hook', 'nginx-post-hardrestart-hook'),
    ('makina-nginx-service', false, 'nginx-pre-restart-hook', 'nginx-post-restart-hook'))) }}
