{#- A virtual host. Its arguments are in docs/makina-states.md. -#}
{% macro virtualhost(domain, doc_root='') %}
{% set vhost = salt['mc_nginx.vhost'](domain, doc_root, **kwargs) %}
makina-nginx-virtualhost-{{ vhost.name | replace('.', '_') | replace('-', '_') }}:
  mc_service.configured:
    - name: {{ vhost.name | json }}
    - service: {{ vhost.service | json }}
    - files: {{ vhost.files | json }}
    - links: {{ vhost.links | json }}
{% if vhost.self_signed %}
    - self_signed: {{ vhost.self_signed | json }}
{% endif %}
    - require:
      - mc_proxy: nginx-pre-conf-hook
    - watch_in:
      - mc_proxy: nginx-post-conf-hook
{% for forced, hook in (('force_reload', 'nginx-pre-restart-hook'), ('force_restart', 'nginx-pre-hardrestart-hook')) %}
{% if kwargs.get(forced) %}
makina-nginx-virtualhost-{{ vhost.name | replace('.', '_') | replace('-', '_') }}-{{ forced }}:
  mc_proxy.forced:
    - watch_in:
      - mc_proxy: {{ hook }}
{% endif %}
{% endfor %}
{% endmacro %}
