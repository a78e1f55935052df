{#- Enable installed modules of Apache. -#}
{% macro modules(what, names) %}
makina-apache-{{ what }}:
  mc_apache.include_module:
    - modules: {{ names | json }}
    - require:
      - mc_proxy: makina-apache-post-inst
    - watch_in:
      - mc_proxy: makina-apache-pre-conf
      - mc_proxy: makina-apache-pre-hardrestart
{% endmacro %}

{#- A virtual host. Its arguments are in docs/makina-states.md. -#}
{% macro virtualhost(domain, doc_root='') %}
{% set vhost = salt['mc_apache.vhost'](domain, doc_root, **kwargs) %}
{% if vhost.tls %}{{ modules('virtualhost-' ~ vhost.name ~ '-ssl', ['ssl']) }}{% endif %}
makina-apache-virtualhost-{{ vhost.name | replace('.', '_') | replace('-', '_') }}:
  mc_service.configured:
    - name: {{ vhost.name | json }}
    - service: {{ vhost.service | json }}
    - files: {{ vhost.files | json }}
    - links: {{ vhost.links | json }}
{% if vhost.self_signed %}
    - self_signed: {{ vhost.self_signed | json }}
{% endif %}
    - require:
      - mc_proxy: makina-apache-vhostconf
    - watch_in:
      - mc_proxy: makina-apache-post-conf
{% for forced, hook in (('force_reload', 'makina-apache-pre-restart'),
                        ('force_restart', 'makina-apache-pre-hardrestart')) if kwargs.get(forced) %}
makina-apache-virtualhost-{{ vhost.name | replace('.', '_') | replace('-', '_') }}-{{ forced }}:
  mc_proxy.forced:
    - watch_in:
      - mc_proxy: {{ hook }}
{% endfor %}
{% endmacro %}
