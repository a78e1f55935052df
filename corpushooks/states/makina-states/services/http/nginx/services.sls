{% set nginx = salt['mc_nginx.service']() %}
include:
  - makina-states.services.http.nginx.hooks
{% for id, restart, before, after in (
    ('makina-nginx-restart-service', true, 'nginx-pre-hardrestart-hook', 'nginx-post-hardrestart-hook'),
    ('makina-nginx-service', false, 'nginx-pre-restart-hook', 'nginx-post-restart-hook')) %}
{{ id }}:
  mc_service.running:
    - restart: {{ restart }}
{% for key, value in nginx.items() %}
    - {{ key }}: {{ value | json }}
{% endfor %}
    - watch:
      - mc_proxy: {{ before }}
    - watch_in:
      - mc_proxy: {{ after }}
{% endfor %}
